"""Virtual time: an event loop in which waiting takes no real time.

When all tasks wait, the clock jumps to the time at which the first of them continues. Two hours of
requests take only the CPU time of their Python code.
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
    """An asyncio event loop whose time passes only while all tasks wait and no thread runs."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    """A selector that moves the loop's clock instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if anyio.to_thread.current_default_thread_limiter().borrowed_tokens:
            # A thread takes no virtual time, but its result has to be waited for.
            return super().select(None)
        if timeout is None:
            raise RuntimeError("deadlock: all tasks wait, and none of them for a timer")
        self._loop.now += timeout
        return []


class LoopClock:
    """A client clock that uses the time of the event loop."""

    EPOCH = 1_750_000_000.0
    """The wall-clock time at the start of the loop, in seconds since 1970."""

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
