"""`export` against the emulator: events, persons, sessions, groups, HogQL, lists; Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from posthog_emulator import Emulator

from .helpers import CompletedCommand

Program = Callable[..., CompletedCommand]

ALWAYS = ("--from", "2020-01-01", "--to", "2100-01-01")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.add_demo_events(events=5_000, days=5)
        emulator.seed("cohorts", 230)
        yield emulator


def truth(emulator: Emulator, sql: str) -> set[str]:
    return {str(row[0]) for row in emulator.state.events.read(sql)}


def test_parquet_reads_back_with_the_right_types(
    program: Program, emulator: Emulator, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    ended = program("export", "events", *ALWAYS, "--out", str(folder))
    assert ended.status == 0, ended.err
    assert ended.json["rows"] == 5_000
    where = f"read_parquet('{folder}/**/*.parquet')"
    with duckdb.connect() as db:
        kinds = dict(
            db.sql(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {where})")
            .fetchall()
        )  # fmt: skip
        found = {str(row[0]) for row in db.sql(f"SELECT uuid FROM {where}").fetchall()}
        pressed = db.sql(
            f"SELECT DISTINCT compression FROM parquet_metadata('{folder}/**/*.parquet')"
        ).fetchall()
    assert found == truth(emulator, "SELECT uuid FROM events")
    assert pressed == [("ZSTD",)]
    assert kinds == {
        "uuid": "UUID",
        "event": "VARCHAR",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "distinct_id": "VARCHAR",
        "person_id": "UUID",
        "properties": "VARCHAR",
        "elements_chain": "VARCHAR",
        "created_at": "TIMESTAMP WITH TIME ZONE",
        "date": "DATE",
    }
    assert not [name for name in os.listdir(tmp_path) if name != "events"]


def test_by_files_as_by_queries(program: Program, tmp_path: Path) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = [f"{today - timedelta(days=days):%Y-%m-%d}" for days in (3, 1)]
    reports: list[dict[str, Any]] = []
    for engine in ("query", "files"):
        path = tmp_path / f"{engine}.jsonl"
        ended = program(
            "export", "events", "--from", bounds[0], "--to", bounds[1],
            "--engine", engine, "--out", str(path), "-c", "uuid", "-c", "properties",
        )  # fmt: skip
        assert ended.status == 0, ended.err
        reports.append(ended.json)
    assert reports[0]["rows"] > 100
    assert (tmp_path / "files.jsonl").read_bytes() == (tmp_path / "query.jsonl").read_bytes()
    refused = program("export", "persons", "--engine", "files")
    assert refused.status == 2
    assert "engine='files' cannot do this export" in refused.err


_COLUMNS = {
    "toDateTime64(timestamp, 6, 'UTC') AS moment": "TIMESTAMP WITH TIME ZONE",
    "toDate(timestamp) AS day": "DATE",
    "toDecimal('1.50', 2) AS price": "DECIMAL(18,2)",
    "toBool(1) AS yes": "BOOLEAN",
    "toInt('-1') AS count": "BIGINT",
    "toFloat('0.5') AS share": "DOUBLE",
    "['a', 'b'] AS names": "VARCHAR[]",
    "nullIf(event, event) AS none": "VARCHAR",
    "uuid AS id": "UUID",
}


def test_every_kind_of_column_has_its_type_in_parquet(
    program: Program, emulator: Emulator, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    columns = [part for column in _COLUMNS for part in ("-c", column)]
    ended = program("export", "events", *ALWAYS, *columns, "--out", str(folder))
    assert ended.status == 0, ended.err
    names = [column.rpartition(" ")[2] for column in _COLUMNS]
    with duckdb.connect() as db:
        rows = db.sql(f"FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = false)")
        kinds = dict(zip(rows.columns, map(str, rows.types), strict=True))
        assert kinds == dict(zip(names, _COLUMNS.values(), strict=True))
        first = rows.select("price, count, share, names, none").limit(1).fetchall()
    assert first == [(Decimal("1.50"), -1, 0.5, ["a", "b"], None)]


def test_persons_groups_and_sessions(program: Program, emulator: Emulator) -> None:
    persons = program("export", "persons")
    assert persons.status == 0, persons.err
    assert {row["id"] for row in persons.lines} == truth(emulator, "SELECT id FROM person FINAL")
    groups = program("export", "groups", "-c", "key")
    assert groups.status == 0, groups.err
    assert {row["key"] for row in groups.lines} == truth(
        emulator, "SELECT group_key FROM groups FINAL"
    )
    sessions = program("export", "sessions", *ALWAYS, "-c", "session_id")
    assert sessions.status == 0, sessions.err
    wanted = truth(emulator, "SELECT DISTINCT `$session_id` FROM events WHERE `$session_id` != ''")
    assert {row["session_id"] for row in sessions.lines} == wanted


def test_any_hogql_with_a_key(program: Program, emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("SELECT uuid, event FROM events WHERE event = {name}")
    ended = program(
        "export", "hogql", f"@{tmp_path / 'q.sql'}", "--key", "uuid", "-v", "name=$pageview"
    )
    assert ended.status == 0, ended.err
    wanted = truth(emulator, "SELECT uuid FROM events WHERE event = '$pageview'")
    assert {row["uuid"] for row in ended.lines} == wanted


def test_lists_are_exported_too(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "cohorts.jsonl"
    ended = program("export", "list", "cohorts", "-p", "limit=50", "--out", str(path))
    assert ended.status == 0, ended.err
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == list(range(1, 231))
    planned = program("export", "list", "cohorts", "-p", "limit=50", "--dry-run")
    assert planned.status == 0, planned.err
    assert planned.json == {"rows": 230, "page": 50, "requests": 5}
    endless = program("export", "list", "persons", "-p", "limit=7", "--dry-run")
    assert endless.json == {"rows": None, "page": 7, "requests": None}
    assert program("export", "list", "dashboards", "--dry-run").json["requests"] == 1


def test_a_resumed_export_keeps_its_end(
    program: Program, emulator: Emulator, tmp_path: Path
) -> None:
    path = tmp_path / "persons.jsonl"
    emulator.faults.fail(402, times=1, path="/api/projects/*/query/")
    # The first response counts the rows; the following requests fail.
    assert program("export", "persons", "--out", str(path), "-c", "id").status in {1, 3}
    ended = program("export", "persons", "--out", str(path), "-c", "id")
    assert ended.status == 0, ended.err
    assert ended.json["rows"] == len(truth(emulator, "SELECT id FROM person FINAL"))


def test_the_servers_message_about_a_column(program: Program) -> None:
    ended = program("export", "events", *ALWAYS, "-c", "uuid", "-c", "nope")
    assert (ended.status, ended.out) == (1, "")
    assert "nope" in ended.err
