"""An interrupted export closes its files after its threads have ended, not before.

anyio's scopes are not used here: these are the ways in which asyncio itself cancels tasks.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.export.engines.base import ExportStats
from asyncposthog.export.engines.files import download
from asyncposthog.export.engines.files.cache import DownloadCache
from asyncposthog.export.sinks.parquet import ParquetSink
from asyncposthog.export.sinks.text import TextSink
from tests.helpers.fake_query_api import (
    START,
    Server,
    client,
    events,
    export_clock,
    to_datetime,
    to_micros,
)

Interrupt: TypeAlias = Callable[[Awaitable[Any], "Gate"], Awaitable[None]]

END = to_datetime(to_micros(START) + 86_400_000_000)
RUN = "00000000-0000-0000-0000-000000000001"
TARGETS = {"parquet": "events", "jsonl": "e.jsonl", "csv": "e.csv", "gzip": "e.jsonl.gz"}


class Gate:
    """Blocks a thread inside of a function."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.log: list[str] = []

    def hold(self, owner: Any, name: str, patch: pytest.MonkeyPatch) -> None:
        """Block the first call of a function until the gate opens, and log all calls."""
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.log.append(name)
            self.entered.set()
            assert self.open.wait(60)
            if getattr(args[0], "closed", False) is True:
                self.log.append("its file is closed already")
            try:
                return function(*args, **kwargs)
            finally:
                self.log.append(f"end of {name}")

        patch.setattr(owner, name, call)

    async def reached(self, task: asyncio.Future[Any] | None = None) -> None:
        while not self.entered.is_set():
            assert task is None or not task.done(), task
            await asyncio.sleep(0)


async def cycles() -> None:
    """Let the event loop run everything that does not need the thread."""
    for _ in range(30):
        await asyncio.sleep(0)


async def by_cancel(work: Awaitable[Any], gate: Gate) -> None:
    task = asyncio.ensure_future(work)
    await gate.reached(task)
    task.cancel()
    await cycles()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_many_cancels(work: Awaitable[Any], gate: Gate) -> None:
    task = asyncio.ensure_future(work)
    await gate.reached(task)
    for _ in range(3):
        task.cancel()
        await cycles()
    gate.open.set()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


async def by_time_out(work: Awaitable[Any], gate: Gate) -> None:
    time_out, loop = asyncio.timeout(None), asyncio.get_running_loop()

    async def limited() -> None:
        async with time_out:
            await work

    task = asyncio.create_task(limited())
    await gate.reached(task)
    time_out.reschedule(loop.time())
    while not task.cancelling():  # noqa: ASYNC110
        await asyncio.sleep(0)
    await cycles()
    gate.open.set()
    with pytest.raises(TimeoutError):
        await task


async def by_task_group(work: Awaitable[Any], gate: Gate) -> None:
    async def fail() -> None:
        await gate.reached()
        raise ValueError("another task")

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_awaited(work))
            group.create_task(fail())

    task = asyncio.create_task(grouped())
    await gate.reached(task)
    await cycles()
    gate.open.set()
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert [str(error) for error in caught.value.exceptions] == ["another task"]


async def _awaited(work: Awaitable[Any]) -> None:
    await work


WAYS: list[Interrupt] = [by_cancel, by_many_cancels, by_time_out, by_task_group]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", ["begin", "write", "finish"])
@pytest.mark.parametrize("form", TARGETS)
def test_files_are_closed_after_the_thread_has_ended(
    form: str, step: str, way: Interrupt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, sink = Gate(), ParquetSink if form == "parquet" else TextSink
    gate.hold(sink, step, monkeypatch)
    gate.hold(sink, "close", monkeypatch)

    async def main() -> None:
        async with client(Server(events(300))) as ph:
            await way(export(ph, tmp_path, form), gate)

    asyncio.run(main())
    assert gate.log == [step, f"end of {step}", "close", "end of close"]
    # Whether or not a run can resume, no file is left open.
    assert open_files(tmp_path) == []


def export(ph: AsyncPostHog, folder: Path, form: str) -> Awaitable[Any]:
    job, target = ph.export.events(START, END, page_size=100), folder / TARGETS[form]
    if form == "parquet":
        return job.to_parquet(target, rows_per_file=150, rows_per_group=40)
    return job.to_csv(target) if form == "csv" else job.to_jsonl(target)


def open_files(folder: Path) -> list[str]:
    """Return the files in a folder that this process has open."""
    found: list[str] = []
    if not Path("/proc/self/fd").exists():
        return found  # only Linux lists open files there
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return [name for name in found if name.startswith(str(folder))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", ["_open", "_write", "_sync"])
def test_a_download_is_closed_after_the_thread_has_ended(
    step: str, way: Interrupt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, content, path = Gate(), b"PAR1" * 100, tmp_path / "part"
    gate.hold(download, step, monkeypatch)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content)

    async def main() -> None:
        transport = httpx.MockTransport(answer)
        async with AsyncPostHog("phx_x", project_id=1, transport=transport, limits=False) as ph:
            resource = ph.file_download_batch_exports
            arguments = (resource, RUN, RUN, path, ExportStats(), export_clock(), None)
            await way(download.fetch(*arguments), gate)
            assert open_files(tmp_path) == []
            await download.fetch(*arguments)

    asyncio.run(main())
    assert gate.log[:2] == [step, f"end of {step}"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("way", WAYS)
def test_a_temporary_folder_is_removed(
    way: Interrupt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gate = Gate()
    gate.hold(DownloadCache, "temporary", monkeypatch)

    async def main() -> None:
        async with client(Server(events(10))) as ph:
            rows = ph.export.events(START, END, engine="files").__aiter__()
            await way(rows.__anext__(), gate)

    asyncio.run(main())
    gc.collect()
    assert list(tmp_path.iterdir()) == []
