"""The rows of every window are compared with their count: no row is lost without an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncposthog import ExportError
from asyncposthog.export import Batch, ExportJob, Report
from tests.helpers.fake_query_api import (
    START,
    ReceivedQuery,
    Server,
    client,
    events,
    to_datetime,
    to_micros,
)

DAY = timedelta(days=1)
END = START + DAY

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: rows are counted without any wait. `test_events` reads on both."""
    return "asyncio"


@dataclass
class AlteringServer(Server):
    """Server that calls a function before every response."""

    before: Callable[[ReceivedQuery], None] = field(default=lambda query: None)

    def answer(self, query: ReceivedQuery) -> httpx.Response:
        self.before(query)
        return super().answer(query)


async def export(server: Server, **arguments: Any) -> tuple[Report, list[str]]:
    keys: list[str] = []

    def take(batch: Batch) -> None:
        keys.extend(str(key) for key in batch.column("uuid"))

    async with client(server) as ph:
        report = await ph.export.events(START, END, **arguments).to_callback(take)
    return report, keys


def order(server: Server) -> list[str]:
    return [row.uuid for row in server.rows]


@pytest.mark.parametrize("all_answers", [False, True], ids=["pages", "counts too"])
@pytest.mark.parametrize(
    ("cut", "count", "spread", "page"),
    [
        (194, 1_000, 86_400_000_000, 50_000),
        (194, 1_000, 900_000, 500),
        (25, 810, 86_400_000_000, 50_000),
        (49, 500, 25, 50_000),
        (7, 150, 86_400_000_000, 100),
        (1, 40, 86_400_000_000, 50_000),
        (1, 30, 20, 25),
    ],
)
async def test_truncated_responses_lose_no_rows(
    cut: int, count: int, spread: int, page: int, all_answers: bool
) -> None:
    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        return rows if query.counts and not all_answers else rows[:cut]

    server = AlteringServer(events(count, spread=spread), change_rows=change_rows)
    report, keys = await export(server, page_size=page)
    assert keys == order(server)
    assert report.rows == count
    assert report.deleted == 0


async def test_randomly_truncated_responses() -> None:
    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        return rows if query.counts else rows[: 1 + query.number * 7919 % 61]

    server = AlteringServer(events(1_000, ties=2), change_rows=change_rows)
    report, keys = await export(server, page_size=200)
    assert keys == order(server)
    assert (report.late, report.deleted) == (0, 0)


async def test_late_rows_are_exported_and_reported() -> None:
    late = events(37, seed=9)

    def arrive(query: ReceivedQuery) -> None:
        if query.number == 1:
            server.rows = sorted([*server.rows, *late])

    server = AlteringServer(events(900), before=arrive)
    report, keys = await export(server, page_size=200)
    assert keys == order(server)
    assert (report.rows, report.late, report.deleted) == (937, 37, 0)


async def test_late_rows_with_truncated_responses() -> None:
    late = events(37, seed=9)

    def arrive(query: ReceivedQuery) -> None:
        if query.number == 1:
            server.rows = sorted([*server.rows, *late])

    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        return rows if query.counts else rows[:77]

    server = AlteringServer(events(900), before=arrive, change_rows=change_rows)
    report, keys = await export(server, page_size=200)
    assert keys == order(server)
    assert (report.rows, report.late, report.deleted) == (937, 37, 0)


async def test_constantly_arriving_rows_are_no_error() -> None:
    def arrive(query: ReceivedQuery) -> None:
        if query.number:
            more = events(3, seed=100 + query.number, spread=to_micros(END) - to_micros(START))
            server.rows = sorted([*server.rows, *more])

    server = AlteringServer(events(500), before=arrive)
    first = set(order(server))
    report, keys = await export(server, page_size=100)
    assert first <= set(keys)
    assert len(keys) == len(set(keys))
    assert report.late > 0


@pytest.mark.parametrize("page", [100, 1_000])
async def test_deleted_rows_are_reported(page: int) -> None:
    def delete(query: ReceivedQuery) -> None:
        if query.number == 1:
            server.rows = [row for row in server.rows if int(row.uuid[:2], 16) % 10]

    server = AlteringServer(events(1_000), before=delete)
    report, keys = await export(server, page_size=page)
    assert keys == order(server)
    assert report.rows == 1_000 - report.deleted < 1_000
    assert report.late == 0


async def test_rows_missing_on_a_replica_are_awaited() -> None:
    pages = 0

    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        nonlocal pages
        pages += not query.counts
        return rows if query.counts or pages > 2 else rows[::2]

    server = AlteringServer(events(300), change_rows=change_rows)
    report, keys = await export(server)
    assert keys == order(server)
    assert report.waits == 2
    assert (report.late, report.deleted) == (0, 0)


