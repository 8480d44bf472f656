"""Time, cancellation, closing, and event loops."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import httpx
import pytest
import trio.testing

from asyncposthog import (
    ClosedError,
    EventLoopError,
    PostHogError,
    TimeoutError,  # noqa: A004
)
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.status import RateLimits
from asyncposthog.transport.encoding.request import PreparedRequest
from asyncposthog.transport.limiter import NoLimiter
from tests.helpers.fake_transport import Client, Server, client
from tests.helpers.manual_clock import ManualClock, StoppedClock

OK = httpx.Response(200, json={"id": 1})

# On trio, time jumps to the next thing that is waited for; on asyncio, the waits are short.
LOOPS = [
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}), id="trio"),
]


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run each test on both loops."""
    return request.param


class Held(Server):
    """Answers only when it is let go."""

    def __init__(self) -> None:
        super().__init__(OK)
        self.arrived = anyio.Event()
        self.release = anyio.Event()
        self.cancelled = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.arrived.set()
        try:
            await self.release.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return await super().__call__(request)


@pytest.mark.anyio
async def test_an_attempt_has_its_own_time() -> None:
    server = Held()
    clock = ManualClock()
    async with client(server, timeout=0.01, max_retries=2, clock=clock) as ph:
        with pytest.raises(TimeoutError, match=r"within the timeout of 0\.01 s") as caught:
            await ph.things.get(1)
        assert not caught.value.deadline_exceeded
        assert isinstance(caught.value, PostHogError)
        assert len(caught.value.attempts) == 3
        assert server.cancelled == 3
        # A write may have happened.
        with pytest.raises(TimeoutError):
            await ph.things.create(name="x")
        assert server.cancelled == 4


@pytest.mark.anyio
async def test_the_deadline_ends_an_attempt() -> None:
    server = Held()
    async with client(server, max_retries=5, deadline=0.01) as ph:
        with pytest.raises(TimeoutError, match=r"within the deadline of 0\.01 s") as caught:
            await ph.things.get(1)
        assert caught.value.deadline_exceeded
        assert len(caught.value.attempts) == 1


@pytest.mark.anyio
async def test_options_set_time() -> None:
    server = Held()
    async with client(server, timeout=None, max_retries=0) as ph:
        with pytest.raises(TimeoutError):
            await ph.things.get(1, options={"timeout": 0.01})
        with pytest.raises(TimeoutError):
            await ph.with_options(deadline=0.01).things.get(1)
        with anyio.move_on_after(0.01):
            await ph.with_options(timeout=0.001).things.get(1, options={"timeout": None})
        assert server.cancelled == 3


@pytest.mark.anyio
async def test_cancelling_a_call_cancels_its_request() -> None:
    server = Held()
    async with client(server) as ph, anyio.create_task_group() as group:
        group.start_soon(ph.things.get, 1)
        await server.arrived.wait()
        group.cancel_scope.cancel()
    assert server.cancelled == 1
    assert not server.requests


