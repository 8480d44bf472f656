"""What is not the project's own: exceptions of middleware, of httpx and of what lies below it."""

from __future__ import annotations

import gzip
import traceback
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import httpcore
import httpx
import pytest

from asyncposthog import (
    ConfigurationError,
    ConnectionError,  # noqa: A004
    PostHogError,
    RateLimitError,
    RedirectError,
    ValidationError,
)
from asyncposthog.operation import Operation, Result
from tests.helpers.fake_transport import Client, Server, client, new_call
from tests.helpers.hostile_server import Connection, answer, envelope, hostile
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio

KEY = "unprefixedSecretKey0123456789+/'\\x"
DOWNLOAD = Operation(
    id="things.file",
    method="GET",
    path="/api/projects/{project_id}/things/file/",
    result=Result(kind="bytes", status=302),
    writes=False,
)
Next = Callable[[httpx.Request], Awaitable[httpx.Response]]


def over(url: str, **settings: Any) -> Client:
    chosen: dict[str, Any] = {
        "api_key": KEY,
        "project_id": 1,
        "host": url,
        "clock": ManualClock(),
        "limits": False,
        **settings,
    }
    return Client(**chosen)


async def audit_refused(request: httpx.Request, call_next: Next) -> httpx.Response:
    await call_next(request)
    raise httpx.ConnectError("the audit service is down")


async def audit_pool(request: httpx.Request, call_next: Next) -> httpx.Response:
    await call_next(request)
    raise httpx.PoolTimeout("the audit service is busy")


async def other_client(request: httpx.Request, call_next: Next) -> httpx.Response:
    await call_next(request)
    server = Server(httpx.ConnectError("another host"))
    async with client(server, max_retries=0) as other:
        await other.things.get(1)
    raise AssertionError


async def other_throttled(request: httpx.Request, call_next: Next) -> httpx.Response:
    await call_next(request)
    body = envelope("throttled", "Request was throttled.", "throttled_error")
    return httpx.Response(429, content=body, headers={"Retry-After": "1"}, request=request)


@pytest.mark.parametrize(
    "handle",
    [audit_refused, audit_pool, other_client, other_throttled],
    ids=["refused", "pool", "client", "throttled"],
)
async def test_what_middleware_raises_after_the_answer_repeats_no_write(handle: Any) -> None:
    effects = 0

    def script(connection: Connection) -> None:
        nonlocal effects
        while True:
            connection.request()
            effects += 1
            connection.send(answer(201))

    with hostile(script) as server:
        async with over(server.url, middleware=[handle]) as ph:
            with pytest.raises(PostHogError):
                await ph.things.create(name="x")
    assert effects == 1


async def test_what_a_hook_of_the_users_client_raises_repeats_no_write() -> None:
    effects = 0

    def script(connection: Connection) -> None:
        nonlocal effects
        while True:
            connection.request()
            effects += 1
            connection.send(answer(201))

    async def hook(response: httpx.Response) -> None:
        raise httpx.ConnectError("the audit service is down")

    with hostile(script) as server:
        own = httpx.AsyncClient(event_hooks={"response": [hook]})
        async with own, over(server.url, http_client=own) as ph:
            with pytest.raises(ConnectionError):
                await ph.things.create(name="x")
    assert effects == 1


async def test_middleware_that_fails_before_it_sends_is_run_again() -> None:
    runs: list[int] = []

    async def handle(request: httpx.Request, call_next: Next) -> httpx.Response:
        runs.append(1)
        if len(runs) < 3:
            raise httpx.ConnectError("no token service")
        return await call_next(request)

    server = Server(httpx.Response(201, json={"id": 1}))
    async with client(server, middleware=[handle]) as ph:
        assert await ph.things.create(name="x") == {"id": 1}
    assert (len(runs), len(server.requests)) == (3, 1)


class ForeignError(Exception):
    """Like those of h2, which httpx does not know."""


