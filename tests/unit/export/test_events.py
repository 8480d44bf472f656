"""`ph.export.events`: every row once, in order, whatever the server does."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog import ExportError, PermissionDeniedError, Progress, QueryError, QuotaError
from asyncposthog.export import Batch
from tests.helpers.fake_query_api import (
    START,
    Event,
    ReceivedQuery,
    Server,
    client,
    events,
    refusal,
    to_datetime,
    to_micros,
)
from tests.helpers.soft_assertions import SoftAssertions

DAY = timedelta(days=1)
END = START + DAY
BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: what reads ahead, waits, stops early or writes uses both below."""
    return "asyncio"


async def export_rows(server: Server, **arguments: Any) -> list[dict[str, Any]]:
    async with client(server) as ph:
        return [row async for row in ph.export.events(START, END, **arguments)]


def order(rows: list[dict[str, Any]]) -> list[str]:
    return [str(row["uuid"]) for row in rows]


@BOTH_LOOPS
async def test_rows_are_dicts_of_python_values_in_order() -> None:
    server = Server(events(250))
    rows = await export_rows(server, page_size=37)
    assert order(rows) == [row.uuid for row in server.rows]
    first = rows[0]
    assert list(first) == [
        "uuid", "event", "timestamp", "distinct_id", "person_id", "properties", "elements_chain",
        "created_at",
    ]  # fmt: skip
    assert isinstance(first["uuid"], UUID)
    assert isinstance(first["timestamp"], datetime)
    assert first["timestamp"].tzinfo is UTC
    assert first["properties"]["nested"] == {"a": [1, None]}


@BOTH_LOOPS
async def test_rows_with_one_timestamp_across_pages() -> None:
    server = Server(events(700, ties=7, spread=5_000))
    rows = await export_rows(server, page_size=50)
    assert order(rows) == [row.uuid for row in server.rows]