async def test_merged_duplicates_are_not_missing() -> None:
    once = events(60)

    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        if not query.counts:
            return [row for i, row in enumerate(rows) if not i or row != rows[i - 1]]
        # The replica that returns rows has merged them, and the one that counts has not.
        return [[bucket, 60] for bucket, _ in rows] if "DISTINCT" in query.sql else rows

    server = AlteringServer([*once, *once[:20]], change_rows=change_rows)
    report, keys = await export(server)
    assert keys == [row.uuid for row in sorted(once)]
    assert (report.rows, report.deleted) == (60, 20)


def none(rows: list[Any]) -> list[Any]:
    return []


def drop_last(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row[-1] < "8"]


def drop_first(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row[-1] >= "3"]


def some(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row[-1][-1] != "7"]


@pytest.mark.parametrize("change_rows", [none, drop_last, drop_first, some])
@pytest.mark.parametrize("write", [False, True])
async def test_missing_rows_raise_an_error(
    change_rows: Callable[[list[Any]], list[Any]], write: bool, tmp_path: Path
) -> None:
    server = AlteringServer(
        [replace(row, time=to_micros(START) + int(row.uuid[0], 16)) for row in events(300)],
        change_rows=lambda query, rows: rows if query.counts else change_rows(rows),
    )
    async with client(server) as ph:
        job = ph.export.events(START, END)
        run = job.to_jsonl(tmp_path / "events.jsonl") if write else all_rows(job)
        with pytest.raises(ExportError) as caught:
            await run
        words = str(caught.value)
        assert "does not return all events from 2026-01-01 00:00:00.000000" in words
        assert "counted 300 rows before reading and 300 after" in words
        assert f"received {len(change_rows(rows_of(server)))}." in words
        # No file has the final name, and the same export can resume.
        assert not (tmp_path / "events.jsonl").exists()
        if write:
            server.change_rows = lambda query, rows: rows
            report = await job.to_jsonl(tmp_path / "events.jsonl")
            assert report.rows == 300


async def all_rows(job: ExportJob) -> list[Any]:
    return [row async for row in job]


def rows_of(server: Server) -> list[Any]:
    return [[row.uuid] for row in server.rows]


async def test_a_low_count_loses_no_rows() -> None:
    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        return [[bucket, rows // 2] for bucket, rows in rows] if query.counts else rows

    server = AlteringServer(events(800), change_rows=change_rows)
    _, keys = await export(server, page_size=90)
    assert keys == order(server)


async def test_uncountable_windows_are_read_to_the_end() -> None:
    def fault(query: ReceivedQuery) -> httpx.Response | None:
        return httpx.Response(512, json={"detail": "No."}) if query.counts else None

    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        return rows[:77]

    server = AlteringServer(events(900), change_rows=change_rows, fault=fault)
    report, keys = await export(server)
    assert keys == order(server)
    assert any("could not be compared" in note for note in report.notes)


async def test_queries_without_a_time_are_read_to_the_end() -> None:
    class Keyed(AlteringServer):
        def answer(self, query: ReceivedQuery) -> httpx.Response:
            last = query.values.get("export_after_key", "")
            rows = [[key, key] for key in sorted(order(self)) if key > last]
            columns = ["uuid", "export_key"]
            types = [["uuid", "String"], ["export_key", "String"]]
            body = {"columns": columns, "types": types, "results": rows[:77]}
            return httpx.Response(200, json=body)

    server = Keyed(events(500))
    async with client(server) as ph:
        job = ph.export.hogql("SELECT toString(uuid) AS uuid FROM events", key="uuid")
        keys = [row["uuid"] async for row in job]
    assert keys == sorted(order(server))


async def test_random_queries_are_not_compared() -> None:
    def change_rows(query: ReceivedQuery, rows: list[Any]) -> list[Any]:
        return rows if query.counts else rows[::3]

    server = AlteringServer(events(310), change_rows=change_rows)
    report, keys = await export(server, where="rand() % 3 = 0")
    assert len(keys) == 104
    assert (report.late, report.deleted, report.waits) == (0, 0, 0)


async def test_a_page_that_does_not_advance_is_an_error() -> None:
    class Deaf(AlteringServer):
        def answer(self, query: ReceivedQuery) -> httpx.Response:
            query.values.pop("export_after_key", None)
            query.values["export_from"] = "2026-01-01 00:00:00.000000"
            return super().answer(query)

    server = Deaf(events(500))
    async with client(server) as ph:
        with pytest.raises(Exception, match="do not follow the last received row"):
            await ph.export.events(START, to_datetime(to_micros(END)), page_size=100).to_callback(
                print
            )
