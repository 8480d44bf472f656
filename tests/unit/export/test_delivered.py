"""`overlap=`: a later export delivers rows that arrived late, and no row twice."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import duckdb
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog import ExportError, Progress, QuotaError
from asyncposthog.export import Batch, Report
from tests.helpers.fake_query_api import (
    START,
    Event,
    Server,
    client,
    events,
    export_clock,
    refusal,
    to_micros,
)
from tests.integration.export import worker
from tests.integration.export.test_kill import killed

OVERLAP = 600
"""Seconds."""


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: who has a row is decided without any wait."""
    return "asyncio"


class LateServer:
    """Server whose rows arrive one by one."""

    def __init__(self, rows: Iterable[tuple[Event, float]], pace: float = 0.0) -> None:
        """Start at the time START.

        Args:
            rows: Each row with the seconds by which it is late.
            pace: Seconds that every query takes.
        """
        self._arrivals = sorted((row, row.time / 1e6 + late) for row, late in rows)
        self._pace = pace
        self.clock = export_clock(START.timestamp())
        self.server = Server([])

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.clock.now += self._pace
        self.server.rows = [row for row, at in self._arrivals if at <= self.clock.now]
        return await self.server(request)

    async def export(self, path: Path, at: float, *, to: str = "jsonl", **given: Any) -> Report:
        """Export until a time, in seconds after the start, which is not before now."""
        self.clock.now = max(self.clock.now, START.timestamp() + at)
        on_progress = given.pop("on_progress", None)
        arguments: dict[str, Any] = {"overlap": OVERLAP, "page_size": 20, "engine": "query"}
        arguments |= given
        async with client(self, clock=self.clock) as ph:
            job = ph.export.events(START, START + timedelta(seconds=at), **arguments)
            write: Callable[..., Any] = getattr(job, f"to_{to}")
            return await write(path, checkpoint=path.parent / "state", on_progress=on_progress)


def uuids(paths: Iterable[Path]) -> list[str]:
    return [json.loads(line)["uuid"] for p in paths for line in p.read_bytes().splitlines()]


@st.composite
def late_rows_and_runs(
    draw: st.DrawFn,
) -> tuple[list[tuple[Event, float]], list[tuple[int, int]], float]:
    """Rows with their lateness, and times of exports with the batch that interrupts each."""
    late = st.one_of(st.just(0), st.integers(0, OVERLAP), st.just(OVERLAP))
    moments = draw(st.lists(st.tuples(st.integers(0, 3_600), late), max_size=120))
    rows = [
        (
            Event(to_micros(START) + at * 1_000_000, f"00000000-0000-4000-8000-{n:012x}"),
            float(delay),
        )
        for n, (at, delay) in enumerate(moments)
    ]
    ends = sorted(draw(st.sets(st.integers(1, 4_000), max_size=4)))
    breaks = draw(st.lists(st.integers(0, 5), min_size=len(ends), max_size=len(ends)))
    return rows, list(zip(ends, breaks, strict=True)), draw(st.sampled_from([0.0, 1.0, 40.0]))


@settings(max_examples=25, deadline=None)
@given(late_rows_and_runs())
def test_rows_within_the_overlap_are_delivered_once(
    story: tuple[list[tuple[Event, float]], list[tuple[int, int]], float],
) -> None:
    rows, runs, pace = story
    late = LateServer(rows, pace)

    async def all_of_them(folder: Path) -> list[Path]:
        paths: list[Path] = []
        # The last export starts when all rows have arrived.
        for end, stop in [*runs, (3_600 + OVERLAP + 4_100, 0)]:
            paths.append(folder / f"{end}.jsonl")
            left = stop

            def break_off(progress: Progress) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise InterruptedError

            try:
                await late.export(paths[-1], end, on_progress=break_off)
            except InterruptedError:
                await late.export(paths[-1], end)
        return paths

    with tempfile.TemporaryDirectory() as folder:
        delivered = uuids(anyio.run(all_of_them, Path(folder)))
        assert Counter(delivered) == Counter(row.uuid for row, _ in rows)


