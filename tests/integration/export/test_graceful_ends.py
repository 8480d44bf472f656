"""Interrupted exports: the same call can be repeated, or nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog import ExportError, QuotaError
from asyncposthog.export import Report
from tests.helpers.fake_query_api import (
    START,
    ReceivedQuery,
    Server,
    client,
    events,
    refusal,
    to_datetime,
    to_micros,
)
from tests.helpers.forked_processes import running

from . import graceful_ends_worker as ends_worker
from .holding_server import HoldingServer, everything, holding_server

TARGETS = {"jsonl": "e.jsonl", "parquet": "events", "list": "cohorts"}


@pytest.fixture(scope="module")
def server() -> Generator[HoldingServer]:
    with holding_server() as server:
        yield server


@pytest.mark.parametrize(
    ("how", "form", "checkpoint"),
    [
        ("plain", "list", "default"),
        ("plain", "parquet", "default"),
        ("trio", "list", "none"),
        ("timeout", "list", "default"),
        ("cancel", "parquet", "none"),
        ("group", "jsonl", "default"),
    ],
)
def test_interruption_while_waiting_for_a_page(
    server: HoldingServer, how: str, form: str, checkpoint: str, tmp_path: Path
) -> None:
    whole, target = tmp_path / "whole", tmp_path / "broken" / TARGETS[form]
    whole.mkdir()
    target.parent.mkdir()
    asyncio.run(ends_worker.export(server.url, form, str(whole / TARGETS[form]), checkpoint))
    server.hold(2 if form == "list" else 3)
    arguments = how, server.url, form, str(target), checkpoint
    with running(ends_worker.main, *arguments) as (exporting, pipe):
        server.wait()
        assert everything(target.parent), "it had begun"
        if how in {"plain", "trio"}:
            assert exporting.pid is not None
            os.kill(exporting.pid, signal.SIGINT)
        else:
            pipe.send("end")
        exporting.join()
        assert exporting.exitcode == (130 if how in {"plain", "trio"} else 3)
    server.released.set()
    if checkpoint == "none" or form == "list":
        # No page of the list ended where a file did, so there was no safe point.
        assert os.listdir(target.parent) == []
    asyncio.run(ends_worker.export(server.url, form, str(target), checkpoint))
    assert everything(target.parent) == everything(whole)


COUNT = 90


class StepCounter:
    """Calls a function at the nth system call that changes files, or at the nth request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.done = 0
        self.call: Callable[[], object] = lambda: None
        for name in ("fsync", "replace", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def begin(self, at: int | None, call: Callable[[], object]) -> None:
        self.at, self.done, self.call = at, 0, call

    def step(self) -> None:
        self.done += 1
        if self.done == self.at:
            self.call()

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return function(*args, **kwargs)

        return call


async def export(
    form: str, target: Path, checkpoint: Any, steps: StepCounter | None = None
) -> Report:
    def fault(query: ReceivedQuery) -> None:
        if steps is not None:
            steps.step()

    server = Server(events(COUNT, spread=2 * 86_400_000_000), fault=fault)
    async with client(server) as ph:
        end = to_datetime(to_micros(START) + 2 * 86_400_000_000)
        job = ph.export.events(START, end, page_size=50, engine="query")
        if form == "parquet":
            return await job.to_parquet(target, rows_per_file=50, checkpoint=checkpoint)
        return await job.to_jsonl(target, checkpoint=checkpoint)


@pytest.mark.parametrize("checkpoint", [None, "state", False], ids=["default", "named", "none"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_cancelled_at_every_step(
    form: str, checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = StepCounter(monkeypatch)

    async def run(folder: Path, at: int | None) -> bool:
        """Export, with the task cancelled at a step. Returns whether that ended it."""
        state = folder / "state" if checkpoint == "state" else checkpoint
        loop = asyncio.get_running_loop()
        task = loop.create_task(export(form, folder / TARGETS[form], state, steps))
        steps.begin(at, lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            report = await task
        except asyncio.CancelledError:
            return True
        assert report.rows == COUNT
        return False

    whole = tmp_path / "whole"
    whole.mkdir()
    asyncio.run(run(whole, None))
    total = steps.done
    assert total >= 6
    expected = {name: found for name, found in everything(whole).items() if name != "state"}
    for at in range(1, total + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        ended = asyncio.run(run(folder, at))
        left = everything(folder)
        if ended and checkpoint is False:
            assert left == {}, at
        assert not any(name.endswith(".lock") for name in left), at
        if ended or checkpoint == "state":
            asyncio.run(run(folder, None))
        found = {name: content for name, content in everything(folder).items() if name != "state"}
        assert found == expected, at


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
async def test_anyio_cancellation_at_every_request(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in (1, 2, 3, 4):
        asked = 0
        scope = anyio.CancelScope()

        def fault(query: ReceivedQuery, at: int = at, scope: anyio.CancelScope = scope) -> None:
            nonlocal asked
            asked += 1
            if asked == at:
                scope.cancel()

        folder = tmp_path / str(at)
        folder.mkdir()
        server = Server(events(COUNT, spread=3 * 86_400_000_000), fault=fault)
        async with client(server) as ph:
            end = to_datetime(to_micros(START) + 3 * 86_400_000_000)
            job = ph.export.events(START, end, page_size=20, concurrency=1, engine="query")
            write = job.to_parquet if form == "parquet" else job.to_jsonl
            with scope:
                await write(folder / TARGETS[form])
            assert scope.cancelled_caught
            left = everything(folder)
            assert not left or any(name.endswith("checkpoint") for name in left)
            assert (await write(folder / TARGETS[form])).rows == COUNT


@pytest.mark.anyio
async def test_files_after_the_last_safe_point_are_removed(tmp_path: Path) -> None:
    """An error, and not only an interruption, on the page that completed the files."""
    quota = "api_queries_quota_exceeded"
    server = Server(
        events(COUNT, spread=3 * 86_400_000_000),
        fault=lambda query: refusal(402, quota) if query.number > 1 else None,
    )
    async with client(server) as ph:
        end = to_datetime(to_micros(START) + 3 * 86_400_000_000)
        job = ph.export.events(START, end, page_size=30, concurrency=1, engine="query")
        folder = tmp_path / "mine"
        folder.mkdir()
        with pytest.raises(QuotaError):
            await job.to_parquet(folder, rows_per_file=10, checkpoint=False)
        assert os.listdir(tmp_path) == ["mine"], "a folder of the user's own stays"
        assert os.listdir(folder) == []
        with pytest.raises(QuotaError):
            await job.to_parquet(tmp_path / "a" / "b", checkpoint=False)
        assert os.listdir(tmp_path) == ["mine"], "folders that the export made do not"


@pytest.mark.anyio
async def test_an_unwritable_checkpoint_is_not_a_safe_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncposthog.export import run as course

    saved = 0
    usual = course.save

    def save(path: Path, checkpoint: Any) -> None:
        nonlocal saved
        saved += 1
        if saved == 2:
            raise ExportError("The disk is full.")
        usual(path, checkpoint)

    monkeypatch.setattr(course, "save", save)
    with pytest.raises(ExportError, match="disk is full") as caught:
        await export("jsonl", tmp_path / "e.jsonl", None)
    assert not getattr(caught.value, "__notes__", []), "nothing is safe"
    assert os.listdir(tmp_path) == []
    assert (await export("jsonl", tmp_path / "e.jsonl", None)).rows == COUNT


@pytest.mark.anyio
async def test_overlapping_exports_keep_each_others_files(
    tmp_path: Path,
) -> None:
    server = Server(events(COUNT, spread=3 * 86_400_000_000))
    async with client(server) as ph:
        ends = [to_datetime(to_micros(START) + days * 86_400_000_000) for days in (1, 2)]
        first, second = (ph.export.events(START, end, overlap=60, engine="query") for end in ends)
        await first.to_parquet(tmp_path / "events", checkpoint=tmp_path / "state")
        before = everything(tmp_path)
        with pytest.raises(FileExistsError, match="already has Parquet files"):
            await second.to_parquet(tmp_path / "events", checkpoint=tmp_path / "state")
    assert everything(tmp_path) == before
