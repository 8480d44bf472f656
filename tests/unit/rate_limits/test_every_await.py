"""A call that is cancelled at each of its awaits in turn leaks nothing."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog.rate_limits.limiter import RateLimiter
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.base import Store
from asyncposthog.rate_limits.stores.memory import MemoryStore
from tests.helpers.virtual_time import LoopClock

from .helpers import run
from .test_client import Wire, client, throttled
from .test_slow_store import SlowStore

HOGQL = {"kind": "HogQLQuery", "query": "select 1"}
LIMITS = {"api_queries_burst": (3, 10.0), "api_queries_sustained": (9, 100.0)}


class Steps:
    """Runs a coroutine, and cancels a scope at its n-th await."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.taken = 0
        self.scope = anyio.CancelScope()

    @types.coroutine
    def of(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                trap = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            value = error = None
            self.taken += 1
            if self.taken == self.last:
                self.scope.cancel()
            try:
                value = yield trap
            except BaseException as thrown:
                error = thrown


async def story(steps: Steps, who: int, store: Store) -> None:
    """Make three queries with one slot, against a server that also returns errors."""
    wire = Wire(httpx.Response(500), throttled(2), throttled(None), httpx.Response(200, json={}))
    limiter = RateLimiter(clock=LoopClock(), store=store, limits=LIMITS, query_slots=1)
    done: list[int] = []
    async with client(wire, limiter=limiter, max_retries=9) as ph:

        async def query(number: int) -> None:
            await ph.raw(ph.query.create, query=HOGQL, name=str(number))
            done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                await anyio.sleep(0.01)
                if number == who:
                    tasks.start_soon(stepping, steps, query(number))
                else:
                    tasks.start_soon(query, number)
        others = [number for number in range(3) if number != who]
        assert [number for number in done if number != who] == others
        queues = limiter.queues.values()
        assert all(usage.in_flight == 0 for queue in queues for usage in queue.windows.snapshot())
        assert not limiter.scheduler.queues
        assert limiter.scheduler._leader is None
        assert wire.running == 0
        # No window is blocked and no capacity is lost: the next query runs.
        await query(who)


async def stepping(steps: Steps, coroutine: Coroutine[Any, Any, Any]) -> None:
    with steps.scope:
        await steps.of(coroutine)


def memory() -> Store:
    return MemoryStore(MonotonicClock(LoopClock()))


@pytest.mark.parametrize(
    ("backend", "make", "least"),
    [("asyncio", memory, 5), ("trio", memory, 5), ("trio", SlowStore, 15)],
)
@pytest.mark.parametrize("who", [0, 1, 2])
def test_cancelled_at_every_await(backend: str, make: Any, least: int, who: int) -> None:
    async def main(last: int) -> int:
        steps = Steps(last)
        with anyio.fail_after(3600):
            await story(steps, who, make())
        return steps.taken

    last = 1
    while run(backend, main, last) >= last:
        last += 1
    assert last > least
