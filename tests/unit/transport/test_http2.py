"""HTTP/2, against a server of h2's own: no more calls on a connection than it allows."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import httpx
import pytest
from anyio.streams.tls import TLSListener, TLSStream

from asyncposthog import ConnectionError, PostHogError, TimeoutError  # noqa: A004
from tests.helpers.fake_transport import KEY, Client
from tests.helpers.hostile_server import CERTIFICATE

pytestmark = pytest.mark.anyio

BODY = b'{"id":1}'
SIZE = 12


class Server:
    """Allows so many streams on a connection, and counts those it has."""

    def __init__(self, streams: int, alpn: str) -> None:
        self.streams = streams
        self.alpn = alpn
        self.stalls = False
        self.port = 0
        self.connections = 0
        self.requests = 0
        self.most = 0

    async def serve(self, stream: TLSStream) -> None:
        self.connections += 1
        async with stream:
            with suppress(
                anyio.EndOfStream, anyio.BrokenResourceError, h2.exceptions.ProtocolError
            ):
                await (self._http2 if self.alpn == "h2" else self._http1)(stream)

    async def _http1(self, stream: TLSStream) -> None:
        while True:
            await stream.receive()
            self.requests += 1
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 8\r\n\r\n"
            await stream.send(head + BODY)

    async def _http2(self, stream: TLSStream) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        # A second SETTINGS frame takes back what the first allowed.
        allowed: dict[h2.settings.SettingCodes | int, int] = {
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.streams
        }
        state.update_settings(allowed)
        await stream.send(state.data_to_send())
        running: list[int] = []
        while True:
            for event in state.receive_data(await stream.receive()):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.stream_id is not None
                    running.append(event.stream_id)
                    self.requests += 1
            self.most = max(self.most, len(running))
            while running and not self.stalls:
                number = running.pop(0)
                head = [(":status", "200"), ("content-type", "text/csv")]
                state.send_headers(number, head)
                state.send_data(number, BODY, end_stream=True)
            await stream.send(state.data_to_send())


@asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, streams: int, alpn: str = "h2"
) -> AsyncGenerator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    context.set_alpn_protocols([alpn])
    server = Server(streams, alpn)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=512)
    async with listener, anyio.create_task_group() as tasks:
        server.port = int(listener.extra(anyio.abc.SocketAttribute.local_port))
        secure = TLSListener(listener, ssl_context=context, standard_compatible=False)
        tasks.start_soon(secure.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


def client(server: Server, **settings: Any) -> Client:
    usual: dict[str, Any] = {"max_connections": SIZE, "max_retries": 0, "limits": False}
    host = f"https://127.0.0.1:{server.port}"
    return Client(KEY, project_id=1, host=host, http2=True, **{**usual, **settings})


async def many(ph: Client, count: int = 5 * SIZE) -> None:
    async def one() -> None:
        assert await ph.things.report(options={"deadline": 20}) == BODY.decode()

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)


@pytest.mark.parametrize(("streams", "connections"), [(100, 1), (5, 3), (1, SIZE)])
async def test_no_more_calls_than_the_server_allows(
    streams: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(monkeypatch, streams) as server, client(server) as ph:
        await many(ph)
        assert server.most <= streams
        assert server.connections <= connections
        assert server.requests == 5 * SIZE


@pytest.mark.parametrize("streams", [100, 3])
async def test_calls_that_are_cut_off_leave_the_others_their_streams(
    streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(number: int) -> None:
        # One that is cut off while it is sent breaks the connection for those that share it.
        with pytest.raises((TimeoutError, ConnectionError)):
            await ph.things.report(options={"deadline": 0.01 + 0.002 * number})

    async with serving(monkeypatch, streams) as server, client(server) as ph:
        for _ in range(3):
            server.stalls = True
            async with anyio.create_task_group() as tasks:
                for number in range(3 * SIZE):
                    tasks.start_soon(cut_off, number)
            server.stalls = False
            await many(ph)
        assert server.most <= streams


async def test_a_server_that_negotiates_http1(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, 0, "http/1.1") as server, client(server) as ph:
        await many(ph)
        assert server.requests == 5 * SIZE
        assert server.connections <= SIZE


@pytest.mark.parametrize("free", [True, False])
async def test_a_stream_that_was_not_free_means_not_sent(free: bool) -> None:
    """So that also a POST is repeated."""
    sent = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        if sent == 1:
            kind = h2.exceptions.ProtocolError if free else h2.exceptions.TooManyStreamsError
            raise httpx.LocalProtocolError("Max outbound streams is 50, 50 open") from kind("50")
        return httpx.Response(201, json={"id": 1})

    ph = Client(KEY, project_id=1, limits=False, transport=httpx.MockTransport(answer))
    async with ph:
        if free:
            with pytest.raises(PostHogError):
                await ph.things.create(name="x")
        else:
            assert await ph.things.create(name="x") == {"id": 1}
        assert sent == (1 if free else 2)