def late_rows() -> list[tuple[Event, float]]:
    """200 rows within an hour; every third is up to 9 minutes late."""
    made = sorted(events(200, spread=3_600_000_000))
    return [(row, (n * 37 % 540) if n % 3 == 0 else 0.0) for n, row in enumerate(made)]


@pytest.mark.anyio
async def test_delivered_keys_cover_the_overlap(
    tmp_path: Path,
) -> None:
    rows = late_rows()
    late = LateServer(rows)
    first = await late.export(tmp_path / "1.jsonl", 3_600)
    arrived = {row.uuid for row, by in rows if row.time / 1e6 + by <= START.timestamp() + 3_600}
    assert set(uuids([tmp_path / "1.jsonl"])) == arrived
    tail = [
        row for row, _ in rows if row.uuid in arrived and row.time >= to_micros(START) + 3_000e6
    ]
    memory = tmp_path / "state.delivered-2"
    assert memory.stat().st_size == 24 * len(tail) > 0
    assert sorted(os.listdir(tmp_path)) == ["1.jsonl", "state", "state.delivered-2"]
    # The same export returns the same report; a later one continues.
    again = await late.export(tmp_path / "1.jsonl", 3_600)
    assert (again.rows, again.files) == (first.rows, first.files)
    second = await late.export(tmp_path / "2.jsonl", 7_200)
    assert second.duplicates_skipped == len(tail)
    assert second.rows == len(rows) - len(arrived) > 0
    found = uuids([tmp_path / "1.jsonl", tmp_path / "2.jsonl"])
    assert sorted(found) == sorted(row.uuid for row, _ in rows)
    assert sorted(os.listdir(tmp_path)) == ["1.jsonl", "2.jsonl", "state", "state.delivered-3"]
    assert (tmp_path / "state.delivered-3").stat().st_size == 0


@pytest.mark.anyio
async def test_callbacks_and_parquet_get_only_new_rows(tmp_path: Path) -> None:
    rows = late_rows()
    late, taken = LateServer(rows), list[str]()

    def take(batch: Batch) -> None:
        assert len(batch)
        taken.extend(str(row["uuid"]) for row in batch.dicts())

    for at in (1_800, 3_600, 9_000):
        await late.export(tmp_path / str(at), at, to="parquet")
    for at in (9_000, 10_000):
        late.clock.now = START.timestamp() + at
        async with client(late, clock=late.clock) as ph:
            end = START + timedelta(seconds=at)
            job = ph.export.events(START, end, overlap=timedelta(hours=3), page_size=30)
            report = await job.to_callback(take, checkpoint=tmp_path / "other")
    assert (report.rows, report.duplicates_skipped) == (0, 200)
    everything = sorted(row.uuid for row, _ in rows)
    assert sorted(taken) == everything
    with duckdb.connect() as db:
        found = db.sql(f"SELECT uuid::VARCHAR FROM '{tmp_path}/*/*/*.parquet'").fetchall()
    assert sorted(uuid for (uuid,) in found) == everything


@pytest.mark.anyio
async def test_an_early_failure_keeps_the_previous_checkpoint(
    tmp_path: Path,
) -> None:
    late = LateServer(late_rows())
    await late.export(tmp_path / "1.jsonl", 3_600)
    before = (tmp_path / "state").read_bytes()
    late.server.fault = lambda query: refusal(402, "quota_exceeded")
    with pytest.raises(QuotaError):
        await late.export(tmp_path / "2.jsonl", 7_200)
    assert (tmp_path / "state").read_bytes() == before
    late.server.fault = lambda query: None
    # Another export than the one that failed may continue.
    await late.export(tmp_path / "3.jsonl", 8_000)
    assert len(set(uuids([tmp_path / "1.jsonl", tmp_path / "3.jsonl"]))) == 200


