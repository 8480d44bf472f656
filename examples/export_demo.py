"""The end of `make demo`: a million events exported to Parquet by the program, and compared.

The emulator runs in a process of its own and keeps its events in a DuckDB file. Once it has ended,
DuckDB compares that file with the Parquet files, row for row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import duckdb
from anyio import to_thread

EVENTS = 1_000_000
DAYS = 90

COLUMNS = ("uuid", "event", "timestamp", "distinct_id", "person_id", "properties")


def say(text: str) -> None:
    """Print one line of what was done."""
    print(f"  {text}", flush=True)


async def export_demo(events: int = EVENTS) -> None:
    """Export events of a demo product, and check that every one is there as it was."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await to_thread.run_sync(_run, folder, events)


def _run(folder: Path, events: int) -> None:
    with timed(f"an emulator made up {events:,} events"):
        emulator, environment = _start(folder / "box", events)
    try:
        with timed("exported to Parquet"):
            report = _export(folder / "events", environment)
    finally:
        emulator.terminate()
        emulator.wait()
    files, requests = len(report["files"]), report["requests"]
    say(f"{report['rows']:,} rows in {files} files, {report['bytes_written'] / 1e6:,.0f} MB; "
        f"{requests} requests")  # fmt: skip
    with timed("compared with the emulator's own database"):
        _compare(folder / "box", folder / "events", events)


@contextmanager
def timed(what: str) -> Generator[None]:
    """Say how long a block took."""
    began = time.perf_counter()
    yield
    say(f"{what} ({time.perf_counter() - began:.1f} s)")


def _start(box: Path, events: int) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start an emulator with a demo product's events; return it once it can be reached."""
    command = [sys.executable, "-m", "asyncposthog", "emulator", "--port", "0"]
    command += ["--seed", "demo", "--events", str(events), "--data", str(box)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(3)]
    if not all(told):
        raise RuntimeError("the emulator did not start")
    return process, dict(line.split("=", 1) for line in told)


def _export(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run the program as a user would: the progress is on the terminal, the report on stdout."""
    now = datetime.now(UTC)
    command = [sys.executable, "-m", "asyncposthog", "export", "events", "--out", str(folder)]
    command += ["--from", f"{now - timedelta(days=DAYS + 10):%Y-%m-%d}"]
    command += ["--to", f"{now + timedelta(days=2):%Y-%m-%d}"]
    for column in COLUMNS:
        command += ["--column", column]
    ended = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ended.stdout)


def _compare(box: Path, folder: Path, events: int) -> None:
    """Compare every row by DuckDB, and the types it finds in the files."""
    [database] = box.glob("*.duckdb")
    with duckdb.connect() as db:
        db.execute("SET timezone = 'UTC'")
        db.execute(f"ATTACH '{database}' AS box (READ_ONLY)")
        db.execute(f"CREATE VIEW files AS SELECT * FROM read_parquet('{folder}/**/*.parquet')")
        described = db.execute("SELECT column_name, column_type FROM (DESCRIBE files)").fetchall()
        kinds = dict(described)
        row = (
            "hash(uuid::VARCHAR, event, epoch_us(timestamp), distinct_id, person_id::VARCHAR, "
            "properties)"
        )
        for source in ("files", "box.events"):
            db.execute(
                f"CREATE TEMP TABLE {source.removeprefix('box.')}_rows AS "
                f"SELECT uuid::VARCHAR AS uuid, {row} AS row FROM {source}"
            )
        count, total = one(db, "SELECT count(*), sum(row) FROM files_rows")
        assert (count, total) == one(db, "SELECT count(*), sum(row) FROM events_rows")
        assert count == events
        (differing,) = one(
            db,
            "SELECT count(*) FROM (FROM files_rows EXCEPT ALL FROM events_rows)",
        )
        assert differing == 0
    say(f"{count:,} rows, each as it was; checksum {total:x}")
    say("types: " + ", ".join(f"{name} {kinds[name]}" for name in ("uuid", "timestamp", "event")))


def one(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """Return the one row of a query."""
    row = db.execute(sql).fetchone()
    assert row is not None
    return row


if __name__ == "__main__":
    anyio.run(export_demo)
