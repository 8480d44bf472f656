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

from .fake_query_api import START, Ask, Event, Server, client, events, micros, moment, refusal

DAY = timedelta(days=1)
END = START + DAY

pytestmark = pytest.mark.anyio


async def export_rows(server: Server, **arguments: Any) -> list[dict[str, Any]]:
    async with client(server) as ph:
        return [row async for row in ph.export.events(START, END, **arguments)]


def order(rows: list[dict[str, Any]]) -> list[str]:
    return [str(row["uuid"]) for row in rows]


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


async def test_rows_of_one_moment_are_not_lost_at_the_end_of_a_page() -> None:
    server = Server(events(700, ties=7, spread=5_000))
    rows = await export_rows(server, page_size=50)
    assert order(rows) == [row.uuid for row in server.rows]


async def test_rows_of_one_key_stay_together_however_many_there_are() -> None:
    time = micros(START)
    twins = [Event(time + i // 9, "same", event=f"e{i}") for i in range(90)]
    server = Server(twins)
    rows = await export_rows(server, page_size=10, columns=["event"])
    assert sorted(row["event"] for row in rows) == sorted(row.event for row in twins)


async def test_a_row_that_the_server_has_twice_is_exported_once() -> None:
    some = events(60)
    server = Server([*some, *some[:20]])
    rows = await export_rows(server, page_size=11)
    assert order(rows) == sorted(order(rows), key=[r.uuid for r in sorted(some)].index)
    assert len(rows) == 60


async def test_more_rows_of_one_key_than_a_page_holds_are_refused() -> None:
    server = Server([Event(micros(START), "same", event=str(i)) for i in range(30)])
    with pytest.raises(ExportError, match="More than 10 rows have the same key"):
        await export_rows(server, page_size=10)


@pytest.mark.parametrize("clamp", [100, 1000])
async def test_a_server_that_silently_cuts_at_fewer_rows_loses_none(clamp: int) -> None:
    server = Server(events(3_210), clamp=clamp)
    rows = await export_rows(server)
    assert order(rows) == [row.uuid for row in server.rows]


async def test_every_page_is_bounded_on_both_sides() -> None:
    server = Server(events(500))
    await export_rows(server, page_size=60)
    spans = [ask.span for ask in server.pages]
    assert min(start for start, _ in spans) == micros(START)
    assert max(end for _, end in spans) == micros(END)
    for ask in server.pages:
        assert "events.timestamp >= toDateTime64({export_from}, 6, 'UTC')" in ask.sql
        assert "events.timestamp < toDateTime64({export_to}, 6, 'UTC')" in ask.sql
        assert ask.sql.endswith("LIMIT 60")
        assert "2026" not in ask.sql


async def test_rows_at_the_bounds() -> None:
    inside, outside = Event(micros(START), "a"), Event(micros(END), "b")
    last = Event(micros(END) - 1, "c")
    rows = await export_rows(Server([inside, outside, last]), columns=["uuid"])
    assert order(rows) == ["a", "c"]


async def test_no_rows() -> None:
    server = Server([])
    assert await export_rows(server) == []
    assert len(server.asks) == 2


async def test_few_requests_are_used() -> None:
    server = Server(events(5_000, spread=30 * 86_400_000_000))
    async with client(server) as ph:
        job = ph.export.events(START, START + timedelta(days=30), page_size=500)
        assert sum([1 async for _ in job]) == 5_000
    assert len(server.asks) <= 1.15 * 5_000 / 500 + 2


async def test_sparse_windows_are_read_as_one() -> None:
    year = 365 * 86_400_000_000
    server = Server(events(40, spread=year))
    server.fault = lambda ask: refusal(513) if ask.counts else None
    async with client(server) as ph:
        job = ph.export.events(START, START + 365 * DAY)
        report = await job.to_callback(_nothing)
    assert report.rows == 40
    # A year of weeks of which nothing is known beforehand.
    assert len(server.pages) <= 15


@pytest.mark.parametrize("status", [504, 512, 513])
async def test_what_is_too_much_for_the_server_is_halved_and_not_repeated(status: int) -> None:
    def slow(ask: Ask) -> httpx.Response | None:
        start, end = ask.span
        return refusal(status) if end - start > 7_200_000_000 else None

    server = Server(events(400), fault=slow)
    rows = await export_rows(server)
    assert order(rows) == [row.uuid for row in server.rows]
    windows = [(ask.sql, ask.span) for ask in server.asks]
    assert len(set(windows)) == len(windows)


async def test_what_cannot_be_divided_further_is_an_error() -> None:
    server = Server([Event(micros(START), "a")], fault=lambda ask: refusal(512))
    with pytest.raises(QueryError):
        await export_rows(server)


async def test_an_answer_that_is_no_answer_is_asked_for_again() -> None:
    broken = {1: b"<html>", 3: b'{"columns": [', 5: b"[]", 6: b'{"results": [[1]], "columns": []}'}

    def garble(ask: Ask) -> httpx.Response | None:
        content = broken.get(ask.number)
        return None if content is None else httpx.Response(200, content=content)

    server = Server(events(400), fault=garble)
    rows = await export_rows(server, page_size=50)
    assert order(rows) == [row.uuid for row in server.rows]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 300),
    ties=st.integers(1, 12),
    spread=st.sampled_from([1, 7, 50, 3_000, 86_400_000_000]),
    page=st.integers(13, 90),
    # A query is asked again three times when its answer is none, and fails after that.
    faults=st.lists(
        st.sampled_from([0, 0, 0, 429, 500, 503, 504, 512, 513, 200]), max_size=40
    ).filter(lambda faults: faults.count(200) <= 3),
    ordered=st.booleans(),
    concurrency=st.integers(1, 4),
)
@pytest.mark.parametrize("write", [False, True])
def test_never_a_row_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, write: bool, seed: int, count: int, ties: int,
    spread: int, page: int, faults: list[int], ordered: bool, concurrency: int,
) -> None:  # fmt: skip
    def fault(ask: Ask) -> httpx.Response | None:
        status = faults[ask.number] if ask.number < len(faults) else 0
        if status == 200:
            return httpx.Response(200, text="{")
        tiny = not ask.counts and ask.span[1] - ask.span[0] < 2
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


