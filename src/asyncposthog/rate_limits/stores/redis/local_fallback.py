"""Rate-limit windows of this process alone, used while Redis is unavailable.

They are kept up to date while Redis answers, so that requests which this process made before an
outage still count during it.
"""

from __future__ import annotations

from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import SlidingWindow, complete, estimate_wait

__all__ = ["LocalFallback"]


class LocalFallback:
    """The windows of one set of limits.

    Each method with a `divisor` divides the limits by it: the number of processes among which
    they are shared during an outage.
    """

    def __init__(
        self, clock: MonotonicClock, limits: tuple[Limit, ...], windows: tuple[SlidingWindow, ...]
    ) -> None:
        """Combine windows with the limits that this set of calls has in them."""
        self._clock = clock
        self._limits = limits
        self._windows = windows

    def _divided(self, divisor: int) -> list[int]:
        requests = (limit.requests for limit in self._limits)
        return [count if count == UNENFORCED else max(1, count // divisor) for count in requests]

    def wait_seconds(self, divisor: int) -> float:
        """Return the seconds until a request can be sent; 0 for now."""
        now, limits = self._clock.now(), self._divided(divisor)
        waits = (w.wait_seconds(now, limit) for w, limit in zip(self._windows, limits, strict=True))
        return max(waits, default=0.0)

    def acquire(self) -> None:
        """Record a request that is sent."""
        for window in self._windows:
            window.in_flight += 1

    def complete(self, refused_by: int | None) -> None:
        """Record the completion of a request in every window but the one that refused it."""
        complete(self._windows, self._clock.now(), refused_by)

    def release(self) -> None:
        """Undo `acquire`: the request was not sent after all."""
        for window in self._windows:
            window.in_flight -= 1

    def block(self, index: int, seconds: float, *, adapt: bool) -> None:
        """Block a window for some seconds."""
        self._windows[index].block(self._clock.now(), seconds, adapt=adapt)

    def blocks(self) -> list[tuple[int, float]]:
        """Return the indexes of blocked windows, and the seconds left of each block."""
        now = self._clock.now()
        left = ((i, w.blocked_until - now) for i, w in enumerate(self._windows))
        return [(index, seconds) for index, seconds in left if seconds > 0]

    def usage(self, divisor: int) -> tuple[Usage, ...]:
        """Return the usage of each window by this process."""
        now, limits = self._clock.now(), self._divided(divisor)
        return tuple(w.usage(now, limit) for w, limit in zip(self._windows, limits, strict=True))

    def estimate_wait(self, ahead: int, divisor: int) -> tuple[float, int]:
        """Return a lower bound of the wait of a request, and the index of its window."""
        return estimate_wait(self._windows, self._divided(divisor), self._clock.now(), ahead)
