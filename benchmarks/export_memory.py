"""Peak memory of exports, each in a new process, from a server with synthetic events."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.synthetic_events_server import START, end_of

__all__ = ["rows"]

AREA = "export"
FEW, MANY = 1_000_000, 10_000_000
REPEATS = 3
"""How often the few are exported: it is by chance how many pages are whole at one moment, and in
ten times as many pages there are ten times as many chances."""
MAX_MEBIBYTES = 512.0
"""MiB."""
GROWTH = 1.10

_EXPORT = """
import anyio, json, sys
from datetime import datetime
from asyncposthog import AsyncPostHog
url, start, end, form, path = sys.argv[1:]
async def export():
    async with AsyncPostHog("phx_canned", project_id=1, host=url, limits=False) as ph:
        job = ph.export.events(
            datetime.fromisoformat(start), datetime.fromisoformat(end), engine="query"
        )
        return await (job.to_jsonl if form == "jsonl" else job.to_parquet)(path)
rows = anyio.run(export).rows
# Not ru_maxrss: that also counts the program this process was before it became this one.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([rows, peak / 1024]))
"""


def rows() -> Iterator[Row]:
    """Measure the rows with targets."""
    forms = {"jsonl": "JSONL", "parquet": "Parquet"}
    cases = [(count, form) for count in (*(FEW,) * REPEATS, MANY) for form in forms]
    # Two at a time: memory is measured, not time.
    with ThreadPoolExecutor(2) as pool:
        peaks = list(zip(cases, pool.map(_peak, *zip(*cases, strict=True)), strict=True))
    for form, name in forms.items():
        few, many = (
            max(peak for case, peak in peaks if case == (count, form)) for count in (FEW, MANY)
        )
        for count, peak in ((FEW, few), (MANY, many)):
            yield Row(
                AREA, f"peak memory, {count:,} rows to {name} (pages of 52 MB)",
                peak, None, None, MAX_MEBIBYTES, peak <= MAX_MEBIBYTES, "MiB",
            )  # fmt: skip
        growth = many / few
        yield Row(
            AREA, f"  ten times the rows to {name} against one",
            many, few, growth, GROWTH, growth <= GROWTH, "MiB",
        )  # fmt: skip


def _peak(count: int, form: str) -> float:
    """Export so many rows, and return the peak memory in MiB."""
    folder = Path(tempfile.mkdtemp())
    try:
        with _synthetic_server(count) as url:
            arguments = (
                url,
                START.isoformat(),
                end_of(count).isoformat(),
                form,
                str(folder / "out"),
            )
            done = subprocess.run(
                [sys.executable, "-c", _EXPORT, *arguments],
                check=True,
                capture_output=True,
                text=True,
            )
    finally:
        shutil.rmtree(folder)
    row_count, peak = json.loads(done.stdout.splitlines()[-1])
    assert row_count == count, (row_count, count)
    return peak


@contextmanager
def _synthetic_server(count: int) -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.synthetic_events_server", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()
