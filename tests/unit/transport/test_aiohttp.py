"""`transport="aiohttp"` sends what httpx would send, and fails as it would."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import threading
import warnings
from collections.abc import Callable, Generator
from importlib import util
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import (
    AsyncPostHog,
    ConfigurationError,
    ConnectionError,  # noqa: A004
    PostHogError,
)
from tests.helpers.fake_transport import KEY, Client
from tests.helpers.hostile_server import Connection, HostileServer, answer, hostile

pytestmark = pytest.mark.anyio
PACKED = gzip.compress(b'{"id": 1, "packed": true}')


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Seen:
    """What the server was sent, and how it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.respond: Callable[[Connection, bytes], bool] = respond_by_path


def respond_by_path(connection: Connection, head: bytes) -> bool:
    """Respond to a request; return whether the connection stays open."""
    if b"/things/2/" in head:
        connection.send(answer(200, PACKED, b"Content-Encoding: gzip", b"Set-Cookie: a=b"))
    elif b"/things/3/" in head:
        connection.send(answer(302, b"", b"Location: /api/projects/1/things/1/?from=3"))
    elif b"/things/4/" in head:
        return False  # lost after it was received
    else:
        connection.send(answer())
    return True


@pytest.fixture(scope="module")
def running() -> Generator[tuple[HostileServer, Seen]]:
    seen = Seen()

    def script(connection: Connection) -> None:
        while True:
            head, body = connection.request()
            seen.requests.append((head, body))
            if not seen.respond(connection, head):
                return

    with hostile(script) as server:
        yield server, seen


@pytest.fixture
def server(running: tuple[HostileServer, Seen]) -> tuple[str, Seen]:
    running[1].requests.clear()
    return running[0].url, running[1]


def client(url: str, **settings: Any) -> Client:
    usual: dict[str, Any] = {"transport": "aiohttp", "max_retries": 0, "limits": False}
    return Client(KEY, project_id=1, host=url, **{**usual, **settings})


def as_sent(request: tuple[bytes, bytes]) -> tuple[bytes, set[bytes], bytes]:
    line, *fields = request[0].split(b"\r\n")
    others = (b"connection:", b"content-type: multip")
    kept = {field for field in fields if not field.lower().startswith(others)}
    return line, kept, request[1] if b"boundary" not in request[0] else b""


async def test_requests_are_those_of_httpx(server: tuple[str, Seen]) -> None:
    url, seen = server
    for settings in ({"transport": None}, {}):
        async with client(url, headers={"X-Team": "data"}, **settings) as ph:
            await ph.things.get(1, options={"headers": {"accept": "x/y", "X-Way": "a"}})
            await ph.things.create(name="Ü")
            await ph.things.upload(file=b"abc", note="x")
            await ph.things.delete(1)
            await ph.things.query(query={"a": [1, "ß"]})
            await ph.request("GET", "/api/x/%2Fy/", query={"q": "a b/ü", "n": [1, 2]})
            await ph.request("POST", "/api/x/")
            assert await ph.things.get(2) == {"id": 1, "packed": True}  # decompressed
            assert await ph.things.get(3) == {"id": 1}  # redirected
            async with ph.stream(ph.things.get, 2) as streamed:
                assert b"packed" in b"".join([piece async for piece in streamed.aiter_bytes()])
    half = len(seen.requests) // 2
    over_httpx, over_aiohttp = (
        list(map(as_sent, part)) for part in (seen.requests[:half], seen.requests[half:])
    )
    assert half == 11
    assert over_aiohttp == over_httpx
    assert not any(b"cookie" in head.lower() for head, _ in seen.requests)


async def test_middleware_gets_and_returns_objects_of_httpx(server: tuple[str, Seen]) -> None:
    async def handle(request: httpx.Request, call_next: Any) -> httpx.Response:
        assert "Authorization" not in request.headers
        request.headers["X-Added"] = "1"
        response = await call_next(request)
        assert isinstance(response, httpx.Response)
        assert response.request is request
        return response

    url, seen = server
    async with client(url, middleware=[handle]) as ph:
        assert await ph.things.get(2) == {"id": 1, "packed": True}
        await ph.things.create(name="x")
    assert all(b"X-Added: 1" in head for head, _ in seen.requests)
    assert all(f"Bearer {KEY}".encode() in head for head, _ in seen.requests)


