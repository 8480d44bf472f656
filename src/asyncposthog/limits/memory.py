"""Windows in the memory of this process."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from .feedback import CAUTIOUS
from .rules import Rule, Usage
from .ticking import Ticker
from .window import Shelf, Window, forecast, settle

__all__ = ["MemoryStore", "MemoryWindows"]


class MemoryStore:
    """Keeps windows as long as somebody holds them. Nothing in it ever waits."""

    def __init__(self, ticker: Ticker) -> None:
        """Begin empty."""
        self._ticker = ticker
        self._shelf = Shelf()

    def windows(self, rules: Sequence[Rule]) -> MemoryWindows:
        """Return the windows of some rules. Rules with the same key share one window."""
        return MemoryWindows(self._ticker, tuple(rules), self._shelf.of(rules))

    async def aclose(self) -> None:
        """Do nothing: memory needs no closing."""


class MemoryWindows:
    """Windows that are drawn on together."""

    __slots__ = ("_held", "_pairs", "_ticker", "_windows", "rules")

    def __init__(
        self, ticker: Ticker, rules: tuple[Rule, ...], windows: tuple[Window, ...]
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
            if not longest and window.cautious(now):
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
