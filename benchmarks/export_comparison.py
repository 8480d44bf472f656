"""Exports compared with other tools: how many rows arrive, and how fast.

dlt and Airbyte's connector are installed in `.venv-rivals` when needed. They use the events list,
the only way they support; our export uses `/query/` of the same server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx

from asyncposthog import AsyncPostHog
from benchmarks.emulator_process import END, KEY, START, run_emulator
from benchmarks.measure import Row
from posthog_emulator import Emulator
from posthog_emulator.http.server import serve_sync

__all__ = ["rows"]

AREA = "export"
STORED = 20_000
SHARING = 7
MAX_PAGE = 1000
"""Maximum rows of a list page, as on the server."""
EVENTS = 1_000_000
SLICE = 50_000
"""Rows after which a competitor is stopped."""
TARGET = 3.0
ENVIRONMENT = Path(__file__).resolve().parents[1] / ".venv-rivals"
REQUIREMENTS = ("dlt==1.31.0", "airbyte-source-posthog==1.1.28")
DAY = datetime(2026, 1, 15, tzinfo=UTC)
LIST = "/api/projects/1/events/"


def rows() -> Iterator[Row]:
    """Measure the rows with targets."""
    python = _rivals()
    yield from _recovered(python)
    yield from _throughput(python)


def _rivals() -> Path | None:
    """Install the competitors once. Return their Python, or None if that fails."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").exists():
        try:
            venv.create(ENVIRONMENT, with_pip=True, clear=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
            subprocess.run(pip, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{ENVIRONMENT.name} could not be made: {error}", file=sys.stderr)
            return None
        (ENVIRONMENT / ".installed").touch()
    return python


def _recovered(python: Path | None) -> Iterator[Row]:
    """Count the exported rows of events that share timestamps."""
    emulator = Emulator()
    emulator.settings.max_events_per_page = MAX_PAGE
    moments = [DAY + timedelta(milliseconds=number // SHARING) for number in range(STORED)]
    events = [
        {"event": "$pageview", "distinct_id": f"user-{number % 97}", "timestamp": at}
        for number, at in enumerate(moments)
    ]
    uuids = set(emulator.state.events.append(emulator.project_id, events))
    start, end = DAY, DAY + timedelta(days=1)
    with serve_sync(emulator) as url:
        ids, returned = anyio.run(_ours, url, start, end)
        name = f"rows of {STORED:,}, {SHARING} sharing each timestamp, that come back"
        whole = set(ids) == uuids and returned == STORED
        yield Row(AREA, name, returned, None, None, STORED, whole, "rows, ours")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "rows.jsonl"
            count, _ = _singer(url, start, end, out, STORED)
            yield _competitor_row("a loop that follows next", count)
            if python is None:
                yield _missing_row("dlt's REST source: could not be installed")
                yield _missing_row("airbyte-source-posthog: could not be installed")
                return
            count, _ = _dlt(python, url, start, end, out, STORED)
            yield _competitor_row("dlt's REST source", count)
            lenient = cast("Emulator", SimpleNamespace(app=_Lenient(emulator.app)))
            with serve_sync(lenient) as url:
                count = _airbyte(python, url, start, Path(folder))
            yield _competitor_row("airbyte-source-posthog", count)


class _Lenient:
    """The emulator with an optional slash at the end of paths: the connector omits it."""

    def __init__(self, app: Any) -> None:
        self.connections = app.connections
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "/")
        if not path.endswith("/"):
            scope = {**scope, "path": f"{path}/"}
        await self._app(scope, receive, send)


def _competitor_row(name: str, count: int) -> Row:
    return Row.information(AREA, f"  {name}, as it is", count, "rows, and reports success")


def _missing_row(name: str) -> Row:
    return Row(AREA, f"  {name}", None, None, None, None, False, "")


async def _ours(url: str, start: datetime, end: datetime) -> tuple[list[str], int]:
    async with AsyncPostHog(KEY, project_id=1, host=url, limits=False) as ph:
        ids = [str(row["uuid"]) async for row in ph.export.events(start, end, engine="query")]
    return ids, len(ids)


def _throughput(python: Path | None) -> Iterator[Row]:
    """Export a million rows; competitors only some of them, enough to measure their rate."""
    with run_emulator(EVENTS) as emulator, tempfile.TemporaryDirectory() as folder:
        emulator.send_command("setting", max_events_per_page=MAX_PAGE)
        path = Path(folder) / "ours.jsonl"

        async def export() -> float:
            started_at = time.perf_counter()
            async with AsyncPostHog(KEY, project_id=1, host=emulator.url, limits=False) as ph:
                report = await ph.export.events(START, END, engine="query").to_jsonl(path)
            assert report.rows == EVENTS, report
            return report.rows / (time.perf_counter() - started_at)

        ours = anyio.run(export)
        out = Path(folder) / "rival.jsonl"
        part = f"({SLICE:,} of them)"
        count, seconds = _singer(emulator.url, START, END, out, SLICE)
        yield _faster(f"{EVENTS:,} rows; Singer-style loop {part}", ours, count / seconds)
        if python is None:
            yield _missing_row(f"{EVENTS:,} rows; dlt's REST source could not be installed")
            return
        count, seconds = _dlt(python, emulator.url, START, END, out, SLICE)
        yield _faster(f"{EVENTS:,} rows; dlt's REST source {part}", ours, count / seconds)


def _faster(name: str, ours: float, rival: float) -> Row:
    ratio = ours / rival
    return Row(AREA, name, ours, rival, ratio, TARGET, ratio >= TARGET, "rows/s")


def _singer(
    url: str, start: datetime, end: datetime, out: Path, max_rows: int
) -> tuple[int, float]:
    """Follow `next`, and write RECORD and STATE messages like a Singer tap."""
    started_at, count = time.perf_counter(), 0
    following: str | None = f"{url}{LIST}"
    parameters: dict[str, Any] | None = {
        "limit": MAX_PAGE,
        "after": (start - timedelta(microseconds=1)).isoformat(),
        "before": end.isoformat(),
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(headers=headers, timeout=60) as http, out.open("w") as file:
        while following and count < max_rows:
            answer = http.get(following, params=parameters).raise_for_status().json()
            for record in answer["results"]:
                message = {"type": "RECORD", "stream": "events", "record": record}
                file.write(json.dumps(message) + "\n")
            count += len(answer["results"])
            if answer["results"]:
                state = {"bookmarks": {"events": answer["results"][-1]["timestamp"]}}
                file.write(json.dumps({"type": "STATE", "value": state}) + "\n")
            following, parameters = answer["next"], None
    return count, time.perf_counter() - started_at


_DLT = """
import json, sys, time
from dlt.sources.rest_api import rest_api_source
url, key, after, before, limit, out, most = sys.argv[1:]
source = rest_api_source({
    "client": {
        "base_url": url + "/api/projects/1/",
        "auth": {"type": "bearer", "token": key},
        "paginator": {"type": "json_link", "next_url_path": "next"},
    },
    "resources": [{"name": "events", "endpoint": {
        "path": "events/",
        "params": {"limit": int(limit), "after": after, "before": before},
        "data_selector": "results",
    }}],
})
began, count = time.perf_counter(), 0
with open(out, "w") as file:
    for row in source.resources["events"]:
        file.write(json.dumps(row) + "\\n")
        count += 1
        if count >= int(most):
            break
print(json.dumps([count, time.perf_counter() - began]))
"""


def _dlt(
    python: Path, url: str, start: datetime, end: datetime, out: Path, max_rows: int
) -> tuple[int, float]:
    """Iterate over dlt's source and write lines: its own pipeline would take longer."""
    after = (start - timedelta(microseconds=1)).isoformat()
    arguments = (url, KEY, after, end.isoformat(), str(MAX_PAGE), str(out), str(max_rows))
    count, seconds = json.loads(_run([str(python), "-c", _DLT, *arguments]).splitlines()[-1])
    return count, seconds


def _airbyte(python: Path, url: str, start: datetime, folder: Path) -> int:
    """Run the connector like Airbyte, and count its records."""
    config, catalog = folder / "config.json", folder / "catalog.json"
    settings = {"api_key": KEY, "base_url": url, "start_date": start.strftime("%Y-%m-%dT%H:%M:%SZ")}
    config.write_text(json.dumps(settings))
    stream: dict[str, Any] = {
        "name": "events",
        "json_schema": {},
        "supported_sync_modes": ["full_refresh", "incremental"],
    }
    configured: dict[str, Any] = {
        "stream": stream,
        "sync_mode": "incremental",
        "destination_sync_mode": "append",
        "cursor_field": ["timestamp"],
    }
    catalog.write_text(json.dumps({"streams": [configured]}))
    command = [str(python.with_name("source-posthog")), "read"]
    text = _run([*command, "--config", str(config), "--catalog", str(catalog)])
    messages = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return sum(message.get("type") == "RECORD" for message in messages)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-800:]} {done.stderr[-800:]}")
    return done.stdout
