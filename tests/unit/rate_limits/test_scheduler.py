"""Waiting: first come, first served, cancellable, bounded by deadlines."""

from __future__ import annotations

import anyio
import pytest

from asyncposthog.rate_limits.scheduler import AcquireTimeout
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW

from .helpers import Waiting, anyio_backend

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
STAY = 60.0 + CLOCK_SKEW


def idle(waiting: Waiting) -> bool:
    """Tell whether nothing is left of anybody."""
    queue = waiting.queue
    return not queue._lanes and queue._leader is None and not queue._sharing


async def test_first_come_first_served() -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 2, 60.0))
    async with anyio.create_task_group() as tasks:
        for name in range(7):
            tasks.start_soon(lambda name=name: waiting.go(lane, name, delay=name / 100))
    assert waiting.order == list(range(7))
    moments = [moment - start for moment, start in zip(
        waiting.moments(range(7)), [0, 0.01, 0, 0.01, 0, 0.01, 0], strict=True
    )]  # fmt: skip
    assert moments == pytest.approx([0, 0, STAY, STAY, 2 * STAY, 2 * STAY, 3 * STAY])
    assert idle(waiting)


async def test_a_newcomer_does_not_overtake() -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 1, 60.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, lane, "first")
        tasks.start_soon(lambda: waiting.go(lane, "second", delay=1))
        # It comes at the very moment when a place is free.
        tasks.start_soon(lambda: waiting.go(lane, "third", delay=STAY))
    assert waiting.order == ["first", "second", "third"]


async def test_lanes_do_not_block_each_other() -> None:
    waiting = Waiting()
    both = waiting.lane(("minute", 10, 60.0), ("hour", 1, 3600.0))
    minute = waiting.lane(("minute", 10, 60.0))
    other = waiting.lane(("other", 1, 60.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, both, "a")
        tasks.start_soon(lambda: waiting.go(both, "b", delay=0.5))
        for name in ("c", "d"):
            tasks.start_soon(lambda name=name: waiting.go(minute, name, delay=1))
        tasks.start_soon(lambda: waiting.go(other, "e", delay=2))
    assert dict(waiting.went) == pytest.approx(
        {"a": 0, "b": 3600 + CLOCK_SKEW, "c": 1, "d": 1, "e": 2}
    )


async def test_who_came_first_gets_the_shared_window_first() -> None:
    waiting = Waiting()
    minute = waiting.lane(("minute", 1, 60.0))
    both = waiting.lane(("minute", 1, 60.0), ("hour", 5, 3600.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, minute, 0)
        for name, lane in enumerate([both, minute, minute, both, minute], 1):
            tasks.start_soon(lambda name=name, lane=lane: waiting.go(lane, name, delay=name))
    assert waiting.order == [0, 1, 2, 3, 4, 5]


async def test_a_lane_is_not_starved_by_one_that_needs_less() -> None:
    waiting = Waiting()
    minute = waiting.lane(("minute", 1, 60.0))
    both = waiting.lane(("minute", 1, 60.0), ("hour", 1, 3600.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, both, "old")
        tasks.start_soon(lambda: waiting.go(both, "patient", delay=1))
        for name in range(70):  # demand for every minute
            tasks.start_soon(lambda name=name: waiting.go(minute, name, delay=2 + name))
    went = dict(waiting.went)
    # As soon as the hour lets it, it is the first for the minute.
    assert 3600 <= went["patient"] <= 3600 + 2 * STAY
    assert len(went) == 72


async def test_who_was_refused_goes_before_the_others() -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 1, 60.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, lane, "first")
        tasks.start_soon(lambda: waiting.go(lane, "second", delay=1))
        tasks.start_soon(lambda: waiting.go(lane, "again", delay=2, place=1))
        tasks.start_soon(lambda: waiting.go(lane, "once more", delay=3, place=1))
    assert waiting.order == ["first", "again", "once more", "second"]


async def test_a_place_given_back_is_taken_at_once() -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 1, 60.0))
    ticket = await waiting.queue.enter(lane)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, lane, "next")
        await anyio.sleep(5)
        await lane.windows.release(ticket)
        waiting.queue.changed(lane)
    assert waiting.went == [("next", 5.0)]


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
async def test_a_cancelled_waiter_frees_its_place(gone: int) -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 1, 60.0))
    await waiting.go(lane, "before")
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def wait(name: int) -> None:
        with scopes[name]:
            await waiting.go(lane, name, delay=name / 10)

    async with anyio.create_task_group() as tasks:
        for name in range(4):
            tasks.start_soon(wait, name)
        await anyio.sleep(1)
        assert len(lane) == 4
        scopes[gone].cancel()
        await anyio.sleep(1)
        assert len(lane) == 3
    assert waiting.order == ["before", *(name for name in range(4) if name != gone)]
    assert waiting.went[-1][1] == pytest.approx(3 * STAY)
    assert idle(waiting)
    assert lane.windows.peek()[0].flying == 0


async def test_all_cancelled_at_once() -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 1, 60.0))
    await waiting.go(lane)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(waiting.go, lane)
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert idle(waiting)
    await waiting.go(lane, "last")
    assert waiting.went[-1] == ("last", pytest.approx(STAY))