async def test_rows_of_one_key_are_on_one_page() -> None:
    time = to_micros(START)
    twins = [Event(time + i // 9, "same", event=f"e{i}") for i in range(90)]
    server = Server(twins)
    rows = await export_rows(server, page_size=10, columns=["event"])
    assert sorted(row["event"] for row in rows) == sorted(row.event for row in twins)


async def test_duplicate_rows_are_exported_once() -> None:
    some = events(60)
    server = Server([*some, *some[:20]])
    rows = await export_rows(server, page_size=11)
    assert order(rows) == sorted(order(rows), key=[r.uuid for r in sorted(some)].index)
    assert len(rows) == 60


async def test_more_rows_of_one_key_than_a_page_are_an_error() -> None:
    server = Server([Event(to_micros(START), "same", event=str(i)) for i in range(30)])
    with pytest.raises(ExportError, match="More than 10 rows have the same key"):
        await export_rows(server, page_size=10)


@pytest.mark.parametrize("clamp", [25, 250])
async def test_a_lower_server_limit_loses_no_rows(clamp: int) -> None:
    server = Server(events(810), clamp=clamp)
    rows = await export_rows(server)
    assert order(rows) == [row.uuid for row in server.rows]


async def test_every_page_is_bounded_on_both_sides() -> None:
    server = Server(events(500))
    await export_rows(server, page_size=60)
    spans = [query.span for query in server.pages]
    assert min(start for start, _ in spans) == to_micros(START)
    assert max(end for _, end in spans) == to_micros(END)
    for query in server.pages:
        assert "events.timestamp >= toDateTime64({export_from}, 6, 'UTC')" in query.sql
        assert "events.timestamp < toDateTime64({export_to}, 6, 'UTC')" in query.sql
        assert query.sql.endswith("LIMIT 60")
        assert "2026" not in query.sql


async def test_rows_at_the_bounds() -> None:
    inside, outside = Event(to_micros(START), "a"), Event(to_micros(END), "b")
    last = Event(to_micros(END) - 1, "c")
    rows = await export_rows(Server([inside, outside, last]), columns=["uuid"])
    assert order(rows) == ["a", "c"]


async def test_no_rows() -> None:
    server = Server([])
    assert await export_rows(server) == []
    assert len(server.queries) == 2


async def test_number_of_requests() -> None:
    server = Server(events(1_000, spread=30 * 86_400_000_000))
    async with client(server) as ph:
        job = ph.export.events(START, START + timedelta(days=30), page_size=100)
        assert sum([1 async for _ in job]) == 1_000
    assert len(server.queries) <= 1.15 * 1_000 / 100 + 2


async def test_sparse_windows_are_merged() -> None:
    year = 365 * 86_400_000_000
    server = Server(events(40, spread=year))
    server.fault = lambda query: refusal(513) if query.counts else None
    async with client(server) as ph:
        job = ph.export.events(START, START + 365 * DAY)
        report = await job.to_callback(_nothing)
    assert report.rows == 40
    # A year in windows of a week whose rows could not be counted.
    assert len(server.pages) <= 15


@pytest.mark.parametrize("status", [504, 512, 513])
async def test_windows_too_large_for_the_server_are_halved(status: int) -> None:
    def slow(query: ReceivedQuery) -> httpx.Response | None:
        start, end = query.span
        return refusal(status) if end - start > 7_200_000_000 else None

    server = Server(events(400), fault=slow)
    rows = await export_rows(server)
    assert order(rows) == [row.uuid for row in server.rows]
    windows = [(query.sql, query.span) for query in server.queries]
    assert len(set(windows)) == len(windows)


async def test_a_window_that_cannot_be_divided_is_an_error() -> None:
    server = Server([Event(to_micros(START), "a")], fault=lambda query: refusal(512))
    with pytest.raises(QueryError):
        await export_rows(server)


@BOTH_LOOPS
async def test_malformed_responses_are_requested_again() -> None:
    broken = {1: b"<html>", 3: b'{"columns": [', 5: b"[]", 6: b'{"results": [[1]], "columns": []}'}

    def garble(query: ReceivedQuery) -> httpx.Response | None:
        content = broken.get(query.number)
        return None if content is None else httpx.Response(200, content=content)

    server = Server(events(400), fault=garble)
    rows = await export_rows(server, page_size=50)
    assert order(rows) == [row.uuid for row in server.rows]


@BOTH_LOOPS
async def test_windows_are_not_merged_over_one_that_was_delivered() -> None:
    server = Server(events(287, seed=1, spread=3_000))
    server.fault = lambda query: refusal(504) if query.number == 0 else None
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=20, ordered=False, concurrency=2)
        found = [str(row["uuid"]) async for row in job]
    assert sorted(found) == sorted(row.uuid for row in server.rows)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 160),
    ties=st.integers(1, 6),
    spread=st.sampled_from([1, 7, 50, 3_000, 86_400_000_000]),
    page=st.integers(7, 48),
    # A query is repeated three times after a malformed response, and fails after that.
    faults=st.lists(
        st.sampled_from([0, 0, 0, 429, 500, 503, 504, 512, 513, 200]), max_size=40
    ).filter(lambda faults: faults.count(200) <= 3),
    ordered=st.booleans(),
    concurrency=st.integers(1, 4),
)
@pytest.mark.parametrize("write", [False, True])
def test_every_row_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, write: bool, seed: int, count: int, ties: int,
    spread: int, page: int, faults: list[int], ordered: bool, concurrency: int,
) -> None:  # fmt: skip
    def fault(query: ReceivedQuery) -> httpx.Response | None:
        status = faults[query.number] if query.number < len(faults) else 0
        if status == 200:
            return httpx.Response(200, text="{")
        tiny = not query.counts and query.span[1] - query.span[0] < 2
        return refusal(status) if status and not (tiny and status > 503) else None

    server = Server(events(count, seed=seed, ties=ties, spread=spread), fault=fault)

    async def check() -> None:
        async with client(server, max_retries=50) as ph:
            job = ph.export.events(
                START, END, page_size=page, ordered=ordered, concurrency=concurrency
            )
            if write:
                path = tmp_path_factory.mktemp("out") / "events.jsonl"
                report = await job.to_jsonl(path, checkpoint=False)
                found = [json.loads(line)["uuid"] for line in path.read_bytes().splitlines()]
                assert report.rows == count
            else:
                found = [str(row["uuid"]) async for row in job]
        if not ordered and not write:
            found.sort(key=[row.uuid for row in server.rows].index)
        assert found == [row.uuid for row in server.rows]

    anyio.run(check)


