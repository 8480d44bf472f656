"""Exports to an S3 server and a Delta table, killed three times, against one that is not.

`python -m benchmarks.export_stores [ROWS]` runs it alone and prints the figures. The S3 server is
moto's, on loopback. In one case it refuses 5 % of all requests, as a store that is busy does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Row
from benchmarks.synthetic_events_server import START, end_of

__all__ = ["rows"]

AREA = "export"
ROWS: Final = 1_000_000
MAX_MEBIBYTES: Final = 512.0
FAULTS: Final = 0.05
PARTS: Final = 20
KILLS: Final = (2, 3, 4)
"""Uploads of parts, or commits, after which the first three processes are killed."""

_EXPORT = """
import anyio, json, os, signal, sys
from datetime import datetime
from asyncposthog import AsyncPostHog
from asyncposthog.export.object_store import ObjectPath
from asyncposthog.export.sinks.delta_table import DeltaTable
url, start, end, target, options, part, kill = sys.argv[1:]
left = int(kill)
def deadly(function, counts):
    def call(self, *arguments):
        global left
        result = function(self, *arguments)
        left -= counts(self)
        if int(kill) and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
ObjectPath.put = deadly(ObjectPath.put, lambda path: path.name.startswith("part-"))
DeltaTable.append = deadly(DeltaTable.append, lambda table: 1)
async def export():
    async with AsyncPostHog("phx_canned", project_id=1, host=url, limits=False) as ph:
        job = ph.export.events(
            datetime.fromisoformat(start), datetime.fromisoformat(end), engine="query",
            page_size=min(50_000, int(part)),
        )
        if target.startswith("s3:"):
            return await job.to_parquet(
                target, storage_options=json.loads(options), rows_per_file=int(part)
            )
        return await job.to_delta(target, rows_per_commit=int(part))
report = anyio.run(export)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([report.rows, peak / 1024]))
"""


def rows(count: int = ROWS) -> Iterator[Row]:
    """Measure the rows with targets."""
    with _events(count) as url:
        with _s3(0.0) as options:
            _run(url, count, "s3://lake/whole/", options)
            expected = _digests(options, "lake/whole")
            peak = _run_killed(url, count, "s3://lake/killed/", options)
            equal = _digests(options, "lake/killed") == expected
        yield _equal(f"{count:,} rows to S3 as Parquet with {len(KILLS)} SIGKILLs", equal)
        yield Row(
            AREA, "  peak memory", peak, None, None, MAX_MEBIBYTES, peak <= MAX_MEBIBYTES, "MiB"
        )
        with _s3(FAULTS) as options:
            _run(url, count, "s3://lake/faults/", options)
            equal = _digests(options, "lake/faults") == expected
        yield _equal(f"  the same with {FAULTS:.0%} of S3's answers refused", equal)
        folder = Path(tempfile.mkdtemp())
        try:
            target = str(folder / "table")
            peak = _run_killed(url, count, target, {})
            _run(url, count, target, {})  # a repeat adds nothing
            once = _delta_counts(target) == (count, count)
        finally:
            shutil.rmtree(folder)
        yield _equal(f"{count:,} rows to Delta after {len(KILLS)} SIGKILLs and a repeat", once)
        yield Row(
            AREA, "  peak memory", peak, None, None, MAX_MEBIBYTES, peak <= MAX_MEBIBYTES, "MiB"
        )


def _equal(name: str, equal: bool) -> Row:
    return Row(AREA, name, float(equal), None, None, 1.0, equal, "identical")


def _run_killed(url: str, count: int, target: str, options: dict[str, Any]) -> float:
    """Export with kills, and then to the end; return the peak memory of the last run in MiB."""
    for kill in KILLS:
        _run(url, count, target, options, kill=kill)
    return _run(url, count, target, options)


def _run(url: str, count: int, target: str, options: dict[str, Any], *, kill: int = 0) -> float:
    arguments = (
        url, START.isoformat(), end_of(count).isoformat(), target, json.dumps(options),
        str(max(1, count // PARTS)), str(kill),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, *arguments], capture_output=True, text=True, check=False
    )
    if kill:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return 0.0
    assert done.returncode == 0, done.stderr
    found, peak = json.loads(done.stdout.splitlines()[-1])
    assert found == count, (found, count)
    return float(peak)


def _digests(options: dict[str, Any], folder: str) -> dict[str, str]:
    """Return the SHA-256 of every object below a folder, also hidden ones, by its name."""
    from s3fs import S3FileSystem

    filesystem: Any = S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
    return {
        name.removeprefix(folder): hashlib.sha256(filesystem.cat_file(name)).hexdigest()
        for name in filesystem.find(folder)
    }


def _delta_counts(target: str) -> tuple[int, int]:
    deltalake: Any = import_module("deltalake")
    uuids = deltalake.DeltaTable(target).to_pyarrow_table(columns=["uuid"])["uuid"]
    return len(uuids), len(uuids.unique())


@contextmanager
def _events(count: int) -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.synthetic_events_server", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


@contextmanager
def _s3(faults: float) -> Generator[dict[str, Any]]:
    """Serve S3 with a bucket `lake`; refuse that share of the requests."""
    from s3fs import S3FileSystem
    from werkzeug.serving import make_server

    moto: Any = import_module("moto.server")
    store = moto.DomainDispatcherApplication(moto.create_backend_app)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    rng, refuses = random.Random(1), False

    def app(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if refuses and rng.random() < faults:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Busy</Message></Error>"]
        return store(environ, start_response)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    options: dict[str, Any] = {
        "key": "testing",
        "secret": "testing",
        "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{server.server_port}"},
    }
    try:
        filesystem: Any = S3FileSystem(**options, skip_instance_cache=True)
        with suppress(FileExistsError):  # moto has one state in a process
            filesystem.mkdir("lake")
        refuses = True
        yield options
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS):
        print(f"{row.name}: {row.ours:g} {row.unit} {'met' if row.met else 'MISSED'}")
