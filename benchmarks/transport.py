"""The cost of a call over each transport. The server is another process, and CPU time is measured.

The calls of all clients alternate in one run, because other programs change the speed of a machine.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import httpx
from pydantic import TypeAdapter

from asyncposthog import AsyncPostHog, models
from benchmarks.measure import Row

__all__ = ["example_flag", "rows"]

AREA = "client"
CALLS = 200
ROUNDS = 7
ITEMS = 10_000
PAGE = 100
MANY = 10_000
ENDLESS = {"burst": (10**9, 60.0), "sustained": (10**9, 3600.0)}
"""Rate limits are on, as by default, and never reached."""
HEADERS = {"authorization": "Bearer phx_x"}
LIST = "/api/projects/1/feature_flags/"
SERVER = """
import asyncio, json, sys

HEAD = "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nVary: Accept, Cookie\\r\\n" \\
    "X-Frame-Options: DENY\\r\\nContent-Length: {}\\r\\n\\r\\n"
answers = {}

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        target = data.split(b" ", 2)[1]
        offset = target.partition(b"offset=")[2].partition(b"&")[0]
        self.transport.write(answers[b"one" if target.endswith(b"/1/") else offset or b"0"])

async def main():
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", 0, backlog=1024
    )
    base = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    print(base, flush=True)
    for name, body in json.loads(sys.stdin.readline()).items():
        body = body.replace("http://host", base).encode()
        answers[name.encode()] = HEAD.format(len(body)).encode() + body
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
Get = Callable[[], Awaitable[object]]


def rows() -> Iterator[Row]:
    """Measure single calls, a long list, and many calls at once."""
    with _serving() as base:
        yield from asyncio.run(_gets(base))
        yield asyncio.run(_list(base))
        yield asyncio.run(_many(base))


def example_flag(number: int) -> dict[str, Any]:
    """Return a feature flag as the server sends it."""
    return {
        "id": number, "name": f"Flag {number}", "key": f"flag-{number}", "deleted": False,
        "active": True, "created_at": "2026-01-01T00:00:00Z", "version": 3,
        "filters": {"groups": [{"properties": [], "rollout_percentage": 50}]},
        "created_by": {
            "id": 7, "uuid": "0190c0de-0000-7000-8000-000000000001", "first_name": "Ada",
            "email": "ada@example.com", "hedgehog_config": None,
        },
        "tags": ["a", "b"], "rollout_percentage": 50, "ensure_experience_continuity": False,
    }  # fmt: skip


@contextmanager
def _serving() -> Generator[str]:
    answers = {"one": json.dumps(example_flag(1))}
    for offset in range(0, ITEMS, PAGE):
        following = offset + PAGE
        answers[str(offset)] = json.dumps(
            {
                "count": ITEMS,
                "next": f"http://host{LIST}?limit={PAGE}&offset={following}"
                if following < ITEMS
                else None,
                "previous": None,
                "results": [example_flag(offset + number) for number in range(PAGE)],
            }
        )
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            base = server.stdout.readline().strip()
            server.stdin.write(json.dumps(answers) + "\n")
            server.stdin.flush()
            server.stdout.readline()
            yield base
        finally:
            server.kill()


def _client(base: str, **settings: Any) -> AsyncPostHog:
    return AsyncPostHog("phx_x", project_id=1, host=base, limits=ENDLESS, **settings)


def _fast_httpx(base: str) -> httpx.AsyncClient:
    from httpx_aiohttp import AiohttpTransport

    return httpx.AsyncClient(base_url=base, transport=AiohttpTransport())


