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
"""Calls that each process keeps in flight, or waiting, of each kind."""
SECONDS: Final = 62.0
KEY: Final = "phx_fleet"
LIMITS: Final[Mapping[str, tuple[int, float]]] = {
    "clickhouse_burst": (240, 20.0),
    "burst": (120, 8.0),
    "sustained": (320, 30.0),
}
BOUNDS: Final = {"persons": "clickhouse_burst", "feature_flags": "sustained"}
"""What is called, and the limit that holds it back in the long run."""
_PAIRS: Final = {"persons": ("clickhouse_burst",), "feature_flags": ("burst", "sustained")}
_PAGE: Final[dict[str, object]] = {"count": 0, "next": None, "previous": None, "results": []}
_THROTTLED: Final[dict[str, object]] = {
    "type": "throttled_error",
    "code": "throttled",
    "attr": None,
}

Message = MutableMapping[str, Any]


def rows() -> Iterator[Row]:
    """Run the fleet, and judge it by what the server saw."""
    with running(server_program()) as redis:
        server, made = anyio.run(_measure, redis.url)
    yield from server.judge()
    for kind in BOUNDS:
        least = min(counts[kind] for counts in made) / (server.admitted(kind) / PROCESSES)
        name = f"fleet, {kind}: least of a process, of an even part"
        yield Row.information(AREA, name, least, "")


class Server:
    """An ASGI application: the emulator's limits, and what it saw."""

    def __init__(self) -> None:
        rates = {name: Rate(limit, seconds) for name, (limit, seconds) in LIMITS.items()}
        self._throttles = RateLimits(time.monotonic, rates)
        self._noted: dict[str, list[float]] = {kind: [] for kind in BOUNDS}
        self._refused = dict.fromkeys(BOUNDS, 0)
        self.began = 0.0

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        kind = str(scope["path"]).split("/")[4]
        refusal = self._throttles.charge(_PAIRS[kind], Caller(KEY))
        headers = [(b"content-type", b"application/json")]
        if refusal is None:
            self._noted[kind].append(time.monotonic())
            status, body = 200, dict(_PAGE)
        else:
            self._refused[kind] += 1
            status, body = 429, {**_THROTTLED, "detail": refusal.detail}
            headers.append((b"retry-after", str(refusal.wait).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def admitted(self, kind: str) -> int:
        return len(self._noted[kind])

    def judge(self) -> Iterator[Row]:
        for kind, bucket in BOUNDS.items():
            used = self._filled(kind, *LIMITS[bucket])
            noted, refused = self.admitted(kind), self._refused[kind]
            part = refused / (noted + refused)
            name = f"fleet of {PROCESSES}, {bucket}"
            yield Row(AREA, f"{name}: budget used", used, 1.0, used, 0.97, used >= 0.97, "")
            yield Row(AREA, f"{name}: 429s", refused, noted, part, 0.001, part <= 0.001, "")

    def _filled(self, kind: str, limit: int, seconds: float) -> float:
        """Return how full the server's window was, from when it can have been full.

        That is the part of the budget that was used, and does not depend on when one stops.
        """
        begin, end = self.began + seconds, self.began + SECONDS
        spans = (min(t + seconds, end) - max(t, begin) for t in self._noted[kind])
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
            server.began = time.monotonic()
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
    """Be one process of the fleet: make as many calls as the limits let through."""
    made = dict.fromkeys(BOUNDS, 0)
    limiter = RateLimiter(limits=LIMITS, store=RedisStore(redis_url))
    async with AsyncPostHog(
        api_key=KEY, project_id=1, host=host, allow_http=True, limiter=limiter
    ) as ph:

        async def call(kind: str, method: Callable[[], Awaitable[object]]) -> None:
            while True:
                await method()
                made[kind] += 1

        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        with anyio.move_on_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                for _ in range(TASKS):
                    tasks.start_soon(call, "persons", ph.persons.list)
                    tasks.start_soon(call, "feature_flags", ph.feature_flags.list)
    await limiter.aclose()
    return made


def main(redis_url: str, host: str) -> None:
    """Be one process of the fleet."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    print(json.dumps(anyio.run(_work, redis_url, host)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
