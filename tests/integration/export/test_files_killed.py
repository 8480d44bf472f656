"""Exports by files whose process is killed, and that are run again."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import anyio
import pytest

from posthog_emulator import Emulator, serve
from tests.helpers.forked_processes import exit_code
from tests.unit.export.test_files import COUNT, END, START, emulator, event_database, server

from . import files_worker

__all__ = ["emulator", "event_database", "server"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_killed_downloads_end_in_the_same_bytes(
    event_database: None, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.unfreeze()
    emulator.settings.export_seconds = 0
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    killed, whole = tmp_path / "killed" / "a.jsonl", tmp_path / "whole" / "a.jsonl"
    async with serve(emulator) as url:
        arguments = url, killed, START, END
        died = partial(exit_code, files_worker.main, killed.parent, *arguments, 5 * COUNT // 20)
        assert await anyio.to_thread.run_sync(died) == -signal.SIGKILL
        # Where the process kept what it had fetched.
        monkeypatch.setattr("tempfile.tempdir", str(killed.parent))
        assert not killed.exists()
        made = len(emulator.items("file_download_batch_exports"))
        assert (await files_worker.export(*arguments)).resumed
        assert len(emulator.items("file_download_batch_exports")) == made, "found, not made anew"
        await files_worker.export(url, whole, START, END)
    assert killed.read_bytes() == whole.read_bytes()
    assert len(killed.read_bytes().splitlines()) == COUNT
    files = [path for path in killed.parent.rglob("*") if path.is_file()]
    assert [path for path in files if "batch-exports" not in str(path)] == [killed]
