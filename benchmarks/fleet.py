"""Four processes with one API key, sharing its limits through Redis.

Everything is real but the server, which is the emulator's limits behind HTTP, and the windows,
which are shorter than PostHog's. In each a place stays empty for `window.SLACK` and for as long
as a request takes to and fro: a tenth of a second on an idle machine, half of one on a busy one.
The shorter the window, the more of it that is.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import anyio
import uvicorn

from asyncposthog import AsyncPostHog
from asyncposthog.rate_limits.limiter import RateLimiter
from asyncposthog.rate_limits.stores.redis import RedisStore
from benchmarks.measure import Row
from posthog_emulator.rate_limits.rate_limits import Caller, Rate, RateLimits
from tests.integration.redis.redis_server import running, server_program

__all__ = ["rows"]

AREA: Final = "limits"
PROCESSES: Final = 4
TASKS: Final = 4
"""Calls of each kind that each process keeps running or waiting."""
SECONDS: Final = 62.0
KEY: Final = "phx_fleet"
LIMITS: Final[Mapping[str, tuple[int, float]]] = {
    "clickhouse_burst": (240, 20.0),
    "burst": (120, 8.0),
    "sustained": (320, 30.0),
}
BOUNDS: Final = {"persons": "clickhouse_burst", "feature_flags": "sustained"}
"""The called lists, and the limit that each reaches in the long run."""
_PAIRS: Final = {"persons": ("clickhouse_burst",), "feature_flags": ("burst", "sustained")}
_PAGE: Final[dict[str, object]] = {"count": 0, "next": None, "previous": None, "results": []}
_THROTTLED: Final[dict[str, object]] = {
    "type": "throttled_error",
    "code": "throttled",
    "attr": None,
}

Message = MutableMapping[str, Any]


def rows() -> Iterator[Row]:
    """Run the processes, and evaluate what the server counted."""
    with running(server_program()) as redis:
        server, calls = anyio.run(_measure, redis.url)
    yield from server.rows()
    for kind in BOUNDS:
        min_calls = min(counts[kind] for counts in calls) / (server.admitted(kind) / PROCESSES)
        name = f"fleet, {kind}: least of a process, of an even part"
        yield Row.information(AREA, name, min_calls, "")


class Server:
    """An ASGI application with the emulator's rate limits, which counts requests."""

    def __init__(self) -> None:
        rates = {name: Rate(limit, seconds) for name, (limit, seconds) in LIMITS.items()}
        self._rate_limits = RateLimits(time.monotonic, rates)
        self._admitted_at: dict[str, list[float]] = {kind: [] for kind in BOUNDS}
        self._throttled = dict.fromkeys(BOUNDS, 0)
        self.started_at = 0.0

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        kind = str(scope["path"]).split("/")[4]
        throttled_response = self._rate_limits.charge(_PAIRS[kind], Caller(KEY))
        headers = [(b"content-type", b"application/json")]
        if throttled_response is None:
            self._admitted_at[kind].append(time.monotonic())
            status, body = 200, dict(_PAGE)
        else:
            self._throttled[kind] += 1
            status, body = 429, {**_THROTTLED, "detail": throttled_response.detail}
            headers.append((b"retry-after", str(throttled_response.wait).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def admitted(self, kind: str) -> int:
        return len(self._admitted_at[kind])

    def rows(self) -> Iterator[Row]:
        for kind, bucket in BOUNDS.items():
            used = self._fill_fraction(kind, *LIMITS[bucket])
            admitted, throttled = self.admitted(kind), self._throttled[kind]
            part = throttled / (admitted + throttled)
            name = f"fleet of {PROCESSES}, {bucket}"
            yield Row(AREA, f"{name}: budget used", used, 1.0, used, 0.97, used >= 0.97, "")
            yield Row(AREA, f"{name}: 429s", throttled, admitted, part, 0.001, part <= 0.001, "")

    def _fill_fraction(self, kind: str, limit: int, seconds: float) -> float:
        """Return the mean fill level of the server's window, from when it can have been full.

        That is the used fraction of the limit, and does not depend on when the measurement ends.
        """
        begin, end = self.started_at + seconds, self.started_at + SECONDS
        spans = (min(t + seconds, end) - max(t, begin) for t in self._admitted_at[kind])
        return sum(span for span in spans if span > 0) / (limit * (end - begin))


async def _measure(redis_url: str) -> tuple[Server, list[dict[str, int]]]:
    server, lines = Server(), list[bytes]()
    config = uvicorn.Config(server, port=0, lifespan="off", log_config=None, access_log=False)
    web = uvicorn.Server(config)
    with ExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve)
            for _ in range(1000):
                if web.started:
                    break
                await anyio.sleep(0.01)
            port = web.servers[0].sockets[0].getsockname()[1]
            fleet = [_start(stack, redis_url, port) for _ in range(PROCESSES)]
            for process in fleet:
                await anyio.to_thread.run_sync(process.stdout.readline)
            server.started_at = time.monotonic()
            for process in fleet:
                process.stdin.write(b"go\n")
                process.stdin.flush()
            lines = [await anyio.to_thread.run_sync(process.stdout.readline) for process in fleet]
            web.should_exit = True
    return server, [json.loads(line) for line in lines]


def _start(stack: ExitStack, redis_url: str, port: int) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fleet", redis_url, f"http://127.0.0.1:{port}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


async def _work(redis_url: str, host: str) -> dict[str, int]:
    """Run one process of the fleet: make as many calls as the limits allow."""
    calls = dict.fromkeys(BOUNDS, 0)
    limiter = RateLimiter(limits=LIMITS, store=RedisStore(redis_url))
    async with AsyncPostHog(
        api_key=KEY, project_id=1, host=host, allow_http=True, limiter=limiter
    ) as ph:

        async def call(kind: str, method: Callable[[], Awaitable[object]]) -> None:
            while True:
                await method()
                calls[kind] += 1

        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        with anyio.move_on_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                for _ in range(TASKS):
                    tasks.start_soon(call, "persons", ph.persons.list)
                    tasks.start_soon(call, "feature_flags", ph.feature_flags.list)
    await limiter.aclose()
    return calls


def main(redis_url: str, host: str) -> None:
    """Run one process of the fleet."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    print(json.dumps(anyio.run(_work, redis_url, host)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
