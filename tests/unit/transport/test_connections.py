"""Connections survive calls that are cut off, over real sockets: none is lost, none stays open."""

from __future__ import annotations

import asyncio
import gc
import types
import warnings
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import anyio
import anyio.abc
import httpx
import pytest

from asyncposthog import PostHogError, ServerError
from asyncposthog import TimeoutError as CallTimeoutError
from tests.helpers.fake_transport import KEY, Client
from tests.helpers.transports import BACKENDS, backend, transport_settings

pytestmark = pytest.mark.anyio

Mode = Literal["answer", "stall", "headers", "reset"]
SIZE = 4
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 8\r\n\r\n"
BODY = b'{"id":1}'
HTTPX_ALONE = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Generator[str]:
    with backend(str(request.param)) as name:
        yield name


class Server:
    """Counts its connections, and treats requests as it is set to.

    Those for thing 7 are answered when there are as many of them as there may be connections.
    """

    def __init__(self) -> None:
        self.mode: Mode = "answer"
        self.port = 0
        self.open = 0
        self.opened = 0
        self.requests = 0
        self.at_once = 0
        """Requests for thing 7."""
        self._changed = anyio.Event()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, **wanted: int) -> None:
        """Wait until counts are what they should be."""
        with anyio.fail_after(30):
            while any(getattr(self, name) != value for name, value in wanted.items()):
                await self._changed.wait()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.open += 1
        self.opened += 1
        self._change()
        try:
            async with stream:
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while await self._answer(stream):
                        pass
        finally:
            self.open -= 1
            self._change()

    async def _answer(self, stream: anyio.abc.SocketStream) -> bool:
        if b"/things/7/" in await stream.receive():
            self.at_once += 1
            self._change()
            while self.at_once % SIZE:
                await self._changed.wait()
            await stream.send(HEAD + BODY)
            return True
        self.requests += 1
        self._change()
        if self.mode == "reset":
            await anyio.aclose_forcefully(stream)
            return False
        if self.mode in {"stall", "headers"}:
            if self.mode == "headers":
                await stream.send(HEAD + BODY[:2])
            await stream.receive()  # what comes is the end
            return False
        await stream.send(HEAD + BODY)
        return True


@asynccontextmanager
async def serving() -> AsyncGenerator[Server]:
    server = Server()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=512)
    async with listener, anyio.create_task_group() as tasks:
        server.port = int(listener.extra(anyio.abc.SocketAttribute.local_port))
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


def client(server: Server, scheme: str = "http", **settings: Any) -> Client:
    usual: dict[str, Any] = {"max_connections": SIZE, "max_retries": 0, "limits": False}
    usual |= transport_settings()
    host = f"{scheme}://127.0.0.1:{server.port}"
    return Client(KEY, project_id=1, host=host, **{**usual, **settings})


async def all_work(ph: Client) -> None:
    """Find every connection usable: the server answers when it has as many requests at once."""

    async def get() -> None:
        assert await ph.things.get(7, options={"deadline": 20}) == {"id": 1}

    async with anyio.create_task_group() as tasks:
        for _ in range(SIZE):
            tasks.start_soon(get)


async def report(ph: Client) -> None:
    assert await ph.things.report(options={"deadline": 10}) == BODY.decode()


class Natively:
    """Cancels as asyncio itself does."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object]] = []

    async def __call__(self, ph: Client) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        with suppress(asyncio.CancelledError, PostHogError):
            await ph.things.report()

    async def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()


class Scoped:
    """Cancels as anyio and trio do."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()

    async def __call__(self, ph: Client) -> None:
        with anyio.CancelScope() as scope, suppress(PostHogError):
            self.scopes = [*getattr(self, "scopes", []), scope]
            await ph.things.report()

    async def cancel(self) -> None:
        for scope in self.scopes:
            scope.cancel()


class OutOfTime:
    """Leaves it to the calls' own timeout."""

    async def __call__(self, ph: Client) -> None:
        with suppress(PostHogError):
            await ph.things.report(options={"timeout": 0.05})

    async def cancel(self) -> None:
        pass


