"""`engine="files"`: PostHog's file downloads, in the order and form of queries."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import httpx
import pytest

from asyncposthog import AsyncPostHog, ExportError, PermissionDeniedError
from posthog_emulator import Emulator
from tests.helpers.fake_query_api import Event, Server, events, to_datetime
from tests.helpers.manual_clock import EmulatorClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: what waits, is cancelled or fetches uses both below."""
    return "asyncio"


START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
END = START + DAY
COUNT = 400
BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
COLUMNS = ["uuid", "event", "properties"]
DOWNLOADS = "/api/projects/1/file_download_batch_exports/"


@pytest.fixture(scope="session")
def event_database() -> None:
    """Start the emulator's database, whose own files are thus not among those of a test."""
    assert Emulator().state.events.read("SELECT 1") == [(1,)]


@pytest.fixture(autouse=True)
def spool(event_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder for temporary files."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def left(spool: Path) -> list[Path]:
    """Return the files of the client, without those of the emulator's object store."""
    return [
        path
        for path in spool.rglob("*")
        if path.is_file() and "batch-exports" not in path.relative_to(spool).parts
    ]


@pytest.fixture
def server() -> Server:
    """Query endpoint with the events of a day, several at each timestamp."""
    return Server([compact(row) for row in events(COUNT, ties=4)])


def compact(row: Event) -> Event:
    """Return an event whose properties are formatted like those of a server."""
    properties = json.dumps(json.loads(row.properties), separators=(",", ":"), ensure_ascii=False)
    return replace(row, properties=properties)


@pytest.fixture
def emulator(server: Server) -> Emulator:
    """Emulator that received the same events on time, or a little later."""
    return emulator_with(server)


def emulator_with(server: Server) -> Emulator:
    emulator = Emulator()
    emulator.freeze(END)
    emulator.settings.export_seconds = 30
    happened = [
        {
            "event": row.event,
            "uuid": row.uuid,
            "distinct_id": "ada",
            "timestamp": to_datetime(row.time),
            "properties": json.loads(row.properties),
        }
        for row in server.rows
    ]
    emulator.state.events.append(1, happened[::2])
    emulator.advance(timedelta(days=3))
    emulator.state.events.append(1, happened[1::2])
    emulator.advance(timedelta(days=20))
    return emulator


Send = Callable[[httpx.Request], Any]


class CombinedTransport(httpx.AsyncBaseTransport):
    """Transport that sends queries to the fake server, and all else to the emulator."""

    def __init__(self, server: Server, emulator: Emulator, before: Send | None = None) -> None:
        self.server, self.inner, self.before = server, emulator.transport(), before

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        given = None if self.before is None else self.before(request)
        if given is not None:
            return given
        if request.url.path.endswith("/query/"):
            return await self.server(request)
        return await self.inner.handle_async_request(request)


@asynccontextmanager
async def connected(
    server: Server, emulator: Emulator, before: Send | None = None
) -> AsyncGenerator[AsyncPostHog]:
    transport = CombinedTransport(server, emulator, before)
    async with AsyncPostHog.emulated(
        emulator, transport=transport, clock=EmulatorClock(emulator), limits=False
    ) as ph:
        yield ph


def paths(emulator: Emulator, ending: str = "") -> list[str]:
    return [
        f"{request.method} {request.path}"
        for request in emulator.requests
        if request.path.endswith(ending)
    ]


@BOTH_LOOPS
async def test_rows_equal_those_of_queries(server: Server, emulator: Emulator, spool: Path) -> None:
    async with connected(server, emulator) as ph:
        asked = [row async for row in ph.export.events(START, END, columns=COLUMNS)]
        files = ph.export.events(START, END, columns=COLUMNS, engine="files", page_size=60)
        fetched = [row async for row in files]
    assert fetched == asked
    assert [str(row["uuid"]) for row in fetched] == [row.uuid for row in server.rows]
    assert left(spool) == []


async def test_output_equals_that_of_queries(
    server: Server, emulator: Emulator, tmp_path: Path, spool: Path
) -> None:
    async with connected(server, emulator) as ph:
        by_query = await ph.export.events(START, END, columns=COLUMNS, engine="query").to_jsonl(
            tmp_path / "query.jsonl"
        )
        by_files = await ph.export.events(START, END, columns=COLUMNS, engine="files").to_jsonl(
            tmp_path / "files.jsonl"
        )
    assert (tmp_path / "query.jsonl").read_bytes() == (tmp_path / "files.jsonl").read_bytes()
    assert by_files.checksum == by_query.checksum
    assert by_files.rows == COUNT
    assert by_files.bytes_received > 0
    assert left(spool) == []


async def test_columns_equal_those_of_queries(emulator: Emulator, tmp_path: Path) -> None:
    noon = {"event": "noon", "distinct_id": "x", "timestamp": START + DAY / 2}
    emulator.freeze(END)
    emulator.state.events.append(1, [noon])
    emulator.advance(20 * DAY)
    async with AsyncPostHog.emulated(emulator, clock=EmulatorClock(emulator)) as ph:
        for engine in ("query", "files"):
            job = ph.export.events(START, END, engine=engine)
            assert (await job.to_jsonl(tmp_path / engine)).rows == COUNT + 1
    assert (tmp_path / "query").read_bytes() == (tmp_path / "files").read_bytes()


async def test_all_columns_have_their_types(server: Server, emulator: Emulator) -> None:
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, engine="files")
        batches = [batch async for batch in job.batches()]
    row = batches[0].dicts()[0]
    assert list(row) == [
        "uuid", "event", "timestamp", "distinct_id", "person_id", "properties", "elements_chain",
        "created_at",
    ]  # fmt: skip
    assert isinstance(row["uuid"], UUID)
    assert row["timestamp"] == to_datetime(server.rows[0].time)
    assert row["properties"]["path"] == "/ä"
    assert str(batches[0].to_arrow().schema.field("timestamp").type) == "timestamp[us, tz=UTC]"


