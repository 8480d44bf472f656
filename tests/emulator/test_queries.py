"""`/query/` and what hangs on it: rows, caching, jobs, cancelling, limits, insights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest

from posthog_emulator import Emulator

from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio

PATH = "/api/projects/1/query/"
FIVE = "SELECT number FROM numbers(5)"


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def emulator(time: VirtualTime) -> Iterator[Emulator]:
    emulator = Emulator(clock=time.clock, sleep=time.sleep)
    yield emulator
    emulator.close()


class Client:
    """Asks queries."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def ask(self, sql: str, values: Any = None, **more: Any) -> httpx.Response:
        query = {"kind": "HogQLQuery", "query": sql, "values": values or {}}
        return await self.http.post(PATH, json={"query": query, **more})

    async def rows(self, sql: str, values: Any = None, **more: Any) -> Any:
        answer = await self.ask(sql, values, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]


@pytest.fixture
async def client(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> AsyncIterator[Client]:
    async with connect(emulator) as http:
        yield Client(http)


def put(emulator: Emulator, count: int, name: str = "a") -> None:
    emulator.state.events.append(
        1,
        [
            {"event": name, "distinct_id": f"p{n % 2}", "timestamp": f"2026-01-0{1 + n % 5}"
             "T00:00:00Z", "properties": {"n": n, "plan": "pro" if n % 2 else "free"}}
            for n in range(count)
        ],
    )  # fmt: skip


async def test_an_answer(client: Client, emulator: Emulator) -> None:
    put(emulator, 4)
    answer = await client.ask("SELECT event, count() AS n FROM events GROUP BY event")
    body = answer.json()
    assert (answer.status_code, body["results"]) == (200, [["a", 4]])
    assert (body["columns"], body["types"]) == (
        ["event", "n"],
        [["event", "String"], ["n", "UInt64"]],
    )
    assert (body["hasMore"], body["limit"], body["offset"]) == (False, 100, 0)
    assert (body["is_cached"], body["timezone"], body["error"]) == (False, "UTC", None)


async def test_a_result_is_kept_for_six_hours(
    client: Client, emulator: Emulator, time: VirtualTime
) -> None:
    async def seen(**more: Any) -> tuple[int, bool]:
        body = (await client.ask("SELECT count() FROM events", **more)).json()
        return body["results"][0][0], body["is_cached"]

    assert await seen() == (0, False)
    put(emulator, 3)
    assert await seen(name="other", client_query_id="x") == (0, True)
    assert await seen(refresh="force_cache") == (0, True)
    assert await seen(refresh="force_blocking") == (3, False)
    time.now += 6 * 3600 - 1
    put(emulator, 1)
    assert await seen() == (3, True)
    time.now += 1
    assert await seen() == (4, False)


async def test_a_job(client: Client, emulator: Emulator, time: VirtualTime) -> None:
    emulator.settings.query_seconds = 10
    begun = await client.ask(FIVE, refresh="force_async", client_query_id="job")
    assert (begun.status_code, begun.json()["query_status"]["complete"]) == (202, False)
    time.now += 5
    running = await client.http.get(f"{PATH}job/?show_progress=true")
    status = running.json()["query_status"]
    assert (running.status_code, status["complete"], status["results"]) == (202, False, None)
    assert 0 < status["query_progress"]["rows_read"] < 10_000
    time.now += 5
    done = await client.http.get(f"{PATH}job/")
    status = done.json()["query_status"]
    assert (done.status_code, status["complete"], status["error"]) == (200, True, False)
    assert status["results"]["results"] == [[0], [1], [2], [3], [4]]
    # The id is taken: another query under it gets this one's answer, unless forced.
    again = await client.ask("SELECT 9", refresh="async", client_query_id="job")
    assert again.json()["query_status"]["results"]["results"][0] == [0]
    forced = await client.ask("SELECT 9", refresh="force_async", client_query_id="job")
    assert forced.status_code == 202
    time.now += 20 * 60
    gone = await client.http.get(f"{PATH}job/")
    assert (gone.status_code, gone.json()["detail"]) == (404, "Query job not found for team 1")


async def test_async_answers_with_what_it_has(client: Client, time: VirtualTime) -> None:
    miss = await client.ask(FIVE, refresh="async")
    assert (miss.status_code, "results" in miss.json()) == (202, False)
    await client.rows(FIVE)
    fresh = await client.ask(FIVE, **{"async": True})
    assert (fresh.status_code, fresh.json()["is_cached"]) == (200, True)
    time.now += 7 * 3600
    lazy = await client.ask(FIVE, refresh="lazy_async")
    assert (lazy.status_code, lazy.json()["query_status"]) == (200, None)
    stale = await client.ask(FIVE, refresh="async")
    body = stale.json()
    assert (stale.status_code, len(body["results"])) == (202, 5)
    assert body["query_status"]["complete"] is False
    computed = await client.ask("SELECT 2", refresh="async_except_on_cache_miss")
    assert (computed.status_code, computed.json()["results"]) == (200, [[2]])


async def test_a_job_that_fails(client: Client) -> None:
    await client.ask("SELECT nope", refresh="force_async", client_query_id="bad")
    answer = await client.http.get(f"{PATH}bad/")
    status = answer.json()["query_status"]
    assert (answer.status_code, status["complete"], status["error"]) == (400, True, True)
    assert status["error_message"] == "Unable to resolve field: nope"


async def test_a_cancelled_job(client: Client, emulator: Emulator) -> None:
    emulator.settings.query_seconds = 10
    await client.ask(FIVE, refresh="force_async", client_query_id="job")
    answer = await client.http.delete(f"{PATH}job/")
    assert (answer.status_code, answer.json()) == (200, {"message": "Query task revoked"})
    assert (await client.http.get(f"{PATH}job/")).status_code == 400
    answer = await client.http.delete(f"{PATH}job/")
    assert answer.json() == {"message": "Query already complete"}


async def test_a_query_somebody_waits_for_can_be_cancelled(
    client: Client, emulator: Emulator
) -> None:
    emulator.settings.query_seconds = 10
    seen: list[int] = []

    async def ask() -> None:
        seen.append((await client.ask(FIVE, client_query_id="mine")).status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        answer = await client.http.delete(f"{PATH}mine/")
        assert answer.json() == {"message": "Cancelled query on clickhouse"}
    assert seen == [500]


async def test_the_log(client: Client) -> None:
    await client.rows(FIVE, client_query_id="mine")
    body = (await client.http.get(f"{PATH}mine/log/")).json()
    row = dict(zip(body["columns"], body["results"][0], strict=True))
    assert (row["query"], row["result_rows"]) == (FIVE, 5)


async def test_several_run_side_by_side(client: Client, emulator: Emulator) -> None:
    put(emulator, 10)
    found: list[Any] = []

    async def ask(number: int) -> None:
        sql = "SELECT count() + {n} FROM events"
        found.append((await client.rows(sql, {"n": number}))[0][0])

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(ask, number)
    assert sorted(found) == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "query"),
        ({"query": "SELECT 1"}, "query"),
        ({"query": {"query": "SELECT 1"}}, "query__kind"),
        ({"query": {"kind": "HogQLQuery"}}, "query__query"),
        ({"query": {"kind": "HogQLQuery", "query": 1}}, "query__query"),
        ({"query": {"kind": "HogQLQuery", "query": "SELECT 1"}, "nonsense": 1}, "nonsense"),
        ({"query": {"kind": "HogQLQuery", "query": "SELECT 1"}, "refresh": "soon"}, "refresh"),
        ({"query": {"kind": "HogQLQuery", "query": "SELECT 1"}, "client_query_id": 1},
         "client_query_id"),
    ],
)  # fmt: skip
async def test_requests_that_are_none(client: Client, body: Any, attr: str) -> None:
    answer = await client.http.post(PATH, json=body)
    assert (answer.status_code, answer.json()["attr"]) == (400, attr)


