"""For one process alone, Redis and memory give the same results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.rate_limits.limits import Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import MemoryStore, MemoryWindows
from asyncposthog.rate_limits.stores.redis.windows import RedisWindows
from tests.helpers.manual_clock import ManualClock, SleeplessClock

from .helpers import Fleet, fleet
from .redis_server import Server

MINUTE = Limit("host/key/burst", "burst", 20, 60.0)
HOUR = Limit("host/key/sustained", "sustained", 30, 3600.0)
SLOTS = Limit("host/project 1/slots", "slots", 3, 0.0)

Step: TypeAlias = tuple[str, int, float]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), st.integers(1, 9), st.just(0.0)),
        st.tuples(st.just("settle"), st.integers(1, 9), st.just(0.0)),
        st.tuples(st.just("refused"), st.integers(0, 2), st.just(0.0)),
        st.tuples(st.just("release"), st.integers(1, 3), st.just(0.0)),
        st.tuples(st.just("close"), st.integers(0, 2), st.floats(0.25, 90.0)),
        st.tuples(st.just("learn"), st.integers(0, 2), st.floats(0.25, 20.0)),
        st.tuples(st.just("pass"), st.just(0), st.floats(0.0, 400.0)),
        st.tuples(st.just("forecast"), st.integers(0, 60), st.just(0.0)),
    ),
    min_size=5,
    max_size=40,
)


class ParityHarness:
    """Runs the same steps on both stores at the same time, and compares them."""

    def __init__(self, processes: Fleet, clock: ManualClock, limits: Sequence[Limit]) -> None:
        self._processes = processes
        self._clock = clock
        self._memory: MemoryWindows = MemoryStore(MonotonicClock(clock)).windows(limits)
        self._redis: RedisWindows = processes.windows(*limits, lease=80000.0, slot_lease=80000.0)
        self._limits = limits
        self._in_flight: list[int] = []
        self._ticket = 0
        self._learned = False

    async def act(self, step: Step) -> None:
        what, number, seconds = step
        if what == "acquire":
            for _ in range(number):
                await self._acquire()
        elif what == "pass":
            self._processes.pass_time(seconds)
        elif what == "forecast":
            theirs = await self._redis.estimate_wait(number)
            self._synchronise()
            assert theirs[0] == pytest.approx(
                (await self._memory.estimate_wait(number))[0], abs=1e-4
            )
        elif what in ("close", "learn"):
            index = number % len(self._limits)
            self._learned = self._learned or what == "learn"
            await self._redis.block(index, seconds, adapt=what == "learn")
            self._synchronise()
            await self._memory.block(index, seconds, adapt=what == "learn")
        else:
            refused = number % len(self._limits) if what == "refused" else None
            for ticket in self._in_flight[: 1 if what == "refused" else number]:
                await self._finish(ticket, refused, free=what == "release")
        await self._compare()

    async def _acquire(self) -> None:
        self._ticket += 1
        theirs = await self._redis.acquire(self._ticket)
        self._synchronise()
        ours = await self._memory.acquire(self._ticket)
        assert bool(theirs) == bool(ours), (theirs, ours)
        if not ours:
            self._in_flight.append(self._ticket)
            return
        await self._redis.release(self._ticket)
        assert theirs <= min(ours, 5.0) + 1e-4
        if ours < math.inf and not self._learned:
            assert theirs == pytest.approx(min(ours, 5.0), abs=1e-4)

    async def _finish(self, ticket: int, refused: int | None, *, free: bool) -> None:
        self._in_flight.remove(ticket)
        if free:
            await self._redis.release(ticket)
            self._synchronise()
            await self._memory.release(ticket)
        else:
            await self._redis.complete(ticket, refused_by=refused)
            self._synchronise()
            await self._memory.complete(ticket, refused_by=refused)

    async def _compare(self) -> None:
        theirs = await self._redis.usage()
        self._synchronise()
        ours = await self._memory.usage()
        assert [_whole(usage) for usage in theirs] == [_whole(usage) for usage in ours]
        for one, other in zip(theirs, ours, strict=True):
            assert one.reset == pytest.approx(other.reset, abs=1e-4)
            assert one.blocked_for == pytest.approx(other.blocked_for, abs=1e-4)

    def _synchronise(self) -> None:
        self._clock.now = self._processes.now()


def _whole(usage: Usage) -> tuple[int, int, int, int]:
    return usage.limit, usage.share, usage.used, usage.in_flight


@pytest.mark.parametrize("limits", [(MINUTE,), (MINUTE, HOUR), (SLOTS,), (HOUR, SLOTS)])
def test_redis_and_memory_agree(redis_server: Server, limits: tuple[Limit, ...]) -> None:
    @settings(max_examples=25)
    @given(steps)
    def agree(story: list[Step]) -> None:
        anyio.run(_live, redis_server, limits, story)

    agree()


async def _live(server: Server, limits: tuple[Limit, ...], story: list[Step]) -> None:
    async with fleet(server) as processes:
        harness = ParityHarness(processes, SleeplessClock(0.0, epoch=0.0, chance=0.5), limits)
        for step in story:
            await harness.act(step)
