"""A clock that never runs backwards and that every sleep moves forward."""

from __future__ import annotations

import math
from typing import Final

import anyio

from asyncposthog.transport.clock import Clock

__all__ = ["MonotonicClock"]

_SLEEP_TOLERANCE: Final = 0.005
"""Seconds by which a sleep may end early and still count as a real sleep."""


class MonotonicClock:
    """Wraps a `Clock` with the guarantees that the rate limiter needs."""

    __slots__ = ("_clock", "_last", "_monotonic", "_offset")

    def __init__(self, clock: Clock) -> None:
        """Wrap a clock, which may be a test double."""
        self._clock = clock
        self._monotonic = clock.monotonic
        self._last = -math.inf
        self._offset = 0.0

    def now(self) -> float:
        """Return the current time in seconds, from an arbitrary start."""
        raw = self._monotonic()
        if raw < self._last:
            # The clock was set back. Windows hold timestamps: without the offset, every request
            # in them would count for longer by that jump.
            self._offset += self._last - raw
        self._last = raw
        return raw + self._offset

    def random(self) -> float:
        """Return a random number from 0 up to 1."""
        return self._clock.random()

    async def sleep_until(self, timestamp: float) -> None:
        """Sleep until `now()` reaches a timestamp; without end if it is infinite."""
        if timestamp == math.inf:
            await anyio.sleep_forever()
        await self._clock.sleep(max(0.0, timestamp - self.now()))
        missing = timestamp - self.now()
        if missing > _SLEEP_TOLERANCE:
            # The clock's sleep returns without waiting, as in `testing()`. Count the sleep as
            # done: the scheduler would otherwise sleep for the rest, again and again.
            self._offset += missing
