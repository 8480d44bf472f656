"""The client and the emulator with rate limits, two independent implementations, agree."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator
from tests.helpers.virtual_time import LoopClock

from .helpers import run


def emulator(**settings: Any) -> Emulator:
    def clock() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=anyio.current_time())

    made = Emulator(rate_limits=True, clock=clock, sleep=anyio.sleep)
    for name, value in settings.items():
        setattr(made.settings, name, value)
    return made


def client(server: Emulator, **settings: Any) -> AsyncPostHog:
    return AsyncPostHog.emulated(server, clock=LoopClock(), limits=None, **settings)


def statuses(server: Emulator) -> Counter[int | None]:
    return Counter(request.status for request in server.requests)


async def gather(size: int, call: Any) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(size):
            tasks.start_soon(call)


async def minute() -> None:
    server = emulator()
    async with client(server) as ph:
        await gather(500, lambda: ph.raw(ph.cohorts.list))
    assert statuses(server) == {200: 500}
    assert 60 <= anyio.current_time() <= 61


def test_the_limit_per_minute_is_respected() -> None:
    run("asyncio", minute)


async def buckets() -> None:
    server = emulator()
    async with client(server) as ph:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gather, 250, lambda: ph.raw(ph.persons.list))
            tasks.start_soon(gather, 250, lambda: ph.raw(ph.insights.list))
            tasks.start_soon(gather, 20, lambda: ph.raw(ph.cohorts.list))
            tasks.start_soon(
                gather, 70, lambda: ph.raw(ph.events.values, key="x", event_name=["x"])
            )
        used = server.rate_limits.usage(server.key)
    assert set(statuses(server)) == {200}
    assert {"burst", "clickhouse_burst", "event_values_burst"} <= set(used)
    status = ph.rate_limits
    for name, usage in used.items():
        assert status[name].limit == usage.limit
        assert status[name].used >= usage.used


def test_each_operation_has_its_own_buckets() -> None:
    run("trio", buckets)


class ConcurrencyCounter:
    """Middleware behind the limiter that counts concurrent requests."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, request: httpx.Request, call_next: Any) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await call_next(request)
        finally:
            self.now -= 1


async def ask(ph: AsyncPostHog, size: int) -> None:
    """Run different queries concurrently, and check every result."""
    answers: list[int] = []

    async def one(number: int) -> None:
        result = await ph.query("SELECT {n}", {"n": number})
        answers.append(result.scalar())

    async with anyio.create_task_group() as tasks:
        for number in range(size):
            tasks.start_soon(one, number)
    assert sorted(answers) == list(range(size))


async def current() -> None:
    server, counter = emulator(query_seconds=9.0), ConcurrencyCounter()
    async with client(server, middleware=[counter]) as ph:
        await ask(ph, 30)
        assert ph.rate_limits["slots of project 1"].used == 0
    assert statuses(server) == {200: 30}
    assert counter.most == 3
    assert anyio.current_time() == 90  # three at a time, without an idle slot


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_queries_of_the_current_plan(backend: str) -> None:
    run(backend, current)


async def legacy(plan: str, queries: int) -> None:
    server, counter = emulator(query_plan="legacy", query_seconds=5.0), ConcurrencyCounter()
    settings = {"query_plan": plan, "max_retry_after": 4000.0, "middleware": [counter]}
    async with client(server, **settings) as ph:
        await ask(ph, queries)
        assert ph.rate_limits["query"].limit == 120
        assert ph.rate_limits["slots of project 1"].used == 0
    answers = statuses(server)
    assert answers[200] == queries
    # If the plan has to be detected: the request that did, and those in flight with it.
    assert answers[429] <= (0 if plan == "legacy" else 3)
    assert answers.total() == answers[200] + answers[429]
    assert counter.most == 3
    # Each hour admits 120, three at a time.
    hours = (queries - 1) // 120
    assert hours * 3600 <= anyio.current_time() <= hours * 3600 + 120


@pytest.mark.parametrize(
    ("backend", "plan", "queries"), [("asyncio", "legacy", 280), ("trio", "auto", 150)]
)
def test_queries_of_the_legacy_plan(backend: str, plan: str, queries: int) -> None:
    run(backend, legacy, plan, queries)


async def other_client() -> None:
    server = emulator()
    async with client(server, max_retry_after=4000.0) as ph:
        server.simulate_other_client("burst", "sustained", share=0.5)
        await anyio.sleep(60)
        with anyio.move_on_after(240):
            await gather(8, lambda: forever(ph))
    answers = statuses(server)
    assert answers[429] <= 0.02 * answers.total()
    assert answers[200] >= 0.9 * 240 * 4


def test_another_client_of_the_key() -> None:
    run("trio", other_client)


async def forever(ph: AsyncPostHog) -> None:
    while True:
        await ph.raw(ph.cohorts.list)
        await anyio.sleep(0.1)
