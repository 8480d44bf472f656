"""The memory of an export does not grow with its rows, and page sizes do not show in files."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from collections.abc import Generator
from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.helpers.fake_query_api import START, Event, Server, client, to_datetime, to_micros

WIDE = 4_000
"""Characters of a row's properties."""
PAGE = 50


@pytest.fixture(autouse=True)
def default_garbage_collection() -> Generator[None]:
    """Collect as often as in a program; the test suite collects more rarely."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def wide_events(count: int) -> list[Event]:
    """Return events that do not compress, two at each timestamp."""
    rng = random.Random(5)
    return [
        Event(
            to_micros(START) + number // 2 * 1_000,
            f"00000000-0000-7000-8000-{number:012x}",
            properties=json.dumps({"n": number, "noise": rng.randbytes(WIDE // 2).hex()}),
        )
        for number in range(count)
    ]


async def export(pages: int, form: str, folder: Path, *, traced: bool = False) -> float:
    """Return the maximum memory of an export in pages of text, beyond that at its start."""
    server, most = Server(wide_events(pages * PAGE)), 0
    async with client(server) as ph:
        job = ph.export.events(START, to_datetime(server.rows[-1].time + 1), page_size=PAGE)
        target = folder / f"{pages}-{traced}"
        for row in server.rows:
            assert row.values  # what the server stores is no memory of the export
            assert row.time_text
        gc.collect()
        if traced:
            tracemalloc.start()
        try:
            if form == "jsonl":
                report = await job.to_jsonl(target, checkpoint=False)
            else:
                report = await job.to_parquet(target, rows_per_group=2 * PAGE, checkpoint=False)
            if traced:
                most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert report.rows == pages * PAGE
    assert len(server.pages) >= pages
    return most / (PAGE * WIDE)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_rows(form: str, tmp_path: Path) -> None:
    anyio.run(export, 2, form, tmp_path)  # loads modules, which stay in memory
    traced = partial(export, form=form, folder=tmp_path, traced=True)
    # With so many pages, all buffers were full at some time.
    low_threshold, many = anyio.run(traced, 20), anyio.run(traced, 40)
    assert many < 1.5 * low_threshold
    assert many < 15


def test_row_groups_do_not_depend_on_pages(tmp_path: Path) -> None:
    server = Server(wide_events(600))
    found = set[tuple[str | None, ...]]()

    async def write(page_size: int) -> None:
        async with client(server) as ph:
            job = ph.export.events(
                START, to_datetime(server.rows[-1].time + 1), page_size=page_size
            )
            report = await job.to_parquet(
                tmp_path / str(page_size), rows_per_file=440, rows_per_group=220
            )
        assert report.rows == 600
        found.add(tuple(file.sha256 for file in report.files))

    for page_size in (52, 280, 50_000):
        anyio.run(write, page_size)
    assert len(found) == 1