@pytest.mark.parametrize(
    "error",
    [
        ForeignError("Invalid input ConnectionInputs.SEND_SETTINGS"),
        ValueError("semaphore released too many times"),
        AssertionError(),
        ExceptionGroup("unhandled errors in a TaskGroup", [OverflowError("port must be 0-65535")]),
        ExceptionGroup("unhandled errors in a TaskGroup", [OSError("a"), ForeignError("b")]),
    ],
    ids=["foreign", "value", "assertion", "port", "group"],
)
async def test_what_lies_below_httpx_raises_nothing_raw(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(self: object, request: object) -> object:
        raise error

    monkeypatch.setattr(httpcore.AsyncConnectionPool, "handle_async_request", fail)
    async with over("http://127.0.0.1:9", max_retries=0) as ph:
        with pytest.raises(ConnectionError, match="The connection to"):
            await ph.things.get(1)
        with pytest.raises(ConnectionError, match="The connection to"):
            async with ph.stream(ph.things.get, 1):
                pass


async def test_errors_of_the_users_own_code_stay_as_they_are() -> None:
    async def handle(request: httpx.Request, call_next: Next) -> httpx.Response:
        raise ForeignError("a mistake in middleware")

    def broken(request: httpx.Request) -> httpx.Response:
        raise ForeignError("a mistake in a transport")

    async with over("http://127.0.0.1:9", middleware=[handle]) as ph:
        with pytest.raises(ForeignError, match="middleware"):
            await ph.things.get(1)
    async with over("http://127.0.0.1:9", transport=httpx.MockTransport(broken)) as ph:
        with pytest.raises(ForeignError, match="transport"):
            await ph.things.get(1)


@pytest.mark.parametrize("location", [b"http://127.0.0.1:99999/x", b"http://127.0.0.1:-1/x"])
async def test_a_download_at_a_port_that_does_not_exist(location: bytes) -> None:
    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(answer(302, b"", b"Location: " + location))

    with hostile(script) as server:
        async with over(server.url) as ph:
            executor = ph.things._executor  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(RedirectError):
                await executor.call(new_call(DOWNLOAD))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_is_redirected_to_no_address_twice(method: str) -> None:
    requests: list[bytes] = []

    def script(connection: Connection) -> None:
        while True:
            head, _ = connection.request()
            requests.append(head.split(b" ")[1])
            target = b"/b/" if requests[-1] == b"/a/" else b"/a/"
            connection.send(answer(307, b"", b"Location: " + target))

    with hostile(script) as server:
        async with over(server.url) as ph:
            with pytest.raises(RedirectError):
                await ph.request(method, "/a/", body={})
    assert requests == [b"/a/", b"/b/"]


@cache
def packed(size: int) -> bytes:
    """Return a gzip body that stands for so many bytes of nothing."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


# httpx does not close its own generators when a body is not read to its end, and trio notices.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("codings", [b"gzip", b"gzip, gzip"])
async def test_an_error_that_unpacks_to_much_takes_little_memory(codings: bytes) -> None:
    body = packed(100 << 20)
    if codings == b"gzip, gzip":
        body = gzip.compress(body)

    def script(connection: Connection) -> None:
        connection.head()
        connection.send(answer(400, body, b"Content-Encoding: " + codings))
        connection.wait()

    with hostile(script) as server:
        async with over(server.url, max_retries=0) as ph:
            tracemalloc.start()
            try:
                with pytest.raises(ValidationError, match=r"first 1,048,576 bytes") as caught:
                    await ph.things.get(1)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert caught.value.response is not None
    assert len(caught.value.response.content) == 1 << 20
    assert peak < 16 << 20


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"gzip, deflate", b"identity"])
async def test_a_compressed_error_is_read(coding: bytes) -> None:
    said = "x" * 400 + "the end"
    body = envelope("invalid", said, "validation_error") + b" " * 200_000
    for one in coding.split(b", "):
        make = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"identity": bytes}[one]
        body = make(body)

    def script(connection: Connection) -> None:
        connection.head()
        connection.send(answer(400, body, b"Content-Encoding: " + coding))
        connection.wait()

    with hostile(script) as server:
        async with over(server.url, max_retries=0) as ph:
            with pytest.raises(ValidationError) as caught:
                await ph.things.get(1)
    assert caught.value.detail == said


@pytest.mark.parametrize("name", ["timeout", "deadline", "max_retry_after"])
async def test_a_number_that_is_too_large_is_refused(name: str) -> None:
    settings: dict[str, Any] = {name: 10**400}
    with pytest.raises(ConfigurationError, match=name):
        over("http://127.0.0.1:9", **settings)


def echoes(head: bytes) -> bytes:
    """Return the key of a request, as a server sees it."""
    return head.split(b"Bearer ")[1].split(b"\r\n")[0]


ECHOES: list[Callable[[bytes], bytes]] = [
    lambda key: key + b"\r\n\r\n",
    lambda key: b"HTTP/1.1 " + key + b" OK\r\n\r\n",
    lambda key: b"HTTP/1.1 200 OK\r\n" + key + b"\r\n\r\n",
    lambda key: b"HTTP/1.1 200 OK\r\n " + key + b": x\r\n\r\n",
    lambda key: b"HTTP/1.1 200 OK\r\nContent-Length: " + key + b"\r\n\r\n",
    lambda key: answer(200, b"{}", b"Transfer-Encoding: " + key),
    lambda key: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + key + b"\r\n",
]


@pytest.mark.parametrize("make", ECHOES)
@pytest.mark.parametrize("key", [KEY, "plainUnprefixedKey012345"])
async def test_a_key_echoed_in_a_broken_answer_is_shown_nowhere(
    make: Callable[[bytes], bytes], key: str
) -> None:
    def script(connection: Connection) -> None:
        connection.send(make(echoes(connection.head() + b"\r\n")))

    with hostile(script) as server:
        async with over(server.url, api_key=key, max_retries=0) as ph:
            with pytest.raises(PostHogError) as caught:
                await ph.things.get(1)
    shown = "".join(traceback.format_exception(caught.value))
    seen: BaseException | None = caught.value
    while seen is not None:
        shown += f"{seen} {seen!r} {seen.args}"
        seen = seen.__cause__ or seen.__context__
    for form in (key, repr(key)[1:-1], repr(key.encode())[2:-1]):
        assert form not in shown


async def test_a_throttle_that_refuses_is_still_waited_for() -> None:
    refusal = answer(
        429, envelope("throttled", "Request was throttled.", "throttled_error"), b"Retry-After: 1"
    )

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(refusal)

    async def pass_on(request: httpx.Request, call_next: Next) -> httpx.Response:
        return await call_next(request)

    with hostile(script) as server:
        async with over(server.url, middleware=[pass_on]) as ph:
            with pytest.raises(RateLimitError) as caught:
                await ph.things.create(name="x")
    assert len(caught.value.attempts) == 4
