"""The client against the emulator with its limits on: written apart, they have to agree."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.emulator import Emulator
from asyncposthog.emulator.throttling.throttles import Caller, Throttles
from benchmarks.virtual import LoopClock
from tests.limits.kit import anyio_backend

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
HOGQL = {"kind": "HogQLQuery", "query": "select 1"}


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


async def test_the_minute_is_kept_to() -> None:
    server = emulator()
    async with client(server) as ph:
        await gather(700, lambda: ph.raw(ph.cohorts.list))
    assert statuses(server) == {200: 700}
    assert 60 <= anyio.current_time() <= 61


async def test_each_operation_has_its_own_buckets() -> None:
    server = emulator()
    async with client(server) as ph:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gather, 300, lambda: ph.raw(ph.persons.list))
            tasks.start_soon(gather, 300, lambda: ph.raw(ph.insights.list))
            tasks.start_soon(gather, 100, lambda: ph.raw(ph.cohorts.list))
            tasks.start_soon(
                gather, 70, lambda: ph.raw(ph.events.values, key="x", event_name=["x"])
            )
        used = server.throttles.usage(server.key)
    assert set(statuses(server)) == {200}
    assert {"burst", "clickhouse_burst", "event_values_burst"} <= set(used)
    view = ph.rate_limits
    for name, usage in used.items():
        assert view[name].limit == usage.limit
        assert view[name].used >= usage.used


async def test_slots_are_kept_to() -> None:
    # The emulator's slots alone: its queries take threads, for which virtual time does not wait.
    slots, tasks = emulator().slots, count()

    async def answer(request: httpx.Request) -> httpx.Response:
        async with slots.hold(1, str(next(tasks))):
            await anyio.sleep(9.0)
        return httpx.Response(200, json={"results": []})

    async with AsyncPostHog(
        "phx_1", project_id=1, transport=httpx.MockTransport(answer), clock=LoopClock()
    ) as ph:
        await gather(10, lambda: ph.raw(ph.query.create, query=HOGQL))
        assert ph.rate_limits.refused == 0
    assert next(tasks) == 10
    assert anyio.current_time() == 36.0


async def test_the_legacy_plan_costs_one_refusal() -> None:
    # The emulator's limits alone: its queries take threads, for which virtual time does not wait.
    throttles = Throttles(anyio.current_time)
    answers: Counter[int] = Counter()

    async def answer(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.1)
        refusal = throttles.admit(("query",), Caller("phx_1", team="1"))
        answers[429 if refusal else 200] += 1
        if refusal is None:
            return httpx.Response(200, json={"results": []})
        body = {"type": "throttled_error", "code": "throttled", "detail": refusal.detail}
        return httpx.Response(429, json=body, headers={"Retry-After": str(refusal.wait)})

    async with AsyncPostHog(
        "phx_1", project_id=1, transport=httpx.MockTransport(answer), clock=LoopClock(),
        max_retry_after=4000.0,
    ) as ph:  # fmt: skip
        await gather(240, lambda: ph.raw(ph.query.create, query=HOGQL))
        assert ph.rate_limits["query"].limit == 120
    # The one that found out, and those in flight with it.
    assert answers[200] == 240
    assert 1 <= answers[429] <= 3
    assert 3600 <= anyio.current_time() <= 3610


async def test_a_stranger_with_the_key() -> None:
    server = emulator()
    async with client(server, max_retry_after=4000.0) as ph:
        server.use_elsewhere("burst", "sustained", share=0.5)
        await anyio.sleep(60)
        with anyio.move_on_after(720):
            await gather(8, lambda: forever(ph))
    answers = statuses(server)
    assert answers[429] <= 0.02 * answers.total()
    assert answers[200] >= 0.9 * 2400


async def forever(ph: AsyncPostHog) -> None:
    while True:
        await ph.raw(ph.cohorts.list)
        await anyio.sleep(0.1)
