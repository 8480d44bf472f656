"""The httpx clients that calls are sent with, and the connections inside them.

A call can be cancelled anywhere, but httpcore (1.0.9) does not survive that everywhere: a
connection whose call was cancelled while a lock was taken, while it was handed over, or while its
answer was being closed stays "connecting" or "active" for ever, and a limited pool has one less.
The pool inside an httpx client cannot be repaired from outside. So each call over HTTP/1.1 gets
an httpx client of its own, with a pool of one connection, and the client of a call that did not
end well is closed and replaced. What is used again is what ended well, and nothing else.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import anyio
import httpx
from anyio.lowlevel import current_token

from .connection_gate import ConnectionGate

__all__ = ["ClientPool", "HeldStream", "Lease", "Sharing", "close_all", "connection_limit"]

Sharing: TypeAlias = Literal["exclusive", "multiplexed", "fixed"]
"""`exclusive`: a client has one call at a time. `multiplexed`: all calls share a client, which is
replaced when one of them was cut off (HTTP/2). `fixed`: all share one that is never replaced."""

_KEEPALIVE: Final = 5.0
"""Seconds an unused connection is kept, as by httpx."""
_UNUSED: Final = ""
"""Where clients are kept that have no connection yet."""
_FOREIGN: Final = "*"
"""Where clients are kept whose connection leads to a file store."""
_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete")
_OWNED: Final = ("start_tls.complete", "send_request_headers.started")
"""From these on a connection belongs to httpcore's pool, and is closed with it."""
_CLOSED_AT_ONCE: Final = 8
"""Clients that one call closes, at most: others may be closed by the calls after it."""


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class PooledClient:
    """An httpx client, and how it is used."""

    __slots__ = ("calls", "client", "healthy", "idle_since", "origin")

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Keep a new client."""
        self.client = client
        self.calls = 0
        self.healthy = True
        self.idle_since = math.inf
        self.origin = _UNUSED


class ClientPool:
    """Clients that are in use, and unused ones with connections that are still open."""

    def __init__(
        self, build: Callable[[], httpx.AsyncClient], sharing: Sharing, size: int | None
    ) -> None:
        """Start without any client.

        Args:
            build: Returns a new client; with `fixed`, the one there is.
            sharing: How many calls a client may have at a time.
            size: Calls at a time; None: any number. With `exclusive`, also the number of clients.
        """
        self.gate = None if size is None else ConnectionGate(size)
        self._build = build
        self._sharing: Sharing = sharing
        self._size = sys.maxsize if size is None else size
        self._all: set[PooledClient] = set()
        self._current: PooledClient | None = None
        self._idle: dict[str, list[PooledClient]] = {}
        self._condemned: deque[_Closable] = deque()
        self._closed = False

    @property
    def sample(self) -> httpx.AsyncClient:
        """A client to read settings from; it is not taken."""
        if self._sharing != "exclusive":
            return self._shared().client
        for clients in self._idle.values():
            if clients:
                return clients[-1].client
        pooled = self._new()
        self._idle.setdefault(_UNUSED, []).append(pooled)
        return pooled.client

    def take(self, origin: str) -> Lease:
        """Return a client for a call that has a permit of the gate.

        Args:
            origin: Where the call goes: a client that is connected to there is preferred.
        """
        if self._sharing == "exclusive":
            pooled = self._unused(origin)
            pooled.origin = origin
        else:
            pooled = self._shared()
        pooled.calls += 1
        return Lease(self, pooled)

    def _new(self) -> PooledClient:
        pooled = PooledClient(self._build())
        self._all.add(pooled)
        return pooled

    def _shared(self) -> PooledClient:
        if self._current is None:
            self._current = self._new()
        return self._current

    def _unused(self, origin: str) -> PooledClient:
        idle = self._idle
        # The one that was used last: its connection is the likeliest to be still open, and those
        # that are not needed get old enough to be closed.
        clients = idle.get(origin) or idle.get(_UNUSED)
        if clients:
            return clients.pop()
        if len(self._all) < self._size:
            return self._new()
        # All clients but those of calls with a permit are unused, so there is one: it closes its
        # connection to another host and opens one to this.
        return next(clients for clients in idle.values() if clients).pop(0)

    def give_back(self, pooled: PooledClient, intact: bool) -> None:
        """Take a client back, to be used again if its call ended well, else to be closed."""
        pooled.calls -= 1
        if not intact or self._closed:
            pooled.healthy = False
        if self._sharing == "exclusive":
            if not pooled.healthy:
                self._condemn(pooled)
            now = time.monotonic()
            for clients in self._idle.values():
                while clients and clients[0].idle_since < now - _KEEPALIVE:
                    self._condemn(clients.pop(0), urgent=False)
            if pooled.healthy:
                pooled.idle_since = now
                self._idle.setdefault(pooled.origin, []).append(pooled)
        elif self._sharing == "multiplexed" and not pooled.healthy:
            if self._current is pooled:
                self._current = None
            if not pooled.calls:
                self._condemn(pooled)

    def _condemn(self, pooled: PooledClient, *, urgent: bool = True) -> None:
        if pooled not in self._all:
            return  # closed already
        self._all.discard(pooled)
        if urgent:
            self._condemned.append(pooled.client)
        else:
            self._condemned.appendleft(pooled.client)

    def close_soon(self, stream: _Closable) -> None:
        """Have a connection closed that httpcore has lost."""
        self._condemned.append(stream)

    async def sweep(self) -> None:
        """Close what is not to be used again; what is cut off here is done by a later call."""
        if not self._condemned:
            return
        with anyio.CancelScope(shield=True):
            for _ in range(_CLOSED_AT_ONCE):
                if not self._condemned:
                    break
                await self._close(self._condemned.pop())

    async def _close(self, what: _Closable) -> None:
        # A connection that fails while it is closed is closed; so is one whose closing is cut off
        # by a native cancellation: httpcore and anyio close the socket before they first wait.
        with suppress(Exception):
            await what.aclose()

    async def aclose(self) -> None:
        """Close every client, also those in use."""
        self._closed = True
        self._idle.clear()
        self._current = None
        self._condemned.extend(pooled.client for pooled in self._all)
        self._all.clear()
        cut_off: BaseException | None = None
        while self._condemned:
            try:
                await self._close(self._condemned.pop())
            except BaseException as error:
                cut_off = error  # the others are closed all the same: it takes no time
        if cut_off is not None:
            raise cut_off

    def forget(self) -> None:
        """Drop every client without closing it: the event loop has gone, and its sockets too."""
        self._closed = True
        self._idle.clear()
        self._all.clear()
        self._condemned.clear()
        self._current = None


class Lease:
    """A client for one call, and the permit of the gate that came with it."""

    __slots__ = ("_handshake", "_pool", "_pooled", "client", "ended")

    def __init__(self, pool: ClientPool, pooled: PooledClient) -> None:
        """Keep what is lent."""
        self._pool = pool
        self._pooled = pooled
        self.client = pooled.client
        self.ended = False
        self._handshake: _Closable | None = None

    def watch(self, request: httpx.Request) -> None:
        """Find out about a connection whose TLS handshake is cut off.

        httpcore drops it without closing its socket, and the event loop keeps that.
        """
        extensions = request.extensions
        earlier = extensions.get("trace")
        # Middleware may have set one of its own, or may send the same request twice.
        if earlier is None or isinstance(getattr(earlier, "__self__", None), Lease):
            extensions["trace"] = self._trace

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(_CONNECTED):
            self._handshake = cast("_Closable", info["return_value"])
        elif event.endswith(_OWNED):
            self._handshake = None

    def goes_abroad(self) -> None:
        """Note that the connection may lead to another host when the call is over."""
        self._pooled.origin = _FOREIGN

    def end(self, intact: bool) -> None:
        """Give back the client and the permit; only the first time counts.

        Args:
            intact: Whether the call ended well, so that its connection can be used again.
        """
        if self.ended:
            return
        self.ended = True
        if self._handshake is not None and not intact:
            self._pool.close_soon(self._handshake)
        self._pool.give_back(self._pooled, intact)
        if self._pool.gate is not None:
            self._pool.gate.release(ended_well=intact)

    async def close(self) -> None:
        """Give back what was not given back, and close what is not to be used again."""
        self.end(intact=False)
        await self._pool.sweep()


async def close_all(leases: list[Lease]) -> None:
    """Give back connections that no caller has been handed."""
    while leases:
        await leases.pop().close()


class HeldStream(httpx.AsyncByteStream):
    """The body of a streamed answer: holds a client and a permit until it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, lease: Lease) -> None:
        """Hold a lease as long as `inner` is open."""
        self._inner = inner
        self._lease = lease
        self._complete = False
        token: Any = current_token()
        loop: Any = getattr(token, "native_token", token)
        # asyncio's name, and trio's.
        self._soon: Callable[[Callable[[], None]], object] = (
            getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        async for chunk in self._inner:
            yield chunk
        self._complete = True

    async def aclose(self) -> None:
        """Close the answer and give back its place. One that was not read to its end is cut."""
        try:
            await self._inner.aclose()
        except BaseException:
            self._complete = False
            raise
        finally:
            self._lease.end(self._complete)
            await self._lease.close()

    def __del__(self) -> None:
        """Give back the place of an answer that was dropped without being closed."""
        if not self._lease.ended:
            # The garbage collector may run in another thread, or in the middle of the gate.
            with suppress(RuntimeError):
                self._soon(partial(self._lease.end, intact=False))


def connection_limit(
    transports: Iterable[httpx.AsyncBaseTransport | None], usual: int
) -> int | None:
    """Return how many calls at a time the transports of others can take; None: any number.

    Args:
        transports: Where calls go; None is skipped.
        usual: What holds for transports that cannot be asked.
    """
    sizes: list[int] = []
    for transport in transports:
        if transport is None or isinstance(transport, httpx.MockTransport | httpx.ASGITransport):
            continue  # without connections
        size: object = usual
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool = getattr(transport, "_pool", None)
            size = getattr(pool, "_max_connections", usual)
        if isinstance(size, int) and size < sys.maxsize:
            sizes.append(max(1, size))
    return min(sizes, default=None)
