"""The limits of `/query/`, told or found out; and the slots that queries hold."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import anyio
import pytest

from asyncposthog import RateLimitError
from asyncposthog.rate_limits.limiter import KeyLimiter
from asyncposthog.rate_limits.limits import runs_hogql
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW
from asyncposthog.registry import find

from .helpers import anyio_backend, budget, call, limiter, passage, refusal, refused

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
async def test_what_is_hogql(content: bytes | None, expected: bool) -> None:
    assert runs_hogql(content) is expected


async def test_the_current_plan() -> None:
    limits = budget(query_plan="current")
    await query(limits)
    await call(limits, STATUS, target=f"{PATH}abc/")
    assert set(limits.view()) == {"api_queries_burst", "api_queries_sustained"}
    assert limits.view()["api_queries_burst"].used == 2


async def test_the_legacy_plan() -> None:
    limits = budget(query_plan="legacy")
    for _ in range(120):
        await query(limits)
    assert anyio.current_time() == 0
    await query(limits, TRENDS)
    await call(limits, STATUS, target=f"{PATH}abc/")
    assert limits.view()["clickhouse_burst"].used == 2
    assert await query(limits) == 3600 + CLOCK_SKEW


async def test_the_legacy_plan_is_found_out() -> None:
    limits = budget()
    for _ in range(120):
        await query(limits)
        await anyio.sleep(1)
    assert set(limits.view()) == {"api_queries_burst", "api_queries_sustained"}
    await refused(limits, QUERY, 3480.0, target=PATH, content=HOGQL)
    view = limits.view()
    assert view["query"].closed == 3480.0
    assert view["query"].used == 120
    assert view["api_queries_sustained"].closed == 0
    await call(limits, STATUS, target=f"{PATH}abc/")
    assert limits.view()["clickhouse_burst"].used == 1
    # The hour's requests are known: they leave one by one, as they came.
    assert [await query(limits) for _ in range(3)] == pytest.approx([3600, 3601, 3602], abs=0.2)
    # The plan is the project's: others may have the current one, with the same key.
    assert await query(limits, target="/api/projects/2/query/") == anyio.current_time()


async def test_other_projects_are_not_held_back_by_the_legacy_plan_of_one() -> None:
    limits = budget(limits={"query": (3, 3600)})
    for _ in range(3):
        await query(limits)
    await refused(limits, QUERY, 3599.0, target=PATH, content=HOGQL)
    assert limits.view()["query"].closed == 3599.0
    # They may be on the current plan, with the same key: their own answers tell.
    for _ in range(2):
        assert await query(limits, target="/api/projects/2/query/") == 0.0
    with pytest.raises(RateLimitError, match="the call could go in 3,6"):
        await call(limits, QUERY, target=PATH, content=HOGQL, within=100)


async def test_those_who_wait_learn_of_the_plan() -> None:
    limits = budget(limits={"query": (3, 3600), "api_queries_burst": (4, 60)})
    went: list[float] = []

    async def one() -> None:
        went.append(await query(limits))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            await query(limits)
        last = passage(limits, QUERY, target=PATH, content=HOGQL)
        await last.__aenter__()
        last.was_sent = True
        for _ in range(5):
            tasks.start_soon(one)
        await anyio.sleep(1)
        await last.__aexit__(None, refusal(3599.0), None)
    hour = 3600 + CLOCK_SKEW
    assert went == pytest.approx([hour, hour, hour, 2 * hour, 2 * hour], abs=1)


async def test_a_deadline_outlasts_what_is_learned_of_the_plan() -> None:
    limits = budget(limits={"query": (3, 150), "api_queries_burst": (4, 60)})
    for _ in range(3):
        await query(limits)
    last = passage(limits, QUERY, target=PATH, content=HOGQL)
    await last.__aenter__()
    last.was_sent = True
    async with anyio.create_task_group() as tasks:

        async def one() -> None:
            # It waits a minute for one plan, and then has not the time for the other.
            with pytest.raises(RateLimitError, match="leaves no room") as caught:
                await call(limits, QUERY, target=PATH, content=HOGQL, within=100)
            assert anyio.current_time() == pytest.approx(60, abs=1)
            assert "rate limit query (3 in 150 s)" in str(caught.value)
            assert caught.value.retry_after == pytest.approx(90, abs=1)

        tasks.start_soon(one)
        await anyio.sleep(0.5)
        await last.__aexit__(None, refusal(149.0), None)


async def test_the_current_plan_is_found_out() -> None:
    limits = budget(limits={"query": (5, 3600)})
    for _ in range(6):
        await query(limits)
    # More than the legacy plan grants: a refusal is no sign of it any more.
    await refused(limits, QUERY, 600.0, target=PATH, content=HOGQL)
    assert "query" not in limits.view()
    assert limits.view()["api_queries_sustained"].closed == 600.0


async def test_a_few_queries_are_no_sign_of_the_legacy_plan() -> None:
    limits = budget()
    for _ in range(50):
        await query(limits)
    await refused(limits, QUERY, 600.0, target=PATH, content=HOGQL)
    assert "query" not in limits.view()
    assert limits.view()["api_queries_sustained"].closed == 600.0


async def hold(limits: KeyLimiter, *, project: int = 1, within: float | None = None) -> object:
    """Run a query for ten seconds, holding a slot; return when it began."""
    way = passage(limits, QUERY, target=f"/api/projects/{project}/query/", content=HOGQL)
    way.timeout = within
    assert way.needs_query_slot
    assert way.extra_timeout == 30.0
    async with way.query_slot():
        began = anyio.current_time()
        async with way as entered:
            entered.was_sent = True
            await anyio.sleep(10)
            await entered.on_response(200)
    return began


async def test_three_queries_of_a_project_at_a_time() -> None:
    limits = budget()
    began: list[object] = []

    async def one(project: int) -> None:
        began.append(await hold(limits, project=project))

    async with anyio.create_task_group() as tasks:
        for _ in range(7):
            tasks.start_soon(one, 1)
        await anyio.sleep(1)
        view = limits.view()["slots of project 1"]
        assert (view.limit, view.used, view.remaining, view.waiting) == (3, 3, 0, 4)
        assert await hold(limits, project=2) == 1.0
    assert began == [0, 0, 0, 10, 10, 10, 20]


async def test_other_calls_need_no_slot() -> None:
    limits = budget(query_slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, limits)
        await anyio.sleep(1)
        way = passage(limits, STATUS, target=f"{PATH}abc/")
        assert not way.needs_query_slot
        assert way.extra_timeout == 0.0
        assert await call(limits, STATUS, target=f"{PATH}abc/") == 1.0


async def test_all_keys_share_the_slots_of_a_project() -> None:
    shared = limiter(query_slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, shared.for_key("https://us.posthog.com", "phx_a"))
        await anyio.sleep(1)
        assert await hold(shared.for_key("https://us.posthog.com", "phx_b")) == 10.0


async def test_a_slot_is_let_go_on_cancellation() -> None:
    limits = budget(query_slots=1)
    with anyio.move_on_after(3):
        await hold(limits)
    assert await hold(limits) == 3.0
    assert limits.view()["slots of project 1"].used == 0


async def test_a_slot_that_does_not_come_free_in_time() -> None:
    limits = budget(query_slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, limits)
        await anyio.sleep(1)
        with pytest.raises(RateLimitError, match=r"slots \(1 at a time\).*nothing became free"):
            await hold(limits, within=4.0)
        assert anyio.current_time() == 5.0


async def test_a_deadline_among_others_who_have_none() -> None:
    limits = budget(query_slots=1)
    ended: dict[str, float] = {}

    async def hurried(name: str, delay: float, within: float) -> None:
        await anyio.sleep(delay)
        with pytest.raises(RateLimitError, match="nothing became free"):
            await hold(limits, within=within)
        ended[name] = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(hold, limits)  # ten seconds each, and time for all of it
        tasks.start_soon(hurried, "first", 1, 6.5)
        tasks.start_soon(hurried, "second", 2, 4.0)
        tasks.start_soon(hurried, "third", 11, 3.0)
    assert ended == {"first": 7.5, "second": 6.0, "third": 14.0}
    assert anyio.current_time() == 50


async def test_slots_taken_by_others() -> None:
    limits = budget()
    async with AsyncExitStack() as stack:
        ways = [passage(limits, QUERY, target=PATH, content=HOGQL) for _ in range(3)]
        for way in ways:
            assert way.needs_query_slot
            await stack.enter_async_context(way.query_slot())
        await ways[0].__aenter__()
        ways[0].was_sent = True
        await ways[0].__aexit__(None, refusal(None), None)
        slots = limits.view()["slots of project 1"]
        assert 0 < slots.closed <= 0.5
        assert slots.share == 1  # it was refused beside two others: one at a time, for a while
        assert limits.view()["api_queries_burst"].closed == 0
        assert limits.view()["api_queries_burst"].used == 1
    await anyio.sleep(600)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(hold, limits)
        await anyio.sleep(1)
        assert limits.view()["slots of project 1"].used >= 2


async def test_slots_taken_by_others_now_and_then() -> None:
    limits = budget()
    closed: list[float] = []
    for _ in range(12):
        way = passage(limits, QUERY, target=PATH, content=HOGQL)
        assert way.needs_query_slot
        async with way.query_slot():
            await way.__aenter__()
            way.was_sent = True
            await way.__aexit__(None, refusal(None), None)
            closed.append(limits.view()["slots of project 1"].closed)
            # The repeat is answered, so the next refusal is none in a row.
            async with way as entered:
                entered.was_sent = True
                await entered.on_response(200)
        await anyio.sleep(600)
    assert all(0 < seconds <= 0.5 for seconds in closed)


async def test_slots_taken_by_others_all_the_time() -> None:
    limits = budget()
    way = passage(limits, QUERY, target=PATH, content=HOGQL)
    assert way.needs_query_slot
    closed: list[float] = []
    async with way.query_slot():
        for _ in range(7):
            await way.__aenter__()
            way.was_sent = True
            await way.__aexit__(None, refusal(None), None)
            closed.append(limits.view()["slots of project 1"].closed)
            await anyio.sleep(60)
    assert closed == sorted(closed)
    assert closed[-1] >= 15.0
