"""The retry budget: an outage must not multiply the load on the server that has it."""

from __future__ import annotations

from typing import Final

from .clock import Clock

__all__ = ["RetryBudget"]

_REFUND: Final = 0.5
"""What a success gives back. In the long run there is at most one repeat to two successes."""
_PER_SECOND: Final = 1.0
"""What comes back by itself, so that one who does little is not without for long."""


class RetryBudget:
    """Repeats that the calls of a client and its copies may make, all of them together.

    As long as nearly all calls succeed it is full, and nobody notices it. When all fail at once
    it is soon empty, and they fail at their first attempt until some succeed again.
    """

    __slots__ = ("_clock", "_refilled_at", "_size", "_tokens")

    def __init__(self, size: int, clock: Clock) -> None:
        """Begin full.

        Args:
            size: Repeats that may be made while nothing succeeds.
            clock: Brings back some with time.
        """
        self._size = float(size)
        self._tokens = float(size)
        self._clock = clock
        self._refilled_at = clock.monotonic()

    def deposit(self) -> None:
        """Note that an attempt succeeded."""
        if self._tokens < self._size:
            self._tokens = min(self._size, self._tokens + _REFUND)

    def try_withdraw(self) -> bool:
        """Take one repeat; return False if there is none left."""
        now = self._clock.monotonic()
        elapsed, self._refilled_at = max(0.0, now - self._refilled_at), now
        self._tokens = min(self._size, self._tokens + elapsed * _PER_SECOND)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
