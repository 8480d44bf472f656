"""Large pages: an export does not deadlock while results wait for an earlier window."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest

from asyncposthog.export import runner
from tests.helpers.fake_query_api import START, Event, ReceivedQuery, Server, client, to_micros

pytestmark = pytest.mark.anyio

HANGS = 30
"""Seconds after which an export counts as deadlocked. Others take less than one."""
BUFFER = 2 * 1024 * 1024
"""Bytes that may be buffered in place of the usual 32 MiB."""
AHEAD = 5
"""Windows that are read, by default, while the first one is being read."""


def dense_and_sparse_events(page: int, size: int) -> list[Event]:
    """Return a page and a half of large events within 0.1 s, followed by pages of small ones."""
    large = json.dumps({"text": "x" * size})

    def at(number: int) -> tuple[int, str]:
        if number < page * 3 // 2:
            return number * 100_000 // (page * 2), large
        minute, within = divmod(number - page * 3 // 2, page * 3 // 4)
        return (minute + 1) * 60_000_000 + within, "{}"

    return [
        Event(to_micros(START) + time, f"{number:012x}", properties=properties)
        for number in range(page * 3 // 2 + 8 * (page * 3 // 4))
        for time, properties in [at(number)]
    ]


class SlowFirstPage:
    """Server that answers the first page after `AHEAD` later pages."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.behind = 0
        self.ready = anyio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        query = ReceivedQuery(0, body["query"]["query"], body["query"]["values"], body)
        if (
            not query.counts
            and query.span[0] == to_micros(START)
            and "export_after" not in query.values
        ):
            await self.ready.wait()
        elif not query.counts:
            self.behind += 1
            if self.behind == AHEAD:
                self.ready.set()
        return await self.server(request)


@pytest.mark.parametrize(
    ("page", "size"),
    [
        pytest.param(36, 62_500, id="large properties"),
        pytest.param(250, 9_000, id="many smaller ones"),
    ],
)
async def test_a_page_larger_than_the_buffer(
    tmp_path: Path, page: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_MAX_BUFFERED_BYTES", BUFFER)
    server = Server(dense_and_sparse_events(page, size))
    path = tmp_path / "events.jsonl"
    with anyio.fail_after(HANGS):
        async with client(SlowFirstPage(server)) as ph:
            job = ph.export.events(START, START + timedelta(hours=1), page_size=page)
            await job.to_jsonl(path)
    with path.open("rb") as lines:
        found = [json.loads(line)["uuid"] for line in lines]
    assert found == [row.uuid for row in server.rows]
