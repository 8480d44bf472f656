"""Whatever several processes do, counts in Redis agree and no limit is exceeded."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.stores.redis.windows import RedisWindows

from .helpers import Fleet, fleet
from .redis_server import Server

RULES = (
    Limit("host/key/burst", "burst", 6, 60.0),
    Limit("host/key/sustained", "sustained", 9, 200.0),
)
LIMIT_SETS = (RULES, RULES[:1], RULES[1:])
LEASE = 40.0

Step: TypeAlias = tuple[str, int, float]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), st.integers(0, 8), st.just(0.0)),
        st.tuples(st.just("acquire"), st.integers(0, 8), st.just(0.0)),
        st.tuples(st.just("settle"), st.integers(0, 20), st.just(0.0)),
        st.tuples(st.just("refused"), st.integers(0, 20), st.just(0.0)),
        st.tuples(st.just("release"), st.integers(0, 20), st.just(0.0)),
        st.tuples(st.just("gone"), st.integers(0, 20), st.just(0.0)),
        st.tuples(st.just("forget"), st.integers(0, 20), st.just(0.0)),
        st.tuples(st.just("pass"), st.just(0), st.floats(0.0, 70.0)),
    ),
    min_size=10,
    max_size=60,
)


class RandomProcesses:
    """Three processes with three sets of windows each, and their tickets."""

    def __init__(self, processes: Fleet) -> None:
        self._processes = processes
        stores = [processes.store(lease=LEASE) for _ in range(3)]
        self._queues = [store.windows(limits) for store in stores for limits in LIMIT_SETS]
        self._held: list[tuple[RedisWindows, int]] = []
        self._waiting: dict[RedisWindows, int] = {}
        self._ticket = 0

    async def act(self, step: Step) -> None:
        what, number, seconds = step
        if what == "acquire":
            queue = self._queues[number]
            self._ticket += 1
            ticket = self._waiting.pop(queue, self._ticket)
            if await queue.acquire(ticket):
                self._waiting[queue] = ticket
            else:
                self._held.append((queue, ticket))
        elif what == "pass":
            self._processes.pass_time(seconds)
        elif what == "gone" and self._waiting:
            queue = list(self._waiting)[number % len(self._waiting)]
            await queue.release(self._waiting.pop(queue))
        elif what != "gone" and self._held:
            queue, ticket = self._held.pop(number % len(self._held))
            if what == "settle":
                await queue.complete(ticket)
            elif what == "refused":
                await queue.complete(ticket, refused_by=0)
            elif what == "release":
                await queue.release(ticket)

    async def check(self) -> None:
        admin, prefix = self._processes.admin, f"{{{self._processes.prefix}}}"
        usages = await self._queues[0].usage()
        for limit, usage in zip(RULES, usages, strict=True):
            assert usage.used + usage.in_flight <= limit.requests
            listed = [
                member
                for part in ("completed", "in_flight")
                for member in admin.zrange(f"{prefix}:{limit.key}:{part}", 0, -1)
            ]
            assert len(listed) == len(set(listed)) == usage.used + usage.in_flight
            counted = admin.hgetall(f"{prefix}:{limit.key}:processes")
            processes = Counter(str(member).partition(".")[0] for member in listed)
            assert {name: int(count) for name, count in counted.items()} == dict(processes)
        for key in self._processes.names():
            assert admin.pttl(key) > 0, key


def test_redis_counts_match_memory(redis_server: Server) -> None:
    @settings(max_examples=20)
    @given(steps)
    def balance(story: list[Step]) -> None:
        anyio.run(_live, redis_server, story)

    balance()


async def _live(server: Server, story: list[Step]) -> None:
    async with fleet(server) as processes:
        books = RandomProcesses(processes)
        for step in story:
            await books.act(step)
            await books.check()