class Deadlines(OutOfTime):
    """Leaves it to the calls' own deadline."""

    async def __call__(self, ph: Client) -> None:
        with suppress(PostHogError):
            await ph.things.report(options={"deadline": 0.05})


@pytest.mark.parametrize("mode", ["stall", "headers"])
@pytest.mark.parametrize("way", [Natively, Scoped, OutOfTime, Deadlines])
async def test_rounds_of_calls_that_are_cut_off(
    way: type[Natively | Scoped | OutOfTime], mode: Mode, anyio_backend: str
) -> None:
    if way is Natively and anyio_backend == "trio":
        return  # trio knows no other cancellation than scopes
    async with serving() as server, client(server) as ph:
        for number in range(4):
            server.mode = mode
            cut = way()
            async with anyio.create_task_group() as tasks:
                for _ in range(5 * SIZE):
                    tasks.start_soon(cut, ph)
                if isinstance(cut, Natively | Scoped):
                    await server.until(requests=(number + 1) * SIZE)
                    await cut.cancel()
            if isinstance(cut, Natively | Scoped):
                assert server.requests == (number + 1) * SIZE  # the others were not sent
            await all_work(ph)
        await ph.aclose()
        await server.until(open=0)


async def test_a_cut_off_tls_handshake_leaves_no_socket_open() -> None:
    async with serving() as server, client(server, "https") as ph:
        server.mode = "stall"  # it never says a word of TLS
        cut = Scoped()
        async with anyio.create_task_group() as tasks:
            for _ in range(3 * SIZE):
                tasks.start_soon(cut, ph)
            await server.until(requests=SIZE)
            await cut.cancel()
        await server.until(open=0)
        assert server.opened == SIZE


async def test_resets_lose_nothing() -> None:
    async with serving() as server, client(server) as ph:
        server.mode = "reset"
        async with anyio.create_task_group() as tasks:
            for _ in range(5 * SIZE):
                tasks.start_soon(Scoped(), ph)
        assert server.requests == 5 * SIZE
        await all_work(ph)


