"""Exports: exactness under faults and kills, throughput, CPU time and number of requests."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
from pydantic_core import from_json, to_json

from asyncposthog import AsyncPostHog
from benchmarks.emulator_process import (
    DAYS,
    END,
    KEY,
    START,
    EmulatorProcess,
    digest_of,
    run_emulator,
)
from benchmarks.measure import Row

__all__ = ["rows"]

AREA = "export"
EVENTS = 1_000_000
KILLS = 3
PAGE = 50_000
LATENCY = 0.2
SMALL = 500
"""Rows of a page at 200 ms latency, so that the server's own work is small in comparison."""
SLICES = {0.0: 0.3, LATENCY: 1.0}
"""The fraction of the range to export in each round, by latency."""
ROUNDS = {0.0: 3, LATENCY: 2}

COLUMNS = ("uuid", "event", "timestamp", "distinct_id", "person_id", "properties",
           "elements_chain", "created_at")  # fmt: skip


def rows() -> Iterator[Row]:
    """Measure the rows with targets."""
    with run_emulator(EVENTS) as emulator, tempfile.TemporaryDirectory() as folder:
        yield from _requests(emulator, Path(folder))
        yield from _exact_under_faults(emulator, Path(folder))
        yield _throughput(emulator, Path(folder), latency=0.0, target=1.2)
        yield _throughput(emulator, Path(folder), latency=0.0, target=2.2, transport="aiohttp")
        yield _cpu(emulator, Path(folder))
    # A smaller data set: the emulator shares the cores, and its work is not what is measured.
    with run_emulator(EVENTS // 10) as emulator, tempfile.TemporaryDirectory() as folder:
        yield _throughput(emulator, Path(folder), latency=LATENCY, target=2.8)


def _client(emulator: EmulatorProcess, **settings: Any) -> AsyncPostHog:
    return AsyncPostHog(KEY, project_id=1, host=emulator.url, limits=False, **settings)


def _at_least(name: str, ours: float, rival: float, target: float, unit: str) -> Row:
    ratio = rival / ours
    return Row(AREA, name, ours, rival, ratio, target, ratio >= target, unit)


def _uuids(path: Path) -> list[str]:
    with path.open("rb") as file:
        return [json.loads(line)["uuid"] for line in file]


def _requests(emulator: EmulatorProcess, folder: Path) -> Iterator[Row]:
    """Count the requests of an export of a million rows in thirty days."""
    path = folder / "requests.jsonl"

    async def export() -> Any:
        async with _client(emulator) as ph:
            return await ph.export.events(START, END, engine="query").to_jsonl(path)

    report = anyio.run(export)
    pages = math.ceil(EVENTS / PAGE)
    max_requests = 1.15 * pages + DAYS
    name = f"requests for {report.rows:,} rows in {DAYS} days, at most"
    is_complete = report.rows == EVENTS and digest_of(_uuids(path)) == emulator.digest
    yield Row(
        AREA,
        name,
        report.requests,
        None,
        None,
        max_requests,
        is_complete and report.requests <= max_requests,
        "requests",
    )
    min_requests = 1.15 * pages + report.windows
    yield Row.information(
        AREA, "  windows it took", report.windows, f"of at most {min_requests:.0f}"
    )
    path.unlink()


_KILLED = """
import sys
from benchmarks.export import exported_with_faults
exported_with_faults(*sys.argv[1:])
"""


def exported_with_faults(url: str, path: str) -> None:
    """Export all events, in a process that is going to be killed."""

    async def export() -> None:
        async with AsyncPostHog(KEY, project_id=1, host=url, limits=False, retry_budget=None) as ph:
            job = ph.export.events(START, END, engine="query", page_size=20_000)
            await job.to_jsonl(path)

    anyio.run(export)


def _exact_under_faults(emulator: EmulatorProcess, folder: Path) -> Iterator[Row]:
    """Export with faults of every kind, and kill the process three times meanwhile."""
    path = folder / "exact.jsonl"
    partial = folder / ".exact.jsonl.partial"
    emulator.send_command("randomize_faults", rate=0.05, seed=11)
    total_bytes = 850 * EVENTS  # bytes, about
    kills, started_at = 0, time.perf_counter()
    while not path.exists():
        process = subprocess.Popen([sys.executable, "-c", _KILLED, emulator.url, str(path)])
        at = total_bytes * (kills + 1) // (KILLS + 2)
        while process.poll() is None:
            size = partial.stat().st_size if partial.exists() else 0
            if kills < KILLS and size > at:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
            time.sleep(0.002)
        if process.returncode not in {0, -signal.SIGKILL}:
            raise RuntimeError("an export failed")
    elapsed = time.perf_counter() - started_at
    emulator.send_command("clear_faults")
    uuids = _uuids(path)
    exact = digest_of(uuids) == emulator.digest and kills == KILLS
    name = f"{EVENTS:,} events, 30 % ties, 5 % faults, {kills} SIGKILLs: rows"
    yield Row(AREA, name, len(uuids), EVENTS, len(uuids) / EVENTS, 1.0, exact, "rows")
    yield Row.information(AREA, "  the whole of it, restarts included", elapsed, "s")
    path.unlink()


_QUERY = """
SELECT {columns} FROM events
WHERE timestamp >= toDateTime64({{start}}, 6, 'UTC') AND timestamp < toDateTime64({{end}}, 6, 'UTC')
  AND (timestamp > toDateTime64({{last}}, 6, 'UTC')
       OR (timestamp = toDateTime64({{last}}, 6, 'UTC') AND toString(uuid) > {{uuid}}))
ORDER BY timestamp, toString(uuid) LIMIT {limit}
"""


async def by_hand(url: str, path: Path, start: Any, end: Any, limit: int) -> int:
    """Export like careful hand-written code: httpx, json, keyset pagination, page by page."""
    sql = _QUERY.format(columns=", ".join(COLUMNS), limit=limit)
    first, stop = start.strftime("%Y-%m-%d %H:%M:%S.%f"), end.strftime("%Y-%m-%d %H:%M:%S.%f")
    last, uuid, count = first, "", 0
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as http:
        with path.open("w", encoding="utf-8") as file:
            while True:
                values = {"start": first, "end": stop, "last": last, "uuid": uuid}
                query = {"kind": "HogQLQuery", "query": sql, "values": values}
                body = {"query": query, "refresh": "force_blocking"}
                response = await http.post("/api/projects/1/query/", json=body)
                response.raise_for_status()
                answer = json.loads(response.content)
                for row in answer["results"]:
                    record = dict(zip(answer["columns"], row, strict=True))
                    record["properties"] = json.loads(record["properties"])
                    file.write(json.dumps(record) + "\n")
                count += len(answer["results"])
                if len(answer["results"]) < limit:
                    return count
                last = answer["results"][-1][2].replace("T", " ").rstrip("Z")
                uuid = answer["results"][-1][0]


def _throughput(
    emulator: EmulatorProcess,
    folder: Path,
    *,
    latency: float,
    target: float,
    transport: Any = None,
) -> Row:
    """Export in turn with the hand-written loop."""
    page = SMALL if latency else PAGE
    start = END - (END - START) * SLICES[latency]
    if latency:
        emulator.send_command("latency", seconds=latency)
    taken: dict[str, list[float]] = {"ours": [], "hand": []}
    counts: set[int] = set()

    async def ours(path: Path) -> int:
        async with _client(emulator, transport=transport) as ph:
            job = ph.export.events(start, END, engine="query", page_size=page)
            return (await job.to_jsonl(path, checkpoint=False)).rows

    for round_ in range(ROUNDS[latency]):
        for name in taken:
            path = folder / f"{name}.jsonl"
            started_at = time.perf_counter()
            if name == "ours":
                counts.add(anyio.run(ours, path))
            else:
                counts.add(anyio.run(by_hand, emulator.url, path, start, END, page))
            if round_ or latency:
                taken[name].append(time.perf_counter() - started_at)
            path.unlink()
    emulator.send_command("clear_faults")
    assert len(counts) == 1, counts
    ours_seconds, manual_seconds = (statistics.median(taken[name]) for name in ("ours", "hand"))
    condition = f"{latency * 1000:.0f} ms latency" if latency else "no latency"
    name = f"{counts.pop():,} rows to JSONL, {condition}, pages of {page:,}; by hand"
    if transport is not None:
        name = f"over {transport}: {name}"
    return _at_least(name, ours_seconds, manual_seconds, target, "s")


def _cpu(emulator: EmulatorProcess, folder: Path) -> Row:
    """Decode and write one page, compared with from_json and to_json of the same bytes."""
    from asyncposthog.export.engines.base import PreparedBatch
    from asyncposthog.export.engines.query_page import parse_json, read_page
    from asyncposthog.export.service import EVENTS as SOURCE
    from asyncposthog.export.sinks.text import TextSink
    from asyncposthog.export.source import page_query
    from asyncposthog.export.windows import Window

    first, end = (int(moment.timestamp()) * 1_000_000 for moment in (START, END))
    window = Window(first, end)
    sql, values = page_query(SOURCE, first, end, None, PAGE)
    query = {"kind": "HogQLQuery", "query": sql, "values": values}
    content = httpx.post(
        f"{emulator.url}/api/projects/1/query/",
        json={"query": query, "refresh": "force_blocking"},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=120,
    ).content

    def ours() -> None:
        path = folder / "cpu.jsonl"
        sink = TextSink(path, "jsonl")
        sink.begin(None)
        page = read_page(SOURCE, window, PAGE, parse_json(content))
        batch = page.batch
        sink.write(PreparedBatch(sink.prepare(batch), len(batch), None), durable=False)
        sink.close(keep=False)

    def alone() -> None:
        to_json(from_json(content))

    taken: dict[Any, list[float]] = {ours: [], alone: []}
    for round_ in range(8):
        for job, times in taken.items():
            started_at = time.process_time()
            job()
            if round_:
                times.append((time.process_time() - started_at) / PAGE * 1e6)
    ours_seconds, bare = (statistics.median(times) for times in taken.values())
    size = len(content) // PAGE
    return Row.ratio_of(
        AREA,
        f"CPU a row of {size} bytes to JSONL; from_json + to_json",
        ours_seconds,
        bare,
        1.5,
        "µs",
    )
