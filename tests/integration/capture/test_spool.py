"""The spool: events survive the process, and nobody else's file is touched."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog import AsyncPostHog, CaptureError, CaptureSettings, LostEvents
from asyncposthog.errors import ConfigurationError
from posthog_emulator import Emulator, serve_sync

from .capture_helpers import Server, accept, error, out_of_service

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM events").fetchone()[0])


def content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def spool_threads() -> int:
    return sum(thread.name == "asyncposthog spool" for thread in threading.enumerate())


async def test_an_outage_loses_nothing(path: Path) -> None:
    down = out_of_service()
    lost: list[LostEvents] = []
    client = down.client(spool=path, close_timeout=0.0, on_error=lost.append)
    async with client:
        uuids = [await client.capture(f"event {number}", "ada") for number in range(10)]
        await client.capture.ai("$ai_generation", "ada")
        await anyio.wait_all_tasks_blocked()
    assert lost == []
    assert client.capture.stats.lost == {}
    assert count(path) == 10

    up = Server()
    async with up.client(spool=path) as client:
        # Nobody has to capture anything for the rest to be sent.
        await client.capture.flush()
        stats = client.capture.stats
    assert (stats.recovered, stats.sent, stats.accepted) == (11, 11, 0)
    events = [sent for sent in up.sent if sent.path == "/i/v1/analytics/events"]
    assert [uuid for sent in events for uuid in sent.uuids] == uuids
    assert [sent.names for sent in up.sent if sent not in events] == [["$ai_generation"]]
    assert count(path) == 0
    assert spool_threads() == 0


async def test_events_are_sent_once_and_removed(path: Path) -> None:
    server = Server(lambda sent: error(400) if "bad" in sent.names else accept(sent))
    async with server.client(spool=path, flush_at=100) as client:
        async with anyio.create_task_group() as group:
            for number in range(250):
                name = "bad" if number == 17 else f"event {number}"
                group.start_soon(client.capture, name, "ada")
        await client.capture.flush()
        stats = client.capture.stats
        assert (stats.accepted, stats.sent, stats.lost) == (250, 249, {"refused": 1})
        assert (stats.queued, stats.in_flight) == (0, 0)
    assert count(path) == 0


async def test_nowait_needs_an_open_spool(path: Path) -> None:
    server = Server()
    client = server.client(spool=path)
    with pytest.raises(ConfigurationError, match="spool is not open"):
        client.capture.nowait("early", "ada")
    async with client:
        assert client.capture.nowait("paid", "ada") is not None
        await client.capture("second", "ada")
        await client.capture.flush()
    assert server.delivered == ["paid", "second"]


async def test_the_spool_of_another_project(path: Path) -> None:
    server = out_of_service()
    async with server.client(spool=path, close_timeout=0.0) as client:
        await client.capture("paid", "ada")
    other = AsyncPostHog(project_api_key="phc_other", capture=CaptureSettings(spool=path))
    with pytest.raises(ConfigurationError, match="another project or host"):
        async with other:
            pass
    assert count(path) == 1
    assert b"phc_tests" not in content(path)
    assert spool_threads() == 0


async def test_a_spool_in_use(path: Path) -> None:
    async with Server().client(spool=path) as client:
        await client.capture("paid", "ada")
        with pytest.raises(ConfigurationError, match="in use by another process or client"):
            async with Server().client(spool=path):
                pass
        code = (
            "import anyio, sys\n"
            "from asyncposthog import AsyncPostHog, CaptureSettings\n"
            "async def main():\n"
            "    settings = CaptureSettings(spool=sys.argv[1])\n"
            "    async with AsyncPostHog(project_api_key='phc_tests', region='eu',\n"
            "                            capture=settings): pass\n"
            "anyio.run(main)\n"
        )
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
            )
        )
        assert "in use by another process" in done.stderr


@pytest.mark.parametrize("kind", ["text", "database", "folder", "newer"])
async def test_a_file_that_is_no_spool(path: Path, kind: str) -> None:
    expected: type[Exception] = ConfigurationError
    if kind == "text":
        path.write_text("hello, I am a text\n" * 100)  # noqa: ASYNC240
    elif kind == "folder":
        path, expected = path / "missing" / "spool.db", CaptureError
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE things (id INTEGER)")
            if kind == "newer":
                database.execute("PRAGMA application_id = 1634756723")
                database.execute("PRAGMA user_version = 99")
        database.close()
    before = content(path)
    with pytest.raises(expected, match="spool"):
        async with Server().client(spool=path):
            pass
    assert content(path) == before


async def test_a_spool_that_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server().client(spool=path) as client:
        await client.capture("fine", "ada")
        await client.capture.flush()
        spool: Any = client.capture._spool
        limit = "PRAGMA max_page_count = 1"  # as if the disk were full
        await spool._run(lambda: spool._worker.database.execute(limit).fetchall())
        with pytest.raises(CaptureError, match="cannot be written"):
            await client.capture("too much", "ada", properties={"text": "x" * 800_000})
        assert client.capture.stats.dropped["spool_error"] == 1


KILLED = """
import sys, anyio
from asyncposthog import AsyncPostHog, CaptureSettings

