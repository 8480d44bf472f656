"""An export to Parquet in a process that kills itself at a step that changes a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import anyio

from asyncposthog.export import Report
from asyncposthog.export.sinks import parquet_targets
from tests.helpers.fake_query_api import START, Server, client, events


def die_at(number: int) -> None:
    """Kill the process at the nth step."""
    left = number

    def deadly(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args, **kwargs)

        return call

    for name in ("fsync", "replace", "rename", "unlink"):
        setattr(os, name, deadly(getattr(os, name)))


async def export(target: str) -> Report:
    """Export three days to a file or a folder, which may exist."""
    server = Server(events(1_200, ties=3, spread=3 * 86_400_000_000))
    async with client(server) as ph:
        job = ph.export.events(START, START + timedelta(days=3), page_size=101)
        return await job.to_parquet(target, rows_per_group=50, overwrite=True)


def main(_: Connection, target: str, number: int) -> None:
    """Export in a process to which SIGKILL is sent at the nth step."""
    parquet_targets._PART_ROWS = 200
    die_at(number)
    anyio.run(export, target)
