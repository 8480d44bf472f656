"""Windows, as the server keeps them: a log of moments each."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Final
from weakref import WeakValueDictionary

from asyncposthog.rate_limits.adaptive import (
    CAUTIOUS,
    DROP,
    max_probes,
    pace,
    seconds_until_share,
    share,
)
from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock

__all__ = [
    "CLOCK_SKEW",
    "MemoryStore",
    "MemoryWindows",
    "Window",
    "WindowRegistry",
    "forecast",
    "settle",
]

CLOCK_SKEW: Final = 0.05
"""Seconds that a request stays longer than its window: the server's clocks differ a little."""


class Window:
    """The requests that a budget has been charged with. Every operation is O(1), amortised.

    A request is logged with the moment of its answer. The server noted it somewhere between its
    departure and that, so no later request can find it in the server's window once it has left
    ours, however long either was on the way.
    """

    __slots__ = (
        "__weakref__",
        "_contended_until",
        "_cycles",
        "_log",
        "_observed_capacity",
        "_pace",
        "_seconds",
        "_since",
        "_stay",
        "closed_until",
        "flying",
    )  # fmt: skip

    def __init__(self, seconds: float) -> None:
        """Begin empty. A window of 0 seconds counts what is in flight."""
        self.flying = 0
        """Requests in flight."""
        self.closed_until = -math.inf
        self._seconds = seconds
        self._stay = seconds + CLOCK_SKEW if seconds else 0.0
        self._log: deque[float] = deque()
        self._observed_capacity = 0
        """What we held when the server refused us; 0: it has not, or that is long ago."""
        self._since = 0.0
        self._cycles = 0
        self._pace = 0.0
        self._contended_until = 0.0

    def _evict(self, now: float) -> int:
        """Drop what has left the window, and return how many remain."""
        log, limit = self._log, now - self._stay
        while log and log[0] <= limit:
            log.popleft()
        return len(log)

    def _share(self, now: float, limit: int, used: int) -> int:
        if not self._observed_capacity:
            return limit
        if 2 * used < self._observed_capacity and now - self._since > self._pace:
            # It says nothing of the others that we are not refused what we do not ask for.
            self._since = now - self._pace
        current = share(limit, self._observed_capacity, now - self._since, self._pace)
        if current >= limit:
            self._observed_capacity = self._cycles = 0
        return current

    def wait(self, now: float, limit: int) -> float:
        """Return the seconds until a request may go: 0 for now, infinity if one must land first."""
        used = self._evict(now) + self.flying
        excess = used - (self._share(now, limit, used) if self._observed_capacity else limit)
        if excess < 0:
            probing = (
                self._observed_capacity
                and self.flying >= max_probes(limit)
                and self._near_capacity(used)
            )
            wait = math.inf if probing else 0.0
        else:
            log = self._log
            wait = log[excess] + self._stay - now if excess < len(log) else math.inf
            if self._observed_capacity and used < limit:
                # Room comes too when our share grows.
                grown = (
                    self._since
                    + seconds_until_share(limit, self._observed_capacity, self._pace, used + 1)
                    - now
                )
                wait = min(wait, max(grown, 0.001))
        closed = self.closed_until - now
        return closed if closed > wait and limit != UNENFORCED else wait

    def is_contended(self, now: float) -> bool:
        """Tell whether others were found to use it lately."""
        return self._observed_capacity > 0 and now < self._contended_until

    def _near_capacity(self, used: int) -> bool:
        """Tell whether so many are about what others leave us."""
        return used >= (1.0 - 2.0 * DROP) * self._observed_capacity

    def land(self, now: float) -> None:
        """Log a request that was in flight."""
        self.flying -= 1
        if self._seconds:
            self._log.append(now)
            if self._observed_capacity:
                # The server let so many through: that much is ours.
                self._observed_capacity = max(self._observed_capacity, self._evict(now))

    def close(self, now: float, seconds: float, *, learn: bool) -> None:
        """Let nothing through for some seconds; with `learn`, others fill what we do not."""
        self.closed_until = max(self.closed_until, now + seconds)
        if learn:
            held = self._evict(now) if self._seconds else self.flying - 1
            if self._observed_capacity and now - self._since > self._pace:
                self._cycles += 1
            self._observed_capacity = max(1, held)
            self._since = self.closed_until
            self._pace = pace(self._seconds, self._cycles)
            self._contended_until = self._since + 2.0 * self._pace

    def usage(self, now: float, limit: int) -> Usage:
        """Return how full it is."""
        used = self._evict(now)
        return Usage(
            limit=limit,
            share=self._share(now, limit, used + self.flying),
            used=used,
            flying=self.flying,
            reset=self._log[0] + self._stay - now if used else 0.0,
            closed=self._closed(now, limit),
        )

    def forecast(self, now: float, limit: int, ahead: int) -> float:
        """Return the seconds until a request may go at the earliest, after `ahead` others.

        What is in flight is taken to land now. Our share is taken to be whole: it grows.
        """
        used = self._evict(now)
        rounds, place = divmod(ahead, limit)
        excess = place - (limit - used - self.flying)
        if excess < 0:
            first = 0.0
        elif excess < used:
            first = self._log[excess] + self._stay - now
        else:
            first = self._stay
        return max(first, self._closed(now, limit)) + rounds * self._stay

    def _closed(self, now: float, limit: int) -> float:
        return 0.0 if limit == UNENFORCED else max(0.0, self.closed_until - now)

    def idle(self, now: float) -> bool:
        """Whether forgetting it would lose nothing."""
        return not (
            self._evict(now) or self.flying or self._observed_capacity or self.closed_until > now
        )


