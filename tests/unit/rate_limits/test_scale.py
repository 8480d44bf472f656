"""Many waiters: their cost, counted rather than timed."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from asyncposthog.rate_limits.stores.memory import MemoryWindows
from asyncposthog.rate_limits.wait_queue import Waiter, WaitQueue

from .helpers import SchedulerHarness, run


class Counting:
    """Windows that count calls of `acquire`."""

    def __init__(self, windows: MemoryWindows) -> None:
        self._windows = windows
        self.asked = 0

    async def acquire(self, ticket: int) -> float:
        self.asked += 1
        return await self._windows.acquire(ticket)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._windows, name)


def waiters() -> int:
    """Return how many waiters still exist."""
    gc.collect()
    return sum(isinstance(thing, Waiter) for thing in gc.get_objects())


async def crowd(size: int) -> None:
    harness, limit = SchedulerHarness(), size // 4
    inner = harness.queue(("burst", limit, 60.0)).windows
    assert isinstance(inner, MemoryWindows)
    windows = Counting(inner)
    queue: WaitQueue = WaitQueue(windows)  # type: ignore[arg-type]
    went: list[int] = []

    async def one(number: int) -> None:
        ticket = await harness.scheduler.acquire(queue)
        went.append(number)
        await windows.complete(ticket)
        harness.scheduler.notify(queue)

    async with anyio.create_task_group() as tasks:
        for number in range(size):
            tasks.start_soon(one, number)
        await anyio.sleep(1)
        assert len(queue) == size - limit
    assert len(went) == size
    assert sorted(went) == list(range(size))
    # Each request calls twice, on arrival and on admission; the rest is one call per round.
    assert windows.asked <= 2 * size + 3 * 4
    assert not harness.scheduler.queues
    assert waiters() == 0


@pytest.mark.parametrize(("backend", "size"), [("asyncio", 8000), ("trio", 4000)])
def test_many_waiters(backend: str, size: int) -> None:
    run(backend, crowd, size)


async def apart(queues: int, each: int) -> None:
    harness = SchedulerHarness()
    asked: list[Counting] = []

    async def one(queue: WaitQueue) -> None:
        ticket = await harness.scheduler.acquire(queue)
        await anyio.sleep(ticket % 7)
        await queue.windows.complete(ticket)
        harness.scheduler.notify(queue)

    async with anyio.create_task_group() as tasks:
        for number in range(queues):
            inner = harness.queue((f"project {number}", 1, 60.0)).windows
            assert isinstance(inner, MemoryWindows)
            asked.append(Counting(inner))
            queue = WaitQueue(asked[-1])  # type: ignore[arg-type]
            for _ in range(each):
                tasks.start_soon(one, queue)
    # A change in one queue causes no calls for the others.
    assert sum(windows.asked for windows in asked) <= 4 * queues * each
    assert not harness.scheduler.queues
    assert not harness.scheduler._queues_by_key


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_queues(backend: str) -> None:
    run(backend, apart, 100, 4)


async def leaving(size: int) -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 1, 60.0))
    await harness.scheduler.acquire(queue)
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            for _ in range(size):
                tasks.start_soon(harness.scheduler.acquire, queue)
            await anyio.sleep(1)
            assert len(queue) == size
            tasks.cancel_scope.cancel()
        assert len(queue) == 0
        assert waiters() == 0
    assert queue.windows.snapshot()[0].in_flight == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_waiters_leave_nothing(backend: str) -> None:
    run(backend, leaving, 300)
