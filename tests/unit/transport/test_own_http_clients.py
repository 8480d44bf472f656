"""Calls that are cut off lose no connection of the user's own `http_client` or `transport`."""

from __future__ import annotations

import asyncio
import gc
import importlib
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import anyio
import anyio.abc
import httpx
import pytest

from asyncposthog import PostHogError
from tests.helpers.fake_transport import KEY, Client

pytestmark = pytest.mark.anyio

Own = Literal["http_client", "transport", "httpx2 client", "httpx2 transport"]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 8\r\n\r\n"
CLOSE = b"\r\nConnection: close\r\n\r\n"
BODY = b'{"id":1}'
MOST = 40
"""Turns of the event loop that a call takes, at most."""


async def serve(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                once = b"X-Once" in await stream.receive()
                await stream.send(
                    HEAD.replace(b"\r\n\r\n", CLOSE if once else b"\r\n\r\n") + BODY[:3]
                )
                await anyio.lowlevel.checkpoint()
                await stream.send(BODY[3:])
                if once:
                    return


@asynccontextmanager
async def one_connection(own: Own, **settings: Any) -> AsyncGenerator[Client]:
    """A client with a pool of one connection, which is not ours."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        host = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        module: Any = importlib.import_module("httpx2" if "httpx2" in own else "httpx")
        limits = module.Limits(max_connections=1)
        async with module.AsyncClient(limits=limits) as theirs:
            given = theirs
            if "transport" in own:
                given = module.AsyncHTTPTransport(limits=limits)
            name = "transport" if "transport" in own else "http_client"
            usual: dict[str, Any] = {"project_id": 1, "host": host, "max_retries": 0, name: given}
            async with Client(KEY, limits=False, timeout=10, **usual, **settings) as ph:
                yield ph
        tasks.cancel_scope.cancel()


async def read(ph: Client) -> None:
    assert await ph.things.report() == BODY.decode()


async def stream(ph: Client) -> None:
    async with ph.stream(ph.things.report) as answer:
        assert b"".join([piece async for piece in answer.aiter_bytes()]) == BODY


async def stop_early(ph: Client) -> None:
    async with ph.stream(ph.things.report):
        pass


Use = Callable[[Client], Awaitable[None]]


@pytest.mark.parametrize(
    ("own", "use"),
    [
        ("http_client", read),
        ("transport", read),
        ("transport", stream),
        ("transport", stop_early),
        ("httpx2 client", read),
        ("httpx2 transport", stream),
    ],
)
@pytest.mark.parametrize("again", [None, 1])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_after_each_turn_of_the_loop(
    own: Own, use: Use, again: int | None
) -> None:
    """Also one that is followed by another while the first is still being cleaned up after."""
    async with one_connection(own) as ph:
        # Every second call opens the connection, which is closed after it.
        once = ph.with_options(headers={"X-Once": "1"})
        for turns in range(MOST):
            for after, caller in ((once, ph), (ph, once)):
                task = asyncio.ensure_future(use(caller))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                if again is not None:
                    for _ in range(again):
                        await asyncio.sleep(0)
                    task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.exception() is None
                with anyio.fail_after(30):
                    await read(after)


@pytest.mark.parametrize(
    ("own", "use"),
    [
        ("http_client", read),
        ("transport", read),
        ("transport", stream),
        ("transport", stop_early),
        ("httpx2 client", stop_early),
    ],
)
async def test_scopes_cancelled_after_each_turn_of_the_loop(own: Own, use: Use) -> None:
    async def scoped(scope: anyio.CancelScope) -> None:
        with scope:
            await use(ph)

    async with one_connection(own) as ph:
        once = ph.with_options(headers={"X-Once": "1"})
        for turns in range(MOST):
            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()
                tasks.start_soon(scoped, scope)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            with anyio.fail_after(30):
                await read(once if turns % 2 else ph)


@pytest.mark.parametrize("own", ["http_client", "transport"])
async def test_a_time_that_is_over_before_the_first_step(own: Own) -> None:
    """The event loop was busy: the deadline passes before httpx is asked."""
    async with one_connection(own) as ph:
        for _ in range(3):
            with suppress(PostHogError):
                await ph.things.report(options={"deadline": 1e-9})
        with anyio.fail_after(30):
            await read(ph)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancellations_are_counted_as_asyncio_counts_them() -> None:
    async def stall(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await connection.receive()
                    arrived.set()

    arrived = asyncio.Event()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, stall)
        host = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        ph = Client(
            KEY, project_id=1, host=host, limits=False, transport=httpx.AsyncHTTPTransport()
        )
        async with ph:
            task = asyncio.current_task()
            assert task is not None
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.01):
                    await ph.things.report()
            assert not isinstance(caught.value, PostHogError)
            assert task.cancelling() == 0
            arrived.clear()
            child = asyncio.ensure_future(ph.things.report())
            await arrived.wait()
            child.cancel()
            await asyncio.wait([child])
            assert child.cancelled()
            assert child.cancelling() == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("own", ["http_client", "transport", "httpx2 client"])
async def test_a_stream_that_is_dropped_gives_its_connection_back(own: Own) -> None:
    async with one_connection(own) as ph:
        held = ph.stream(ph.things.report)
        answer = await held.__aenter__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # trio tells of it
            del held, answer
            gc.collect()
        with anyio.fail_after(30):
            await read(ph)


@pytest.mark.parametrize("own", ["http_client", "transport"])
async def test_an_answer_that_middleware_replaces_gives_its_connection_back(own: Own) -> None:
    async def replace(request: httpx.Request, call_next: Any) -> httpx.Response:
        kept.append(await call_next(request))  # what is dropped is closed anyway
        return httpx.Response(200, content=BODY, request=request)

    kept: list[httpx.Response] = []
    async with one_connection(own, middleware=[replace]) as ph:
        for _ in range(3):
            with anyio.fail_after(30):
                await stream(ph)
