"""The scheduler: FIFO order, cancellation and deadlines."""

from __future__ import annotations

import anyio
import pytest

from asyncposthog.rate_limits.scheduler import AcquireTimeout
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW

from .helpers import SchedulerHarness, anyio_backend

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
STAY = 60.0 + CLOCK_SKEW


def idle(harness: SchedulerHarness) -> bool:
    """Return whether no waiter is left."""
    queue = harness.scheduler
    return not queue.queues and queue._leader is None and not queue._queues_by_key


async def test_first_come_first_served() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 2, 60.0))
    async with anyio.create_task_group() as tasks:
        for name in range(7):
            tasks.start_soon(lambda name=name: harness.run(queue, name, delay=name / 100))
    assert harness.order == list(range(7))
    moments = [moment - start for moment, start in zip(
        harness.admission_times(range(7)), [0, 0.01, 0, 0.01, 0, 0.01, 0], strict=True
    )]  # fmt: skip
    assert moments == pytest.approx([0, 0, STAY, STAY, 2 * STAY, 2 * STAY, 3 * STAY])
    assert idle(harness)


async def test_a_new_request_does_not_overtake_waiters() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 1, 60.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, queue, "first")
        tasks.start_soon(lambda: harness.run(queue, "second", delay=1))
        # It arrives exactly when capacity becomes free.
        tasks.start_soon(lambda: harness.run(queue, "third", delay=STAY))
    assert harness.order == ["first", "second", "third"]


async def test_queues_do_not_block_each_other() -> None:
    harness = SchedulerHarness()
    both = harness.queue(("minute", 10, 60.0), ("hour", 1, 3600.0))
    minute = harness.queue(("minute", 10, 60.0))
    other = harness.queue(("other", 1, 60.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, both, "a")
        tasks.start_soon(lambda: harness.run(both, "b", delay=0.5))
        for name in ("c", "d"):
            tasks.start_soon(lambda name=name: harness.run(minute, name, delay=1))
        tasks.start_soon(lambda: harness.run(other, "e", delay=2))
    assert dict(harness.admitted) == pytest.approx(
        {"a": 0, "b": 3600 + CLOCK_SKEW, "c": 1, "d": 1, "e": 2}
    )


async def test_a_shared_window_is_granted_in_order_of_arrival() -> None:
    harness = SchedulerHarness()
    minute = harness.queue(("minute", 1, 60.0))
    both = harness.queue(("minute", 1, 60.0), ("hour", 5, 3600.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, minute, 0)
        for name, queue in enumerate([both, minute, minute, both, minute], 1):
            tasks.start_soon(lambda name=name, queue=queue: harness.run(queue, name, delay=name))
    assert harness.order == [0, 1, 2, 3, 4, 5]


async def test_a_queue_is_not_starved_by_one_that_needs_less() -> None:
    harness = SchedulerHarness()
    minute = harness.queue(("minute", 1, 60.0))
    both = harness.queue(("minute", 1, 60.0), ("hour", 1, 3600.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, both, "old")
        tasks.start_soon(lambda: harness.run(both, "patient", delay=1))
        for name in range(70):  # demand for every minute
            tasks.start_soon(lambda name=name: harness.run(minute, name, delay=2 + name))
    went = dict(harness.admitted)
    # As soon as the hour has capacity, it is the first for the minute.
    assert 3600 <= went["patient"] <= 3600 + 2 * STAY
    assert len(went) == 72


async def test_retries_go_before_first_attempts() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 1, 60.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, queue, "first")
        tasks.start_soon(lambda: harness.run(queue, "second", delay=1))
        tasks.start_soon(lambda: harness.run(queue, "again", delay=2, priority=1))
        tasks.start_soon(lambda: harness.run(queue, "once more", delay=3, priority=1))
    assert harness.order == ["first", "again", "once more", "second"]


async def test_released_capacity_is_granted_at_once() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 1, 60.0))
    ticket = await harness.scheduler.acquire(queue)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, queue, "next")
        await anyio.sleep(5)
        await queue.windows.release(ticket)
        harness.scheduler.notify(queue)
    assert harness.admitted == [("next", 5.0)]


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
async def test_a_cancelled_waiter_leaves_the_queue(gone: int) -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 1, 60.0))
    await harness.run(queue, "before")
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def wait(name: int) -> None:
        with scopes[name]:
            await harness.run(queue, name, delay=name / 10)

    async with anyio.create_task_group() as tasks:
        for name in range(4):
            tasks.start_soon(wait, name)
        await anyio.sleep(1)
        assert len(queue) == 4
        scopes[gone].cancel()
        await anyio.sleep(1)
        assert len(queue) == 3
    assert harness.order == ["before", *(name for name in range(4) if name != gone)]
    assert harness.admitted[-1][1] == pytest.approx(3 * STAY)
    assert idle(harness)
    assert queue.windows.snapshot()[0].in_flight == 0


async def test_all_cancelled_at_once() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 1, 60.0))
    await harness.run(queue)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(harness.run, queue)
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert idle(harness)
    await harness.run(queue, "last")
    assert harness.admitted[-1] == ("last", pytest.approx(STAY))