async def test_events_conditions_and_columns() -> None:
    server = Server(events(50))
    async with client(server) as ph:
        since = datetime(2026, 1, 1, 5, tzinfo=UTC)
        job = ph.export.events(
            START, END, event="signed up", where="properties.n > {n} AND created_at > {since}",
            values={"n": 3, "since": since}, columns=["uuid", "event"],
        )  # fmt: skip
        rows = [row async for row in job]
    assert {row["event"] for row in rows} == {"signed up"}
    for query in server.queries:
        assert query.values["export_events"] == ["signed up"]
        assert query.values["n"] == 3
        assert query.values["since"] == "2026-01-01T05:00:00Z"
        assert "created_at > toDateTime({since})" in query.sql


async def test_min_age_leaves_out_young_rows() -> None:
    now = to_micros(START) / 1e6 + 7_200
    server = Server([Event(to_micros(START) + h * 1_800_000_000, str(h)) for h in range(10)])
    from tests.helpers.fake_query_api import export_clock

    async with client(server, clock=export_clock(now)) as ph:
        job = ph.export.events(START, END, min_age=timedelta(hours=1), columns=["uuid"])
        assert [row["uuid"] async for row in job] == ["0", "1"]


@BOTH_LOOPS
async def test_leaving_iteration_early() -> None:
    server = Server(events(400))
    async with client(server) as ph:
        async for _ in ph.export.events(START, END, page_size=50):
            break
        assert len(server.pages) == 3
        sizes = [len(b) async for b in ph.export.events(START, END, page_size=50).batches()]
    assert sum(sizes) == 400
    assert max(sizes) <= 50


@BOTH_LOOPS
async def test_at_most_three_queries_in_flight() -> None:
    running = most = 0
    server = Server(events(900))

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        response = await server(request)
        running -= 1
        return response

    async with client(slow) as ph:
        got: list[int] = []
        await ph.export.events(START, END, page_size=50).to_callback(
            lambda batch: got.append(len(batch))
        )
    assert sum(got) == 900
    assert most == 3


@BOTH_LOOPS
async def test_a_slow_consumer_limits_reading_ahead() -> None:
    server = Server(events(1_000))
    seen: list[int] = []

    async def on_batch(batch: Any) -> None:
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        seen.append(len(server.pages) - len(seen))

    async with client(server) as ph:
        await ph.export.events(START, END, page_size=25).to_callback(on_batch)
    assert max(seen) <= 7


@BOTH_LOOPS
async def test_a_cancelled_export_leaves_nothing(tmp_path: Path) -> None:
    server = Server(events(500))
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=50)
        with anyio.CancelScope() as scope:

            def stop(progress: Any) -> None:
                scope.cancel()

            await job.to_jsonl(tmp_path / "e.jsonl", checkpoint=False, on_progress=stop)
        assert scope.cancelled_caught
        assert os.listdir(tmp_path) == []
        report = await job.to_jsonl(tmp_path / "e.jsonl")
    assert report.rows == 500


async def test_invalid_ranges() -> None:
    server = Server([])
    ranges: list[tuple[Any, type[Exception], str]] = [
        ((END, START), ValueError, "end must be after start"),
        ((START, START), ValueError, "end must be after start"),
        ((datetime(2026, 1, 1), END), ValueError, "without a time zone"),
        ((date(2026, 1, 1), END), TypeError, "not a date"),
        (("2026-01-01", END), TypeError, "must be a datetime"),
    ]
    async with client(server) as ph:
        with SoftAssertions() as soft:
            for arguments, error, words in ranges:
                with soft.case(str(arguments)), pytest.raises(error, match=words):
                    ph.export.events(*arguments)
    assert server.queries == []


async def test_invalid_arguments() -> None:
    invalid: list[tuple[dict[str, Any], str]] = [
        ({"columns": []}, "non-empty list"),
        ({"columns": ["event", "event"]}, "twice"),
        ({"columns": "event"}, "list of HogQL"),
        ({"where": " "}, "HogQL condition"),
        ({"where": "a = {x}"}, "values has no 'x'"),
        ({"values": {"x": 1}}, "values has 'x'"),
        ({"where": "a = {x}", "values": {"x": datetime(2026, 1, 1)}}, "without a time zone"),
        ({"where": "a = {export_to}", "values": {"export_to": 1}}, "uses itself"),
        ({"event": []}, "name of an event"),
        ({"page_size": 50_001}, "from 1 to 50,000"),
        ({"page_size": True}, "must be an int"),
        ({"concurrency": 0}, "from 1 to 100"),
        ({"min_age": -1}, "negative"),
        ({"engine": "horse"}, "engine must be"),
    ]
    async with client(Server([])) as ph:
        with SoftAssertions() as soft:
            for arguments, words in invalid:
                with soft.case(str(arguments)), pytest.raises((ValueError, TypeError), match=words):
                    ph.export.events(START, END, **arguments)


