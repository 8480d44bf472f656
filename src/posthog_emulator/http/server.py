"""Serve the ASGI application: in process through httpx, or on a socket with uvicorn."""

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


__all__ = ["ServerThread", "in_process", "listen", "make_server", "serve", "serve_sync"]


class Servable(Protocol):
    """An object with an ASGI application, such as `Emulator`."""

    @property
    def app(self) -> App:
        """The ASGI application."""
        ...


def in_process(app: App) -> httpx.AsyncBaseTransport:
    """Return an httpx transport that calls the application on the running event loop."""
    import httpx

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {IN_PROCESS: {}}}, receive, send)

    class _Transport(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self._inner = httpx.ASGITransport(application)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                return await self._inner.handle_async_request(request)
            except ConnectionDropped as dropped:
                # The exceptions and messages are those that httpx raises for a real connection.
                if dropped.reset:
                    raise httpx.ReadError("Connection reset by peer", request=request) from None
                message = "Server disconnected without sending a response."
                if dropped.response_started:
                    message = "peer closed connection without sending complete message body"
                raise httpx.RemoteProtocolError(message, request=request) from None

    return _Transport()


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """Return a listening socket.

    Args:
        port: The port; 0 for any free port.
        host: The address to listen on.

    Raises:
        OSError: The port is in use, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets created with an explicit IPPROTO_TCP. With Nagle's
    # algorithm on, each small response waits for the delayed ACK of the client (40 ms).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {host}:{port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            message += "; choose another port, or 0 for any free port"
        raise OSError(message) from error
    return listener


def make_server(app: App) -> Any:
    """Return a uvicorn server for the application that does not log.

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
        # nginx's default. With uvicorn's default of 5 s, a client that pauses between requests
        # would find its pooled connections closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def _protocol(base: Any, app: App) -> Any:
    """Return a subclass of uvicorn's protocol that registers each connection with the app."""

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
    # SO_LINGER with a timeout of 0 makes close() discard unsent data and send RST, not FIN.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class ServerThread:
    """A uvicorn server that runs in a thread of its own, started at once.

    Args:
        emulator: The emulator to serve.
        port: The port; 0 for any free port.
        host: The address to listen on.

    Raises:
        OSError: The port is in use, or the address is not one of this machine.
        ImportError: uvicorn is missing; install `asyncposthog[emulator]`.
    """

    def __init__(self, emulator: Servable, port: int = 0, host: str = "127.0.0.1") -> None:
        self._server = make_server(emulator.app)
        self._listener = listen(port, host)
        url_host = f"[{host}]" if ":" in host else host
        self.url = f"http://{url_host}:{self._listener.getsockname()[1]}"
        """The base URL, for example `http://127.0.0.1:41234`."""
        # The socket already listens: connections made before uvicorn is up wait in its backlog,
        # so there is no need to wait for the thread.
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._listener]},
            name="asyncposthog-emulator",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the server and wait for its thread."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@contextmanager
def serve_sync(emulator: Servable, port: int = 0, host: str = "127.0.0.1") -> Generator[str]:
    """Serve an emulator on a socket while the `with` block runs, for synchronous code.

    See `serve` for arguments, result and errors.
    """
    server = ServerThread(emulator, port, host)
    try:
        yield server.url
    finally:
        server.stop()


@asynccontextmanager
async def serve(emulator: Servable, port: int = 0, host: str = "127.0.0.1") -> AsyncGenerator[str]:
    """Serve an emulator on a socket while the `async with` block runs, in a thread.

    Args:
        emulator: The emulator to serve.
        port: The port; 0 for any free port.
        host: The address to listen on; loopback by default.

    Yields:
        The base URL, for example `http://127.0.0.1:41234`.

    Raises:
        OSError: The port is in use, or the address is not one of this machine.
        ImportError: uvicorn is missing; install `asyncposthog[emulator]`.
    """
    server = ServerThread(emulator, port, host)
    try:
        yield server.url
    finally:
        # Shielded: a cancelled caller must not leave the thread and its socket behind.
        await run_in_thread(server.stop, shield=True)