async def test_only_some_events(server: Server, emulator: Emulator) -> None:
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, event=["signed up"], columns=COLUMNS, engine="files")
        found = [row async for row in job]
    assert [str(row["uuid"]) for row in found] == [
        row.uuid for row in server.rows if row.event == "signed up"
    ]


async def test_a_long_range_takes_several_jobs(server: Server, emulator: Emulator) -> None:
    emulator.settings.export_slots = 2
    async with connected(server, emulator) as ph:
        start, end = START - 20 * DAY, END
        job = ph.export.events(start, end, columns=COLUMNS, engine="files", concurrency=4)
        rows = [row async for row in job]
    assert len(rows) == COUNT
    created = [
        request
        for request in emulator.requests
        if (request.method, request.path) == ("POST", DOWNLOADS)
    ]
    accepted = [request.body for request in created if request.status == 202]
    edges = [(one["data_interval_start"], one["data_interval_end"]) for one in accepted]
    assert sorted(edges) == [
        ("2025-12-11T00:00:00.000000Z", "2025-12-18T00:00:00.000000Z"),
        ("2025-12-18T00:00:00.000000Z", "2025-12-25T00:00:00.000000Z"),
        ("2025-12-25T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"),
        ("2026-01-01T00:00:00.000000Z", "2026-01-06T00:00:00.000000Z"),
    ]
    assert any(request.status == 429 for request in created), "more than may run at a time"


@BOTH_LOOPS
async def test_waits_grow(server: Server, emulator: Emulator) -> None:
    emulator.settings.export_seconds = 100
    async with connected(server, emulator) as ph:
        clock = ph._executor.transport.clock
        assert [row async for row in ph.export.events(START, END, engine="files")]
    assert isinstance(clock, EmulatorClock)
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[0] == 1.0
    assert len(clock.slept) < 15


async def test_the_file_store_receives_no_api_key(server: Server, emulator: Emulator) -> None:
    seen: list[httpx.Request] = []

    def look(request: httpx.Request) -> None:
        if request.url.host == "object-store.localhost":
            seen.append(request)

    async with connected(server, emulator, look) as ph:
        assert [row async for row in ph.export.events(START, END, engine="files")]
    assert seen
    for request in seen:
        assert "authorization" not in request.headers
        assert "phx_" not in str(request.url)


