"""An export in a process of its own, which kills itself at a chosen step.

A step is the number of a call of a function that changes a file, such as `fsync:3`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import httpx

from asyncposthog.export.sinks import text
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

COUNT = 1_200


def make_server(seed: int) -> Server:
    """Answer with other windows in every run: splits come where the seed has them."""

    def fault(query: ReceivedQuery) -> httpx.Response | None:
        return refusal(504) if (query.number * 7 + seed) % 5 == 0 and query.counts else None

    # Three days, so that days and files end inside of pages.
    return Server(events(COUNT, ties=7, spread=3 * 86_400_000_000), fault=fault)


def die_when_published(when: str) -> None:
    """Let the process be killed once everything is written, around the renaming of the last."""
    replace = os.replace

    def call(source: str, target: str, **folders: Any) -> None:
        descriptor = os.open(source, os.O_RDONLY, dir_fd=folders.get("src_dir_fd"))
        with open(descriptor, "rb") as file:
            last = b'"phase":"finishing"' in file.read() or target.endswith(".jsonl")
        if last and when != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **folders)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = call  # type: ignore[assignment]


def die_at(moment_: str) -> None:
    """Kill the process before or after the nth call of a function."""
    if moment_ == "never":
        return
    name, _, rest = moment_.partition(":")
    number, _, when = rest.partition(":")
    if number == "last":
        # The one that gives the output its name, or notes the end.
        die_when_published(when)
        return
    left = int(number)

    def deadly(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and when != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*args, **kwargs)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    if name == "fsync":
        os.fsync = deadly(os.fsync)
    else:
        os.replace = deadly(os.replace)


async def export(form: str, target: str, seed: int) -> None:
    end = to_datetime(to_micros(START) + 3 * 86_400_000_000)
    page = 41 + seed
    async with client(make_server(seed)) as ph:
        job = ph.export.events(START, end, page_size=page)
        if form == "parquet":
            report = await job.to_parquet(target, rows_per_file=150, rows_per_group=40)
        elif form == "csv":
            report = await job.to_csv(target)
        else:
            report = await job.to_jsonl(target)
    assert report.rows == COUNT


LATE = sorted(events(600, spread=3 * 3_600_000_000))
"""Of three hours; every fourth arrives only after the export of its hour."""


async def export_late(target: str, seed: int) -> None:
    """Export until the hour in the name of the file."""
    hour = int(Path(target).stem)
    end = to_micros(START) + hour * 3_600_000_000
    there = [row for n, row in enumerate(LATE) if row.time < end - n % 4 // 3 * 3_600_000_000]
    server = Server(there if hour < 3 else LATE)
    async with client(server) as ph:
        job = ph.export.events(START, to_datetime(end), overlap=3_600, page_size=29 + seed)
        await job.to_jsonl(target, checkpoint=Path(target).with_name("state"))


# Small gzip members, so that a few thousand rows fill several.
text._MEMBER_ROWS = 150


def main(_: Connection, form: str, target: str, step: str, seed: int) -> None:
    """Export in a process that is killed at a step. The form is that of a file, or `late`."""
    die_at(step)
    if form == "late":
        anyio.run(export_late, target, seed)
    else:
        anyio.run(export, form, target, seed)