async def test_an_unknown_column_is_named() -> None:
    detail = "Unable to resolve field: colour"
    server = Server([])
    server.fault = lambda query: None if query.counts else refusal(400, "invalid_input", detail)
    with pytest.raises(QueryError, match="colour") as caught:
        await export_rows(server, columns=["uuid", "colour"])
    assert "requests the column 'colour'" in str(caught.value)


async def test_waits_are_reported() -> None:
    server = Server(events(600))
    arguments: dict[str, Any] = {"limits": None, "query_plan": "current"}
    async with client(server, **arguments) as ph:
        job = ph.export.events(START, END, page_size=2, engine="query")
        report = await job.to_callback(_nothing)
        limits = ph.rate_limits
    assert report.requests > 240
    # The limiter also counts a request that queued for a slot which became free at once.
    assert 0 < report.waits <= limits.waits
    assert report.waited_seconds >= 60
    refused = {2, 4}
    server.fault = lambda query: refusal(503) if query.number in refused else None
    server.queries.clear()
    async with client(server) as ph:
        seen: list[Progress] = []
        job = ph.export.events(START, END, page_size=40)
        report = await job.to_callback(_nothing, on_progress=seen.append)
    assert (report.waits, report.retries, seen[-1].waits) == (2, 2, 2)
    assert report.waited_seconds == pytest.approx(report.duration)


def _nothing(batch: Batch) -> None:
    assert len(batch)


async def test_a_key_without_permission_to_query() -> None:
    detail = "API key missing required scope 'query:read'"
    server = Server([], fault=lambda query: refusal(403, "permission_denied", detail))
    with pytest.raises(PermissionDeniedError) as caught:
        await export_rows(server)
    assert caught.value.missing_scope == "query:read"


@BOTH_LOOPS
async def test_resume_after_a_quota(
    tmp_path: Path,
) -> None:
    quota = "api_queries_quota_exceeded"
    server = Server(
        events(500), fault=lambda query: refusal(402, quota) if query.number > 6 else None
    )
    path = tmp_path / "events.jsonl"
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=50)
        with pytest.raises(QuotaError) as caught:
            await job.to_jsonl(path)
        assert "rows are saved" in "".join(caught.value.__notes__)
        assert not path.exists()
        server.fault = lambda query: None
        report = await job.to_jsonl(path)
    assert report.resumed
    found = [json.loads(line)["uuid"] for line in path.read_bytes().splitlines()]
    assert found == [row.uuid for row in server.rows]


async def test_times_are_exact() -> None:
    start = to_micros(START)
    server = Server([Event(start + i, f"{i:03d}") for i in range(300)])
    async with client(server) as ph:
        job = ph.export.events(START, to_datetime(start + 250), page_size=9, columns=["uuid"])
        rows = [row["uuid"] async for row in job]
    assert rows == [f"{i:03d}" for i in range(250)]


@BOTH_LOOPS
async def test_abandoned_queries_are_cancelled_on_the_server() -> None:
    asked: list[str] = []
    cancelled: list[str] = []
    server = Server(events(100))

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            cancelled.append(request.url.path.split("/")[-2])
            return httpx.Response(200, json={"message": "Query task revoked"})
        body = json.loads(request.content)
        if "GROUP BY bucket" in body["query"]["query"]:
            return await server(request)
        asked.append(body["client_query_id"])
        if len(asked) == 3:
            scope.cancel()
        await anyio.sleep_forever()
        raise AssertionError

    async with client(hang) as ph:
        with anyio.CancelScope() as scope:
            await ph.export.events(START, END, page_size=20).to_callback(print)
    assert sorted(cancelled) == sorted(asked)
    assert len(asked) == 3
