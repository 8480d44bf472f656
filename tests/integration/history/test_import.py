"""Imports of old events: formats, order, outcomes, and going on after an interruption."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncposthog import AsyncPostHog, CaptureError, CaptureSettings, EventResult, ImportReport
from asyncposthog.errors import ConfigurationError
from posthog_emulator import Emulator
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio

START = datetime(2024, 1, 1, tzinfo=UTC)


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "event": "paid",
            "distinct_id": f"user-{number % 7}",
            "timestamp": (START + timedelta(minutes=number)).isoformat(),
            "properties": {"number": number, "plan": "pro"},
        }
        for number in range(count)
    ]


def write(path: Path, form: str, events: list[dict[str, Any]]) -> Path:
    path = path / f"events.{form}"
    lines = "".join(json.dumps(event) + "\n" for event in events)
    if form == "jsonl":
        path.write_text(lines, encoding="utf-8")
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif form == "parquet":
        flat = [{**event, "properties": json.dumps(event["properties"])} for event in events]
        pq.write_table(pa.Table.from_pylist(flat), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["event", "distinct_id", "timestamp", "number", "plan"])
            writer.writeheader()
            for event in events:
                properties = event["properties"]
                # A naive time, as exports of databases have it.
                moment = event["timestamp"].removesuffix("+00:00").replace("T", " ")
                row = {**event, **properties, "timestamp": moment}
                del row["properties"]
                writer.writerow(row)
    return path


class Allowance:
    """Middleware that answers with 503 when so many requests were sent."""

    def __init__(self) -> None:
        self.left = 1000
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, request: httpx.Request, call_next: Any) -> httpx.Response:
        if not self.left:
            return httpx.Response(503)
        self.left -= 1
        self.bodies.append(json.loads(request.content))
        response: httpx.Response = await call_next(request)
        return response


def client_of(emulator: Emulator, *middleware: Any) -> AsyncPostHog:
    return AsyncPostHog.emulated(
        emulator,
        clock=ManualClock(),
        middleware=middleware,
        capture=CaptureSettings(compression="none"),
    )


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "csv", "parquet"])
async def test_files(tmp_path: Path, form: str) -> None:
    emulator = Emulator()
    path = write(tmp_path, form, rows(250))
    results: list[tuple[int, EventResult]] = []
    async with client_of(emulator) as client:
        report = await client.import_events(
            path, batch_events=100, on_result=lambda row, result: results.append((row, result))
        )
    assert report == ImportReport(250, 0, 250, 0, {}, 0, ())
    assert [row for row, _ in results] == list(range(250))
    assert all(result.delivered for _, result in results)
    captured = emulator.captured_events()
    assert [int(event["properties"]["number"]) for event in captured] == list(range(250))
    assert [event["uuid"] for event in captured] == [result.uuid for _, result in results]
    assert captured[3]["distinct_id"] == "user-3"
    assert captured[3]["timestamp"] == START + timedelta(minutes=3)
    # Events of others get nothing of this process.
    assert set(captured[0]["properties"]) - {"$lib", "$lib_version"} == {
        "number",
        "plan",
        "$geoip_disable",
    }


async def test_iterables_and_the_request() -> None:
    emulator = Emulator()
    events = rows(30)

    async def stream() -> AsyncIterator[dict[str, Any]]:
        for event in events:
            yield event

    requests = Allowance()
    async with client_of(emulator, requests) as client:
        first = await client.import_events(events, batch_events=20)
        second = await client.import_events(stream(), batch_events=20, historical=False)
        clock = client.capture.clock
        assert isinstance(clock, ManualClock)
        clock.slept.clear()
        await client.import_events(iter(events), batch_events=10, events_per_second=2.0)
        assert clock.slept == pytest.approx([5.0, 5.0], abs=0.1)
    assert (first.delivered, second.delivered) == (30, 30)
    captured = emulator.captured_events()
    # The same events, not others.
    assert len({event["uuid"] for event in captured}) == 30
    bodies = requests.bodies
    assert [len(body["batch"]) for body in bodies] == [20, 10, 20, 10, 10, 10, 10]
    assert [body.get("historical_migration", False) for body in bodies[:4]] == [
        True, True, False, False,
    ]  # fmt: skip
    assert bodies[0]["batch"][3]["timestamp"] == "2024-01-01T00:03:00.000000Z"


async def test_rows_that_are_no_events(tmp_path: Path) -> None:
    emulator = Emulator()
    path = tmp_path / "events.jsonl"
    good = json.dumps(rows(1)[0])
    bad = [
        "{not json",
        "[1]",
        '{"event": "x", "distinct_id": "a"}',
        '{"event": "x", "timestamp": "2024-01-01T00:00:00Z"}',
        '{"event": "", "distinct_id": "a", "timestamp": "2024-01-01"}',
        '{"event": "x", "distinct_id": "a", "timestamp": "2024-01-01", "properties": "[]"}',
    ]
    path.write_text("\n".join([bad[0], good, "", *bad[1:]]))
    results: list[EventResult] = []

    async def on_result(row: int, result: EventResult) -> None:
        await anyio.lowlevel.checkpoint()
        assert row == len(results)
        results.append(result)

    async with client_of(emulator) as client:
        report = await client.import_events(path, on_result=on_result)
    assert (report.rows, report.delivered, report.invalid) == (7, 1, 6)
    assert [result.status for result in results] == ["invalid", "ok", *["invalid"] * 5]
    details = [result.detail or "" for _, result in report.failures]
    for detail, text in zip(
        details,
        ["not JSON", "not an object", "no timestamp", "no distinct_id", "empty", "an object"],
        strict=True,
    ):
        assert text in detail


async def test_an_interrupted_import_goes_on(tmp_path: Path) -> None:
    emulator = Emulator()
    path, checkpoint = write(tmp_path, "jsonl", rows(100)), tmp_path / "import.json"
    seen: list[int] = []
    allowance = Allowance()
    async with client_of(emulator, allowance) as client:

        async def once(requests: int) -> ImportReport:
            allowance.left = requests
            return await client.import_events(
                path,
                checkpoint=checkpoint,
                batch_events=10,
                max_retries=1,
                on_result=lambda row, result: seen.append(row),
            )

        with pytest.raises(CaptureError, match="interrupted after 30 rows"):
            await once(3)
        with pytest.raises(CaptureError, match="interrupted after 50 rows"):
            await once(2)
        report = await once(1000)
    assert (report.rows, report.resumed, report.delivered) == (100, 50, 100)
    assert seen == list(range(100))
    assert [event["properties"]["number"] for event in emulator.captured_events()] == seen
    assert not checkpoint.exists()


async def test_checkpoints_of_others(tmp_path: Path) -> None:
    emulator = Emulator()
    path, checkpoint = write(tmp_path, "jsonl", rows(20)), tmp_path / "import.json"
    allowance = Allowance()
    async with client_of(emulator, allowance) as client:
        allowance.left = 1
        with pytest.raises(CaptureError, match="interrupted"):
            await client.import_events(path, checkpoint=checkpoint, batch_events=10, max_retries=0)
        other = write(tmp_path, "csv", rows(20))
        with pytest.raises(CaptureError, match="another source or project"):
            await client.import_events(other, checkpoint=checkpoint)
        checkpoint.write_text("{}")
        with pytest.raises(CaptureError, match="not the checkpoint"):
            await client.import_events(path, checkpoint=checkpoint)


async def test_bad_arguments(tmp_path: Path) -> None:
    async with client_of(Emulator()) as client:
        unknown = tmp_path / "events.txt"
        unknown.write_text("")
        with pytest.raises(ConfigurationError, match="does not tell its format"):
            await client.import_events(unknown)
        with pytest.raises(CaptureError, match="cannot be read"):
            await client.import_events(tmp_path / "missing.jsonl")
        with pytest.raises(ConfigurationError, match="batch_events"):
            await client.import_events([], batch_events=0)
        with pytest.raises(ConfigurationError, match="events_per_second"):
            await client.import_events([], events_per_second=0)
        with pytest.raises(TypeError, match="source must be"):
            await client.import_events(7)  # pyright: ignore[reportArgumentType]
        damaged = tmp_path / "events.parquet"
        damaged.write_bytes(b"PAR1 or not")
        with pytest.raises(CaptureError, match="cannot be read"):
            await client.import_events(damaged)
