"""Time and chance, in one place, so that tests can replace them."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import anyio

__all__ = ["Clock", "SystemClock", "testing"]


class Clock(Protocol):
    """What the retry loop and the limiter know of time."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        ...

    def time(self) -> float:
        """Return seconds since 1970, UTC."""
        ...

    def random(self) -> float:
        """Return a number from 0 up to 1, for jitter."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait, without blocking the event loop."""
        ...


class _Testing:
    """How many `testing()` blocks are open in this process."""

    depth = 0


class SystemClock:
    """The real one."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
    random = staticmethod(random.random)

    async def sleep(self, seconds: float) -> None:
        """Wait; inside `testing()`, only let other tasks run."""
        await anyio.sleep(0 if _Testing.depth else seconds)


@contextmanager
def testing() -> Generator[None]:
    """Switch waiting off, for the tests of an application: retries follow at once.

    It holds for every client of the process until the block ends. What is retried, and how often,
    stays the same.
    """
    _Testing.depth += 1
    try:
        yield
    finally:
        _Testing.depth -= 1


# pytest takes whatever is called test* for a test, also where it was only imported.
testing.__test__ = False  # type: ignore[attr-defined]
