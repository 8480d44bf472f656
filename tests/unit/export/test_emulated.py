"""Exports from the emulator, compared with its database."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import duckdb
import pytest

from asyncposthog import AsyncPostHog, ExportError, Partition, Progress, QueryError, ServerError
from asyncposthog.export import atomic_files as durable
from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: exports of events, lists and persons are one code, and use both below."""
    return "asyncio"


COUNT = 900
UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
START = UNTIL - timedelta(days=11)
BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.add_demo_events(events=COUNT, days=10, until=UNTIL, duplicate_timestamps=0.3, seed=3)
    return emulator


@pytest.fixture(scope="module")
def stored(emulator: Emulator) -> list[str]:
    """Return the UUIDs of all events in the order of an export."""
    rows = emulator.state.events.read(
        "SELECT toString(uuid) FROM events ORDER BY timestamp, toString(uuid)"
    )
    return [row[0] for row in rows]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def digest(path: str | Path) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()


def test_many_rows_with_one_timestamp(emulator: Emulator) -> None:
    (distinct,) = emulator.state.events.read("SELECT uniqExact(timestamp) FROM events")[0]
    assert distinct < COUNT * 0.9


@BOTH_LOOPS
@pytest.mark.parametrize("page_size", [90, 50_000])
async def test_events(emulator: Emulator, stored: list[str], page_size: int) -> None:
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, page_size=page_size, engine="query")
        assert [str(row["uuid"]) async for row in job] == stored


@BOTH_LOOPS
async def test_injected_faults_of_every_kind(
    emulator: Emulator, stored: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    for status in (429, 500, 502, 503, 504, 512, 513):
        emulator.faults.fail(status, times=2, path=path_of(emulator))
    emulator.faults.drop(times=2, path=path_of(emulator))
    try:
        async with AsyncPostHog.emulated(emulator, max_retries=20, clock=Patient()) as ph:
            job = ph.export.events(START, UNTIL, page_size=60, engine="query")
            report = await job.to_jsonl(path, checkpoint=False)
    finally:
        emulator.faults.clear()
    found = [row["uuid"] for row in lines(path)]
    assert found == stored
    assert report.rows == COUNT
    assert report.retries > 0


def path_of(emulator: Emulator) -> str:
    return f"/api/projects/{emulator.project_id}/query/"


class Patient:
    """A clock that does not wait."""

    def monotonic(self) -> float:
        return 0.0

    def time(self) -> float:
        return UNTIL.timestamp() + 86_400

    def random(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


@BOTH_LOOPS
async def test_parquet_reads_back_with_the_right_types(
    emulator: Emulator, stored: list[str], tmp_path: Path
) -> None:
    seen: list[Progress] = []
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, page_size=120, engine="query")
        report = await job.to_parquet(
            tmp_path / "events", rows_per_file=50, on_progress=seen.append
        )
    assert report.rows == sum(file.rows for file in report.files) == COUNT
    assert seen[-1].windows == seen[-1].windows_total
    assert seen[0].expected == COUNT
    rows = (
        duckdb.connect()
        .execute(
            f"SELECT uuid::VARCHAR, typeof(uuid), typeof(timestamp), typeof(properties), "
            f"CAST(timestamp AT TIME ZONE 'UTC' AS DATE) = date "
            f"FROM read_parquet('{tmp_path}/events/**/*.parquet', hive_partitioning = true)"
        )
        .fetchall()
    )
    assert Counter(row[0] for row in rows) == Counter(stored)
    assert {row[1:] for row in rows} == {("UUID", "TIMESTAMP WITH TIME ZONE", "VARCHAR", True)}


async def test_changed_files_are_not_resumed(emulator: Emulator, tmp_path: Path) -> None:
    async with AsyncPostHog.emulated(emulator, max_retries=0) as ph:
        job = ph.export.events(START, UNTIL, page_size=120, engine="query")
        for report in (
            await job.to_csv(tmp_path / "events.csv.gz"),
            await job.to_parquet(tmp_path / "events", rows_per_file=300),
        ):
            for file in report.files:
                assert digest(file.path) == file.sha256
        path, partial = tmp_path / "events.jsonl", tmp_path / ".events.jsonl.partial"

        def stop(progress: Progress) -> None:
            if progress.rows > 300:
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError):
            await job.to_jsonl(path, on_progress=stop)
        content = partial.read_bytes()
        partial.write_bytes(b"#" + content[1:])
        with pytest.raises(ExportError, match="its bytes changed"):
            await job.to_jsonl(path)
        partial.write_bytes(content)
        report = await job.to_jsonl(path)
    assert report.resumed
    assert digest(path) == report.files[0].sha256


