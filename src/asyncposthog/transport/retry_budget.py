"""The retry budget: it keeps retries from multiplying the load during an outage."""

from __future__ import annotations

from typing import Final

from .clock import Clock

__all__ = ["RetryBudget"]

_REFUND: Final = 0.5
"""Retries that a success adds: in the long run at most one retry for two successes."""
_PER_SECOND: Final = 1.0
"""Retries added each second, so that a client with few calls is not blocked for long."""


class RetryBudget:
    """A token bucket of retries, shared by all calls of a client and its copies.

    While nearly all calls succeed it is full. When all calls fail it is soon empty, and calls fail
    at their first attempt until some succeed again.
    """

    __slots__ = ("_clock", "_refilled_at", "_size", "_tokens", "full")

    def __init__(self, size: int, clock: Clock) -> None:
        """Create a full budget.

        Args:
            size: Retries while no call succeeds.
            clock: Determines the tokens that are added with time.
        """
        self._size = float(size)
        self._tokens = float(size)
        self.full = True
        """Whether all tokens are there: `deposit` need not be called then."""
        self._clock = clock
        self._refilled_at = clock.monotonic()

    def deposit(self) -> None:
        """Add the tokens of a successful attempt."""
        if self._tokens < self._size:
            self._tokens = min(self._size, self._tokens + _REFUND)
            self.full = self._tokens == self._size

    def try_withdraw(self) -> bool:
        """Take a token for one retry; return False if there is none."""
        now = self._clock.monotonic()
        # A test clock may go back; that must not take tokens away.
        elapsed, self._refilled_at = max(0.0, now - self._refilled_at), now
        self._tokens = min(self._size, self._tokens + elapsed * _PER_SECOND)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        self.full = False
        return True
