"""Connections: calls that are cut off, and many calls at once. The server is another process."""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import httpx

from asyncposthog import AsyncPostHog, PostHogError
from benchmarks.measure import Row
from tests.helpers import virtual_time

__all__ = ["rows"]

AREA = "client"
SIZE = 100
ROUNDS = 100
ROUND = 300
SECONDS = 0.1
"""Calls of a round are cut off after a part of this."""
SERVER = """
import asyncio

HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 9\\r\\n\\r\\n"
waiting = []

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        if self.transport in waiting:
            waiting.remove(self.transport)

    def data_received(self, data):
        if b"/stall/" in data:
            return
        if b"/together/" in data:
            waiting.append(self.transport)
            if len(waiting) < %d:
                return
            for transport in waiting:
                transport.write(HEAD + b'{"id": 1}')
            waiting.clear()
        else:
            self.transport.write(HEAD + b'{"id": 1}')

async def main():
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
Call = Callable[[str], Awaitable[object]]


def rows() -> Iterator[Row]:
    """Measure what is left of the connections, and what a call costs among many."""
    with _serving() as base:
        lost, unusable = asyncio.run(_cut_off(base))
        yield _none(f"{ROUNDS} rounds of {ROUND} calls cut off: connections lost", lost)
        yield _none(f"calls of {SIZE} at once after that: failed", unusable)
        rival = asyncio.run(_rival_cut_off(base))
        yield Row.information(AREA, "bare httpx, after 2 such rounds: connections lost", rival, "")
        yield from _many(base)
    late = virtual_time.run(_late)
    yield _none("20,000 calls, deadline=5, slow server: over by 50 ms", late, "calls")


def _none(name: str, count: int, unit: str = "") -> Row:
    return Row(AREA, name, count, None, None, 0, count == 0, unit)


@contextmanager
def _serving() -> Generator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER % SIZE], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def _client(base: str, **settings: Any) -> AsyncPostHog:
    return AsyncPostHog(
        "phx_x", project_id=1, host=base, limits=False, max_connections=SIZE, max_retries=0,
        **settings,
    )  # fmt: skip


async def _cut_off(base: str) -> tuple[int, int]:
    """Return the connections that are missing afterwards, and the calls that fail then."""
    async with _client(base) as ph:

        async def timeout(seconds: float) -> None:
            await ph.request("GET", "/stall/", options={"timeout": seconds})

        async def deadline(seconds: float) -> None:
            await ph.request("GET", "/stall/", options={"deadline": seconds})

        async def native(seconds: float) -> None:
            async with asyncio.timeout(seconds):
                await ph.request("GET", "/stall/")

        async def scope(seconds: float) -> None:
            with anyio.move_on_after(seconds):
                await ph.request("GET", "/stall/")

        ways = (timeout, deadline, native, scope)
        for number in range(ROUNDS):
            await _round(ways[number % len(ways)])
        return await _after(lambda path: ph.request("GET", path), 20.0)


async def _rival_cut_off(base: str) -> int:
    limits = httpx.Limits(max_connections=SIZE)
    async with httpx.AsyncClient(base_url=base, limits=limits, timeout=None) as bare:

        async def native(seconds: float) -> None:
            async with asyncio.timeout(seconds):
                await bare.get("/stall/")

        for _ in range(2):
            await _round(native)
        lost, _ = await _after(bare.get, 5.0)
        return lost


async def _round(way: Callable[[float], Awaitable[None]]) -> None:
    async def one(number: int) -> None:
        with suppress(PostHogError, asyncio.TimeoutError, httpx.HTTPError):
            await way(SECONDS * (1 + number % 7) / 7)

    await asyncio.gather(*(one(number) for number in range(ROUND)))


async def _after(call: Call, patience: float) -> tuple[int, int]:
    """Return how many of the calls that the server answers together do not arrive, and fail."""
    tasks = [asyncio.ensure_future(call("/together/")) for _ in range(SIZE)]
    await asyncio.wait(tasks, timeout=patience)
    arrived = sum(task.done() and not task.exception() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    failed = 0
    for _ in range(SIZE):
        try:
            async with asyncio.timeout(patience / 10):
                await call("/")
        except Exception:
            failed += 1
    return SIZE - arrived, failed


def _many(base: str) -> Iterator[Row]:
    usual: list[float] = []
    seconds: dict[tuple[int, float | None], list[float]] = {}
    worst = 0.0
    for _ in range(3):
        usual.append(asyncio.run(_at_once(base, SIZE, None, 10))[0])
        for count, deadline in ((1_000, 5.0), (1_000, None)):
            each, wrong, late = asyncio.run(_at_once(base, count, deadline, 1))
            seconds.setdefault((count, deadline), []).append(each)
            worst = max(worst, late)
            if wrong:
                yield _none(f"{count:,} calls at once, deadline={deadline}: failed", wrong, "calls")
    each, wrong, _ = asyncio.run(_at_once(base, 20_000, None, 1))
    seconds[20_000, None] = [each]
    yield _none("20,000 calls at once, no deadline: failed", wrong, "calls")
    for (count, deadline), taken in seconds.items():
        name = f"a call of {count:,} at once, deadline={deadline}, to one of {SIZE}"
        ours, hundred = statistics.median(taken), statistics.median(usual)
        yield Row.ratio_of(AREA, name, ours * 1e6, hundred * 1e6, 1.3, "µs")


async def _at_once(
    base: str, count: int, deadline: float | None, rounds: int
) -> tuple[float, int, float]:
    """Return the CPU time of a call, how many failed, and by what the latest was too late."""
    wrong, worst = 0, 0.0
    async with _client(base, deadline=deadline) as ph:

        async def one() -> None:
            nonlocal wrong, worst
            began = anyio.current_time()
            try:
                await ph.request("GET", "/api/things/")
            except PostHogError:
                wrong += 1
            if deadline is not None:
                worst = max(worst, anyio.current_time() - began - deadline)

        await asyncio.gather(*(one() for _ in range(SIZE)))
        gc.collect()
        started = time.process_time()
        for _ in range(rounds):
            await asyncio.gather(*(one() for _ in range(count)))
        return (time.process_time() - started) / count / rounds, wrong, worst


class _Slow(httpx.AsyncBaseTransport):
    """Answers after a second. Not known to be without connections, it has a gate before it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(1)
        return httpx.Response(200, content=b'{"id": 1}', request=request)


async def _late() -> int:
    """Return how many of 20,000 calls end later than 50 ms of event-loop time after 5 s."""
    late = 0
    clock = virtual_time.LoopClock()
    async with _client("http://127.0.0.1:9", transport=_Slow(), clock=clock, deadline=5.0) as ph:

        async def one() -> None:
            nonlocal late
            began = anyio.current_time()
            with suppress(PostHogError):
                await ph.request("GET", "/api/things/")
            late += anyio.current_time() - began > 5.05

        await asyncio.gather(*(one() for _ in range(20_000)))
    return late