async def test_output_does_not_depend_on_page_size(emulator: Emulator, tmp_path: Path) -> None:
    sums: set[tuple[Any, ...]] = set()
    async with AsyncPostHog.emulated(emulator) as ph:
        for size in (110, 300):
            job = ph.export.events(START, UNTIL, page_size=size, engine="query")
            report = await job.to_parquet(tmp_path / str(size), rows_per_file=40)
            sums.add((report.checksum, tuple(file.sha256 for file in report.files)))
            lines = await job.to_jsonl(tmp_path / f"{size}.jsonl.gz")
            sums.add((lines.checksum, lines.files[0].sha256))
    assert len(sums) == 2
    assert len({first for first, *_ in sums}) == 1


async def test_partitions_cover_all_rows_once(emulator: Emulator, stored: list[str]) -> None:
    async with AsyncPostHog.emulated(emulator) as ph:
        plan = await ph.export.events(START, UNTIL, page_size=100, engine="query").plan(4)
        assert len(plan) == 4
        assert plan.rows == COUNT
        assert plan[0].start == START
        assert plan[-1].end == UNTIL
        assert all(a.end == b.start for a, b in pairwise(plan))
    found: list[str] = []
    for part in pickle.loads(pickle.dumps(list(plan))):
        assert isinstance(part, Partition)
        async with AsyncPostHog.emulated(emulator) as other:
            found += [str(row["uuid"]) async for row in other.export.run(part)]
    assert found == stored


async def test_persons_sessions_groups(emulator: Emulator) -> None:
    counts = {
        name: emulator.state.events.read(f"SELECT count() FROM {table} FINAL")[0][0]
        for name, table in (("persons", "person"), ("groups", "groups"))
    }
    async with AsyncPostHog.emulated(emulator) as ph:
        persons = [row async for row in ph.export.persons(page_size=20)]
        assert len({row["id"] for row in persons}) == len(persons) == counts["persons"]
        assert isinstance(persons[0]["properties"], dict)
        groups = [row async for row in ph.export.groups(page_size=7)]
        assert len({(row["index"], row["key"]) for row in groups}) == counts["groups"]
        sessions = [row async for row in ph.export.sessions(START, UNTIL, page_size=30)]
        assert len({row["session_id"] for row in sessions}) == len(sessions) > 50


@BOTH_LOOPS
async def test_hogql_with_a_key(emulator: Emulator, stored: list[str]) -> None:
    async with AsyncPostHog.emulated(emulator) as ph:
        sql = "SELECT uuid, timestamp, event FROM events WHERE event != {not}"
        key = ("timestamp", "uuid")
        values = {"not": "nothing"}
        timed = ph.export.hogql(sql, key=key, values=values, start=START, end=UNTIL, page_size=90)
        assert [str(row["uuid"]) async for row in timed] == stored
        chained = ph.export.hogql(sql, key="uuid", values=values, page_size=90)
        assert [str(row["uuid"]) async for row in chained] == sorted(stored)
        # A shared key loses no rows as long as its rows fit on a page.
        shared = ph.export.hogql("SELECT event FROM events", key="event", page_size=750)
        assert sum([1 async for _ in shared]) == COUNT
        with pytest.raises(ValueError, match="LIMIT"):
            ph.export.hogql("SELECT 1 AS a LIMIT 5", key="a")
        with pytest.raises(ValueError, match="need each other"):
            ph.export.hogql("SELECT uuid FROM events", key="uuid", start=START, end=UNTIL)


async def test_an_unknown_column(emulator: Emulator) -> None:
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, columns=["uuid", "colour"], engine="query")
        with pytest.raises(QueryError, match="colour"):
            await anext(aiter(job))