class Steps:
    """Runs a coroutine, and cancels its task natively when it awaits for the n-th time."""

    def __init__(self, *when: int) -> None:
        self.when = when
        self.taken = 0

    @types.coroutine
    def of(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                trap = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            value = error = None
            self.taken += 1
            if self.taken in self.when:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield trap
            except BaseException as thrown:
                error = thrown


@pytest.mark.parametrize("again", [0, 1, 2])
@pytest.mark.parametrize("anyio_backend", ["asyncio", "aiohttp"], indirect=True)
async def test_a_native_cancellation_at_each_await(again: int) -> None:
    """Also one that is followed by another while the first is still being cleaned up after."""
    async with serving() as server, client(server, max_connections=1) as ph:
        for warm in (False, True):
            for number in range(1, 100):
                steps = Steps(number, number + again)
                # A new connection, or one that is used again.
                await ph.things.get(1, options={"deadline": 10})
                if not warm:
                    server.mode = "reset"
                    with suppress(PostHogError):
                        await ph.things.get(1)
                    server.mode = "answer"
                task = asyncio.create_task(native(steps, ph))
                await asyncio.wait([task])
                assert task.cancelled() or task.exception() is None
                if steps.taken < number:
                    break
            else:
                raise AssertionError("it never ends")
        await ph.things.get(1, options={"deadline": 10})
        await server.until(open=1)


async def native(steps: Steps, ph: Client) -> None:
    await steps.of(ph.things.get(1))


async def test_what_the_time_went_into() -> None:
    async with serving() as server, client(server, max_connections=1) as ph:
        server.mode = "headers"
        async with ph.stream(ph.things.report):
            for options in ({"timeout": 0.01}, {"deadline": 0.01}):
                with pytest.raises(CallTimeoutError, match="No connection became free") as caught:
                    await ph.things.create(name="x", options=options)
                error = caught.value
                assert "all 1 (max_connections) were in use" in str(error)
                assert "It was not sent" in str(error)
                assert "raise max_connections" in str(error.suggestion)
                assert isinstance(error.__cause__, httpx.PoolTimeout)
                assert error.deadline_exceeded == ("deadline" in options)
        assert server.requests == 1


async def test_a_stream_holds_its_place_until_it_is_closed() -> None:
    async with serving() as server, client(server, max_connections=1) as ph:
        order: list[str] = []

        async def other() -> None:
            await report(ph)
            order.append("other")

        async with anyio.create_task_group() as tasks:
            async with ph.stream(ph.things.report) as answer:
                tasks.start_soon(other)
                await anyio.wait_all_tasks_blocked()
                order.append("still open")
                assert b"".join([piece async for piece in answer.aiter_bytes()]) == BODY
                # Read to the end, it needs its connection no longer.
                await server.until(requests=2)
            server.mode = "headers"
            async with ph.stream(ph.things.report):
                pass  # not read at all
            server.mode = "answer"
        await report(ph)
        assert order == ["still open", "other"]
        assert server.opened == 2


async def test_a_stream_that_is_dropped_gives_its_place_back() -> None:
    async with serving() as server, client(server, max_connections=1) as ph:
        server.mode = "headers"
        stream = ph.stream(ph.things.report)
        answer = await stream.__aenter__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # trio tells of it
            del stream, answer
            gc.collect()
        server.mode = "answer"
        await report(ph)


async def test_middleware_that_drops_a_stream_or_makes_calls_of_its_own() -> None:
    async def nested(request: httpx.Request, call_next: Any) -> httpx.Response:
        if "nested" in request.headers:
            return await call_next(request)
        await ph.things.get(2, options={"headers": {"nested": "1"}})
        await call_next(request)  # a streamed answer that nobody closes
        gc.collect()
        return await call_next(request)

    async with serving() as server:
        ph = client(server, max_connections=1, middleware=[nested], deadline=10)
        async with ph:
            async with ph.stream(ph.things.report) as answer:
                assert b"".join([piece async for piece in answer.aiter_bytes()]) == BODY
            await report(ph)
        assert server.requests == 6


async def test_middleware_that_fails_with_a_stream_in_hand() -> None:
    async def fail(request: httpx.Request, call_next: Any) -> httpx.Response:
        kept.append(await call_next(request))
        raise httpx.ReadError("no")

    kept: list[httpx.Response] = []
    async with serving() as server:
        async with client(server, max_connections=1, middleware=[fail], max_retries=1) as ph:
            with pytest.raises(PostHogError, match="no"):
                async with ph.stream(ph.things.report):
                    pass
            await report(ph.with_options(middleware=[]))
        assert len(kept) == 2


class Around(httpx.AsyncByteStream):
    """A body that middleware makes of another."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        async for piece in self.response.aiter_raw():
            yield piece.upper()


@pytest.mark.parametrize("what", ["another", "around", "error"])
async def test_middleware_that_returns_another_answer_for_a_stream(what: str) -> None:
    async def replace(request: httpx.Request, call_next: Any) -> httpx.Response:
        response = await call_next(request)
        kept.append(response)
        if what == "around":
            return httpx.Response(200, stream=Around(response), request=request)
        return httpx.Response(200 if what == "another" else 503, content=BODY, request=request)

    kept: list[httpx.Response] = []  # dropping them would close them
    async with serving() as server:
        ph = client(server, max_connections=1, middleware=[replace], max_retries=1, deadline=10)
        async with ph:
            for _ in range(3):
                with suppress(ServerError):
                    async with ph.stream(ph.things.report) as answer:
                        read = b"".join([piece async for piece in answer.aiter_bytes()])
                        assert read == (BODY.upper() if what == "around" else BODY)
            await report(ph.with_options(middleware=[]))
        assert len(kept) == (6 if what == "error" else 3)


@pytest.mark.parametrize("first", [True, False])
async def test_middleware_that_asks_twice_for_a_stream(first: bool) -> None:
    async def twice(request: httpx.Request, call_next: Any) -> httpx.Response:
        answers = [await call_next(request), await call_next(request)]
        kept.extend(answers)
        return answers[0 if first else 1]

    kept: list[httpx.Response] = []
    async with serving() as server:
        ph = client(server, max_connections=1, middleware=[twice], deadline=10)
        async with ph:
            async with ph.stream(ph.things.report) as answer:
                if first:
                    with pytest.raises(PostHogError, match="call_next again"):
                        await anext(answer.aiter_bytes())
                else:
                    assert b"".join([piece async for piece in answer.aiter_bytes()]) == BODY
            await report(ph.with_options(middleware=[]))
        assert server.requests == 3


@HTTPX_ALONE
async def test_a_call_without_a_connection_builds_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = 0
    usual = httpx.Request.__init__

    def count(self: httpx.Request, *args: Any, **settings: Any) -> None:
        nonlocal built
        built += 1
        usual(self, *args, **settings)

    monkeypatch.setattr(httpx.Request, "__init__", count)
    async with serving() as server, client(server, max_connections=1) as ph:
        server.mode = "stall"
        cut = Scoped()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut, ph)  # has the connection
            await server.until(requests=1)
            async with anyio.create_task_group() as others:
                for _ in range(50):
                    others.start_soon(Deadlines(), ph)
            assert built == 1
            await cut.cancel()


@HTTPX_ALONE
async def test_http2_that_is_not_spoken_leaves_each_call_its_own_connection() -> None:
    async with serving() as server, client(server, http2=True) as ph:
        await all_work(ph)
        assert server.opened == SIZE
        server.mode = "stall"
        async with anyio.create_task_group() as tasks:
            cut = Scoped()
            tasks.start_soon(cut, ph)
            await server.until(requests=1)
            await cut.cancel()
        await all_work(ph)
        assert server.opened == SIZE + 1  # only the connection of the call that was cut off


async def test_redirects_and_look_ups_need_no_second_place() -> None:
    body = b'{"team":{"id":5},"organization":{"id":"0190c0de-0000-7000-8000-000000000001"}}'
    seen: list[bytes] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    line = (await stream.receive()).split(b"\r\n")[0]
                    seen.append(line.split()[1])
                    if b"?" not in line and b"/things/" in line:
                        await stream.send(
                            b"HTTP/1.1 307 X\r\nLocation: ?x=1\r\nContent-Length: 0\r\n\r\n"
                        )
                        continue
                    await stream.send(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        + f"Content-Length: {len(body)}\r\n\r\n".encode()
                        + body
                    )

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = int(listener.extra(anyio.abc.SocketAttribute.local_port))
        async with Client(
            KEY, host=f"http://127.0.0.1:{port}", limits=False, max_connections=1, deadline=10
        ) as ph:
            await ph.things.get(1)
        tasks.cancel_scope.cancel()
    assert seen[1:] == [b"/api/projects/5/things/1/", b"/api/projects/5/things/1/?x=1"]


@HTTPX_ALONE
@pytest.mark.parametrize("own", ["http_client", "transport"])
async def test_a_client_of_ones_own_is_not_asked_for_more_than_it_has(own: str) -> None:
    limits = httpx.Limits(max_connections=SIZE)
    transport = httpx.AsyncHTTPTransport(limits=limits)
    settings: dict[str, Any] = {"transport": transport}
    async with httpx.AsyncClient(limits=limits) as http_client, serving() as server:
        if own == "http_client":
            settings = {"http_client": http_client}
        async with client(server, max_connections=100, **settings) as ph:
            for _ in range(3):
                server.mode = "stall"
                cut = OutOfTime()
                async with anyio.create_task_group() as tasks:
                    for _ in range(5 * SIZE):
                        tasks.start_soon(cut, ph)
                await all_work(ph)


@HTTPX_ALONE
async def test_transports_without_connections_have_no_gate() -> None:
    inside = 0
    everyone = anyio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal inside
        inside += 1
        if inside == 3 * SIZE:
            everyone.set()
        await everyone.wait()
        return httpx.Response(200, content=BODY)

    settings: dict[str, Any] = {"transport": httpx.MockTransport(answer), "project_id": 1}
    async with (
        Client(KEY, max_connections=SIZE, deadline=10, **settings) as ph,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3 * SIZE):
            tasks.start_soon(report, ph)
