"""An export in a process of its own, to be interrupted.

It ends with 130 after Ctrl-C, with 3 after a cancellation or a timeout, with 4 and a message after
an ExportError, and otherwise with 0.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import trio

from asyncposthog import AsyncPostHog, ExportError
from tests.helpers.fake_query_api import START, to_datetime, to_micros

DAY = 86_400_000_000


async def export(url: str, form: str, target: str, checkpoint: str) -> None:
    given: Any = {"default": None, "none": False}.get(checkpoint, checkpoint)
    async with AsyncPostHog("phx_x", host=url, project_id=1, limits=False) as ph:
        if form == "list":
            job = ph.export.list(ph.cohorts.list(limit=30))
            await job.to_parquet(target, rows_per_file=7, checkpoint=given)
            return
        end = to_datetime(to_micros(START) + 3 * DAY)
        job = ph.export.events(START, end, page_size=30, concurrency=1, engine="query")
        if form == "parquet":
            await job.to_parquet(target, rows_per_file=10, checkpoint=given)
        else:
            await job.to_jsonl(target, checkpoint=given)


async def ended_by(how: str, pipe: Connection, arguments: tuple[str, str, str, str]) -> int:
    """Export until something arrives, then end the export as asyncio or trio does."""
    loop = asyncio.get_running_loop()
    told = loop.create_task(asyncio.to_thread(pipe.recv))
    if how == "timeout":
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as scope:
                told.add_done_callback(lambda _: scope.reschedule(loop.time()))
                await export(*arguments)
            return 0
        return 3
    if how == "group":

        async def fail() -> None:
            await told
            raise KeyError

        with suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await export(*arguments)
        return 3
    task = loop.create_task(export(*arguments))
    told.add_done_callback(lambda _: task.cancel())
    with suppress(asyncio.CancelledError):
        await task
        return 0
    return 3


def main(pipe: Connection, how: str, url: str, form: str, target: str, checkpoint: str) -> None:
    """Export, and end as `how` says."""
    arguments = url, form, target, checkpoint
    try:
        if how == "trio":
            trio.run(export, *arguments)
        elif how == "plain":
            asyncio.run(export(*arguments))
        else:
            sys.exit(asyncio.run(ended_by(how, pipe, arguments)))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ExportError, FileExistsError) as error:
        pipe.send(f"{type(error).__name__}: {error}")
        sys.exit(4)