async def test_some_events_and_conditions_and_columns() -> None:
    server = Server(events(50))
    async with client(server) as ph:
        since = datetime(2026, 1, 1, 5, tzinfo=UTC)
        job = ph.export.events(
            START, END, event="signed up", where="properties.n > {n} AND created_at > {since}",
            values={"n": 3, "since": since}, columns=["uuid", "event"],
        )  # fmt: skip
        rows = [row async for row in job]
    assert {row["event"] for row in rows} == {"signed up"}
    for ask in server.asks:
        assert ask.values["export_events"] == ["signed up"]
        assert ask.values["n"] == 3
        assert ask.values["since"] == "2026-01-01T05:00:00Z"
        assert "created_at > toDateTime({since})" in ask.sql


async def test_rows_that_are_too_young_are_left_out_with_min_age() -> None:
    now = micros(START) / 1e6 + 7_200
    server = Server([Event(micros(START) + h * 1_800_000_000, str(h)) for h in range(10)])
    from .fake_query_api import Clock

    async with client(server, clock=Clock(now)) as ph:
        job = ph.export.events(START, END, min_age=timedelta(hours=1), columns=["uuid"])
        assert [row["uuid"] async for row in job] == ["0", "1"]


async def test_breaking_off_and_batches() -> None:
    server = Server(events(400))
    async with client(server) as ph:
        async for _ in ph.export.events(START, END, page_size=50):
            break
        assert len(server.pages) == 3
        sizes = [len(b) async for b in ph.export.events(START, END, page_size=50).batches()]
    assert sum(sizes) == 400
    assert max(sizes) <= 50


async def test_three_queries_in_flight_and_no_more() -> None:
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


async def test_a_slow_consumer_stops_the_reading() -> None:
    server = Server(events(2_000))
    seen: list[int] = []

    async def on_batch(batch: Any) -> None:
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        seen.append(len(server.pages) - len(seen))

    async with client(server) as ph:
        await ph.export.events(START, END, page_size=50).to_callback(on_batch)
    assert max(seen) <= 7


