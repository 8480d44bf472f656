"""What this process does to windows that are kept in Redis, kept here as well.

While Redis answers, it only takes notes. While Redis is away, it decides, for its part of each
limit: what this process has done before still counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from .rules import Rule, Usage
from .ticking import Ticker
from .window import Window

__all__ = ["Shadow", "Shadows"]


class Shadows:
    """Rules with one key share one window here too."""

    def __init__(self, ticker: Ticker) -> None:
        """Begin empty."""
        self._ticker = ticker
        self._windows: WeakValueDictionary[str, Window] = WeakValueDictionary()

    def of(self, rules: Sequence[Rule]) -> Shadow:
        """Return the windows of some rules."""
        return Shadow(self._ticker, tuple(rules), tuple(map(self._window, rules)))

    def _window(self, rule: Rule) -> Window:
        window = self._windows.get(rule.key)
        if window is None:
            window = self._windows[rule.key] = Window(rule.seconds)
        return window


class Shadow:
    """The windows of one set of rules."""

    def __init__(
        self, ticker: Ticker, rules: tuple[Rule, ...], windows: tuple[Window, ...]
    ) -> None:
        """Draw on these."""
        self._ticker = ticker
        self._rules = rules
        self._windows = windows

    def _limits(self, parts: int) -> list[int]:
        return [max(1, rule.limit // parts) for rule in self._rules]

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
        now = self._ticker.now()
        for index, window in enumerate(self._windows):
            if index == uncharged:
                window.flying -= 1
            else:
                window.land(now)

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
        now, limits = self._ticker.now(), self._limits(parts)
        pairs = zip(self._windows, limits, strict=True)
        waits = [window.forecast(now, limit, ahead) for window, limit in pairs]
        longest = max(waits, default=0.0)
        return longest, waits.index(longest) if waits else 0
