"""An export to an object store in a process of its own, which kills itself at a chosen upload."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio

from asyncposthog.export.object_store import ObjectPath
from asyncposthog.export.sinks import objects, parquet_targets
from tests.helpers.fake_query_api import START, client, to_datetime, to_micros
from tests.integration.export.worker import COUNT, make_server

__all__ = ["export", "main"]


async def export(target: str, options: dict[str, Any], seed: int) -> None:
    """Export to a URL."""
    objects.SEGMENT_BYTES = 20_000
    parquet_targets._PART_ROWS = 300
    end = to_datetime(to_micros(START) + 3 * 86_400_000_000)
    async with client(make_server(seed)) as ph:
        job = ph.export.events(START, end, page_size=151 + 20 * seed)
        if target.endswith(".jsonl"):
            report = await job.to_jsonl(target, storage_options=options)
        elif target.endswith(".parquet"):
            report = await job.to_parquet(target, rows_per_group=100, storage_options=options)
        else:
            report = await job.to_parquet(target, rows_per_file=130, storage_options=options)
    assert report.rows == COUNT


def main(pipe: Connection, target: str, options: dict[str, Any], uploads: int, seed: int) -> None:
    put = ObjectPath.put
    remaining = uploads

    def die(self: ObjectPath, source: Path) -> None:
        nonlocal remaining
        put(self, source)
        remaining -= 1
        if not remaining:
            os.kill(os.getpid(), signal.SIGKILL)

    ObjectPath.put = die
    anyio.run(export, target, options, seed)