@pytest.mark.anyio
async def test_cancelling_a_wait_between_attempts() -> None:
    clock = StoppedClock()
    server = Server(httpx.Response(503))
    async with client(server, clock=clock) as ph, anyio.create_task_group() as group:
        group.start_soon(ph.things.get, 1)
        await clock.sleeping.wait()
        group.cancel_scope.cancel()
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_after_closing_nothing_is_sent() -> None:
    server = Server(OK)
    ph = client(server)
    copy = ph.with_options(project_id=2)
    await ph.things.get(1)
    await ph.aclose()
    await ph.aclose()
    for closed in (ph, copy):
        with pytest.raises(ClosedError, match="The client is closed"):
            await closed.things.get(1)
        with pytest.raises(ClosedError):
            closed.things.list()
        with pytest.raises(ClosedError):
            async with closed:
                pass
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_closing_a_client_that_was_never_used() -> None:
    built: list[int] = []

    class Never(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            built.append(1)

    async with client(None, transport=Never()):
        pass
    assert not built


@pytest.mark.anyio
async def test_closing_waits_for_running_calls() -> None:
    server = Held()
    ph = client(server)
    results: list[object] = []

    async def call() -> None:
        results.append(await ph.things.get(1))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await server.arrived.wait()
        group.start_soon(ph.aclose)
        await anyio.wait_all_tasks_blocked()
        assert ph.settings
        with pytest.raises(ClosedError):
            await ph.things.get(2)
        assert not results
        server.release.set()
    assert results == [{"id": 1}]


@pytest.mark.anyio
async def test_two_may_close() -> None:
    server = Held()
    ph = client(server)
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(ph.things.get, number)
        await server.arrived.wait()
        group.start_soon(partial(ph.aclose, timeout=None))
        group.start_soon(partial(ph.aclose, timeout=None))
        await anyio.wait_all_tasks_blocked()
        server.release.set()
    assert len(server.requests) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("cancel", [True, False])
async def test_closing_cancels_on_request_or_when_it_takes_too_long(cancel: bool) -> None:
    server = Held()
    ph = client(server)
    async with anyio.create_task_group() as group:
        group.start_soon(closed_under, ph)
        await server.arrived.wait()
        if cancel:
            await ph.aclose(cancel=True)
        else:
            await ph.aclose(timeout=0.01)
    assert server.cancelled == 1


async def closed_under(ph: Client) -> None:
    with pytest.raises(ClosedError, match="closed while the call was running"):
        await ph.things.get(1)


@pytest.mark.anyio
async def test_closing_ends_a_wait_between_attempts() -> None:
    clock = StoppedClock()
    ph = client(Server(httpx.Response(503)), clock=clock)
    async with anyio.create_task_group() as group:
        group.start_soon(closed_under, ph)
        await clock.sleeping.wait()
        await ph.aclose(cancel=True)


@pytest.mark.anyio
async def test_an_exception_in_the_block_cancels_what_runs() -> None:
    server = Held()
    ph = client(server)

    async def block() -> None:
        async with ph:
            await server.arrived.wait()
            raise LookupError

    async with anyio.create_task_group() as group:
        group.start_soon(closed_under, ph)
        with pytest.raises(LookupError):
            await block()
    assert server.cancelled == 1


@pytest.mark.anyio
async def test_closing_closes_the_connections() -> None:
    closed: list[int] = []

    class Closing(httpx.MockTransport):
        async def aclose(self) -> None:
            closed.append(1)

    async with client(None, transport=Closing(Server(OK))) as ph:
        await ph.things.get(1)
        assert not closed
    assert closed == [1]


class RecordingLimiter:
    """A user's own limiter, which records its calls and delays attempts."""

    def __init__(self, seconds: float = 0.0, *, needs_query_slot: bool = False) -> None:
        self.seconds = seconds
        self.needs_query_slot = needs_query_slot
        self.extra_timeout = 0.0
        self.buckets = "mine"
        self.timeout: float | None = None
        self.max_block_seconds = 0.0
        self.was_sent = False
        self.seen: list[object] = []

    def for_key(self, base_url: str, api_key: str) -> RecordingLimiter:
        self.seen.append(base_url)
        return self

    def status(self) -> RateLimits:
        return RateLimits()

    def admission(self, operation: Operation, request: PreparedRequest) -> RecordingLimiter:
        self.seen.append((operation.id, request.target))
        return self

    @asynccontextmanager
    async def query_slot(self) -> AsyncGenerator[None]:
        await anyio.sleep(self.seconds)
        self.seen.append("held")
        yield
        self.seen.append("let go")

    async def __aenter__(self) -> None:
        self.was_sent = False
        await anyio.sleep(0 if self.needs_query_slot else self.seconds)
        self.seen.append("entered")

    async def __aexit__(self, *exc: object) -> None:
        self.seen.append("left" if self.was_sent else "not sent")

    async def on_response(self, status: int) -> None:
        self.seen.append(status)

    async def aclose(self) -> None:
        self.seen.append("closed")


@pytest.mark.anyio
async def test_a_limiter_admits_every_attempt() -> None:
    limiter = RecordingLimiter()
    async with client(Server(httpx.Response(503), OK), limiter=limiter) as ph:
        await ph.things.get(1)
        assert limiter.seen == [
            "https://us.posthog.com",
            ("things.get", "/api/projects/1/things/1/"),
            *("entered", 503, "left"),
            *("entered", 200, "left"),
        ]
    assert "closed" not in limiter.seen  # it may serve other clients


@pytest.mark.anyio
async def test_what_never_left_is_told_to_the_limiter() -> None:
    limiter = RecordingLimiter()
    async with client(Server(httpx.ConnectError("no route"), OK), limiter=limiter) as ph:
        await ph.things.get(1)
        assert limiter.seen[2:] == ["entered", "not sent", "entered", 200, "left"]

        async def cached(request: httpx.Request, call_next: object) -> httpx.Response:
            return httpx.Response(200, json=7)

        limiter.seen.clear()
        assert await ph.with_options(middleware=[cached]).things.get(1) == 7
        assert limiter.seen[2:] == ["entered", "not sent"]


@pytest.mark.anyio
async def test_a_limiter_may_hold_something_over_all_attempts() -> None:
    limiter = RecordingLimiter(needs_query_slot=True)
    async with client(Server(httpx.Response(503), OK), limiter=limiter) as ph:
        await ph.things.get(1)
        assert limiter.seen[2:] == [
            "held",
            *("entered", 503, "left"),
            *("entered", 200, "left"),
            "let go",
        ]


@pytest.mark.anyio
async def test_no_limiter() -> None:
    for settings in ({"limits": False}, {"limiter": NoLimiter()}):
        async with client(Server(OK), **settings) as ph:
            for _ in range(500):
                assert await ph.things.get(1) == {"id": 1}
            assert not ph.rate_limits.buckets


@pytest.mark.anyio
async def test_waiting_to_be_admitted_does_not_count_against_the_timeout() -> None:
    async with client(Server(OK), limiter=RecordingLimiter(0.02), timeout=0.01) as ph:
        assert await ph.things.get(1) == {"id": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("needs_query_slot", [True, False])
async def test_closing_ends_waiting_for_the_limiter(needs_query_slot: bool) -> None:
    limiter = RecordingLimiter(1e6, needs_query_slot=needs_query_slot)
    async with client(Server(OK), limiter=limiter) as ph, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(ClosedError):
                await ph.things.get(1)

        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await ph.aclose(cancel=True)
        assert limiter.seen[2:] == []


def test_another_event_loop() -> None:
    ph = client(Server(OK))

    async def call() -> object:
        return await ph.things.get(1)

    async def close() -> None:
        await ph.aclose()

    async def page() -> object:
        return await ph.things.list()

    assert anyio.run(call) == {"id": 1}
    for again in (call, close, page):
        with pytest.raises(EventLoopError, match="another event loop") as caught:
            anyio.run(again)
        assert isinstance(caught.value, RuntimeError)
    with pytest.raises(EventLoopError):
        anyio.run(call, backend="trio")


def test_building_needs_no_loop() -> None:
    assert client(Server()).things
