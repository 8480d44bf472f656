"""Virtual time: an event loop where waiting costs nothing.

When everybody waits, the clock jumps to the moment when the first one goes on. Two hours of
requests take as long as their Python takes.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

__all__ = ["LoopClock", "VirtualLoop", "run"]

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose time passes only while all tasks wait, and none for a thread."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    """Does not wait: it moves the loop's clock instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if anyio.to_thread.current_default_thread_limiter().borrowed_tokens:
            # A thread works in no time, but it has to be waited for.
            return super().select(None)
        if timeout is None:
            raise RuntimeError("everybody waits, and nobody for time to pass")
        self._loop.now += timeout
        return []


class LoopClock:
    """The limiter's clock, on the time of the event loop."""

    EPOCH = 1_750_000_000.0
    """What time of day it is when the loop begins, in seconds since 1970."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def monotonic(self) -> float:
        return anyio.current_time()

    def time(self) -> float:
        return self.EPOCH + anyio.current_time()

    def random(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def run(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function in virtual time."""
    return anyio.run(main, *args, backend_options={"loop_factory": VirtualLoop})
