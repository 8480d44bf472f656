"""Exports by files from a served emulator, also in a process that is killed."""

from __future__ import annotations

import os
import signal
import tempfile
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

import anyio

from asyncposthog import AsyncPostHog
from asyncposthog.export import Progress, Report


async def export(
    url: str, target: Path, start: datetime, end: datetime, kill_at: int = 0
) -> Report:
    """Export; `kill_at`: send SIGKILL to this process when so many rows are written."""

    def on_progress(progress: Progress) -> None:
        if 0 < kill_at <= progress.rows:
            os.kill(os.getpid(), signal.SIGKILL)

    async with AsyncPostHog("phx_emulator", project_id=1, host=url, limits=False) as ph:
        columns = ["uuid", "event", "properties"]
        job = ph.export.events(start, end, columns=columns, engine="files", page_size=20)
        return await job.to_jsonl(target, on_progress=on_progress)


def main(
    _: Connection, spool: Path, url: str, target: Path, start: datetime, end: datetime, kill_at: int
) -> None:
    """Export in a process of its own, with another folder for temporary files."""
    tempfile.tempdir = str(spool)
    anyio.run(export, url, target, start, end, kill_at)
