"""Ways in: a transport in this process, a real socket, or neither end knowing."""

from __future__ import annotations

import errno
import importlib
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from posthog_emulator.threads import run_in_thread

from .asgi import IN_PROCESS, App, Receive, Scope, Send
from .messages import ConnectionDropped

if TYPE_CHECKING:
    import httpx


__all__ = ["Served", "in_process", "listen", "make_server", "serve", "served"]


class Servable(Protocol):
    """What can be served: it has an ASGI application."""

    app: App


def in_process(app: App) -> httpx.AsyncBaseTransport:
    """A transport that calls the application directly, on whatever event loop runs."""
    import httpx

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {IN_PROCESS: {}}}, receive, send)

    class _Transport(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self._inner = httpx.ASGITransport(marked)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                return await self._inner.handle_async_request(request)
            except ConnectionDropped as dropped:
                if dropped.reset:
                    raise httpx.ReadError("Connection reset by peer", request=request) from None
                message = "Server disconnected without sending a response."
                if dropped.begun:
                    message = "peer closed connection without sending complete message body"
                raise httpx.RemoteProtocolError(message, request=request) from None

    return _Transport()


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket.

    Args:
        port: The port; 0 for any that is free.
        host: The address to listen on.

    Raises:
        OSError: The port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only for sockets that name their protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        message = f"the emulator cannot listen on {host}:{port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            message += "; choose another port, or 0 for any free one"
        raise OSError(message) from error
    return listener


def make_server(app: App) -> Any:
    """A uvicorn server for the application, silent and without signal handling of its own.

    Raises:
        ImportError: uvicorn is missing; install `asyncposthog[emulator]`.
    """
    try:
        uvicorn = importlib.import_module("uvicorn")
        protocols = importlib.import_module("uvicorn.protocols.http.auto")
    except ImportError as error:
        message = "serving the emulator needs uvicorn: pip install 'asyncposthog[emulator]'"
        raise ImportError(message) from error
    config = uvicorn.Config(
        app,
        http=_protocol(protocols.AutoHTTPProtocol, app),
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        # As long as proxies keep them: a client that pauses must not meet the end of a connection.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def _protocol(base: Any, app: App) -> Any:
    """Uvicorn's HTTP protocol, with a way for the application to hang up on a client."""

    class Protocol(base):
        def connection_made(self, transport: Any) -> None:
            self.address = tuple(transport.get_extra_info("peername")[:2])
            app.connections[self.address] = partial(_close_connection, transport)
            base.connection_made(self, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            app.connections.pop(self.address, None)
            base.connection_lost(self, exc)

    return Protocol


def _close_connection(transport: Any, reset: bool) -> None:
    if not reset:
        transport.close()
        return
    # With no time to linger, closing throws away what is unsent and resets the connection.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class Served:
    """An emulator on a socket; its server lives in a thread.

    Args:
        emulator: What to serve.
        port: The port; 0 for any that is free.
        host: The address to listen on.

    Raises:
        OSError: The port is taken.
        ImportError: uvicorn is missing; install `asyncposthog[emulator]`.
    """

    def __init__(self, emulator: Servable, port: int = 0, host: str = "127.0.0.1") -> None:
        self._server = make_server(emulator.app)
        self._listener = listen(port, host)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listener.getsockname()[1]}"
        """The base URL, as `http://127.0.0.1:41234`."""
        # The socket listens already, so a request before the server is up waits its turn.
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._listener]},
            name="asyncposthog-emulator",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the server, and wait until it has."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@contextmanager
def served(emulator: Servable, port: int = 0, host: str = "127.0.0.1") -> Generator[str]:
    """Serve an emulator on a socket while the block runs, outside of any event loop.

    Arguments, result and errors are those of `serve`.
    """
    server = Served(emulator, port, host)
    try:
        yield server.url
    finally:
        server.stop()


@asynccontextmanager
async def serve(emulator: Servable, port: int = 0, host: str = "127.0.0.1") -> AsyncGenerator[str]:
    """Serve an emulator on a socket while the block runs; its server lives in a thread.

    Args:
        emulator: What to serve.
        port: The port; 0 for any that is free.
        host: The address to listen on; loopback by default.

    Yields:
        The base URL, as `http://127.0.0.1:41234`.

    Raises:
        OSError: The port is taken.
        ImportError: uvicorn is missing; install `asyncposthog[emulator]`.
    """
    server = Served(emulator, port, host)
    try:
        yield server.url
    finally:
        await run_in_thread(server.stop, shield=True)