async def test_a_kind_that_is_not_computed(client: Client) -> None:
    answer = await client.http.post(PATH, json={"query": {"kind": "PathsV2Query"}})
    assert answer.status_code == 400
    assert "'PathsV2Query'" in answer.json()["detail"]


async def test_offset_can_be_allowed(client: Client, emulator: Emulator) -> None:
    sql = f"{FIVE} LIMIT 2 OFFSET 3"
    answer = await client.ask(sql)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    emulator.settings.allow_offset = True
    assert await client.rows(sql) == [[3], [4]]


async def test_a_wide_range_is_too_slow_and_a_narrow_one_is_not(
    client: Client, emulator: Emulator
) -> None:
    put(emulator, 50)
    emulator.settings.max_rows_scanned = 20
    sql = "SELECT count() FROM events WHERE timestamp >= {a} AND timestamp < {b} AND event = 'a'"
    answer = await client.ask(sql, {"a": "2026-01-01", "b": "2026-01-06"})
    assert answer.status_code == 512
    assert answer.json()["detail"].startswith("Estimated query execution time (25 seconds)")
    assert await client.rows(sql, {"a": "2026-01-01", "b": "2026-01-03"}) == [[20]]


async def test_an_answer_that_is_too_large(client: Client, emulator: Emulator) -> None:
    emulator.settings.max_result_bytes = 100
    assert await client.rows(f"{FIVE} LIMIT 5")
    answer = await client.ask("SELECT number FROM numbers(500) LIMIT 500")
    assert (answer.status_code, answer.json()["code"]) == (513, "clickhouse_memory_limit_exceeded")