async def main():
    url, path = sys.argv[1:]
    settings = CaptureSettings(spool=path, flush_at=10)
    async with AsyncPostHog(project_api_key="phc_emulator", host=url, capture=settings) as ph:
        async def many(start):
            for number in range(start, 10_000_000, 10):
                uuid = await ph.capture("paid", "ada", properties={"number": number})
                print(uuid, flush=True)
        async with anyio.create_task_group() as group:
            for start in range(10):
                group.start_soon(many, start)

anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_process_that_is_killed_loses_nothing(path: Path) -> None:
    emulator = Emulator(history_size=100_000)
    emulator.faults.randomize(seed=3, rate=0.2)
    accepted: set[str] = set()
    with serve_sync(emulator) as url:
        for _ in range(2):
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-c", KILLED, url, str(path)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            for _ in range(200):
                accepted.add(process.stdout.readline().strip())
            process.send_signal(signal.SIGKILL)
            # What it has printed was accepted too.
            accepted |= {line for line in process.stdout.read().split() if len(line) == 36}
            process.wait()
            process.stdout.close()
        emulator.faults.clear()
        settings = CaptureSettings(spool=path, close_timeout=60.0)
        async with AsyncPostHog(
            project_api_key="phc_emulator", host=url, capture=settings
        ) as client:
            await client.capture.flush()
            assert client.capture.stats.lost == {}
    captured = emulator.captured_events("paid")
    missing = accepted - {event["uuid"] for event in captured}
    assert (len(accepted) >= 400, missing) == (True, set())
    # At least once: whatever came twice is the same event.
    numbers = {(event["uuid"], event["properties"]["number"]) for event in captured}
    assert len(numbers) == len({event["uuid"] for event in captured})


@pytest.mark.parametrize("spooled", [False, True])
def test_a_forked_child_starts_with_nothing(path: Path, spooled: bool) -> None:
    code = """
import os, sys, anyio, httpx, json
from asyncposthog import AsyncPostHog, CaptureSettings

sent = []
def respond(request):
    body = request.content
    import gzip
    batch = json.loads(gzip.decompress(body))["batch"]
    sent.extend(event["event"] for event in batch)
    return httpx.Response(200, json={"results": {e["uuid"]: {"result": "ok"} for e in batch}})

spool = sys.argv[1] or None
ph = AsyncPostHog(project_api_key="phc_x", transport=httpx.MockTransport(respond),
                  capture=CaptureSettings(spool=spool, flush_at=100, flush_interval=100.0,
                                          compression="gzip"))

async def parent():
    await ph.capture("parent", "ada")
    child = os.fork()
    if child == 0:
        return False
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    await ph.aclose()
    return True

async def in_child():
    if spool:
        try:
            await ph.capture("child", "ada")
        except Exception as error:
            assert "in use by another process" in str(error), error
            return
        raise AssertionError("the spool of the parent was opened")
    await ph.capture("child", "ada")
    await ph.aclose()
    assert sent == ["child"], sent

class Forked(BaseException): pass

def main():
    import asyncio
    loop = asyncio.new_event_loop()
    if loop.run_until_complete(parent()):
        assert sent == ["parent"], sent
        print("done")
        loop.close()
        return
    # The child leaves the loop of its parent.
    asyncio.set_event_loop(None)
    asyncio._set_running_loop(None)
    try:
        asyncio.run(in_child())
    except BaseException:
        import traceback; traceback.print_exc()
        os._exit(1)
    os._exit(0)

main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path) if spooled else ""],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr
