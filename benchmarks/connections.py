"""Connections: cancelled calls, and many concurrent calls. The server is another process."""

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
"""Calls of a round are cancelled after a fraction of this."""
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
    """Measure connections lost by cancellation, and the cost of a call among many."""
    with _serving() as base:
        lost, unusable = asyncio.run(_cancelled_calls(base))
        yield _zero_row(f"{ROUNDS} rounds of {ROUND} calls cut off: connections lost", lost)
        yield _zero_row(f"calls of {SIZE} at once after that: failed", unusable)
        rival = asyncio.run(_cancelled_calls_of_httpx(base))
        yield Row.information(AREA, "bare httpx, after 2 such rounds: connections lost", rival, "")
        yield from _concurrent_calls(base)
    too_late = virtual_time.run(_late)
    yield _zero_row("20,000 calls, deadline=5, slow server: over by 50 ms", too_late, "calls")


def _zero_row(name: str, count: int, unit: str = "") -> Row:
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


async def _cancelled_calls(base: str) -> tuple[int, int]:
    """Return the connections that are lost afterwards, and the calls that fail then."""
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

        cancellations = (timeout, deadline, native, scope)
        for number in range(ROUNDS):
            await _round(cancellations[number % len(cancellations)])
        return await _count_lost_connections(lambda path: ph.request("GET", path), 20.0)


async def _cancelled_calls_of_httpx(base: str) -> int:
    limits = httpx.Limits(max_connections=SIZE)
    async with httpx.AsyncClient(base_url=base, limits=limits, timeout=None) as bare:

        async def native(seconds: float) -> None:
            async with asyncio.timeout(seconds):
                await bare.get("/stall/")

        for _ in range(2):
            await _round(native)
        lost, _ = await _count_lost_connections(bare.get, 5.0)
        return lost


async def _round(cancel_after: Callable[[float], Awaitable[None]]) -> None:
    async def call(number: int) -> None:
        with suppress(PostHogError, asyncio.TimeoutError, httpx.HTTPError):
            await cancel_after(SECONDS * (1 + number % 7) / 7)

    await asyncio.gather(*(call(number) for number in range(ROUND)))


async def _count_lost_connections(call: Call, seconds: float) -> tuple[int, int]:
    """Return how many connections are lost, and how many calls fail.

    The server answers `/together/` only when as many calls have arrived as there are connections.
    """
    tasks = [asyncio.ensure_future(call("/together/")) for _ in range(SIZE)]
    await asyncio.wait(tasks, timeout=seconds)
    arrived = sum(task.done() and not task.exception() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    failed = 0
    for _ in range(SIZE):
        try:
            async with asyncio.timeout(seconds / 10):
                await call("/")
        except Exception:
            failed += 1
    return SIZE - arrived, failed


def _concurrent_calls(base: str) -> Iterator[Row]:
    baseline: list[float] = []
    seconds: dict[tuple[int, float | None], list[float]] = {}
    max_delay = 0.0
    for _ in range(3):
        baseline.append(asyncio.run(_time_concurrent_calls(base, SIZE, None, 10))[0])
        for count, deadline in ((1_000, 5.0), (1_000, None)):
            seconds_per_call, failed, too_late = asyncio.run(
                _time_concurrent_calls(base, count, deadline, 1)
            )
            seconds.setdefault((count, deadline), []).append(seconds_per_call)
            max_delay = max(max_delay, too_late)
            if failed:
                yield _zero_row(
                    f"{count:,} calls at once, deadline={deadline}: failed", failed, "calls"
                )
    seconds_per_call, failed, _ = asyncio.run(_time_concurrent_calls(base, 20_000, None, 1))
    seconds[20_000, None] = [seconds_per_call]
    yield _zero_row("20,000 calls at once, no deadline: failed", failed, "calls")
    for (count, deadline), samples in seconds.items():
        name = f"a call of {count:,} at once, deadline={deadline}, to one of {SIZE}"
        ours, baseline_seconds = statistics.median(samples), statistics.median(baseline)
        yield Row.ratio_of(AREA, name, ours * 1e6, baseline_seconds * 1e6, 1.3, "µs")


async def _time_concurrent_calls(
    base: str, count: int, deadline: float | None, rounds: int
) -> tuple[float, int, float]:
    """Return the CPU time of a call, how many failed, and the largest delay after the deadline."""
    failed, max_delay = 0, 0.0
    async with _client(base, deadline=deadline) as ph:

        async def call() -> None:
            nonlocal failed, max_delay
            started_at = anyio.current_time()
            try:
                await ph.request("GET", "/api/things/")
            except PostHogError:
                failed += 1
            if deadline is not None:
                max_delay = max(max_delay, anyio.current_time() - started_at - deadline)

        await asyncio.gather(*(call() for _ in range(SIZE)))
        gc.collect()
        started = time.process_time()
        for _ in range(rounds):
            await asyncio.gather(*(call() for _ in range(count)))
        return (time.process_time() - started) / count / rounds, failed, max_delay


class _Slow(httpx.AsyncBaseTransport):
    """A transport that responds after a second, and that the client limits like a real one."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(1)
        return httpx.Response(200, content=b'{"id": 1}', request=request)


async def _late() -> int:
    """Return how many of 20,000 calls end later than 50 ms of event-loop time after 5 s."""
    too_late = 0
    clock = virtual_time.LoopClock()
    async with _client("http://127.0.0.1:9", transport=_Slow(), clock=clock, deadline=5.0) as ph:

        async def call() -> None:
            nonlocal too_late
            started_at = anyio.current_time()
            with suppress(PostHogError):
                await ph.request("GET", "/api/things/")
            too_late += anyio.current_time() - started_at > 5.05

        await asyncio.gather(*(call() for _ in range(20_000)))
    return too_late