async def test_rows_given_by_hand(client: Client, emulator: Emulator) -> None:
    emulator.stub_query("cityHash64(", [{"h": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}])
    body = (await client.ask("SELECT\n  cityHash64(event)")).json()
    assert body["results"] == [[1, "2026-01-01T00:00:00Z"]]
    assert body["types"] == [["h", "Int64"], ["at", "DateTime64(6, 'UTC')"]]
    emulator.stub_query(r"FROM \w+_table", lambda sql, values: [[values["x"]]], ["x"], ["String"])
    assert await client.rows("SELECT x FROM my_table", {"x": "y"}) == [["y"]]
    emulator.stub_query(lambda sql: sql == "SELECT 1", [[7]])
    assert await client.rows("SELECT 1", refresh="force_blocking") == [[7]]
    emulator.reset()
    assert await client.rows("SELECT 1") == [[1]]


async def test_trends(client: Client, emulator: Emulator) -> None:
    put(emulator, 10)
    query: dict[str, Any] = {
        "kind": "TrendsQuery",
        "series": [
            {"kind": "EventsNode", "event": "a"},
            {"kind": "EventsNode", "event": "a", "math": "dau"},
            {"kind": "EventsNode", "event": "a", "math": "sum", "math_property": "n"},
        ],
        "dateRange": {"date_from": "2026-01-01", "date_to": "2026-01-06"},
    }
    body = (await client.http.post(PATH, json={"query": query})).json()
    assert [one["data"] for one in body["results"]] == [
        [2, 2, 2, 2, 2, 0],
        [2, 2, 2, 2, 2, 0],
        [5.0, 7.0, 9.0, 11.0, 13.0, 0],
    ]
    assert body["results"][0]["days"][-1] == "2026-01-06"
    query["breakdownFilter"] = {"breakdown": "plan", "breakdown_type": "event"}
    query["properties"] = [{"key": "n", "type": "event", "operator": "gt", "value": 4}]
    body = (await client.http.post(PATH, json={"query": query})).json()
    found = [(one["breakdown_value"], one["count"]) for one in body["results"][:2]]
    assert found == [("pro", 3), ("free", 2)]


async def test_a_funnel(client: Client, emulator: Emulator) -> None:
    def did(person: str, event: str, day: int) -> dict[str, Any]:
        return {"event": event, "distinct_id": person, "timestamp": f"2026-01-{day:02}T00:00:00Z"}

    emulator.state.events.append(
        1,
        [did("a", "view", 1), did("a", "buy", 2), did("b", "view", 1), did("b", "buy", 20),
         did("c", "buy", 1), did("c", "view", 2), did("d", "view", 3)],
    )  # fmt: skip
    query = {
        "kind": "FunnelsQuery",
        "series": [{"kind": "EventsNode", "event": name} for name in ("view", "buy")],
        "dateRange": {"date_from": "2026-01-01", "date_to": "2026-01-31"},
    }
    body = (await client.http.post(PATH, json={"query": query})).json()
    assert [(step["name"], step["count"]) for step in body["results"]] == [("view", 4), ("buy", 1)]
    assert body["results"][1]["average_conversion_time"] == 86400.0


async def test_saved_insights(client: Client, emulator: Emulator, time: VirtualTime) -> None:
    source = {"kind": "HogQLQuery", "query": FIVE}
    query = {"kind": "DataVisualizationNode", "source": source}
    path = "/api/projects/1/insights/"
    made = (await client.http.post(path, json={"name": "i", "query": query})).json()
    path = f"{path}{made['id']}/"
    assert (await client.http.get(path)).json()["result"] is None
    body = (await client.http.get(path, params={"refresh": "async"})).json()
    assert (body["result"], body["query_status"]["complete"]) == (None, False)
    body = (await client.http.get(path, params={"refresh": "blocking"})).json()
    assert (body["result"], body["is_cached"]) == ([[0], [1], [2], [3], [4]], False)
    assert body["last_refresh"] == "2026-01-01T00:00:00Z"
    time.now += 60
    body = (await client.http.get(path)).json()
    assert (len(body["result"]), body["is_cached"]) == (5, True)
    body = (await client.http.get(path, params={"refresh": "force_blocking"})).json()
    assert (body["last_refresh"], body["is_cached"]) == ("2026-01-01T00:01:00Z", False)
