"""Targets that cannot be written: the error, the remaining files, and resuming."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import ExportError
from asyncposthog.export import Progress
from tests.helpers.fake_query_api import START, Server, client, events

DAY = timedelta(days=1)
END = START + DAY

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: files are written in threads. `test_events` does so on both."""
    return "asyncio"


async def test_a_read_only_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(events(100))

    usual = os.open

    def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return usual(path, flags, *args, **kwargs)

    def refuse_all(path: Path, **_: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async with client(server) as ph:
        job = ph.export.events(START, END)
        monkeypatch.setattr(Path, "mkdir", refuse_all)
        monkeypatch.setattr(os, "open", refuse)
        for write, name in (("to_jsonl", "e.jsonl"), ("to_csv", "e.csv"), ("to_parquet", "e")):
            with pytest.raises(ExportError, match="Read-only file system") as caught:
                await getattr(job, write)(tmp_path / name)
            assert "Choose another target" in str(caught.value)
            assert name in str(caught.value)
    assert server.queries == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
async def test_resume_after_a_full_disk(form: str, tmp_path: Path) -> None:
    # The last of three days has the most.
    dense_and_sparse_events = [
        replace(row, time=row.time + 2 * 86_400_000_000) for row in events(2_000, seed=1)
    ]
    server = Server([*events(1_000, spread=2 * 86_400_000_000), *dense_and_sparse_events])
    async with client(server) as ph:
        job = ph.export.events(START, START + 3 * DAY, page_size=400)
        write = getattr(job, f"to_{form}")
        await write(tmp_path / "whole")
        whole = contents(tmp_path / "whole")
        room = max(map(len, whole.values())) - 4_096
        with full_beyond(room), pytest.raises(ExportError, match="the disk is full") as caught:
            await write(tmp_path / "broken")
        assert "rows are saved" in "".join(caught.value.__notes__)
        assert contents(tmp_path / "broken", "*.parquet").items() <= whole.items()
        report = await write(tmp_path / "broken")
    assert report.resumed
    assert report.rows == 3_000
    assert contents(tmp_path / "broken") == whole


@contextmanager
def full_beyond(size: int) -> Generator[None]:
    """Raise the error of a full disk when a file becomes larger than a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(target: Path, pattern: str = "*") -> dict[str, bytes]:
    paths = [target] if target.is_file() else [p for p in target.rglob(pattern) if p.is_file()]
    return {str(path.relative_to(target)): path.read_bytes() for path in paths}


async def test_a_file_created_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    server, path = Server(events(2_000)), tmp_path / "e.jsonl"
    server.clamp = 500
    async with client(server) as ph:
        job = ph.export.events(START, END)

        def make(progress: Progress) -> None:
            path.write_bytes(b"mine")

        with pytest.raises(FileExistsError, match="while the export ran"):
            await job.to_jsonl(path, on_progress=make)
        with pytest.raises(FileExistsError, match="while the export ran"):
            await job.to_jsonl(path)
        assert path.read_bytes() == b"mine"
        path.unlink()
        asked = len(server.queries)
        assert (await job.to_jsonl(path)).rows == 2_000
        assert len(server.queries) == asked

        def stop(progress: Progress) -> None:
            raise RuntimeError

        other = tmp_path / "other.jsonl"
        with pytest.raises(RuntimeError):
            await job.to_jsonl(other, on_progress=stop)
        other.write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="while the export was interrupted"):
            await job.to_jsonl(other)
        assert other.read_bytes() == b"mine"


async def test_missing_files_and_folders(tmp_path: Path) -> None:
    async with client(Server(events(10))) as ph:
        job = ph.export.events(START, END)
        with pytest.raises(ExportError, match="there is no folder") as caught:
            await job.to_jsonl(tmp_path / "no" / "e.jsonl")
        assert "Create the folder" in str(caught.value)
        path, state = tmp_path / "e.jsonl", tmp_path / "state"
        await job.to_jsonl(path, checkpoint=state)
        path.unlink()
        with pytest.raises(ExportError, match="is gone") as caught:
            await job.to_jsonl(path, checkpoint=state)
        assert "Remove the checkpoint" in str(caught.value)
