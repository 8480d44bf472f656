"""Time that never runs backwards, whatever the clock does."""

from __future__ import annotations

import math
from typing import Final

import anyio

from asyncposthog.transport.clock import Clock

__all__ = ["MonotonicClock"]

_EARLY: Final = 0.005
"""Seconds by which a sleep may end too early: that much is waited again, no more."""


class MonotonicClock:
    """A clock as the limiter needs it: it never goes back, and sleeping moves it forward."""

    __slots__ = ("_clock", "_last", "_monotonic", "_shift")

    def __init__(self, clock: Clock) -> None:
        """Wrap a clock."""
        self._clock = clock
        self._monotonic = clock.monotonic
        self._last = -math.inf
        self._shift = 0.0

    def now(self) -> float:
        """Return seconds."""
        raw = self._monotonic()
        if raw < self._last:
            # It was set back: no time has passed.
            self._shift += self._last - raw
        self._last = raw
        return raw + self._shift

    def random(self) -> float:
        """Return a number from 0 up to 1."""
        return self._clock.random()

    async def sleep_until(self, moment: float) -> None:
        """Wait, for ever if the moment is infinite."""
        if moment == math.inf:
            await anyio.sleep_forever()
        await self._clock.sleep(max(0.0, moment - self.now()))
        late = moment - self.now()
        if late > _EARLY:
            # The clock's sleep is none, as in `testing()`: what it was told to wait is over.
            self._shift += late
