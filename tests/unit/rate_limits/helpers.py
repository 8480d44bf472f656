"""A naive model of the server's rate limits, and shorthands for calls through the limiter."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from asyncposthog.errors import RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.limiter import Admission, KeyLimiter, RateLimiter
from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.scheduler import Scheduler
from asyncposthog.rate_limits.stores.memory import MemoryStore
from asyncposthog.rate_limits.wait_queue import WaitQueue
from asyncposthog.transport.encoding.request import PreparedRequest
from tests.helpers.virtual_time import LoopClock, VirtualLoop

BASE = "https://us.posthog.com"
KEY = "phx_s3cr3t"


class _Threads(trio.abc.Instrument):
    """Stops trio's clock while a thread runs, as `VirtualLoop` does."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        busy = trio.to_thread.current_default_thread_limiter().borrowed_tokens
        self._clock.autojump_threshold = math.inf if busy else 0.0


def _virtual(backend: str) -> dict[str, Any]:
    if backend == "asyncio":
        return {"loop_factory": VirtualLoop}
    clock = trio.testing.MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [_Threads(clock)]}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops in virtual time: it passes only while all tasks wait and no thread runs."""
    return request.param, _virtual(request.param)


def run(backend: str, main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run an async function in virtual time."""
    options = _virtual(backend)
    if backend == "trio":
        # Older versions of anyio drop the options of `anyio.run` on their way to trio.
        return trio.run(main, *args, **options)
    return anyio.run(main, *args, backend_options=options)


class NaiveServer:
    """PostHog's throttles, literally: a list of timestamps per bucket, and all of them checked.

    A bucket that has room counts a request even if another bucket refuses it.
    """

    def __init__(self, *rates: tuple[int, float]) -> None:
        self.rates = rates
        self.logs: list[list[float]] = [[] for _ in rates]
        self.admitted: list[float] = []
        self.refused = 0

    def request(self) -> int | None:
        """Count a request. Return None if it is accepted, or the whole seconds of `Retry-After`."""
        now = anyio.current_time()
        waits: list[float] = []
        for index, (limit, seconds) in enumerate(self.rates):
            self.logs[index] = [t for t in self.logs[index] if t > now - seconds]
            if len(self.logs[index]) >= limit:
                waits.append(self.logs[index][0] + seconds - now)
            else:
                self.logs[index].append(now)
        if waits:
            self.refused += 1
            return math.ceil(max(waits))
        self.admitted.append(now)
        return None


def operation(*buckets: str, **fields: Any) -> Operation:
    """Return an operation that counts against some buckets."""
    defaults: dict[str, Any] = {
        "id": "x.y",
        "method": "GET",
        "path": f"/api/projects/{{project_id}}/{'-'.join(buckets)}/",
        "buckets": buckets,
    }
    return Operation(**{**defaults, **fields})


def limiter(**settings: Any) -> RateLimiter:
    """Return a limiter that uses the clock of the event loop."""
    settings.setdefault("clock", LoopClock())
    return RateLimiter(**settings)


def key_limiter(**settings: Any) -> KeyLimiter:
    """Return the limits of one API key."""
    return limiter(**settings).for_key(BASE, KEY)


def new_admission(
    limits: KeyLimiter,
    called: Operation,
    *,
    target: str | None = None,
    content: bytes | None = None,
    timeout: float | None = None,
) -> Admission:
    """Return the admission of one call."""
    path = target or called.path.replace("{project_id}", "1")
    created = limits.admission(called, PreparedRequest(called.method, path, content=content))
    created.timeout = timeout
    return created


async def call(
    limits: KeyLimiter, called: Operation, *, latency: float = 0.0, **settings: Any
) -> float:
    """Make one successful request. Return when it was sent."""
    async with new_admission(limits, called, **settings) as attempt:
        sent_at = anyio.current_time()
        attempt.was_sent = True
        await anyio.sleep(latency)
        await attempt.on_response(200)
    return sent_at


def rate_limit_error(seconds: float | None, code: str = "throttled") -> RateLimitError:
    """Return the exception that a 429 becomes."""
    error = RateLimitError("429", status=429, code=code)
    error.retry_after = seconds
    return error


async def call_refused(
    limits: KeyLimiter, called: Operation, seconds: float | None, **settings: Any
) -> None:
    """Make one request that the server answers with 429."""
    code = settings.pop("code", "throttled")
    try:
        async with new_admission(limits, called, **settings) as attempt:
            attempt.was_sent = True
            await attempt.on_response(429)
            raise rate_limit_error(seconds, code)
    except RateLimitError as error:
        assert error.status == 429  # noqa: PT017


class SchedulerHarness:
    """A scheduler and a memory store, without the rest of the limiter."""

    def __init__(self) -> None:
        self.clock = MonotonicClock(LoopClock())
        self.store = MemoryStore(self.clock)
        self.scheduler = Scheduler(self.clock)
        self.admitted: list[tuple[object, float]] = []
        """The names of admitted requests, and when they were admitted."""

    def queue(self, *limits: tuple[str, int, float]) -> WaitQueue:
        """Return a wait queue for some limits: name, requests, seconds."""
        return WaitQueue(
            self.store.windows([Limit(f"h/k/{n}", n, count, s) for n, count, s in limits])
        )

    async def run(
        self,
        queue: WaitQueue,
        name: object = None,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        latency: float = 0.0,
        delay: float = 0.0,
    ) -> None:
        """Wait for admission, and complete after the latency."""
        await anyio.sleep(delay)
        ticket = await self.scheduler.acquire(queue, timeout, priority)
        self.admitted.append((name, anyio.current_time()))
        try:
            await anyio.sleep(latency)
        finally:
            await queue.windows.complete(ticket)
            self.scheduler.notify(queue)

    @property
    def order(self) -> list[object]:
        """The names of admitted requests, in order."""
        return [name for name, _ in self.admitted]

    def admission_times(self, names: Sequence[object]) -> list[float]:
        """Return when some requests were admitted."""
        return [timestamp for name, timestamp in self.admitted if name in names]
