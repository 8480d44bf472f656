"""A naive model of the server, and shorthands."""

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
from benchmarks.virtual import LoopClock, VirtualLoop

BASE = "https://us.posthog.com"
KEY = "phx_s3cr3t"


class _Threads(trio.abc.Instrument):
    """Stops trio's clock while a thread works, as `VirtualLoop` does."""

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
    """Both loops, where time passes only while everybody waits, and nobody for a thread."""
    return request.param, _virtual(request.param)


def run(backend: str, main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run an async function in virtual time."""
    options = _virtual(backend)
    if backend == "trio":
        # Older versions of anyio drop the options of `anyio.run` on their way to trio.
        return trio.run(main, *args, **options)
    return anyio.run(main, *args, backend_options=options)


class Server:
    """Facts §3.1, word by word: a list of moments for each bucket, and all of them asked."""

    def __init__(self, *rates: tuple[int, float]) -> None:
        self.rates = rates
        self.logs: list[list[float]] = [[] for _ in rates]
        self.admitted: list[float] = []
        self.refused = 0

    def ask(self) -> int | None:
        """Return None, or the whole seconds of `Retry-After`."""
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
    """Return an operation that draws on some buckets."""
    usual: dict[str, Any] = {
        "id": "x.y",
        "method": "GET",
        "path": f"/api/projects/{{project_id}}/{'-'.join(buckets)}/",
        "buckets": buckets,
    }
    return Operation(**{**usual, **fields})


def limiter(**settings: Any) -> RateLimiter:
    """Return a limiter on the time of the event loop."""
    settings.setdefault("clock", LoopClock())
    return RateLimiter(**settings)


def budget(**settings: Any) -> KeyLimiter:
    """Return the budget of one key."""
    return limiter(**settings).for_key(BASE, KEY)


def passage(
    limits: KeyLimiter,
    called: Operation,
    *,
    target: str | None = None,
    content: bytes | None = None,
    within: float | None = None,
) -> Admission:
    """Return the way of one call through the limits."""
    path = target or called.path.replace("{project_id}", "1")
    made = limits.admission(called, PreparedRequest(called.method, path, content=content))
    made.timeout = within
    return made


async def call(
    limits: KeyLimiter, called: Operation, *, latency: float = 0.0, **settings: Any
) -> float:
    """Make one successful request; return when it went."""
    async with passage(limits, called, **settings) as entered:
        went = anyio.current_time()
        entered.was_sent = True
        await anyio.sleep(latency)
        await entered.on_response(200)
    return went


def refusal(seconds: float | None, code: str = "throttled") -> RateLimitError:
    """Return the exception that a 429 becomes."""
    error = RateLimitError("429", status=429, code=code)
    error.retry_after = seconds
    return error


async def refused(
    limits: KeyLimiter, called: Operation, seconds: float | None, **settings: Any
) -> None:
    """Make one request that the server refuses."""
    code = settings.pop("code", "throttled")
    try:
        async with passage(limits, called, **settings) as entered:
            entered.was_sent = True
            await entered.on_response(429)
            raise refusal(seconds, code)
    except RateLimitError as error:
        assert error.status == 429  # noqa: PT017


class Waiting:
    """A queue over windows, without the rest of the limiter."""

    def __init__(self) -> None:
        self.ticker = MonotonicClock(LoopClock())
        self.store = MemoryStore(self.ticker)
        self.queue = Scheduler(self.ticker)
        self.went: list[tuple[object, float]] = []

    def lane(self, *rules: tuple[str, int, float]) -> WaitQueue:
        """Return a lane of windows: name, limit, seconds."""
        return WaitQueue(
            self.store.windows([Limit(f"h/k/{n}", n, limit, s) for n, limit, s in rules])
        )

    async def go(
        self,
        lane: WaitQueue,
        name: object = None,
        *,
        within: float | None = None,
        place: int | None = None,
        latency: float = 0.0,
        delay: float = 0.0,
    ) -> None:
        """Wait, go, and be answered."""
        await anyio.sleep(delay)
        ticket = await self.queue.enter(lane, within, place)
        self.went.append((name, anyio.current_time()))
        try:
            await anyio.sleep(latency)
        finally:
            await lane.windows.settle(ticket)
            self.queue.changed(lane)

    @property
    def order(self) -> list[object]:
        """Who went, in order."""
        return [name for name, _ in self.went]

    def moments(self, names: Sequence[object]) -> list[float]:
        """When some of them went."""
        return [moment for name, moment in self.went if name in names]
