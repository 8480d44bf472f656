"""The limits of `/query/`, configured or detected, and query slots."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import anyio
import pytest

from asyncposthog import RateLimitError
from asyncposthog.rate_limits.limiter import KeyLimiter
from asyncposthog.rate_limits.limits import is_hogql_query
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW
from asyncposthog.registry import find

from .helpers import (
    anyio_backend,
    call,
    call_refused,
    key_limiter,
    limiter,
    new_admission,
    rate_limit_error,
)

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
QUERY = find("query.create")
STATUS = find("query.get")
PATH = "/api/projects/1/query/"
HOGQL = json.dumps({"query": {"kind": "HogQLQuery", "query": "select 1"}}).encode()
TRENDS = json.dumps({"query": {"kind": "TrendsQuery", "series": []}}).encode()


async def query(limits: KeyLimiter, content: bytes = HOGQL, target: str = PATH) -> float:
    return await call(limits, QUERY, target=target, content=content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HOGQL, True),
        (TRENDS, False),
        (b'{"query": {"kind": "DataTableNode", "source": {"kind": "HogQLQuery"}}}', False),
        (b'{"kind": "HogQLQuery"}', False),
        (b"[1]", False),
        (b'{"query": 7}', False),
        (b"not json", False),
        (b"", False),
        (None, False),
    ],
)
async def test_is_hogql_query(content: bytes | None, expected: bool) -> None:
    assert is_hogql_query(content) is expected


async def test_the_current_plan() -> None:
    limits = key_limiter(query_plan="current")
    await query(limits)
    await call(limits, STATUS, target=f"{PATH}abc/")
    assert set(limits.status()) == {"api_queries_burst", "api_queries_sustained"}
    assert limits.status()["api_queries_burst"].used == 2


async def test_the_legacy_plan() -> None:
    limits = key_limiter(query_plan="legacy")
    for _ in range(120):
        await query(limits)
    assert anyio.current_time() == 0
    await query(limits, TRENDS)
    await call(limits, STATUS, target=f"{PATH}abc/")
    assert limits.status()["clickhouse_burst"].used == 2
    assert await query(limits) == 3600 + CLOCK_SKEW


async def test_the_legacy_plan_is_detected() -> None:
    limits = key_limiter()
    for _ in range(120):
        await query(limits)
        await anyio.sleep(1)
    assert set(limits.status()) == {"api_queries_burst", "api_queries_sustained"}
    await call_refused(limits, QUERY, 3480.0, target=PATH, content=HOGQL)
    status = limits.status()
    assert status["query"].blocked_for == 3480.0
    assert status["query"].used == 120
    assert status["api_queries_sustained"].blocked_for == 0
    await call(limits, STATUS, target=f"{PATH}abc/")
    assert limits.status()["clickhouse_burst"].used == 1
    # The requests of the past hour count: they leave one by one.
    assert [await query(limits) for _ in range(3)] == pytest.approx([3600, 3601, 3602], abs=0.2)
    # The plan belongs to the project: other projects of the key may have the current one.
    assert await query(limits, target="/api/projects/2/query/") == anyio.current_time()


async def test_other_projects_are_not_held_back_by_the_legacy_plan_of_one() -> None:
    limits = key_limiter(limits={"query": (3, 3600)})
    for _ in range(3):
        await query(limits)
    await call_refused(limits, QUERY, 3599.0, target=PATH, content=HOGQL)
    assert limits.status()["query"].blocked_for == 3599.0
    # They may be on the current plan, with the same key: only their own responses tell.
    for _ in range(2):
        assert await query(limits, target="/api/projects/2/query/") == 0.0
    with pytest.raises(RateLimitError, match="retry in 3,6"):
        await call(limits, QUERY, target=PATH, content=HOGQL, timeout=100)


async def test_waiters_switch_to_a_detected_plan() -> None:
    limits = key_limiter(limits={"query": (3, 3600), "api_queries_burst": (4, 60)})
    went: list[float] = []

    async def one() -> None:
        went.append(await query(limits))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            await query(limits)
        last = new_admission(limits, QUERY, target=PATH, content=HOGQL)
        await last.__aenter__()
        last.was_sent = True
        for _ in range(5):
            tasks.start_soon(one)
        await anyio.sleep(1)
        await last.__aexit__(None, rate_limit_error(3599.0), None)
    hour = 3600 + CLOCK_SKEW
    assert went == pytest.approx([hour, hour, hour, 2 * hour, 2 * hour], abs=1)


async def test_a_deadline_covers_the_switch_to_a_detected_plan() -> None:
    limits = key_limiter(limits={"query": (3, 150), "api_queries_burst": (4, 60)})
    for _ in range(3):
        await query(limits)
    last = new_admission(limits, QUERY, target=PATH, content=HOGQL)
    await last.__aenter__()
    last.was_sent = True
    async with anyio.create_task_group() as tasks:

        async def one() -> None:
            # It waits a minute under one plan, and then has no time left for the other.
            with pytest.raises(RateLimitError, match="has no capacity") as caught:
                await call(limits, QUERY, target=PATH, content=HOGQL, timeout=100)
            assert anyio.current_time() == pytest.approx(60, abs=1)
            assert "Rate limit 'query' (3 per 150 s)" in str(caught.value)
            assert caught.value.retry_after == pytest.approx(90, abs=1)

        tasks.start_soon(one)
        await anyio.sleep(0.5)
        await last.__aexit__(None, rate_limit_error(149.0), None)


async def test_the_current_plan_is_detected() -> None:
    limits = key_limiter(limits={"query": (5, 3600)})
    for _ in range(6):
        await query(limits)
    # More than the legacy plan allows: a 429 does not indicate it any more.
    await call_refused(limits, QUERY, 600.0, target=PATH, content=HOGQL)
    assert "query" not in limits.status()
    assert limits.status()["api_queries_sustained"].blocked_for == 600.0


async def test_a_few_queries_are_no_sign_of_the_legacy_plan() -> None:
    limits = key_limiter()
    for _ in range(50):
        await query(limits)
    await call_refused(limits, QUERY, 600.0, target=PATH, content=HOGQL)
    assert "query" not in limits.status()
    assert limits.status()["api_queries_sustained"].blocked_for == 600.0


async def hold(limits: KeyLimiter, *, project: int = 1, timeout: float | None = None) -> object:
    """Run a query for ten seconds, holding a slot; return when it began."""
    admission = new_admission(
        limits, QUERY, target=f"/api/projects/{project}/query/", content=HOGQL
    )
    admission.timeout = timeout
    assert admission.needs_query_slot
    async with admission.query_slot():
        assert admission.extra_timeout == 30.0
        began = anyio.current_time()
        async with admission as attempt:
            attempt.was_sent = True
            await anyio.sleep(10)
            await attempt.on_response(200)
    return began


async def test_three_queries_of_a_project_at_a_time() -> None:
    limits = key_limiter()
    began: list[object] = []

    async def one(project: int) -> None:
        began.append(await hold(limits, project=project))

    async with anyio.create_task_group() as tasks:
        for _ in range(7):
            tasks.start_soon(one, 1)
        await anyio.sleep(1)
        status = limits.status()["slots of project 1"]
        assert (status.limit, status.used, status.remaining, status.waiting) == (3, 3, 0, 4)
        assert await hold(limits, project=2) == 1.0
    assert began == [0, 0, 0, 10, 10, 10, 20]


async def test_other_calls_need_no_query_slot() -> None:
    limits = key_limiter(query_slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, limits)
        await anyio.sleep(1)
        admission = new_admission(limits, STATUS, target=f"{PATH}abc/")
        assert not admission.needs_query_slot
        assert admission.extra_timeout == 0.0
        assert await call(limits, STATUS, target=f"{PATH}abc/") == 1.0


async def test_all_keys_share_the_slots_of_a_project() -> None:
    shared = limiter(query_slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, shared.for_key("https://us.posthog.com", "phx_a"))
        await anyio.sleep(1)
        assert await hold(shared.for_key("https://us.posthog.com", "phx_b")) == 10.0


async def test_a_query_slot_is_released_on_cancellation() -> None:
    limits = key_limiter(query_slots=1)
    with anyio.move_on_after(3):
        await hold(limits)
    assert await hold(limits) == 3.0
    assert limits.status()["slots of project 1"].used == 0


async def test_no_query_slot_becomes_free_in_time() -> None:
    limits = key_limiter(query_slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, limits)
        await anyio.sleep(1)
        with pytest.raises(RateLimitError, match=r"'slots' \(1 at a time\).*all are in use"):
            await hold(limits, timeout=4.0)
        assert anyio.current_time() == 5.0


async def test_a_deadline_among_waiters_without_one() -> None:
    limits = key_limiter(query_slots=1)
    ended: dict[str, float] = {}

    async def hurried(name: str, delay: float, timeout: float) -> None:
        await anyio.sleep(delay)
        with pytest.raises(RateLimitError, match="all are in use"):
            await hold(limits, timeout=timeout)
        ended[name] = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(hold, limits)  # ten seconds each, without a deadline
        tasks.start_soon(hurried, "first", 1, 6.5)
        tasks.start_soon(hurried, "second", 2, 4.0)
        tasks.start_soon(hurried, "third", 11, 3.0)
    assert ended == {"first": 7.5, "second": 6.0, "third": 14.0}
    assert anyio.current_time() == 50


async def test_query_slots_used_by_other_clients() -> None:
    limits = key_limiter()
    async with AsyncExitStack() as stack:
        admissions = [new_admission(limits, QUERY, target=PATH, content=HOGQL) for _ in range(3)]
        for admission in admissions:
            assert admission.needs_query_slot
            await stack.enter_async_context(admission.query_slot())
        await admissions[0].__aenter__()
        admissions[0].was_sent = True
        await admissions[0].__aexit__(None, rate_limit_error(None), None)
        slots = limits.status()["slots of project 1"]
        assert 0 < slots.blocked_for <= 0.5
        assert slots.share == 1  # it was throttled beside two others
        assert limits.status()["api_queries_burst"].blocked_for == 0
        assert limits.status()["api_queries_burst"].used == 1
    await anyio.sleep(600)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(hold, limits)
        await anyio.sleep(1)
        assert limits.status()["slots of project 1"].used >= 2


async def test_query_slots_used_by_other_clients_now_and_then() -> None:
    limits = key_limiter()
    blocked: list[float] = []
    for _ in range(12):
        admission = new_admission(limits, QUERY, target=PATH, content=HOGQL)
        assert admission.needs_query_slot
        async with admission.query_slot():
            await admission.__aenter__()
            admission.was_sent = True
            await admission.__aexit__(None, rate_limit_error(None), None)
            blocked.append(limits.status()["slots of project 1"].blocked_for)
            # The retry succeeds, which resets the backoff.
            async with admission as attempt:
                attempt.was_sent = True
                await attempt.on_response(200)
        await anyio.sleep(600)
    assert all(0 < seconds <= 0.5 for seconds in blocked)


async def test_query_slots_used_by_other_clients_all_the_time() -> None:
    limits = key_limiter()
    admission = new_admission(limits, QUERY, target=PATH, content=HOGQL)
    assert admission.needs_query_slot
    blocked: list[float] = []
    async with admission.query_slot():
        for _ in range(7):
            await admission.__aenter__()
            admission.was_sent = True
            await admission.__aexit__(None, rate_limit_error(None), None)
            blocked.append(limits.status()["slots of project 1"].blocked_for)
            await anyio.sleep(60)
    assert blocked == sorted(blocked)
    assert blocked[-1] >= 15.0
