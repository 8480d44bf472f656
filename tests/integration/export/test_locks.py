"""Two exports with one target or one checkpoint: one gets an error at once, and no row is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event as ThreadEvent
from threading import Thread, current_thread, main_thread
from typing import Any, TypeAlias

import anyio
import pytest

from asyncposthog import ExportError
from asyncposthog.export import ExportJob, Report, locks
from asyncposthog.export.locks import FileLock
from tests.helpers.fake_query_api import (
    START,
    ReceivedQuery,
    Server,
    client,
    events,
    to_datetime,
    to_micros,
)
from tests.helpers.forked_processes import running

from . import graceful_ends_worker as ends_worker
from .holding_server import HoldingServer, everything, holding_server
from .test_graceful_ends import TARGETS

COUNT = 60
END = to_datetime(to_micros(START) + 86_400_000_000)


@pytest.fixture
def server() -> Generator[HoldingServer]:
    with holding_server() as server:
        yield server


Write: TypeAlias = Callable[[ExportJob], Awaitable[Report]]


class Pair:
    """Two exports in one event loop: the second starts while the first waits for its rows."""

    def __init__(self) -> None:
        self.held = anyio.Event()
        self.released = anyio.Event()
        self.model = Server(events(COUNT))

    async def __call__(self, request: Any) -> Any:
        answer = await self.model(request)
        if not self.held.is_set():
            self.held.set()
            await self.released.wait()
        return answer

    async def run(self, first: Write, second: Write) -> tuple[Report, ExportError | None]:
        """Return the report of the first, and the error of the second."""
        reports: list[Report] = []
        error: ExportError | None = None
        async with client(self) as ph:
            job = ph.export.events(START, END, engine="query")

            async def begin() -> None:
                reports.append(await first(job))

            async with anyio.create_task_group() as group:
                group.start_soon(begin)
                await self.held.wait()
                try:
                    await second(job)
                except ExportError as caught:
                    error = caught
                self.released.set()
        return reports[0], error


@pytest.mark.anyio
@pytest.mark.parametrize("checkpoint", [None, False], ids=["default", "none"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
async def test_two_exports_to_one_target(
    form: str, checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "one" / TARGETS[form]
    target.parent.mkdir()
    (tmp_path / "link").symlink_to(target.parent)
    monkeypatch.chdir(tmp_path)
    spellings = [target, Path("one") / target.name, tmp_path / "link" / ".." / "one" / target.name]
    for spelling in (*spellings, tmp_path / "link" / target.name):

        async def write(job: Any, path: Path = target) -> Report:
            return await getattr(job, f"to_{form}")(path, checkpoint=checkpoint)

        pair = Pair()
        report, error = await pair.run(write, partial(write, path=spelling))
        assert error is not None
        assert "another running export (process" in error.message
        assert "Wait until it has ended" in str(error)
        assert report.rows == COUNT
        # Two counts and a page: the queries of a single export.
        assert len(pair.model.queries) == 3, "the second has asked for nothing"
        found = everything(target.parent)
        assert len(found) == 1, found.keys()
        for path in target.parent.rglob("*.*"):
            if path.is_file():
                path.unlink()


@pytest.mark.anyio
async def test_one_checkpoint_for_two_targets(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first, error = await Pair().run(
        lambda job: job.to_jsonl(tmp_path / "a.jsonl", checkpoint=state),
        lambda job: job.to_csv(tmp_path / "b.csv", checkpoint=tmp_path / "." / "state"),
    )
    assert first.rows == COUNT
    assert error is not None
    assert f"The checkpoint {state} is used by another running export" in error.message
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "state"]
    # Also if the checkpoint is the default one of the other, or rows go to a callback.
    _, error = await Pair().run(
        lambda job: job.to_jsonl(tmp_path / "c.jsonl"),
        lambda job: job.to_callback(print, checkpoint=tmp_path / ".c.jsonl.checkpoint"),
    )
    assert error is not None
    async with client(Server(events(COUNT))) as ph:
        job = ph.export.events(START, END)
        with pytest.raises(ExportError, match="both the output and the checkpoint"):
            await job.to_jsonl(tmp_path / "d", checkpoint=tmp_path / "." / "d")


@pytest.mark.parametrize("checkpoint", ["default", "none"])
def test_locks_between_processes(server: HoldingServer, checkpoint: str, tmp_path: Path) -> None:
    target = tmp_path / "e.jsonl"
    arguments = (server.url, "jsonl", str(target), checkpoint)
    server.hold(2)
    with running(ends_worker.main, "plain", *arguments) as (first, _):
        server.wait()
        before = everything(tmp_path)
        requests = server.requests
        with running(ends_worker.main, "plain", *arguments) as (second, pipe):
            words = pipe.recv()
            second.join()
            assert second.exitcode == 4, words
        assert words.startswith("ExportError: ")
        assert f"(process {first.pid} on " in words
        assert everything(tmp_path) == before
        assert server.requests == requests
        first.kill()
        first.join()
    assert any(name.endswith(".lock") for name in everything(tmp_path))
    server.released.set()
    anyio.run(ends_worker.export, *arguments)
    assert os.listdir(tmp_path) == ["e.jsonl"]
    assert target.read_bytes().count(b"\n") == 90


@pytest.mark.anyio
async def test_locks_are_always_released(tmp_path: Path) -> None:
    def fault(query: ReceivedQuery) -> None:
        raise KeyError

    async with client(Server(events(COUNT), fault=fault)) as ph:
        job = ph.export.events(START, END)
        for _ in range(2):
            with pytest.raises(KeyError):
                await job.to_jsonl(tmp_path / "e.jsonl")
            with pytest.raises(KeyError):
                await job.to_parquet(tmp_path / "e")
    assert os.listdir(tmp_path) == []
    (tmp_path / "e").write_text("mine")
    async with client(Server(events(COUNT))) as ph:
        job = ph.export.events(START, END)
        with pytest.raises(FileExistsError):
            await job.to_jsonl(tmp_path / "e")
        with pytest.raises(FileExistsError, match="is not a folder"):
            await job.to_parquet(tmp_path / "e")
    assert everything(tmp_path) == {"e": b"mine"}


def test_locks_are_exclusive_while_files_are_recreated(tmp_path: Path) -> None:
    path, inside, failures, taken = tmp_path / ".lock", [0], list[int](), [0]

    def work() -> None:
        for _ in range(300):
            lock = FileLock.acquire(path)
            if lock is None:
                continue
            inside[0] += 1
            if inside[0] != 1:
                failures.append(inside[0])
            taken[0] += 1
            inside[0] -= 1
            lock.release()
            lock.release()

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert taken[0] > 0
    assert not path.exists()


def test_a_removed_lock_file_does_not_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, usual, removed = tmp_path / ".lock", locks._try_lock, list[int]()

    def lock(descriptor: int) -> bool:
        """Lock the file, which its holder has removed since it was opened, and another has made."""
        if not removed:
            removed.append(os.fstat(descriptor).st_ino)
            path.unlink()
            path.touch()
        return usual(descriptor)

    monkeypatch.setattr(locks, "_try_lock", lock)
    taken = FileLock.acquire(path)
    assert taken is not None
    assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert FileLock.acquire(path) is None
    taken.release()
    assert not path.exists()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("target", "name"),
    [("e.jsonl", ".e.jsonl.lock"), ("e/", "e/.asyncposthog.lock"), ("e.jsonl", ".state.lock")],
)
@pytest.mark.parametrize("content", ["precious", "process 1 on a\nprecious", "hard link", "empty"])
async def test_other_files_at_the_lock_path_are_kept(
    target: str, name: str, content: str, tmp_path: Path
) -> None:
    """An empty file may be a lock file, if its process was killed before it wrote to it."""
    text = "" if content == "empty" else content
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    if content == "hard link":
        (tmp_path / name).write_text("")
        os.link(tmp_path / name, tmp_path / "notes")
    server = Server(events(COUNT))
    async with client(server) as ph:
        job = ph.export.events(START, END)
        write = job.to_jsonl if target == "e.jsonl" else job.to_parquet
        export = write(f"{tmp_path}/{target}", checkpoint=tmp_path / "state")
        if content == "empty":
            await export
            assert not (tmp_path / name).exists()
            return
        with pytest.raises(ExportError, match="as the lock file of the export"):
            await export
    assert server.queries == []
    assert (tmp_path / name).read_text() == ("" if content == "hard link" else text)


@pytest.mark.parametrize("target", ["e.jsonl", "e.parquet", "e"])
def test_a_closed_event_loop_releases_locks(target: str, tmp_path: Path) -> None:
    """This happens after Ctrl-C is pressed three times at a Python prompt."""
    written, go_on = ThreadEvent(), ThreadEvent()

    def fsync(descriptor: int, usual: Callable[[int], None] = os.fsync) -> None:
        if len(seen) == 3:
            written.set()
            assert go_on.wait(60)
        seen.append(descriptor)
        usual(descriptor)

    async def export() -> Report:
        async with client(Server(events(COUNT))) as ph:
            job = ph.export.events(START, END, page_size=10, engine="query")
            if target == "e.jsonl":
                return await job.to_jsonl(tmp_path / target)
            return await job.to_parquet(tmp_path / target)

    seen: list[int] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(export())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        while not (written.is_set() or task.done()):
            loop.run_until_complete(asyncio.sleep(0))
        assert written.is_set(), task.exception()
        loop.close()
        # The disk is slow: the thread of the first export is still writing.
        opening = Thread(target=go_on.set)
        opening.start()
        assert asyncio.run(export()).rows == COUNT
        opening.join()
    found = everything(tmp_path)
    assert len(found) == 1, found.keys()
    # The first export is garbage-collected later, and changes nothing.
    coroutine = task.get_coro()
    assert coroutine is not None
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with suppress(RuntimeError):  # its client can only be closed in an event loop
        coroutine.close()
    del task, coroutine
    gc.collect()
    assert everything(tmp_path) == found
    assert not locks._locks


def test_ctrl_c_during_lock_release(tmp_path: Path) -> None:
    """A second Ctrl-C is raised in the main thread, so the release must run in another one."""
    released: list[bool] = []

    def release(self: FileLock, usual: Callable[[FileLock], None] = FileLock.release) -> None:
        released.append(current_thread() is main_thread())
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        usual(self)

    async def export(fault: Any) -> None:
        async with client(Server(events(COUNT), fault=fault)) as ph:
            await ph.export.events(START, END).to_jsonl(tmp_path / "e.jsonl")

    def fault(query: ReceivedQuery) -> None:
        raise KeyError

    def none(query: ReceivedQuery) -> None:
        return None

    for fails in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileLock, "release", release)
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(export(fault if fails else none))
        assert os.listdir(tmp_path) == ([] if fails else ["e.jsonl"])
        assert not locks._locks
    assert released == [False] * 4


FORKED = """
import os, sys, pathlib
from asyncposthog.export.locks import FileLock
path = pathlib.Path(sys.argv[1])
lock = FileLock.acquire(path)
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    lock.release()  # it is not the child's
    assert path.exists() and FileLock.acquire(path) is None
    os.write(1, b"forked ")
    os.read(read, 1)  # until the parent dies
    os.read(0, 1)  # until it has closed its files
    again = FileLock.acquire(path)
    os.write(1, b"free" if again else b"taken")
    os._exit(0)
os.close(read)
os._exit(int(os.read(os.dup(0), 1) == b"?"))
"""


def test_forked_processes_do_not_keep_locks(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKED, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.read(7) == b"forked "
        parent.kill()
        parent.wait()
        parent.stdin.write(b"!")
        parent.stdin.flush()
        assert parent.stdout.read() == b"free"
