"""Exports through DuckDB, Polars and the DB-API, compared with an export to Parquet files."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio

from asyncposthog import AsyncPostHog
from benchmarks.emulator_process import END, KEY, START, EmulatorProcess, run_emulator
from benchmarks.measure import Row

__all__ = ["rows"]

AREA = "export"
EVENTS = 1_000_000
ROUNDS = 2
COLUMNS = "uuid, event, timestamp, distinct_id, person_id, properties, elements_chain, created_at"
TARGETS = {
    "to_reader() into DuckDB": 0.9,
    "scan_events().sink_parquet()": 0.9,
    "DB-API, fetchmany(50,000)": 0.4,
}


def rows(events: int = EVENTS) -> Iterator[Row]:
    """Measure the rows with targets."""
    with run_emulator(events) as emulator, tempfile.TemporaryDirectory() as folder:
        yield from _speeds(emulator, Path(folder))
        yield from _pushed_down(emulator)


def _client(emulator: EmulatorProcess, **settings: Any) -> AsyncPostHog:
    return AsyncPostHog(KEY, project_id=1, host=emulator.url, limits=False, **settings)


def _speeds(emulator: EmulatorProcess, folder: Path) -> Iterator[Row]:
    """Read all events through each door in turn with an export to a folder of Parquet files."""

    async def plain() -> int:
        async with _client(emulator) as ph:
            job = ph.export.events(START, END, engine="query")
            report = await job.to_parquet(folder / "plain", checkpoint=False, overwrite=True)
            return report.rows

    def into_duckdb() -> int:
        import duckdb

        ph = _client(emulator)
        job: Any = ph.export.events(START, END, engine="query")
        con = duckdb.connect()
        con.register("reader", job.to_reader())
        con.execute("CREATE TABLE events AS FROM reader").fetchall()
        return con.execute("SELECT count(*) FROM events").fetchall()[0][0]

    def into_parquet() -> int:
        import polars as pl

        from asyncposthog.contrib.polars import scan_events

        target = folder / "polars.parquet"
        scan_events(_client(emulator), START, END).sink_parquet(target)
        return pl.scan_parquet(target).select(pl.len()).collect().item()

    def through_dbapi() -> int:
        from asyncposthog import dbapi

        count = 0
        with dbapi.connect(_client(emulator)) as connection:
            cursor = connection.execute(f"SELECT {COLUMNS} FROM events")
            while page := cursor.fetchmany(50_000):
                count += len(page)
        return count

    doors: dict[str, Callable[[], int]] = {
        "plain": lambda: anyio.run(plain),
        **dict(zip(TARGETS, (into_duckdb, into_parquet, through_dbapi), strict=True)),
    }
    taken: dict[str, list[float]] = {name: [] for name in doors}
    for _ in range(ROUNDS):
        for name, read in doors.items():
            started_at = time.perf_counter()
            count = read()
            taken[name].append(time.perf_counter() - started_at)
            assert count == emulator.events, (name, count)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    for name, target in TARGETS.items():
        ratio = seconds["plain"] / seconds[name]
        title = f"{emulator.events:,} rows, {name}; to_parquet()"
        yield Row(AREA, title, seconds[name], seconds["plain"], ratio, target, ratio >= target, "s")


def _pushed_down(emulator: EmulatorProcess) -> Iterator[Row]:
    """Count the rows and columns of the responses to a scan of a range with a limit."""
    import httpx
    import polars as pl

    from asyncposthog.contrib.polars import scan_events

    received: list[tuple[int, int]] = []

    async def count(request: httpx.Request, call_next: Any) -> httpx.Response:
        response: httpx.Response = await call_next(request)
        body = response.json()
        received.append((len(body["results"]), len(body["columns"])))
        return response

    scan = scan_events(_client(emulator, middleware=[count]))
    timestamp = pl.col("timestamp")
    head = scan.filter(timestamp >= START, timestamp < END).select("uuid", "timestamp").head(1000)
    assert head.collect().height == 1000
    total, width = sum(rows for rows, _ in received), max(columns for _, columns in received)
    name = f"rows asked for by scan_events().filter(time).select(2).head(1000), {width} columns"
    yield Row(AREA, name, total, None, None, 1000, total <= 1000 and width == 2, "rows")