class WindowRegistry:
    """Windows by the key of their budget, kept as long as somebody holds them."""

    def __init__(self) -> None:
        """Begin empty."""
        self._windows: WeakValueDictionary[str, Window] = WeakValueDictionary()

    def of(self, rules: Sequence[Limit]) -> tuple[Window, ...]:
        """Return the windows of some rules. Rules with the same key share one window."""
        return tuple(map(self._window, rules))

    def _window(self, rule: Limit) -> Window:
        window = self._windows.get(rule.key)
        if window is None:
            window = self._windows[rule.key] = Window(rule.seconds)
        return window


def settle(windows: Sequence[Window], now: float, uncharged: int | None) -> None:
    """Log a request that was in flight; one window may not have counted it."""
    for index, window in enumerate(windows):
        if index == uncharged:
            window.flying -= 1
        else:
            window.land(now)


def forecast(
    windows: Sequence[Window], limits: Sequence[int], now: float, ahead: int
) -> tuple[float, int]:
    """Return when a request could go at the earliest, and which window is in the way."""
    pairs = zip(windows, limits, strict=True)
    waits = [window.forecast(now, limit, ahead) for window, limit in pairs]
    longest = max(waits, default=0.0)
    return longest, waits.index(longest) if waits else 0


class MemoryStore:
    """Keeps windows as long as somebody holds them. Nothing in it ever waits."""

    def __init__(self, ticker: MonotonicClock) -> None:
        """Begin empty."""
        self._ticker = ticker
        self._shelf = WindowRegistry()

    def windows(self, rules: Sequence[Limit]) -> MemoryWindows:
        """Return the windows of some rules. Rules with the same key share one window."""
        return MemoryWindows(self._ticker, tuple(rules), self._shelf.of(rules))

    async def aclose(self) -> None:
        """Do nothing: memory needs no closing."""


class MemoryWindows:
    """Windows that are drawn on together."""

    __slots__ = ("_held", "_pairs", "_ticker", "_windows", "rules")

    def __init__(
        self, ticker: MonotonicClock, rules: tuple[Limit, ...], windows: tuple[Window, ...]
    ) -> None:
        """Draw on these."""
        self.rules = rules
        self._ticker = ticker
        self._windows = windows
        self._pairs = tuple((w, r.limit) for w, r in zip(windows, rules, strict=True))
        self._held: set[int] = set()
        """Tickets in flight."""

    async def acquire(self, ticket: int) -> float:
        """Take a place in every window, or in none; return the seconds to wait otherwise."""
        return self.take(ticket)

    def take(self, ticket: int) -> float:
        """Do the same, without a coroutine."""
        now, longest = self._ticker.now(), 0.0
        for window, limit in self._pairs:
            wait = window.wait(now, limit)
            if wait > longest:
                longest = wait
            if not longest and window.is_contended(now):
                # Others use the key, so any of the windows may be full before we think so.
                longest = inf if any(w.flying >= CAUTIOUS for w in self._windows) else 0.0
        if not longest:
            for window in self._windows:
                window.flying += 1
            self._held.add(ticket)
        return longest

    async def settle(self, ticket: int, *, uncharged: int | None = None) -> None:
        """Log a request that was in flight."""
        if uncharged is None:
            self.land(ticket)
        elif ticket in self._held:
            self._held.remove(ticket)
            settle(self._windows, self._ticker.now(), uncharged)

    def land(self, ticket: int) -> None:
        """Log a request that was in flight in every window, without a coroutine."""
        if ticket in self._held:
            self._held.remove(ticket)
            now = self._ticker.now()
            for window in self._windows:
                window.land(now)

    async def release(self, ticket: int) -> None:
        """Give the places back, if the ticket has any."""
        if ticket in self._held:
            self._held.remove(ticket)
            for window in self._windows:
                window.flying -= 1

    async def close(self, index: int, seconds: float, *, learn: bool) -> None:
        """Let nothing through a window for some time."""
        self._windows[index].close(self._ticker.now(), seconds, learn=learn)

    async def usage(self) -> tuple[Usage, ...]:
        """Return how full each window is."""
        return self.peek()

    def peek(self) -> tuple[Usage, ...]:
        """Return the same: memory is always up to date."""
        now = self._ticker.now()
        return tuple(window.usage(now, limit) for window, limit in self._pairs)

    async def forecast(self, ahead: int) -> tuple[float, int]:
        """Return when a request could go at the earliest, if `ahead` others go before it."""
        limits = [rule.limit for rule in self.rules]
        return forecast(self._windows, limits, self._ticker.now(), ahead)

    def idle(self) -> bool:
        """Whether forgetting them would lose nothing."""
        now = self._ticker.now()
        return all(window.idle(now) for window in self._windows)
