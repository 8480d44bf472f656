"""Exports by files whose process is killed, and that are run again."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from posthog_emulator import Emulator, serve
from tests.unit.export.test_files import END, START, emulator, server

__all__ = ["emulator", "server"]

ROOT = Path(__file__).resolve().parents[3]


async def export(url: str, target: Path, kill_at: int | None = None) -> int:
    """Run a process to its end, or until it has printed so many rows; return its exit code."""
    arguments = [url, str(target), START.isoformat(), END.isoformat()]
    environment = {
        **os.environ,
        "TMPDIR": str(target.parent),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    command = [sys.executable, "-m", "tests.integration.export.files_worker", *arguments]
    async with await anyio.open_process(command, env=environment, cwd=ROOT, stderr=None) as process:
        assert process.stdout is not None
        told = b""
        async for chunk in process.stdout:
            told += chunk
            lines = told.split(b"\n")[:-1]
            if kill_at is not None and lines and int(lines[-1]) >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
        return await process.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_killed_downloads_end_in_the_same_bytes(emulator: Emulator, tmp_path: Path) -> None:
    emulator.unfreeze()
    emulator.settings.export_seconds = 0
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    killed, whole = tmp_path / "killed" / "a.jsonl", tmp_path / "whole" / "a.jsonl"
    async with serve(emulator) as url:
        assert await export(url, killed, kill_at=500) == -signal.SIGKILL
        assert not killed.exists()
        made = len(emulator.items("file_download_batch_exports"))
        assert await export(url, killed) == 0
        assert len(emulator.items("file_download_batch_exports")) == made, "found, not made anew"
        assert await export(url, whole) == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert len(killed.read_bytes().splitlines()) == 2_000
    assert [path for path in killed.parent.rglob("*") if path.is_file()] == [killed]
