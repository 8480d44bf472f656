"""Every window's rows are compared with their count: nothing is lost without an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncposthog import ExportError
from asyncposthog.export import Batch, ExportJob, Report

from .fake_query_api import START, Ask, Server, client, events, micros, moment

DAY = timedelta(days=1)
END = START + DAY

pytestmark = pytest.mark.anyio


@dataclass
class Altered(Server):
    """A server whose answers are changed before they are sent."""

    alter: Callable[[Ask, list[Any]], list[Any]] = field(default=lambda ask, rows: rows)
    before: Callable[[Ask], None] = field(default=lambda ask: None)

    def answer(self, ask: Ask) -> httpx.Response:
        self.before(ask)
        body = json.loads(super().answer(ask).content)
        body["results"] = self.alter(ask, body["results"])
        return httpx.Response(200, json=body)


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
        (777, 4_000, 86_400_000_000, 50_000),
        (777, 4_000, 900_000, 2_000),
        (100, 3_210, 86_400_000_000, 50_000),
        (99, 1_000, 50, 50_000),
        (7, 300, 86_400_000_000, 200),
        (1, 120, 86_400_000_000, 50_000),
        (1, 60, 40, 50),
    ],
)
async def test_a_server_that_cuts_answers_loses_no_rows(
    cut: int, count: int, spread: int, page: int, all_answers: bool
) -> None:
    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        return rows if ask.counts and not all_answers else rows[:cut]

    server = Altered(events(count, spread=spread), alter=alter)
    report, keys = await export(server, page_size=page)
    assert keys == order(server)
    assert report.rows == count
    assert report.deleted == 0


async def test_answers_that_are_cut_at_random() -> None:
    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        return rows if ask.counts else rows[: 1 + ask.number * 7919 % 61]

    server = Altered(events(2_000, ties=2), alter=alter)
    report, keys = await export(server, page_size=400)
    assert keys == order(server)
    assert (report.late, report.deleted) == (0, 0)


async def test_rows_that_arrive_late_are_exported_and_reported() -> None:
    late = events(37, seed=9)

    def arrive(ask: Ask) -> None:
        if ask.number == 1:
            server.rows = sorted([*server.rows, *late])

    server = Altered(events(900), before=arrive)
    report, keys = await export(server, page_size=200)
    assert keys == order(server)
    assert (report.rows, report.late, report.deleted) == (937, 37, 0)


async def test_rows_that_arrive_late_at_a_server_that_cuts() -> None:
    late = events(37, seed=9)

    def arrive(ask: Ask) -> None:
        if ask.number == 1:
            server.rows = sorted([*server.rows, *late])

    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        return rows if ask.counts else rows[:77]

    server = Altered(events(900), before=arrive, alter=alter)
    report, keys = await export(server, page_size=200)
    assert keys == order(server)
    assert (report.rows, report.late, report.deleted) == (937, 37, 0)


async def test_rows_that_arrive_all_the_time_end_no_export_with_an_error() -> None:
    def arrive(ask: Ask) -> None:
        if ask.number:
            more = events(3, seed=100 + ask.number, spread=micros(END) - micros(START))
            server.rows = sorted([*server.rows, *more])

    server = Altered(events(500), before=arrive)
    first = set(order(server))
    report, keys = await export(server, page_size=100)
    assert first <= set(keys)
    assert len(keys) == len(set(keys))
    assert report.late > 0


@pytest.mark.parametrize("page", [100, 5_000])
async def test_rows_that_are_deleted_meanwhile_are_reported(page: int) -> None:
    def delete(ask: Ask) -> None:
        if ask.number == 1:
            server.rows = [row for row in server.rows if int(row.uuid[:2], 16) % 10]

    server = Altered(events(1_000), before=delete)
    report, keys = await export(server, page_size=page)
    assert keys == order(server)
    assert report.rows == 1_000 - report.deleted < 1_000
    assert report.late == 0


async def test_rows_that_a_replica_has_not_yet_are_waited_for() -> None:
    pages = 0

    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        nonlocal pages
        pages += not ask.counts
        return rows if ask.counts or pages > 2 else rows[::2]

    server = Altered(events(300), alter=alter)
    report, keys = await export(server)
    assert keys == order(server)
    assert report.waits == 2
    assert (report.late, report.deleted) == (0, 0)


async def test_rows_that_the_server_had_twice_and_has_merged() -> None:
    once = events(60)

    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        if not ask.counts:
            return [row for i, row in enumerate(rows) if not i or row != rows[i - 1]]
        # One replica has merged them, and the one that counts has not.
        return [[bucket, 60] for bucket, _ in rows] if "DISTINCT" in ask.sql else rows

    server = Altered([*once, *once[:20]], alter=alter)
    report, keys = await export(server)
    assert keys == [row.uuid for row in sorted(once)]
    assert (report.rows, report.deleted) == (60, 20)


def none(rows: list[Any]) -> list[Any]:
    return []


def not_the_last(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row[-1] < "8"]


def not_the_first(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row[-1] >= "3"]


def some(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row[-1][-1] != "7"]


@pytest.mark.parametrize("alter", [none, not_the_last, not_the_first, some])
@pytest.mark.parametrize("write", [False, True])
async def test_rows_that_cannot_be_had_are_an_error(
    alter: Callable[[list[Any]], list[Any]], write: bool, tmp_path: Path
) -> None:
    server = Altered(
        [replace(row, time=micros(START) + int(row.uuid[0], 16)) for row in events(300)],
        alter=lambda ask, rows: rows if ask.counts else alter(rows),
    )
    async with client(server) as ph:
        job = ph.export.events(START, END)
        run = job.to_jsonl(tmp_path / "events.jsonl") if write else all_rows(job)
        with pytest.raises(ExportError) as caught:
            await run
        words = str(caught.value)
        assert "does not return all events from 2026-01-01 00:00:00.000000" in words
        assert "counted 300 rows before reading and 300 after" in words
        assert f"received {len(alter(rows_of(server)))}." in words
        # Nothing has the name of a complete file, and the same export can go on.
        assert not (tmp_path / "events.jsonl").exists()
        if write:
            server.alter = lambda ask, rows: rows
            report = await job.to_jsonl(tmp_path / "events.jsonl")
            assert report.rows == 300


async def all_rows(job: ExportJob) -> list[Any]:
    return [row async for row in job]


def rows_of(server: Server) -> list[Any]:
    return [[row.uuid] for row in server.rows]


async def test_a_server_that_counts_less_than_it_has_loses_nothing() -> None:
    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        return [[bucket, rows // 2] for bucket, rows in rows] if ask.counts else rows

    server = Altered(events(800), alter=alter)
    _, keys = await export(server, page_size=90)
    assert keys == order(server)


async def test_what_is_too_much_to_count_is_read_until_nothing_comes() -> None:
    def fault(ask: Ask) -> httpx.Response | None:
        return httpx.Response(512, json={"detail": "No."}) if ask.counts else None

    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        return rows[:77]

    server = Altered(events(900), alter=alter, fault=fault)
    report, keys = await export(server)
    assert keys == order(server)
    assert any("could not be compared" in note for note in report.notes)


async def test_a_query_without_a_time_is_read_until_nothing_comes() -> None:
    class Keyed(Altered):
        def answer(self, ask: Ask) -> httpx.Response:
            last = ask.values.get("export_after_key", "")
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


async def test_a_query_that_draws_rows_by_chance_is_not_compared() -> None:
    def alter(ask: Ask, rows: list[Any]) -> list[Any]:
        return rows if ask.counts else rows[::3]

    server = Altered(events(310), alter=alter)
    report, keys = await export(server, where="rand() % 3 = 0")
    assert len(keys) == 104
    assert (report.late, report.deleted, report.waits) == (0, 0, 0)


async def test_a_page_that_does_not_go_on_behind_the_last_is_an_error() -> None:
    class Deaf(Altered):
        def answer(self, ask: Ask) -> httpx.Response:
            ask.values.pop("export_after_key", None)
            ask.values["export_from"] = "2026-01-01 00:00:00.000000"
            return super().answer(ask)

    server = Deaf(events(500))
    async with client(server) as ph:
        with pytest.raises(Exception, match="do not follow the last received row"):
            await ph.export.events(START, moment(micros(END)), page_size=100).to_callback(print)