async def test_cancelled_at_the_moment_of_admission() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("burst", 2, 60.0))
    tickets = [await harness.scheduler.acquire(queue) for _ in range(2)]
    scope = anyio.CancelScope()

    async def doomed() -> None:
        with scope:
            await harness.run(queue, "doomed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: harness.run(queue, "leads", delay=1))
        await anyio.sleep(2)
        tasks.start_soon(doomed)
        tasks.start_soon(lambda: harness.run(queue, "after", delay=1))
        await anyio.sleep(3)
        for ticket in tickets:
            await queue.windows.release(ticket)
        harness.scheduler.notify(queue)  # wakes the leader, which admits two
        scope.cancel()
    assert harness.order == ["leads", "after"]
    assert {moment for _, moment in harness.admitted} == {5.0}
    assert idle(harness)
    assert queue.windows.snapshot()[0].in_flight == 0


async def test_a_deadline_that_cannot_be_met_fails_at_once() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("minute", 5, 60.0), ("hour", 1, 3600.0))
    await harness.run(queue, "first")
    await anyio.sleep(600)
    with pytest.raises(AcquireTimeout) as caught:
        await harness.scheduler.acquire(queue, timeout=2999.0)
    assert anyio.current_time() == 600.0
    assert (caught.value.available_in, caught.value.index) == (
        pytest.approx(3000.0 + CLOCK_SKEW),
        1,
    )
    assert idle(harness)
    await harness.scheduler.acquire(queue, timeout=3001.0)
    assert anyio.current_time() == pytest.approx(3600.0 + CLOCK_SKEW)


async def test_waiters_ahead_count_for_a_deadline() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("minute", 2, 60.0))
    async with anyio.create_task_group() as tasks:
        for name in range(6):
            tasks.start_soon(harness.run, queue, name)
        await anyio.sleep(1)
        with pytest.raises(AcquireTimeout) as caught:
            await harness.scheduler.acquire(queue, timeout=2 * STAY)
        assert caught.value.available_in == pytest.approx(3 * STAY - 1)
        assert anyio.current_time() == 1.0
        tasks.start_soon(lambda: harness.run(queue, "in time", timeout=3 * STAY))
    assert harness.admitted[-1] == ("in time", pytest.approx(3 * STAY))


async def test_a_block_rejects_waiters_whose_deadline_it_exceeds() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("minute", 1, 60.0))
    await harness.run(queue)
    failed: list[tuple[str, float, float]] = []

    async def wait(name: str, timeout: float) -> None:
        try:
            await harness.run(queue, name, timeout=timeout)
        except AcquireTimeout as error:
            failed.append((name, anyio.current_time(), error.available_in))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "patient", 5000.0)
        tasks.start_soon(wait, "hurried", 200.0)
        await anyio.sleep(10)
        await queue.windows.block(0, 1000.0, adapt=False)
        harness.scheduler.notify(queue)
    assert failed == [("hurried", 10.0, pytest.approx(1000.0))]
    assert harness.admitted[-1] == ("patient", pytest.approx(1010.0))
    assert idle(harness)


async def test_a_deadline_ends_waiting_for_what_is_in_flight() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("slots", 1, 0.0))
    ticket = await harness.scheduler.acquire(queue)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.run, queue, "patient")
        with pytest.raises(AcquireTimeout) as caught:
            await harness.scheduler.acquire(queue, timeout=7.0)
        assert anyio.current_time() == 7.0
        assert caught.value.available_in == 0.0
        await queue.windows.complete(ticket)
        harness.scheduler.notify(queue)
    assert harness.admitted == [("patient", 7.0)]


async def test_expired_deadlines_are_dropped() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("slots", 1, 0.0))
    await harness.scheduler.acquire(queue)
    for _ in range(300):
        with pytest.raises(AcquireTimeout):
            await harness.scheduler.acquire(queue, timeout=1.0)
    assert len(queue._deadlines) <= 64 + 2
    async with anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(lambda: harness.scheduler.acquire(queue, timeout=1e9))
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert idle(harness)


async def test_an_endless_wait_is_not_busy() -> None:
    harness = SchedulerHarness()
    queue = harness.queue(("slots", 1, 0.0))
    await harness.scheduler.acquire(queue)
    with anyio.move_on_after(1e6) as scope:
        await harness.scheduler.acquire(queue)
    assert scope.cancelled_caught
    assert anyio.current_time() == 1e6


async def test_the_leader_may_be_any_waiter() -> None:
    harness = SchedulerHarness()
    queues = [harness.queue((f"bucket {n}", 1, 60.0)) for n in range(3)]
    async with anyio.create_task_group() as tasks:
        for name in range(12):
            queue = queues[name % 3]
            tasks.start_soon(
                lambda name=name, queue=queue: harness.run(queue, name, delay=name / 10)
            )
    went = dict(harness.admitted)
    expected = {name: name % 3 / 10 + name // 3 * STAY for name in range(12)}
    assert went == pytest.approx(expected)
    assert idle(harness)
