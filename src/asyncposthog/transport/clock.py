"""Clock and random source, replaceable in tests."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import anyio

__all__ = ["Clock", "SystemClock", "testing"]


class Clock(Protocol):
    """The clock of the retry loop and the rate limiter."""

    def monotonic(self) -> float:
        """Return the seconds of a clock that never goes back."""
        ...

    def time(self) -> float:
        """Return seconds since 1970, UTC."""
        ...

    def random(self) -> float:
        """Return a random number, at least 0 and less than 1, for jitter."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        ...


class _Testing:
    """The number of `testing()` blocks that are open in this process."""

    depth = 0


class SystemClock:
    """The clock of the operating system."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
    random = staticmethod(random.random)

    async def sleep(self, seconds: float) -> None:
        """Wait; within `testing()`, only let other tasks run."""
        await anyio.sleep(0 if _Testing.depth else seconds)


@contextmanager
def testing() -> Generator[None]:
    """Disable waits, for the tests of an application: retries follow without a delay.

    Applies to all clients of the process until the block ends. What is retried, and how often,
    does not change.
    """
    _Testing.depth += 1
    try:
        yield
    finally:
        _Testing.depth -= 1


# pytest collects every imported function whose name starts with `test`.
testing.__test__ = False  # type: ignore[attr-defined]