async def test_cancelled_in_the_moment_it_may_go() -> None:
    waiting = Waiting()
    lane = waiting.lane(("burst", 2, 60.0))
    tickets = [await waiting.queue.enter(lane) for _ in range(2)]
    scope = anyio.CancelScope()

    async def doomed() -> None:
        with scope:
            await waiting.go(lane, "doomed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: waiting.go(lane, "leads", delay=1))
        await anyio.sleep(2)
        tasks.start_soon(doomed)
        tasks.start_soon(lambda: waiting.go(lane, "after", delay=1))
        await anyio.sleep(3)
        for ticket in tickets:
            await lane.windows.release(ticket)
        waiting.queue.changed(lane)  # wakes the leader, which lets two go
        scope.cancel()
    assert waiting.order == ["leads", "after"]
    assert {moment for _, moment in waiting.went} == {5.0}
    assert idle(waiting)
    assert lane.windows.peek()[0].flying == 0


async def test_a_deadline_that_cannot_be_met_fails_at_once() -> None:
    waiting = Waiting()
    lane = waiting.lane(("minute", 5, 60.0), ("hour", 1, 3600.0))
    await waiting.go(lane, "first")
    await anyio.sleep(600)
    with pytest.raises(AcquireTimeout) as caught:
        await waiting.queue.enter(lane, within=2999.0)
    assert anyio.current_time() == 600.0
    assert (caught.value.seconds, caught.value.index) == (pytest.approx(3000.0 + CLOCK_SKEW), 1)
    assert idle(waiting)
    await waiting.queue.enter(lane, within=3001.0)
    assert anyio.current_time() == pytest.approx(3600.0 + CLOCK_SKEW)


async def test_those_ahead_count_for_a_deadline() -> None:
    waiting = Waiting()
    lane = waiting.lane(("minute", 2, 60.0))
    async with anyio.create_task_group() as tasks:
        for name in range(6):
            tasks.start_soon(waiting.go, lane, name)
        await anyio.sleep(1)
        with pytest.raises(AcquireTimeout) as caught:
            await waiting.queue.enter(lane, within=2 * STAY)
        assert caught.value.seconds == pytest.approx(3 * STAY - 1)
        assert anyio.current_time() == 1.0
        tasks.start_soon(lambda: waiting.go(lane, "in time", within=3 * STAY))
    assert waiting.went[-1] == ("in time", pytest.approx(3 * STAY))


async def test_a_closure_fails_those_it_makes_late() -> None:
    waiting = Waiting()
    lane = waiting.lane(("minute", 1, 60.0))
    await waiting.go(lane)
    failed: list[tuple[str, float, float]] = []

    async def wait(name: str, within: float) -> None:
        try:
            await waiting.go(lane, name, within=within)
        except AcquireTimeout as error:
            failed.append((name, anyio.current_time(), error.seconds))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "patient", 5000.0)
        tasks.start_soon(wait, "hurried", 200.0)
        await anyio.sleep(10)
        await lane.windows.close(0, 1000.0, learn=False)
        waiting.queue.changed(lane)
    assert failed == [("hurried", 10.0, pytest.approx(1000.0))]
    assert waiting.went[-1] == ("patient", pytest.approx(1010.0))
    assert idle(waiting)


async def test_a_deadline_ends_waiting_for_what_is_in_flight() -> None:
    waiting = Waiting()
    lane = waiting.lane(("slots", 1, 0.0))
    ticket = await waiting.queue.enter(lane)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.go, lane, "patient")
        with pytest.raises(AcquireTimeout) as caught:
            await waiting.queue.enter(lane, within=7.0)
        assert anyio.current_time() == 7.0
        assert caught.value.seconds == 0.0
        await lane.windows.settle(ticket)
        waiting.queue.changed(lane)
    assert waiting.went == [("patient", 7.0)]


async def test_nothing_is_kept_of_deadlines_that_are_over() -> None:
    waiting = Waiting()
    lane = waiting.lane(("slots", 1, 0.0))
    await waiting.queue.enter(lane)
    for _ in range(300):
        with pytest.raises(AcquireTimeout):
            await waiting.queue.enter(lane, within=1.0)
    assert len(lane._deadlines) <= 64 + 2
    async with anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(lambda: waiting.queue.enter(lane, within=1e9))
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert idle(waiting)


async def test_an_endless_wait_is_no_busy_one() -> None:
    waiting = Waiting()
    lane = waiting.lane(("slots", 1, 0.0))
    await waiting.queue.enter(lane)
    with anyio.move_on_after(1e6) as scope:
        await waiting.queue.enter(lane)
    assert scope.cancelled_caught
    assert anyio.current_time() == 1e6


async def test_the_leader_may_be_anybody() -> None:
    waiting = Waiting()
    lanes = [waiting.lane((f"bucket {n}", 1, 60.0)) for n in range(3)]
    async with anyio.create_task_group() as tasks:
        for name in range(12):
            lane = lanes[name % 3]
            tasks.start_soon(lambda name=name, lane=lane: waiting.go(lane, name, delay=name / 10))
    went = dict(waiting.went)
    expected = {name: name % 3 / 10 + name // 3 * STAY for name in range(12)}
    assert went == pytest.approx(expected)
    assert idle(waiting)