async def test_a_lost_connection_repeats_nothing_by_itself(server: tuple[str, Seen]) -> None:
    """aiohttp would repeat reads unseen, and httpx-aiohttp says that writes were not sent."""
    url, seen = server
    async with client(url, max_retries=2) as ph:
        await ph.things.get(1)
        with pytest.raises(ConnectionError, match="disconnected"):
            await ph.request("POST", "/api/projects/1/things/4/", body={})
        with pytest.raises(ConnectionError, match="disconnected"):
            await ph.things.get(4, options={"max_retries": 0})
        await ph.things.get(1)
    lines = [head.split(b" HTTP")[0] for head, _ in seen.requests]
    assert lines == [
        b"GET /api/projects/1/things/1/",
        b"POST /api/projects/1/things/4/",
        b"GET /api/projects/1/things/4/",
        b"GET /api/projects/1/things/1/",
    ]


async def test_httpx_aiohttp_repeats_no_write(server: tuple[str, Seen]) -> None:
    """It says `ConnectTimeout` of a connection that is lost after the request was sent."""
    from httpx_aiohttp import AiohttpTransport

    url, seen = server
    async with client(url, transport=AiohttpTransport(), max_retries=2) as ph:
        with pytest.raises(PostHogError):
            await ph.request("POST", "/api/projects/1/things/4/", body={})
    assert len(seen.requests) == 1


async def test_a_connection_that_the_server_has_closed_is_not_used() -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(answer())

    with hostile(script) as server:
        async with client(server.url) as ph:
            for _ in range(3):
                await ph.things.create(name="x")
                closed.wait(0.01)  # blocks the event loop, which so learns nothing of the end
        assert server.connections == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transport": "curl"}, "'curl' is not known"),
        ({"http2": True}, "no HTTP/2"),
        ({"http_client": httpx.AsyncClient()}, "together with transport"),
        ({"max_connections": 0}, "max_connections must be 1 or more"),
    ],
)
def test_settings_that_contradict_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        client("http://127.0.0.1:9", **settings)


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        return None if name == "aiohttp" else util.find_spec(name)

    monkeypatch.setattr("asyncposthog.core.factories.find_spec", missing)
    with pytest.raises(ConfigurationError, match="not installed") as caught:
        client("http://127.0.0.1:9")
    assert "asyncposthog[aiohttp]" in str(caught.value.suggestion)


def test_another_event_loop() -> None:
    ph = client("http://127.0.0.1:9")

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="works on asyncio only"):
            client("http://127.0.0.1:9")
        async with ph:
            with pytest.raises(ConfigurationError, match="works on asyncio only"):
                await ph.things.get(1)

    anyio.run(main, backend="trio")


async def test_closing_raises_no_warning(server: tuple[str, Seen]) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    url, _ = server
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with client(url) as ph:
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(ph.things.get, 1)
            stream = ph.stream(ph.things.get, 1)
            await stream.__aenter__()
            del stream  # neither read nor closed
            gc.collect()
            await ph.aclose(cancel=True)
        gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


def test_a_client_whose_loop_has_ended_is_dropped_in_silence(server: tuple[str, Seen]) -> None:
    url, _ = server
    ph = client(url)

    async def use() -> None:
        await ph.things.get(1)

    asyncio.run(use())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ph._executor.transport.discard()
        gc.collect()
    assert not [w for w in caught if "client session" in str(w.message)]
    assert not [w for w in caught if "connector" in str(w.message)]


async def test_the_password_of_a_proxy_goes_to_the_proxy_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: list[bytes] = []

    def script(connection: Connection) -> None:
        heads.append(connection.request()[0])
        connection.send(answer(407, b""))

    with hostile(script) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://ada:l%C3%B6ve@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        shown: list[str] = []
        for host in ("http://app.example.net", "https://app.example.net"):
            async with AsyncPostHog(
                KEY, project_id=1, host=host, allow_http=True, transport="aiohttp", max_retries=0
            ) as ph:
                with pytest.raises(Exception) as caught:
                    await ph.feature_flags.get(1)
                shown.append(repr(caught.value) + repr(caught.value.__cause__))
    plain, tunnel = heads
    assert plain.startswith(b"GET http://app.example.net/api/projects/1/feature_flags/1/ HTTP/1.1")
    assert tunnel.startswith(b"CONNECT app.example.net:443 HTTP/1.1")
    password = base64.b64encode("ada:löve".encode())
    assert all(b"Proxy-Authorization: Basic " + password in head for head in heads)
    assert KEY.encode() not in tunnel
    assert not any("ve@" in text for text in shown)