async def test_lists(tmp_path: Path) -> None:
    emulator = Emulator()
    emulator.seed("cohorts", 45)
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.list(ph.cohorts.list(limit=10))
        rows = [row async for row in job]
        assert len({row["id"] for row in rows}) == 45
        report = await job.to_jsonl(tmp_path / "cohorts.jsonl")
        written = lines(tmp_path / "cohorts.jsonl")
        assert written == rows
        assert report.rows == 45
        named = ph.export.list(ph.cohorts.list(limit=10), columns=["id", "name"])
        await named.to_csv(tmp_path / "cohorts.csv")
        await named.to_parquet(tmp_path / "cohorts")
        assert (tmp_path / "cohorts.csv").read_text().startswith("id,name\n")
        assert duckdb.connect().execute(f"FROM '{tmp_path}/cohorts/*.parquet'").fetchall()[0][0]
        with pytest.raises(TypeError, match="the cursor of a list method"):
            ph.export.list([1])  # type: ignore[arg-type]


async def test_duplicate_column_names_are_an_error(emulator: Emulator, tmp_path: Path) -> None:
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, columns=["event", "upper(event) AS event"])
        with pytest.raises(ExportError, match="Two columns are named 'event'"):
            await job.to_jsonl(tmp_path / "e.jsonl")
    assert not os.listdir(tmp_path)


@BOTH_LOOPS
async def test_a_list_resumes_at_its_page(tmp_path: Path) -> None:
    emulator = Emulator()
    emulator.seed("cohorts", 45)
    path = tmp_path / "cohorts.jsonl"
    async with AsyncPostHog.emulated(emulator, max_retries=0) as ph:
        job = ph.export.list(ph.cohorts.list(limit=10))

        def stop(progress: Progress) -> None:
            if progress.rows == 20:
                emulator.faults.fail(500)

        with pytest.raises(ServerError):
            await job.to_jsonl(path, on_progress=stop)
        report = await job.to_jsonl(path)
    assert report.resumed
    ids = [row["id"] for row in lines(path)]
    assert len(ids) == len(set(ids)) == 45


async def test_a_checkpoint_of_another_export_is_an_error(
    emulator: Emulator, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "state"
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, engine="query")
        report = await job.to_jsonl(tmp_path / "a.jsonl", checkpoint=checkpoint)
        again = await job.to_jsonl(tmp_path / "a.jsonl", checkpoint=checkpoint)
        assert (again.rows, again.checksum) == (report.rows, report.checksum)
        other = ph.export.events(START, UNTIL - timedelta(days=1), engine="query")
        with pytest.raises(ExportError, match="end was '2026-03-01 00"):
            await other.to_jsonl(tmp_path / "a.jsonl", checkpoint=checkpoint)
        with pytest.raises(ExportError, match="format was 'jsonl' and is 'csv'"):
            await job.to_csv(tmp_path / "a.csv", checkpoint=checkpoint)
        checkpoint.write_bytes(b"{}")
        with pytest.raises(ExportError, match="not the checkpoint"):
            await job.to_jsonl(tmp_path / "a.jsonl", checkpoint=checkpoint)


async def test_existing_and_unwritable_outputs(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_bytes(b"mine")
    (tmp_path / "there").write_bytes(b"mine")
    before = len(emulator.requests)
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, engine="query")
        with pytest.raises(FileExistsError, match="already exists"):
            await job.to_jsonl(tmp_path / "there.jsonl")
        with pytest.raises(ExportError, match="Cannot write"):
            await job.to_jsonl(tmp_path / "no" / "folder.jsonl")
        with pytest.raises(FileExistsError, match="not a folder"):
            await job.to_parquet(tmp_path / "there")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "part-00000.parquet").write_bytes(b"")
        with pytest.raises(FileExistsError, match="already has Parquet files"):
            await job.to_parquet(tmp_path / "full")
    assert len(emulator.requests) == before
    assert (tmp_path / "there.jsonl").read_bytes() == b"mine"


async def test_a_full_disk(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(FileIO):
        def write(self, content: Any, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "FileIO", Full)
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.events(START, UNTIL, engine="query")
        with pytest.raises(ExportError, match="the disk is full") as caught:
            await job.to_jsonl(tmp_path / "e.jsonl", checkpoint=False)
    assert "Free some space" in str(caught.value)
    assert os.listdir(tmp_path) == []
