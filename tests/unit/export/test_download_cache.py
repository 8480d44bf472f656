"""Folders of downloaded files: who can use them, how long they are kept, what is left of them."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog import ExportError
from asyncposthog.export.engines.files.cache import DownloadCache
from posthog_emulator import Emulator
from tests.helpers.fake_query_api import Server, events

from .test_files import (
    COLUMNS,
    COUNT,
    DOWNLOADS,
    END,
    START,
    compact,
    connected,
    emulator,
    event_database,
    left,
    server,
    spool,
)

__all__ = ["emulator", "event_database", "server", "spool"]

HOLDER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from asyncposthog.export.engines.files.cache import DownloadCache
held = [DownloadCache.resumable({"n": 1}), DownloadCache.temporary()]
for one in held:
    one.folder.mkdir(exist_ok=True)
    print(one.folder, flush=True)
input()
"""


def root(spool: Path) -> Path:
    (found,) = [path for path in spool.iterdir() if path.name.startswith("asyncposthog-files-")]
    return found


def age(folder: Path, hours: float) -> None:
    then = time.time() - hours * 3_600
    os.utime(folder, (then, then))


def test_unused_folders_are_removed_by_the_next_run(spool: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(spool)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdout is not None
        one, passing = (Path(holder.stdout.readline().strip()) for _ in range(2))
        age(one, 1_000)
        age(passing, 1_000)
        DownloadCache.resumable({"n": 2}).remove()
        assert one.exists(), "it is in use, however old it is"
        assert passing.exists()
        holder.kill()
        holder.wait()
    DownloadCache.resumable({"n": 2}).remove()
    assert not one.exists()
    assert not passing.exists()
    assert os.listdir(root(spool)) == []


def test_resumable_folders_stay_for_a_day(spool: Path) -> None:
    first = DownloadCache.resumable({"n": 1})
    first.job(0).write_state({"id": "x"})
    first.release()
    age(first.folder, 20)
    other = DownloadCache.resumable({"n": 2})
    assert first.folder.exists()
    again = DownloadCache.resumable({"n": 1})
    assert again.folder == first.folder
    assert again.job(0).read_state() == {"id": "x"}
    beside = DownloadCache.resumable({"n": 1})
    assert beside.folder != again.folder, "another export of the same rows has its own"
    for one in (again, beside):
        one.release()
    age(first.folder, 25)
    DownloadCache.temporary().remove()
    assert not first.folder.exists()
    other.remove()
    assert os.listdir(root(spool)) == []


def test_the_folder_is_private_to_the_user(spool: Path) -> None:
    held = DownloadCache.temporary()
    for folder in (root(spool), held.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    held.remove()
    folder = root(spool)
    folder.chmod(0o777)
    DownloadCache.temporary().remove()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()
    (spool / "elsewhere").mkdir()
    folder.symlink_to(spool / "elsewhere")
    with pytest.raises(ExportError, match="belongs to another user, or is not a folder"):
        DownloadCache.resumable({})
    assert os.listdir(spool / "elsewhere") == []


class Interrupted(Exception):
    pass


@pytest.mark.anyio
@pytest.mark.parametrize("checkpoint", [None, False], ids=["default", "none"])
async def test_interrupted_while_files_are_made(
    checkpoint: Any, server: Server, emulator: Emulator, spool: Path, tmp_path: Path
) -> None:
    """Before the first row: the server's run and fetched files are reused, or nothing is left."""
    folder = tmp_path / "out"
    folder.mkdir()
    fetched = 0

    def stop(request: Any) -> None:
        nonlocal fetched
        if request.url.host == "object-store.localhost":
            fetched += 1
            raise Interrupted

    async with connected(server, emulator, stop) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, engine="files")
        with pytest.raises(Interrupted):
            await job.to_jsonl(folder / "e.jsonl", checkpoint=checkpoint)
    assert fetched == 1
    if checkpoint is False:
        assert (os.listdir(folder), left(spool)) == ([], [])
    else:
        assert os.listdir(folder) == [".e.jsonl.checkpoint"]
    made = len(emulator.items("file_download_batch_exports"))
    emulator.advance(3_600)
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, engine="files")
        assert (await job.to_jsonl(folder / "e.jsonl", checkpoint=checkpoint)).rows == COUNT
    if checkpoint is None:
        assert len(emulator.items("file_download_batch_exports")) == made
    assert (os.listdir(folder), left(spool)) == (["e.jsonl"], [])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_cancellation_while_files_are_made(
    server: Server, emulator: Emulator, spool: Path, tmp_path: Path
) -> None:
    emulator.settings.export_seconds = 1e6
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, engine="files")
        for checkpoint in (False, None):
            emulator.requests.clear()
            task = asyncio.ensure_future(job.to_jsonl(tmp_path / "e.jsonl", checkpoint=checkpoint))
            # The state is requested after the id of the run was stored.
            while not any(
                one.method == "GET" and one.path.startswith(DOWNLOADS) for one in emulator.requests
            ):
                await anyio.lowlevel.checkpoint()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            names = set(os.listdir(tmp_path)) - {"spool"}
            assert names == (set() if checkpoint is False else {".e.jsonl.checkpoint"})
            assert bool(left(spool)) == (checkpoint is None)
        emulator.settings.export_seconds = 0
        assert (await job.to_jsonl(tmp_path / "e.jsonl")).rows == COUNT
    assert left(spool) == []


@pytest.mark.anyio
async def test_concurrent_exports_of_the_same_rows(
    server: Server, emulator: Emulator, spool: Path, tmp_path: Path
) -> None:
    async with connected(server, emulator) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, engine="files")
        async with anyio.create_task_group() as group:
            for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
                group.start_soon(job.to_jsonl, tmp_path / name)
    found = {(tmp_path / name).read_bytes() for name in ("a.jsonl", "b.jsonl", "c.jsonl")}
    assert len(found) == 1
    assert found.pop().count(b"\n") == COUNT
    assert left(spool) == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_incomplete_files_are_removed(
    server: Server,
    emulator: Emulator,
    spool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncposthog.export.request.FILES_THRESHOLD_QUERIES", 10)
    late = Server([*server.rows, *map(compact, events(10, seed=9))])
    stop = False

    def look(request: Any) -> None:
        nonlocal stop
        stop = stop or request.url.host == "object-store.localhost"
        if stop and request.url.path.endswith("/query/"):
            raise Interrupted

    async with connected(late, emulator, look) as ph:
        job = ph.export.events(START, END, columns=COLUMNS, page_size=20)
        with pytest.raises(Interrupted):
            await job.to_jsonl(tmp_path / "e.jsonl")
    assert left(spool) == []
    assert os.listdir(tmp_path) == ["spool"]