@BOTH_LOOPS
async def test_interrupted_downloads_resume(server: Server, emulator: Emulator) -> None:
    ranges: list[str | None] = []

    class Breaking(httpx.AsyncByteStream):
        def __init__(self, content: bytes) -> None:
            self.content = content

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield self.content
            raise httpx.ReadError("Connection reset by peer")

    transport = CombinedTransport(server, emulator)

    async def cut(request: httpx.Request) -> httpx.Response:
        answer = await transport.handle_async_request(request)
        if request.url.host != "object-store.localhost":
            return answer
        ranges.append(request.headers.get("range"))
        if len(ranges) > 4:
            return answer
        content = await answer.aread()
        half = content[: len(content) // 2]
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=Breaking(half), request=request
        )

    settings: dict[str, Any] = {"clock": EmulatorClock(emulator), "limits": False}
    settings["transport"] = httpx.MockTransport(cut)
    async with AsyncPostHog.emulated(emulator, **settings) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, engine="files")
        rows = [row async for row in job]
    assert [str(row["uuid"]) for row in rows] == [row.uuid for row in server.rows]
    assert ranges[0] is None
    begins = [int(str(one).removeprefix("bytes=").removesuffix("-")) for one in ranges[1:]]
    assert begins == sorted(begins)
    assert begins[0] > 0


async def test_expired_urls_are_requested_again(server: Server, emulator: Emulator) -> None:
    late = 0

    def dawdle(request: httpx.Request) -> None:
        nonlocal late
        if request.url.host == "object-store.localhost" and late < 2:
            late += 1
            emulator.advance(4000)

    async with connected(server, emulator, dawdle) as ph:
        rows = [row async for row in ph.export.events(START, END, engine="files")]
    assert (len(rows), late) == (COUNT, 2)


@BOTH_LOOPS
async def test_fetched_files_are_reused(
    server: Server, emulator: Emulator, tmp_path: Path, spool: Path
) -> None:
    target = tmp_path / "events.jsonl"
    stop = True

    def fail(progress: Any) -> None:
        if stop and progress.rows >= 120:
            raise KeyError("the program ended")

    async with connected(server, emulator) as ph:

        def job() -> Any:
            return ph.export.events(START, END, columns=COLUMNS, engine="files", page_size=20)

        with pytest.raises(KeyError):
            await job().to_jsonl(target, on_progress=fail)
        assert not target.exists()
        assert left(spool), "an interrupted run leaves its files"
        emulator.requests.clear()
        stop = False
        report = await job().to_jsonl(target)
        again = await ph.export.events(START, END, columns=COLUMNS, engine="query").to_jsonl(
            tmp_path / "query.jsonl"
        )
    assert emulator.requests == [], "nothing is made or fetched a second time"
    assert (report.resumed, report.rows) == (True, COUNT)
    assert target.read_bytes() == (tmp_path / "query.jsonl").read_bytes()
    assert again.checksum == report.checksum
    assert left(spool) == []


@BOTH_LOOPS
async def test_a_missing_run_is_started_again(
    server: Server, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.settings.export_seconds = 10_000
    target = tmp_path / "events.jsonl"
    async with connected(server, emulator) as ph:

        def job() -> Any:
            return ph.export.events(START, END, columns=COLUMNS, engine="files")

        await _cancelled(job().to_jsonl(target), emulator)
        emulator.state.store.collection(DOWNLOADS).rows.clear()
        emulator.settings.export_seconds = 0
        report = await job().to_jsonl(target)
    assert report.rows == COUNT


def is_about_one(path: str) -> bool:
    return path.startswith(DOWNLOADS) and path != DOWNLOADS


async def _cancelled(writing: Any, emulator: Emulator) -> None:
    """Run until a job was started, then cancel."""
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while not [
                one
                for one in emulator.requests
                if one.path.startswith(DOWNLOADS) and one.path != DOWNLOADS
            ]:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await writing


async def test_a_failed_run_has_its_error_message(server: Server, emulator: Emulator) -> None:
    emulator.settings.export_error = "The cluster is on fire"
    async with connected(server, emulator) as ph:
        with pytest.raises(ExportError, match="ended as Failed: The cluster is on fire"):
            [row async for row in ph.export.events(START, END, engine="files")]


async def test_missing_rows_are_an_error(server: Server, emulator: Emulator) -> None:
    transport = CombinedTransport(server, emulator)

    async def lie(request: httpx.Request) -> httpx.Response:
        answer = await transport.handle_async_request(request)
        content = await answer.aread()
        told = b'"records_completed":%d'
        return httpx.Response(
            answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k != "content-length"},
            content=content.replace(told % COUNT, told % (COUNT + 1)),
        )

    settings: dict[str, Any] = {"clock": EmulatorClock(emulator), "limits": False}
    settings["transport"] = httpx.MockTransport(lie)
    async with AsyncPostHog.emulated(emulator, **settings) as ph:
        with pytest.raises(ExportError, match="exported 401 rows, but its files have 400"):
            [row async for row in ph.export.events(START, END, engine="files")]


@BOTH_LOOPS
async def test_abandoned_jobs_are_cancelled(server: Server, emulator: Emulator) -> None:
    emulator.settings.export_seconds = 1e6
    async with connected(server, emulator) as ph:

        async def iterate() -> None:
            async for _ in ph.export.events(START, END, engine="files"):
                pass

        await _cancelled(iterate(), emulator)
    assert {item["status"] for item in emulator.items("file_download_batch_exports")} == {
        "Cancelled"
    }


async def test_auto_uses_queries_for_few_rows(server: Server, emulator: Emulator) -> None:
    async with connected(server, emulator) as ph:
        rows = [row async for row in ph.export.events(START, END, columns=COLUMNS)]
    assert (len(rows), emulator.requests) == (COUNT, [])
    counted = [query.span for query in server.queries if query.counts]
    assert len(counted) == 2, "counted once, and once behind the last bucket that has rows"
    assert counted[0][0] < counted[1][0]


@pytest.fixture
def low_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose files for more than ten queries."""
    monkeypatch.setattr("asyncposthog.export.request.FILES_THRESHOLD_QUERIES", 10)


@pytest.mark.usefixtures("low_threshold")
async def test_auto_uses_files_for_many_rows(
    server: Server, emulator: Emulator, tmp_path: Path
) -> None:
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, page_size=20)
        assert len([row async for row in job]) == COUNT
        assert server.pages == []
        report = await job.to_jsonl(tmp_path / "events.jsonl")
        assert server.pages == []
    assert (report.rows, report.notes) == (
        COUNT,
        ("files were chosen: queries would have been 20",),
    )


@pytest.mark.usefixtures("low_threshold")
@pytest.mark.parametrize("status", [402, 403, 404])
async def test_auto_falls_back_to_queries(
    server: Server, emulator: Emulator, tmp_path: Path, status: int
) -> None:
    emulator.faults.fail(status, times=None, path=f"{DOWNLOADS}*")
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, page_size=20)
        assert len([row async for row in job]) == COUNT
        report = await job.to_jsonl(tmp_path / "events.jsonl")
    assert report.rows == COUNT
    assert "queries were used after all: file downloads are refused" in report.notes[1]


@pytest.mark.usefixtures("low_threshold")
async def test_auto_falls_back_if_files_lack_rows(
    server: Server, emulator: Emulator, tmp_path: Path
) -> None:
    late = Server([*server.rows, *events(10, seed=9)])
    async with connected(late, emulator) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, page_size=20)
        report = await job.to_jsonl(tmp_path / "events.jsonl")
    assert report.rows == COUNT + 10
    assert "files have 400 of 410 rows" in report.notes[1]


async def test_files_do_not_fall_back(server: Server, emulator: Emulator) -> None:
    emulator.faults.fail(403, path=f"{DOWNLOADS}*")
    async with connected(server, emulator) as ph:
        with pytest.raises(PermissionDeniedError):
            [row async for row in ph.export.events(START, END, engine="files")]


async def test_unsupported_exports_by_files_are_errors(server: Server, emulator: Emulator) -> None:
    async with connected(server, emulator) as ph:
        export: Any = ph.export
        with pytest.raises(ValueError, match="condition"):
            export.events(START, END, engine="files", where="event != 'x'")
        with pytest.raises(ValueError, match="no column"):
            export.events(START, END, engine="files", columns=["properties.$browser"])
        with pytest.raises(ValueError, match="files have no persons"):
            export.persons(START, END, engine="files")
        with pytest.raises(ValueError, match="engine must be"):
            export.events(START, END, engine="fax")
