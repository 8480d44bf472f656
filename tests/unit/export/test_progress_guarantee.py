"""Large pages: an export never stops while results wait behind a window that is not read yet."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest

from .fake_query_api import START, Ask, Event, Server, client, micros

pytestmark = pytest.mark.anyio

HANGS = 30
"""Seconds after which an export is taken to hang. One that does not takes a second or two."""
AHEAD = 5
"""Windows that are read, by default, while the one in front of them still is."""


def crowd(page: int, size: int) -> list[Event]:
    """A page and a half of large events in a tenth of a second, and pages of small ones behind."""
    large = json.dumps({"text": "x" * size})

    def at(number: int) -> tuple[int, str]:
        if number < page * 3 // 2:
            return number * 100_000 // (page * 2), large
        minute, within = divmod(number - page * 3 // 2, page * 3 // 4)
        return (minute + 1) * 60_000_000 + within, "{}"

    return [
        Event(micros(START) + time, f"{number:012x}", properties=properties)
        for number in range(page * 3 // 2 + 8 * (page * 3 // 4))
        for time, properties in [at(number)]
    ]


class SlowFront:
    """Answers the first page once so many pages behind it have been answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.behind = 0
        self.ready = anyio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        ask = Ask(0, body["query"]["query"], body["query"]["values"], body)
        if not ask.counts and ask.span[0] == micros(START) and "export_after" not in ask.values:
            await self.ready.wait()
        elif not ask.counts:
            self.behind += 1
            if self.behind == AHEAD:
                self.ready.set()
        return await self.server(request)


@pytest.mark.parametrize(
    ("page", "size"),
    [
        pytest.param(36, 1_000_000, id="properties of a megabyte"),
        pytest.param(1_000, 36_000, id="many smaller ones"),
    ],
)
async def test_a_page_that_is_larger_than_what_may_be_held(
    tmp_path: Path, page: int, size: int
) -> None:
    server = Server(crowd(page, size))
    path = tmp_path / "events.jsonl"
    with anyio.fail_after(HANGS):
        async with client(SlowFront(server)) as ph:
            job = ph.export.events(START, START + timedelta(hours=1), page_size=page)
            await job.to_jsonl(path)
    with path.open("rb") as lines:
        found = [json.loads(line)["uuid"] for line in lines]
    assert found == [row.uuid for row in server.rows]
