"""Clients and transports of httpx2 are used as those of httpx, and raise the same errors."""

from __future__ import annotations

import gzip
import traceback
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import httpx2
import pytest

from asyncposthog import (
    ClosedError,
    ConfigurationError,
    ConnectionError,  # noqa: A004
    NotFoundError,
    PostHogError,
    TimeoutError,  # noqa: A004
)
from tests.helpers.fake_transport import KEY, Client
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio
Answer = Callable[[httpx2.Request], httpx2.Response]


def client(answer: Answer, own: str = "transport", **settings: Any) -> Client:
    given: Any = httpx2.MockTransport(answer)
    if own == "http_client":
        given = httpx2.AsyncClient(transport=given)
    usual: dict[str, Any] = {own: given, "max_retries": 0, "limits": False, "clock": ManualClock()}
    return Client(KEY, project_id=1, **{**usual, **settings})


@pytest.mark.parametrize("own", ["transport", "http_client"])
async def test_requests_and_responses(own: str) -> None:
    seen: list[tuple[str, str, bytes]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        seen.append((request.method, request.url.path.rpartition("/things")[2], request.content))
        if request.url.path.endswith("/404/"):
            return httpx2.Response(404, json={"type": "invalid_request", "detail": "No."})
        if request.url.path.endswith("/302/"):
            return httpx2.Response(302, headers={"Location": "/api/projects/1/things/1/"})
        packed = gzip.compress(b'{"id": 1}')
        return httpx2.Response(200, content=packed, headers={"Content-Encoding": "gzip"})

    async with client(answer, own) as ph:
        assert await ph.things.get(1) == {"id": 1}
        assert await ph.things.get(302) == {"id": 1}
        assert await ph.things.create(name="x") == {"id": 1}
        with pytest.raises(NotFoundError, match="No\\."):
            await ph.things.get(404)
        async with ph.stream(ph.things.get, 2) as streamed:
            assert b"".join([piece async for piece in streamed.aiter_bytes()]) == b'{"id": 1}'
    assert [(method, path) for method, path, _ in seen] == [
        ("GET", "/1/"), ("GET", "/302/"), ("GET", "/1/"), ("POST", "/"), ("GET", "/404/"),
        ("GET", "/2/"),
    ]  # fmt: skip
    assert seen[3][2] == b'{"name":"x"}'


ERRORS: list[tuple[type[Exception], type[PostHogError], type[Exception], bool]] = [
    (httpx2.ConnectError, ConnectionError, httpx.ConnectError, True),
    (httpx2.ConnectTimeout, TimeoutError, httpx.ConnectTimeout, True),
    (httpx2.PoolTimeout, TimeoutError, httpx.PoolTimeout, True),
    (httpx2.ProxyError, ConnectionError, httpx.ProxyError, True),
    (httpx2.ReadError, ConnectionError, httpx.ReadError, False),
    (httpx2.ReadTimeout, TimeoutError, httpx.ReadTimeout, False),
    (httpx2.RemoteProtocolError, ConnectionError, httpx.RemoteProtocolError, False),
    (httpx2.InvalidURL, ConnectionError, httpx.UnsupportedProtocol, False),
]


@pytest.mark.parametrize(("theirs", "ours", "cause", "write_repeated"), ERRORS)
async def test_errors(
    theirs: type[Exception], ours: type[PostHogError], cause: type[Exception], write_repeated: bool
) -> None:
    calls = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal calls
        calls += 1
        raise theirs(f"no, {KEY}")

    async with client(answer, max_retries=1) as ph:
        with pytest.raises(ours) as caught:
            await ph.things.create(name="x")
    assert type(caught.value.__cause__) is cause
    assert calls == 1 + write_repeated
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_body_that_breaks_off() -> None:
    class Broken(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            yield b'{"id"'
            raise httpx2.ReadError("broken")

    async with client(lambda _: httpx2.Response(200, stream=Broken())) as ph:
        with pytest.raises(ConnectionError, match="broken"):
            await ph.things.get(1)
        async with ph.stream(ph.things.get, 1) as streamed:
            with pytest.raises(ConnectionError, match="broken"):
                _ = [piece async for piece in streamed.aiter_bytes()]


async def test_a_hook_that_reads_the_response() -> None:
    seen: list[httpx2.Response] = []

    async def read(response: httpx2.Response) -> None:
        await response.aread()
        seen.append(response)

    def answer(request: httpx2.Request) -> httpx2.Response:
        packed = gzip.compress(b'{"id": 1}')
        return httpx2.Response(200, content=packed, headers={"Content-Encoding": "gzip"})

    own = httpx2.AsyncClient(
        transport=httpx2.MockTransport(answer), event_hooks={"response": [read]}
    )
    async with client(answer, transport=None, http_client=own) as ph:
        assert await ph.things.get(1) == {"id": 1}
        assert not own.is_closed
        await own.aclose()
        with pytest.raises(ClosedError):
            await ph.things.get(1)
    assert "Authorization" not in seen[0].request.headers  # which a program may keep and log


def test_what_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match=r"of httpx or httpx2, not httpx2\.HTTPTransport"):
        client(lambda _: httpx2.Response(200), transport=httpx2.HTTPTransport())
    with pytest.raises(TypeError, match=r"of httpx or httpx2, not httpx2\.Client"):
        client(lambda _: httpx2.Response(200), transport=None, http_client=httpx2.Client())
    monkeypatch.setattr(httpx2, "__version__", "3.0.0")
    for own in ("transport", "http_client"):
        with pytest.raises(ConfigurationError, match=r"httpx2 3\.0\.0, which is not supported"):
            client(lambda _: httpx2.Response(200), own)
