"""A process that makes requests through the limiter, as fast as it is admitted.

It writes a line for each, with the time at which a server would have counted it. That is the clock
of the machine, which is independent of the limiter's.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import anyio

from asyncposthog.rate_limits.limiter import RateLimiter
from asyncposthog.rate_limits.limits import Limit, Usage
from asyncposthog.rate_limits.stores.base import Store, Windows
from asyncposthog.rate_limits.stores.redis import RedisStore
from asyncposthog.rate_limits.wait_queue import WaitQueue

__all__ = ["Job"]


@dataclass
class Job:
    """The task of a worker. It starts when it is told to."""

    name: str
    url: str
    prefix: str
    limits: Sequence[tuple[str, int, float]]
    tasks: int = 4
    requests: int | None = None
    """Requests after which it ends; None: it runs until it is killed."""
    options: dict[str, object] = field(default_factory=lambda: {"timeout": 30.0})
    skew: float = 0.0
    """Seconds by which its clock is wrong."""
    lag: float = 0.0
    """Latency of Redis in seconds."""
    give_up_after: float | None = None
    """Maximum seconds of a wait, after which it tries again and waits a little longer."""
    hang: bool = False
    """Whether it never finishes a request."""


class Skewed:
    """A clock with an offset."""

    def __init__(self, skew: float) -> None:
        self._skew = skew
        self.random = random.random

    def monotonic(self) -> float:
        return time.monotonic() + self._skew

    def time(self) -> float:
        return time.time() + self._skew

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class DistantWindows:
    """Windows with latency."""

    def __init__(self, inner: Windows, lag: float) -> None:
        self._inner = inner
        self._lag = lag
        self.limits = inner.limits

    def try_acquire_nowait(self, ticket: int) -> bool:
        return False

    async def acquire(self, ticket: int) -> float:
        await anyio.sleep(self._lag)
        return await self._inner.acquire(ticket)

    def complete_nowait(self, ticket: int) -> bool:
        return False

    async def complete(self, ticket: int, *, refused_by: int | None = None) -> None:
        await self._inner.complete(ticket, refused_by=refused_by)

    async def release(self, ticket: int) -> None:
        await self._inner.release(ticket)

    async def block(self, index: int, seconds: float, *, adapt: bool) -> None:
        await self._inner.block(index, seconds, adapt=adapt)

    async def usage(self) -> tuple[Usage, ...]:
        return await self._inner.usage()

    def snapshot(self) -> tuple[Usage, ...]:
        return self._inner.snapshot()

    def is_idle(self) -> bool:
        return self._inner.is_idle()

    async def estimate_wait(self, ahead: int) -> tuple[float, int]:
        return await self._inner.estimate_wait(ahead)


class DistantStore:
    """A store with latency."""

    def __init__(self, inner: Store, lag: float) -> None:
        self._inner = inner
        self._lag = lag

    def windows(self, limits: Sequence[Limit]) -> Windows:
        return DistantWindows(self._inner.windows(limits), self._lag)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Worker:
    def __init__(self, job: Job) -> None:
        clock = Skewed(job.skew)
        store: Store = RedisStore(job.url, prefix=job.prefix, clock=clock, **job.options)  # type: ignore[arg-type]
        if job.lag:
            store = DistantStore(store, job.lag)
        self._job = job
        self._limiter = RateLimiter(clock=clock, store=store)
        self._left = float("inf") if job.requests is None else job.requests

    async def run(self, pipe: Connection) -> None:
        limits = tuple(
            Limit(f"host/key/{n}", n, limit, secs) for n, limit, secs in self._job.limits
        )
        queue = self._limiter.queue_for(limits)
        await queue.windows.usage()
        os.write(1, b"ready\n")
        await anyio.to_thread.run_sync(pipe.recv)
        async with anyio.create_task_group() as group:
            for _ in range(self._job.tasks):
                group.start_soon(self._work, queue)
        await self._limiter.aclose()
        os.write(1, b"done\n")

    async def _work(self, queue: WaitQueue) -> None:
        give_up_after = self._job.give_up_after
        while self._left > 0:
            delay = None if give_up_after is None else random.random() * give_up_after
            with anyio.move_on_after(delay) as scope:
                await self._request(queue)
            if give_up_after is not None and scope.cancelled_caught:
                give_up_after *= 1.05  # Otherwise, a slow machine might never succeed.

    async def _request(self, queue: WaitQueue) -> None:
        scheduler = self._limiter.scheduler
        ticket = await scheduler.acquire(queue)
        try:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(random.random() * 0.004)
                self._left -= 1
                os.write(1, f"{time.monotonic()!r}\n".encode())
                await anyio.sleep(random.random() * 0.004)
                if self._job.hang:
                    await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await queue.windows.complete(ticket)
            scheduler.notify(queue)


def main(pipe: Connection, job: Job, out: Path, log: Path) -> None:
    """Run a worker, whose output and log go to files."""
    for descriptor, path in ((1, out), (2, log)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    anyio.run(Worker(job).run, pipe)
