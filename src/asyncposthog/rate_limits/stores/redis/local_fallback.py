"""What this process does to windows that are kept in Redis, kept here as well.

While Redis answers, it only takes notes. While Redis is away, it decides, for its part of each
limit: what this process has done before still counts.
"""

from __future__ import annotations

from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import Window, forecast, settle

__all__ = ["LocalFallback"]


class LocalFallback:
    """The windows of one set of rules."""

    def __init__(
        self, ticker: MonotonicClock, rules: tuple[Limit, ...], windows: tuple[Window, ...]
    ) -> None:
        """Draw on these."""
        self._ticker = ticker
        self._rules = rules
        self._windows = windows

    def _limits(self, parts: int) -> list[int]:
        limits = (rule.limit for rule in self._rules)
        return [limit if limit == UNENFORCED else max(1, limit // parts) for limit in limits]

    def wait(self, parts: int) -> float:
        """Return the seconds until a request may go if each limit is divided into equal parts."""
        now, limits = self._ticker.now(), self._limits(parts)
        waits = (w.wait(now, limit) for w, limit in zip(self._windows, limits, strict=True))
        return max(waits, default=0.0)

    def take(self) -> None:
        """Note that a request goes."""
        for window in self._windows:
            window.flying += 1

    def land(self, uncharged: int | None) -> None:
        """Note that one was answered; one window may not have counted it."""
        settle(self._windows, self._ticker.now(), uncharged)

    def drop(self) -> None:
        """Note that one did not go after all."""
        for window in self._windows:
            window.flying -= 1

    def close(self, index: int, seconds: float, *, learn: bool) -> None:
        """Let nothing through a window for some time."""
        self._windows[index].close(self._ticker.now(), seconds, learn=learn)

    def closures(self) -> list[tuple[int, float]]:
        """Return which windows are closed, and for how many seconds yet."""
        now = self._ticker.now()
        left = ((i, w.closed_until - now) for i, w in enumerate(self._windows))
        return [(index, seconds) for index, seconds in left if seconds > 0]

    def usage(self, parts: int) -> tuple[Usage, ...]:
        """Return how full each window is of requests of this process."""
        now, limits = self._ticker.now(), self._limits(parts)
        return tuple(w.usage(now, limit) for w, limit in zip(self._windows, limits, strict=True))

    def forecast(self, ahead: int, parts: int) -> tuple[float, int]:
        """Return when a request could go at the earliest, and which window is in the way."""
        return forecast(self._windows, self._limits(parts), self._ticker.now(), ahead)
