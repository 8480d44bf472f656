"""Limiters of several event loops that share the windows of one client."""

from __future__ import annotations

import threading

import anyio
import pytest

from asyncposthog.errors import ConfigurationError
from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.scheduler import Scheduler
from asyncposthog.rate_limits.stores.memory import MemoryStore
from asyncposthog.rate_limits.wait_queue import WaitQueue
from asyncposthog.transport.clock import SystemClock
from tests.helpers.virtual_time import LoopClock
from tests.unit.rate_limits.helpers import (
    BASE,
    KEY,
    anyio_backend,
    call,
    limiter,
    operation,
)

__all__ = ["anyio_backend"]

READ = operation("burst")


@pytest.mark.anyio
async def test_what_one_limiter_sends_counts_for_the_other() -> None:
    first = limiter(limits={"burst": (2, 60)})
    for _ in range(2):  # the windows outlive the limiter that filled them
        second = first.for_other_event_loop()
        assert await call(second.for_key(BASE, KEY), READ) < 1
        del second
    sent_at = await call(first.for_key(BASE, KEY), READ)
    assert 60 <= sent_at < 61
    sent_at = await call(first.for_other_event_loop().for_key(BASE, KEY), READ)
    assert 60 <= sent_at < 61


@pytest.mark.anyio
async def test_a_waiter_gets_the_place_that_the_other_limiter_returns() -> None:
    slots = (Limit("key", "query_slots", 1, 0.0),)
    clock = MonotonicClock(LoopClock())
    store = MemoryStore(clock)
    queues = [WaitQueue(s.windows(slots)) for s in (store, store.for_other_event_loop())]
    schedulers = [Scheduler(clock), Scheduler(clock)]
    order: list[str] = []

    async def wait() -> None:
        await schedulers[1].acquire(queues[1])
        order.append("second")

    ticket = await schedulers[0].acquire(queues[0])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(5)
        order.append("first")
        # The second scheduler is not told, and finds out by itself.
        await queues[0].windows.complete(ticket)
        schedulers[0].notify(queues[0])
    assert order == ["first", "second"]


def test_threads_together_get_no_more_than_the_limit() -> None:
    limits = (Limit("burst", "key", 500, 3600.0),)
    stores = [MemoryStore(MonotonicClock(SystemClock()))]
    stores += [stores[0].for_other_event_loop() for _ in range(3)]
    counts: list[int] = []
    kept = stores[0].windows(limits)  # as the wait queue of a client does

    def work(store: MemoryStore) -> None:
        windows, count = store.windows(limits), 0
        for ticket in range(1, 401):
            if windows.try_acquire_nowait(ticket):
                windows.complete_nowait(ticket)
                count += 1
        counts.append(count)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 500
    assert kept.snapshot()[0].used == 500


def test_a_store_of_one_event_loop_is_rejected() -> None:
    class Store:
        def __init__(self) -> None:
            inner = MemoryStore(MonotonicClock(SystemClock()))
            self.windows, self.aclose = inner.windows, inner.aclose

    with pytest.raises(ConfigurationError, match="Store cannot be used in another event loop"):
        limiter(store=Store(), clock=SystemClock()).for_other_event_loop()
