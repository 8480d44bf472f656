"""Sliding-window rate limits in the memory of this process."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Final
from weakref import WeakValueDictionary

from asyncposthog.rate_limits.adaptive import (
    BACKOFF_FRACTION,
    MAX_CONTENDED_IN_FLIGHT,
    allowed_requests,
    max_probes,
    recovery_seconds,
    seconds_until_share,
)
from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock

__all__ = [
    "CLOCK_SKEW",
    "MemoryStore",
    "MemoryWindows",
    "SlidingWindow",
    "WindowRegistry",
    "complete",
    "estimate_wait",
]

CLOCK_SKEW: Final = 0.05
"""Seconds that a request stays in a window beyond its length: the clocks of PostHog's servers
differ a little."""
_SHARED_RETRY_SECONDS: Final = 0.05
"""Seconds between attempts to acquire windows that another event loop uses as well: its limiter
does not report that a request has completed."""
_MAX_KEPT_WINDOWS: Final = 256
"""Number of kept windows from which on idle ones are dropped."""


class SlidingWindow:
    """The requests that count against one limit. Every operation is O(1), amortised.

    A request is recorded with the time of its response. The server counted it between departure
    and response, so once it has left this window, it has left the server's window too, however
    long the request or the response took.
    """

    __slots__ = (
        "__weakref__",
        "_completed_at",
        "_contended_until",
        "_cycles",
        "_recovery_seconds",
        "_recovery_start",
        "_retention",
        "_seconds",
        "blocked_until",
        "in_flight",
        "observed_capacity",
    )  # fmt: skip

    def __init__(self, seconds: float) -> None:
        """Create an empty window.

        Args:
            seconds: Its length. 0: it counts only requests in flight.
        """
        self.in_flight = 0
        """Requests in flight."""
        self.blocked_until = -math.inf
        self._seconds = seconds
        self._retention = seconds + CLOCK_SKEW if seconds else 0.0
        self._completed_at: deque[float] = deque()
        self.observed_capacity = 0
        """Requests in the window at the last 429; 0: no 429, or the share has recovered since."""
        self._recovery_start = 0.0
        self._recovery_seconds = 0.0
        self._cycles = 0
        self._contended_until = 0.0

    def _evict(self, now: float) -> int:
        """Drop requests that have left the window. Return how many remain."""
        completed, limit = self._completed_at, now - self._retention
        while completed and completed[0] <= limit:
            completed.popleft()
        return len(completed)

    def _share(self, now: float, limit: int, used: int) -> int:
        if not self.observed_capacity:
            return limit
        idle = 2 * used < self.observed_capacity
        if idle and now - self._recovery_start > self._recovery_seconds:
            # Without demand, the absence of 429s says nothing about the other clients: hold the
            # share at the observed capacity instead of letting time raise it.
            self._recovery_start = now - self._recovery_seconds
        elapsed = now - self._recovery_start
        share = allowed_requests(limit, self.observed_capacity, elapsed, self._recovery_seconds)
        if share >= limit:
            self.observed_capacity = self._cycles = 0
        return share

    def wait_seconds(self, now: float, limit: int) -> float:
        """Return the seconds until a request can be sent: 0 for now.

        Infinity means that a request in flight has to complete first.
        """
        # `_evict` without the call: this runs twice for every request.
        completed, start = self._completed_at, now - self._retention
        while completed and completed[0] <= start:
            completed.popleft()
        used = len(completed) + self.in_flight
        excess = used - (self._share(now, limit, used) if self.observed_capacity else limit)
        if excess < 0:
            probing = (
                self.observed_capacity
                and self.in_flight >= max_probes(limit)
                and self._near_capacity(used)
            )
            wait = math.inf if probing else 0.0
        else:
            wait = (
                completed[excess] + self._retention - now if excess < len(completed) else math.inf
            )
            if self.observed_capacity and used < limit:
                # A growing share makes room too, perhaps before a request leaves the window.
                grown = (
                    self._recovery_start
                    + seconds_until_share(
                        limit, self.observed_capacity, self._recovery_seconds, used + 1
                    )
                    - now
                )
                # Not 0, which would mean capacity: rounding may put that time in the past already.
                wait = min(wait, max(grown, 0.001))
        blocked = self.blocked_until - now
        return blocked if blocked > wait and limit != UNENFORCED else wait

    def is_contended(self, now: float) -> bool:
        """Return whether a recent 429 showed that other clients use this limit."""
        return self.observed_capacity > 0 and now < self._contended_until

    def _near_capacity(self, used: int) -> bool:
        return used >= (1.0 - 2.0 * BACKOFF_FRACTION) * self.observed_capacity

    def record(self, now: float) -> None:
        """Record the completion of a request in flight."""
        self.in_flight -= 1
        if self._seconds:
            self._completed_at.append(now)
            if self.observed_capacity:
                # The server accepted more than it did at the 429, so the capacity is larger.
                self.observed_capacity = max(self.observed_capacity, self._evict(now))

    def block(self, now: float, seconds: float, *, adapt: bool) -> None:
        """Block the window for some seconds; with `adapt`, also reduce the share."""
        self.blocked_until = max(self.blocked_until, now + seconds)
        if adapt:
            # A slot has no completed requests; the refused one itself is still in flight.
            capacity = self._evict(now) if self._seconds else self.in_flight - 1
            if self.observed_capacity and now - self._recovery_start > self._recovery_seconds:
                self._cycles += 1
            self.observed_capacity = max(1, capacity)
            self._recovery_start = self.blocked_until
            self._recovery_seconds = recovery_seconds(self._seconds, self._cycles)
            self._contended_until = self._recovery_start + 2.0 * self._recovery_seconds

    def usage(self, now: float, limit: int) -> Usage:
        """Return the usage of the window."""
        used = self._evict(now)
        return Usage(
            limit=limit,
            share=self._share(now, limit, used + self.in_flight),
            used=used,
            in_flight=self.in_flight,
            reset=self._completed_at[0] + self._retention - now if used else 0.0,
            blocked_for=self._blocked_for(now, limit),
        )

    def estimate_wait(self, now: float, limit: int, ahead: int) -> float:
        """Return a lower bound of the wait of a request, in seconds.

        Args:
            now: The current time.
            limit: Requests allowed in the window.
            ahead: How many other requests are admitted before it.
        """
        # Requests in flight are assumed to complete now, and the share to have recovered: a
        # deadline is refused early only if it cannot be met even then.
        used = self._evict(now)
        rounds, position = divmod(ahead, limit)
        excess = position - (limit - used - self.in_flight)
        if excess < 0:
            wait = 0.0
        elif excess < used:
            wait = self._completed_at[excess] + self._retention - now
        else:
            wait = self._retention
        return max(wait, self._blocked_for(now, limit)) + rounds * self._retention

    def _blocked_for(self, now: float, limit: int) -> float:
        return 0.0 if limit == UNENFORCED else max(0.0, self.blocked_until - now)

    def is_idle(self, now: float) -> bool:
        """Return whether the window can be dropped without losing information."""
        return not (
            self._evict(now) or self.in_flight or self.observed_capacity or self.blocked_until > now
        )


class WindowRegistry:
    """Windows by the key of their limit."""

    def __init__(self) -> None:
        """Create an empty registry."""
        # Weak: a window lives as long as a wait queue refers to it. Limits of single objects come
        # and go, and must not pile up here.
        self._windows: WeakValueDictionary[str, SlidingWindow] = WeakValueDictionary()
        self.lock = Lock()
        """Held while windows are read or changed: several event loops may use them."""
        self.is_shared = False
        """Whether the limiters of several event loops use the windows."""
        self._kept: dict[str, SlidingWindow] = {}
        """Windows that outlive the wait queues of the event loops that share them."""

    def get(self, limits: Sequence[Limit]) -> tuple[SlidingWindow, ...]:
        """Return the windows of some limits. Limits with the same key share one window."""
        return tuple(map(self._window, limits))

    def _window(self, limit: Limit) -> SlidingWindow:
        window = self._windows.get(limit.key)
        if window is None:
            window = self._windows[limit.key] = SlidingWindow(limit.seconds)
        return window

    def keep(self, limits: Sequence[Limit], now: float) -> None:
        """Keep the windows of some limits until they are idle, also when no queue uses them."""
        if len(self._kept) >= _MAX_KEPT_WINDOWS:
            self._kept = {key: w for key, w in self._kept.items() if not w.is_idle(now)}
        self._kept.update((limit.key, self._window(limit)) for limit in limits)


def complete(windows: Sequence[SlidingWindow], now: float, refused_by: int | None) -> None:
    """Record the completion of a request in flight in every window but the one that refused it."""
    for index, window in enumerate(windows):
        if index == refused_by:
            window.in_flight -= 1
        else:
            window.record(now)


def estimate_wait(
    windows: Sequence[SlidingWindow], limits: Sequence[int], now: float, ahead: int
) -> tuple[float, int]:
    """Return a lower bound of the wait of a request, and the index of the window that causes it."""
    pairs = zip(windows, limits, strict=True)
    waits = [window.estimate_wait(now, limit, ahead) for window, limit in pairs]
    longest = max(waits, default=0.0)
    return longest, waits.index(longest) if waits else 0


class MemoryStore:
    """Keeps windows in this process. None of its methods waits."""

    def __init__(self, clock: MonotonicClock, registry: WindowRegistry | None = None) -> None:
        """Create an empty store.

        Args:
            clock: The clock of the limiter.
            registry: The windows that another event loop uses too; None: new ones.
        """
        self._clock = clock
        self._registry = WindowRegistry() if registry is None else registry
        self._is_sibling = registry is not None

    def for_other_event_loop(self) -> MemoryStore:
        """Return a store for another event loop, in any thread, with the same windows."""
        self._registry.is_shared = True
        return MemoryStore(self._clock, self._registry)

    def windows(self, limits: Sequence[Limit]) -> MemoryWindows:
        """Return the windows of some limits. Limits with the same key share one window."""
        registry = self._registry
        with registry.lock:
            if self._is_sibling:
                # Event loops for synchronous code come and go; what they sent still counts.
                registry.keep(limits, self._clock.now())
            return MemoryWindows(self._clock, tuple(limits), registry)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


class MemoryWindows:
    """The windows of some limits, acquired together."""

    __slots__ = (
        "_clock",
        "_in_flight",
        "_lock",
        "_pairs",
        "_registry",
        "_wait_seconds",
        "_windows",
        "limits",
    )

    def __init__(
        self, clock: MonotonicClock, limits: tuple[Limit, ...], registry: WindowRegistry
    ) -> None:
        """Combine windows with the limits that this set of calls has in them."""
        self.limits = limits
        self._clock = clock
        self._registry = registry
        self._lock = registry.lock
        windows = registry.get(limits)
        self._windows = windows
        self._pairs = tuple((w, limit.requests) for w, limit in zip(windows, limits, strict=True))
        self._in_flight: set[int] = set()
        """Tickets of requests in flight."""
        self._wait_seconds = 0.0
        """What the last attempt to acquire has to wait."""

    def try_acquire_nowait(self, ticket: int) -> bool:
        """Acquire every window, or none. Return whether they were acquired."""
        with self._lock:
            now, longest = self._clock.now(), 0.0
            for window, limit in self._pairs:
                wait = window.wait_seconds(now, limit)
                if wait > longest:
                    longest = wait
                if not longest and window.observed_capacity and window.is_contended(now):
                    # Other clients use the key, so any of its windows may be full before ours shows
                    # it. Few requests in flight mean few 429s when that happens.
                    busy = any(w.in_flight >= MAX_CONTENDED_IN_FLIGHT for w in self._windows)
                    longest = math.inf if busy else 0.0
            if not longest:
                for window in self._windows:
                    window.in_flight += 1
                self._in_flight.add(ticket)
            self._wait_seconds = longest
            return not longest

    async def acquire(self, ticket: int) -> float:
        """Acquire every window, or none. Return the seconds to wait, or 0.0 if acquired."""
        self.try_acquire_nowait(ticket)
        if self._wait_seconds == math.inf and self._registry.is_shared:
            return _SHARED_RETRY_SECONDS
        return self._wait_seconds

    def complete_nowait(self, ticket: int) -> bool:
        """Record the completion of a request in every window. Return True: it needs no I/O."""
        if ticket in self._in_flight:
            self._in_flight.remove(ticket)
            with self._lock:
                now = self._clock.now()
                for window in self._windows:
                    window.record(now)
        return True

    async def complete(self, ticket: int, *, refused_by: int | None = None) -> None:
        """Record the completion of a request in every window but the one that refused it."""
        if ticket in self._in_flight:
            self._in_flight.remove(ticket)
            with self._lock:
                complete(self._windows, self._clock.now(), refused_by)

    async def release(self, ticket: int) -> None:
        """Return the acquired capacity, if the ticket has any."""
        if ticket in self._in_flight:
            self._in_flight.remove(ticket)
            with self._lock:
                for window in self._windows:
                    window.in_flight -= 1

    async def block(self, index: int, seconds: float, *, adapt: bool) -> None:
        """Block a window for some seconds."""
        with self._lock:
            self._windows[index].block(self._clock.now(), seconds, adapt=adapt)

    async def usage(self) -> tuple[Usage, ...]:
        """Return the usage of each window."""
        return self.snapshot()

    def snapshot(self) -> tuple[Usage, ...]:
        """Return the usage of each window, which is always up to date in memory."""
        with self._lock:
            now = self._clock.now()
            return tuple(window.usage(now, limit) for window, limit in self._pairs)

    async def estimate_wait(self, ahead: int) -> tuple[float, int]:
        """Return a lower bound of the wait of a request, and the index of its window."""
        limits = [limit.requests for limit in self.limits]
        with self._lock:
            return estimate_wait(self._windows, limits, self._clock.now(), ahead)

    def is_idle(self) -> bool:
        """Return whether the windows can be dropped without losing information."""
        with self._lock:
            now = self._clock.now()
            return all(window.is_idle(now) for window in self._windows)