async def _measure(get: Get, in_flight: int, calls: int = CALLS) -> float:
    """Return the microseconds of CPU time of a call, with so many in flight."""

    async def work() -> None:
        for _ in range(calls // in_flight):
            await get()

    gc.collect()
    started = time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return (time.process_time() - started) / (calls // in_flight * in_flight) * 1e6


async def _alternate(gets: dict[str, Get], in_flight: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in gets}
    for round_ in range(ROUNDS + 1):
        for name, get in gets.items():
            taken = await _measure(get, in_flight)
            if round_:
                samples[name].append(taken)
    return {name: statistics.median(taken) for name, taken in samples.items()}


async def _gets(base: str) -> list[Row]:
    adapter = TypeAdapter(models.FeatureFlag)

    def by_hand(http: httpx.AsyncClient) -> Get:
        async def get() -> None:
            response = await http.get(f"{LIST}1/", headers=HEADERS)
            adapter.validate_json(response.content)

        return get

    found: list[Row] = []
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(httpx.AsyncClient(base_url=base))
        fast_httpx = await stack.enter_async_context(_fast_httpx(base))
        ours = await stack.enter_async_context(_client(base))
        fast = await stack.enter_async_context(_client(base, transport="aiohttp"))
        gets: dict[str, Get] = {
            "httpx": by_hand(plain),
            "httpx over aiohttp": by_hand(fast_httpx),
            "ours": lambda: ours.feature_flags.get(1),
            "fast": lambda: fast.feature_flags.get(1),
        }
        for in_flight, target in ((1, 0.65), (10, 0.55), (50, 0.40)):
            unused = "ours" if in_flight == 10 else "httpx over aiohttp"
            chosen = {name: get for name, get in gets.items() if name != unused}
            taken = await _alternate(chosen, in_flight)
            name = f"{in_flight} in flight"
            found.append(_ratio(f"get over aiohttp, {name}; httpx", taken, "fast", target=target))
            if in_flight == 10:
                rival = "httpx over aiohttp"
                label = f"get over aiohttp, {name}; {rival}"
                found.append(_ratio(label, taken, "fast", rival, 1.35))
            else:
                found.append(_ratio(f"get over httpx, {name}; httpx", taken, "ours"))
    return found


def _ratio(
    name: str, taken: dict[str, float], ours: str, rival: str = "httpx", target: float = 1.0
) -> Row:
    return Row.ratio_of(AREA, name, taken[ours], taken[rival], target, "µs")


async def _list(base: str) -> Row:
    async with (
        _client(base, transport="aiohttp") as ph,
        httpx.AsyncClient(base_url=base) as http,
    ):

        async def ours() -> None:
            seen = 0
            async for _ in ph.feature_flags.list(limit=PAGE):
                seen += 1
            assert seen == ITEMS

        async def by_hand() -> None:
            seen, url = 0, f"{LIST}?limit={PAGE}"
            while url:
                response = await http.get(url, headers=HEADERS)
                page = models.PaginatedFeatureFlagList.model_validate_json(response.content)
                for _ in page.results:
                    seen += 1
                url = page.next or ""
            assert seen == ITEMS

        samples: dict[Get, list[float]] = {ours: [], by_hand: []}
        for round_ in range(ROUNDS + 1):
            for job, taken in samples.items():
                microseconds = await _measure(job, 1, 1)
                if round_:
                    taken.append(microseconds / 1000)
    name = f"{ITEMS:,} items in pages of {PAGE} over aiohttp; a loop with httpx"
    mine, rival = map(statistics.median, samples.values())
    return Row.ratio_of(AREA, name, mine, rival, 0.8, "ms")


async def _many(base: str) -> Row:
    few: list[float] = []
    many: list[float] = []
    async with _client(base, transport="aiohttp") as ph:

        def get() -> Awaitable[object]:
            return ph.feature_flags.get(1)

        await _measure(get, 10, 500)
        for _ in range(5):
            few.append(await _measure(get, 10, 5000))
            many.append(await _measure(get, MANY, MANY))
    name = f"a call, {MANY:,} at once; 10 at once"
    return Row.ratio_of(AREA, name, statistics.median(many), statistics.median(few), 1.3, "µs")
