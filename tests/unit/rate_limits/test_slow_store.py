"""A store with latency, like a remote one: nothing is lost during its calls."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.rate_limits.limits import Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import MemoryStore, MemoryWindows
from tests.helpers.virtual_time import LoopClock

from .helpers import anyio_backend, call, call_refused, key_limiter, new_admission, operation, run

__all__ = ["anyio_backend"]

THINKS = 0.25


class SlowWindows:
    """Memory windows with latency before and after each call, either of which may be cancelled."""

    def __init__(self, inner: MemoryWindows) -> None:
        self.inner = inner
        self.limits = inner.limits
        self.released: list[int] = []

    def try_acquire_nowait(self, ticket: int) -> bool:
        return False

    async def acquire(self, ticket: int) -> float:
        await anyio.sleep(THINKS)
        wait = await self.inner.acquire(ticket)
        await anyio.sleep(THINKS)
        return min(wait, 5.0)  # it cannot know what other processes do meanwhile

    def complete_nowait(self, ticket: int) -> bool:
        return False

    async def complete(self, ticket: int, *, refused_by: int | None = None) -> None:
        await anyio.sleep(THINKS)
        await self.inner.complete(ticket, refused_by=refused_by)
        await anyio.sleep(THINKS)

    async def release(self, ticket: int) -> None:
        await anyio.sleep(THINKS)
        await self.inner.release(ticket)
        self.released.append(ticket)
        await anyio.sleep(THINKS)

    async def block(self, index: int, seconds: float, *, adapt: bool) -> None:
        await anyio.sleep(THINKS)
        await self.inner.block(index, seconds, adapt=adapt)

    async def usage(self) -> tuple[Usage, ...]:
        await anyio.sleep(THINKS)
        return await self.inner.usage()

    def snapshot(self) -> tuple[Usage, ...]:
        return self.inner.snapshot()

    def is_idle(self) -> bool:
        return self.inner.is_idle()

    async def estimate_wait(self, ahead: int) -> tuple[float, int]:
        await anyio.sleep(THINKS)
        return await self.inner.estimate_wait(ahead)


class SlowStore(MemoryStore):
    """A store of slow windows."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(LoopClock()))
        self.made: list[SlowWindows] = []
        self.closed = False

    def windows(self, limits: Sequence[Limit]) -> Any:
        made = SlowWindows(super().windows(limits))
        self.made.append(made)
        return made

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.anyio
@pytest.mark.parametrize("moment", [0.1, 0.3, 0.6, 3.1, 4.9, 5.4, 5.6, 5.9, 60.3, 60.6, 60.9, 61.2])
@pytest.mark.parametrize("who", [0, 1, 2])
async def test_cancelled_at_any_moment(moment: float, who: int) -> None:
    store = SlowStore()
    limits, called = key_limiter(store=store, limits={"burst": (1, 60)}), operation("burst")
    scopes, done = [anyio.CancelScope() for _ in range(3)], list[int]()

    async def one(number: int) -> None:
        with scopes[number]:
            await anyio.sleep(number / 100)
            await call(limits, called, latency=0.5)
            done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(one, number)
        await anyio.sleep(moment)
        scopes[who].cancel()
    # The others are admitted in order, and nothing stays in flight or in the queue.
    assert [number for number in done if number != who] == [n for n in range(3) if n != who]
    assert [usage.in_flight for usage in store.made[0].snapshot()] == [0]
    assert limits.status()["burst"].waiting == 0
    assert limits.scheduler._leader is None
    assert anyio.current_time() < 3 * 70


@pytest.mark.anyio
async def test_completion_is_shielded_from_cancellation() -> None:
    store = SlowStore()
    limits = key_limiter(store=store)
    with anyio.CancelScope() as scope:
        async with new_admission(limits, operation("burst")) as attempt:
            attempt.was_sent = True
            scope.cancel()
            await anyio.sleep(1)
    assert [(u.used, u.in_flight) for u in store.made[0].snapshot()] == [(1, 0)]
    with anyio.CancelScope() as scope:
        async with new_admission(limits, operation("burst")):
            scope.cancel()
            await anyio.sleep(1)
    assert [(u.used, u.in_flight) for u in store.made[0].snapshot()] == [(1, 0)]


@pytest.mark.anyio
async def test_a_429_and_a_deadline() -> None:
    store = SlowStore()
    limits, called = key_limiter(store=store), operation("burst", "sustained")
    await call_refused(limits, called, 1800.0)
    assert store.made[0].snapshot()[1].blocked_for == pytest.approx(1800.0, abs=1.0)
    await call(limits, called, timeout=1900.0)
    assert 1800 <= anyio.current_time() <= 1815


@pytest.mark.anyio
async def test_a_ticket_that_only_waited_is_released() -> None:
    store = SlowStore()
    limits, called = key_limiter(store=store, limits={"burst": (1, 60)}), operation("burst")
    await call(limits, called)
    with anyio.move_on_after(10):
        await call(limits, called)
    assert store.made[0].released == [2]


async def crowd(seed: int, count: int, cancelled: float) -> None:
    store, chance = SlowStore(), random.Random(seed)
    limits = key_limiter(store=store, limits={"burst": (3, 20), "sustained": (10, 100)})
    kinds = [operation("burst"), operation("burst", "sustained"), operation("sustained")]
    done = 0

    async def one() -> None:
        nonlocal done
        await anyio.sleep(chance.uniform(0, 60))
        with anyio.CancelScope() as scope:
            if chance.random() < cancelled:
                scope.deadline = anyio.current_time() + chance.uniform(0, 40)
            await call(limits, chance.choice(kinds), latency=chance.uniform(0, 3))
        done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    assert done == count
    assert all(usage.in_flight == 0 for made in store.made for usage in made.snapshot())
    assert not limits.scheduler.queues
    assert limits.scheduler._leader is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 25), cancelled=st.sampled_from([0, 0.5]))
@settings(max_examples=40, deadline=None)
def test_every_waiter_is_admitted_or_rejected(
    backend: str, seed: int, count: int, cancelled: float
) -> None:
    run(backend, crowd, seed, count, cancelled)