async def test_an_export_can_be_cancelled_and_leaves_nothing(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((END, START), ValueError, "end must be after start"),
        ((START, START), ValueError, "end must be after start"),
        ((datetime(2026, 1, 1), END), ValueError, "without a zone"),
        ((date(2026, 1, 1), END), TypeError, "is a date"),
        (("2026-01-01", END), TypeError, "must be a datetime"),
    ],
)
async def test_ranges_that_are_none(arguments: Any, error: type[Exception], words: str) -> None:
    server = Server([])
    async with client(server) as ph:
        with pytest.raises(error, match=words):
            ph.export.events(*arguments)
    assert server.asks == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"columns": []}, "non-empty list"),
        ({"columns": ["event", "event"]}, "twice"),
        ({"columns": "event"}, "list of HogQL"),
        ({"where": " "}, "HogQL condition"),
        ({"where": "a = {x}"}, "values has no 'x'"),
        ({"values": {"x": 1}}, "values has 'x'"),
        ({"where": "a = {x}", "values": {"x": datetime(2026, 1, 1)}}, "without a zone"),
        ({"where": "a = {export_to}", "values": {"export_to": 1}}, "uses itself"),
        ({"event": []}, "name of an event"),
        ({"page_size": 50_001}, "from 1 to 50,000"),
        ({"page_size": True}, "must be an int"),
        ({"concurrency": 0}, "from 1 to 100"),
        ({"min_age": -1}, "negative"),
        ({"engine": "horse"}, "engine must be"),
    ],
)
async def test_arguments_that_make_no_sense(arguments: dict[str, Any], words: str) -> None:
    async with client(Server([])) as ph:
        with pytest.raises((ValueError, TypeError), match=words):
            ph.export.events(START, END, **arguments)


async def test_an_unknown_column_is_named() -> None:
    detail = "Unable to resolve field: colour"
    server = Server([])
    server.fault = lambda ask: None if ask.counts else refusal(400, "invalid_input", detail)
    with pytest.raises(QueryError, match="colour") as caught:
        await export_rows(server, columns=["uuid", "colour"])
    assert "requests the column 'colour'" in str(caught.value)


async def test_waits_for_limits_and_before_repeats_are_told() -> None:
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
    server.fault = lambda ask: refusal(503) if ask.number in refused else None
    server.asks.clear()
    async with client(server) as ph:
        seen: list[Progress] = []
        job = ph.export.events(START, END, page_size=40)
        report = await job.to_callback(_nothing, on_progress=seen.append)
    assert (report.waits, report.retries, seen[-1].waits) == (2, 2, 2)
    assert report.waited_seconds == pytest.approx(report.duration)


def _nothing(batch: Batch) -> None:
    assert len(batch)


async def test_a_key_that_may_not_query() -> None:
    detail = "API key missing required scope 'query:read'"
    server = Server([], fault=lambda ask: refusal(403, "permission_denied", detail))
    with pytest.raises(PermissionDeniedError) as caught:
        await export_rows(server)
    assert caught.value.missing_scope == "query:read"


async def test_after_a_quota_everything_so_far_is_valid_and_can_be_gone_on_with(
    tmp_path: Path,
) -> None:
    quota = "api_queries_quota_exceeded"
    server = Server(events(500), fault=lambda ask: refusal(402, quota) if ask.number > 6 else None)
    path = tmp_path / "events.jsonl"
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=50)
        with pytest.raises(QuotaError) as caught:
            await job.to_jsonl(path)
        assert "rows are saved" in "".join(caught.value.__notes__)
        assert not path.exists()
        server.fault = lambda ask: None
        report = await job.to_jsonl(path)
    assert report.resumed
    found = [json.loads(line)["uuid"] for line in path.read_bytes().splitlines()]
    assert found == [row.uuid for row in server.rows]


async def test_times_are_exact_however_json_has_them() -> None:
    start = micros(START)
    server = Server([Event(start + i, f"{i:03d}") for i in range(300)])
    async with client(server) as ph:
        job = ph.export.events(START, moment(start + 250), page_size=9, columns=["uuid"])
        rows = [row["uuid"] async for row in job]
    assert rows == [f"{i:03d}" for i in range(250)]


async def test_a_query_that_nobody_waits_for_is_cancelled_on_the_server() -> None:
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
