"""The last step of `make demo`: export a million events to Parquet and compare them.

The emulator runs in a separate process and stores its events in files. After it has stopped,
DuckDB compares them with the Parquet files row by row.
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

from posthog_emulator import Emulator

EVENTS = 1_000_000
DAYS = 90

COLUMNS = ("uuid", "event", "timestamp", "distinct_id", "person_id", "properties")


def print_step(text: str) -> None:
    """Print an indented line about a step that was done."""
    print(f"  {text}", flush=True)


async def export_demo(events: int = EVENTS) -> None:
    """Export the events of a demo product, and check that every event is unchanged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await to_thread.run_sync(_run, folder, events)


def _run(folder: Path, events: int) -> None:
    with timed(f"an emulator generated {events:,} events"):
        emulator, environment = _start(folder / "emulator", events)
    try:
        with timed("exported to Parquet"):
            report = _export(folder / "events", environment)
    finally:
        emulator.terminate()
        emulator.wait()
    files, megabytes = len(report["files"]), report["bytes_written"] / 1e6
    print_step(
        f"{report['rows']:,} rows in {files} files, {megabytes:,.0f} MB; "
        f"{report['requests']} requests"
    )
    with timed("compared with the emulator's own database"):
        _compare(folder / "emulator", folder / "events", events)


@contextmanager
def timed(step: str) -> Generator[None]:
    """Print how long a block took."""
    started = time.perf_counter()
    yield
    print_step(f"{step} ({time.perf_counter() - started:.1f} s)")


def _start(data: Path, events: int) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start an emulator with demo events; return its process and environment when it listens."""
    command = [sys.executable, "-m", "asyncposthog", "emulator", "--port", "0"]
    command += ["--seed", "demo", "--events", str(events), "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(3)]
    if not all(lines):
        raise RuntimeError("the emulator did not start")
    return process, dict(line.split("=", 1) for line in lines)


def _export(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run `asyncposthog export`; its progress is on stderr, and its report on stdout."""
    now = datetime.now(UTC)
    command = [sys.executable, "-m", "asyncposthog", "export", "events", "--out", str(folder)]
    command += ["--from", f"{now - timedelta(days=DAYS + 10):%Y-%m-%d}"]
    command += ["--to", f"{now + timedelta(days=2):%Y-%m-%d}"]
    for column in COLUMNS:
        command += ["--column", column]
    completed = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(completed.stdout)


def _compare(data: Path, folder: Path, events: int) -> None:
    """Compare every row with DuckDB, and print the column types of the files."""
    # What the emulator has stored, as it writes it to a file itself.
    stored = data / "stored.parquet"
    with Emulator(path=data) as emulator:
        emulator.state.events.database().export(
            "SELECT toString(uuid) AS uuid, toString(event) AS event, timestamp, distinct_id, "
            "toString(person_id) AS person_id, properties FROM events",
            stored,
            "FORMAT Parquet",
        )
    with duckdb.connect() as db:
        db.execute("SET timezone = 'UTC'")
        db.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet('{stored}')")
        db.execute(f"CREATE VIEW files AS SELECT * FROM read_parquet('{folder}/**/*.parquet')")
        columns = db.execute("SELECT column_name, column_type FROM (DESCRIBE files)").fetchall()
        types = dict(columns)
        row_hash = (
            "hash(uuid::VARCHAR, event, epoch_us(timestamp), distinct_id, person_id::VARCHAR, "
            "properties)"
        )
        for source in ("files", "events"):
            db.execute(
                f"CREATE TEMP TABLE {source}_rows AS "
                f"SELECT uuid::VARCHAR AS uuid, {row_hash} AS row FROM {source}"
            )
        count, total = fetch_row(db, "SELECT count(*), sum(row) FROM files_rows")
        assert (count, total) == fetch_row(db, "SELECT count(*), sum(row) FROM events_rows")
        assert count == events
        (differing,) = fetch_row(
            db,
            "SELECT count(*) FROM (FROM files_rows EXCEPT ALL FROM events_rows)",
        )
        assert differing == 0
    print_step(f"{count:,} rows, all unchanged; checksum {total:x}")
    print_step(
        "types: " + ", ".join(f"{name} {types[name]}" for name in ("uuid", "timestamp", "event"))
    )


def fetch_row(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """Return the only row of a query."""
    row = db.execute(sql).fetchone()
    assert row is not None
    return row


if __name__ == "__main__":
    anyio.run(export_demo)