@pytest.mark.anyio
async def test_the_end_is_not_in_the_future(tmp_path: Path) -> None:
    late = LateServer([(Event(to_micros(START) + 900_000_000, "a"), 0.0)])
    late.clock.now += 600
    async with client(late, clock=late.clock) as ph:
        end = START + timedelta(hours=1)
        job = ph.export.events(START, end, overlap=60, engine="query")
        assert (await job.to_jsonl(tmp_path / "1.jsonl", checkpoint=tmp_path / "state")).rows == 0
    # Events after the end were not read, and the next export has them.
    assert (await late.export(tmp_path / "2.jsonl", 3_600, overlap=60)).rows == 1


@pytest.mark.anyio
async def test_persons_until_now(tmp_path: Path) -> None:
    made = [
        (Event(to_micros(START) + n * 1_000_000, f"{n:03d}"), float(n % 60)) for n in range(300)
    ]
    late, found = LateServer(made), list[str]()

    def take(batch: Batch) -> None:
        found.extend(batch.column("uuid"))

    for at in (100, 200, 400):
        late.clock.now = START.timestamp() + at
        async with client(late, clock=late.clock) as ph:
            job = ph.export.persons(START, columns=["uuid"], overlap=60, page_size=20)
            await job.to_callback(take, checkpoint=tmp_path / "state")
    assert sorted(map(str, found)) == [row.uuid for row, _ in made]


@pytest.mark.anyio
async def test_invalid_overlaps_are_errors(tmp_path: Path) -> None:
    late = LateServer(late_rows())
    async with client(late, clock=late.clock) as ph:
        job = ph.export.events(START, START + timedelta(hours=1), overlap=60)
        for refused in (
            job.to_jsonl(tmp_path / "1"),
            job.to_csv(tmp_path / "1", checkpoint=False),
        ):
            with pytest.raises(ValueError, match="overlap= needs checkpoint=PATH"):
                await refused
        for begin in (job.batches, job.__aiter__):
            with pytest.raises(ValueError, match="overlap= needs checkpoint=PATH"):
                begin()
        with pytest.raises(ValueError, match="cannot be divided"):
            await job.plan()
        with pytest.raises(ValueError, match="overlap must not be negative"):
            ph.export.events(START, START + timedelta(hours=1), overlap=-1)
        with pytest.raises(TypeError, match="overlap must be a timedelta or seconds"):
            ph.export.events(START, START + timedelta(hours=1), overlap="1h")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []
    await late.export(tmp_path / "1.jsonl", 3_600)
    with pytest.raises(ExportError, match="is before that of the previous one"):
        await late.export(tmp_path / "2.jsonl", 3_000)
    with pytest.raises(ExportError, match="where was") as caught:
        await late.export(tmp_path / "2.jsonl", 7_200, where="1 = 1")
    assert "end was" not in str(caught.value)
    with pytest.raises(ExportError, match=r"overlap was 600\.0 and is 601\.0"):
        await late.export(tmp_path / "2.jsonl", 7_200, overlap=601)
    with pytest.raises(FileExistsError, match="already exists"):
        await late.export(tmp_path / "1.jsonl", 7_200)
    memory = tmp_path / "state.delivered-2"
    memory.write_bytes(memory.read_bytes()[:-1])
    with pytest.raises(ExportError, match=r"delivered-2 is not what the checkpoint says"):
        await late.export(tmp_path / "2.jsonl", 7_200)


def test_repeated_kills(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        anyio.run(worker.export_late, str(folder / "1.jsonl"), 0)
    for number in (2, 3):
        anyio.run(worker.export_late, str(whole / f"{number}.jsonl"), 0)
    moments = ["fsync:4", "replace:3:after", "fsync:9:after"]
    deaths = 0
    for seed, to_datetime in enumerate(moments):
        deaths += killed("late", broken / "2.jsonl", to_datetime, seed)
    anyio.run(worker.export_late, str(broken / "2.jsonl"), 7)
    anyio.run(worker.export_late, str(broken / "3.jsonl"), 8)
    assert deaths >= 2
    for name in ("1.jsonl", "2.jsonl", "3.jsonl", "state.delivered-4"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(os.listdir(broken)) == sorted(os.listdir(whole))
    found = uuids(broken / f"{n}.jsonl" for n in (1, 2, 3))
    assert sorted(found) == sorted(row.uuid for row in worker.LATE)
