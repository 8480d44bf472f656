"""A pool of httpx clients.

httpcore (1.0.9) leaks connections of cancelled calls: a connection stays "connecting" or "active"
forever if its call is cancelled while it takes a lock, while the connection is assigned to it, or
while its response is closed. The limit of a pool is reached one connection earlier each time. So
each call over HTTP/1.1 has an httpx client of its own, with a pool of one connection. A client is
reused only if its call was successful; otherwise it is closed and replaced.

Over HTTP/2, a client has as many calls at the same time as its server allows streams. Until the
server has sent its settings, only the call that opens the connection uses it; others wait here.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import anyio
import httpx
from anyio.lowlevel import current_token

from .connection_gate import ConnectionGate
from .http_client import HttpClient, is_of_httpx
from .native_cancellation import on_asyncio, shield_from_native_cancellation
from .orphans import remove_orphans, transports

__all__ = [
    "ClientPool",
    "Lease",
    "LeasedStream",
    "Sharing",
    "close_all",
    "connection_limit",
    "hand_to_caller",
    "in_any_event_loop",
]

Sharing: TypeAlias = Literal["exclusive", "multiplexed", "fixed", "direct"]
"""`exclusive`: a client has one call at a time. `multiplexed`: as many as its server allows streams
over HTTP/2, otherwise one; it is replaced after a call was interrupted. `fixed`: all calls share
the client of the user, which is never replaced. `direct`: all calls share a `DirectClient`."""

_KEEPALIVE: Final = 5.0
"""Seconds that an idle connection is kept open; the default of httpx."""
_NO_ORIGIN: Final = ""
"""The origin of clients without a connection."""
_CROSS_ORIGIN: Final = "*"
"""The origin of clients that may be connected to a file store."""
_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete")
_POOL_OWNED: Final = ("start_tls.complete", "send_request_headers.started")
"""Events after which a connection belongs to httpcore's pool, and is closed with it."""
_MAX_CLOSED_PER_CALL: Final = 8
"""Clients that one call closes at most; later calls close the others."""
_MAX_STREAMS: Final = 100
"""Streams that httpcore opens on an HTTP/2 connection at most."""
_SETTINGS_BEGIN: Final = "http2.receive_remote_settings.started"
_SETTINGS: Final = "http2.receive_remote_settings.complete"
_SETTING_MAX_CONCURRENT_STREAMS: Final = 3
"""SETTINGS_SETTING_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2)."""


class _Closable(Protocol):
    async def aclose(self) -> None: ...


def in_any_event_loop(client: HttpClient) -> bool:
    """Return whether an HTTP client has no connections, which belong to one event loop."""
    transport = getattr(client, "_transport", None)
    return isinstance(transport, httpx.MockTransport | httpx.ASGITransport)


class PooledClient:
    """An httpx client and its state in the pool."""

    __slots__ = ("calls", "capacity", "client", "healthy", "idle_since", "origin")

    def __init__(self, client: HttpClient) -> None:
        """Create the state of a new client."""
        self.client = client
        self.calls = 0
        self.capacity = 1
        self.healthy = True
        self.idle_since = math.inf
        self.origin = _NO_ORIGIN


class ClientPool:
    """Httpx clients: those in use, and idle ones with open connections."""

    def __init__(self, build: Callable[[], HttpClient], sharing: Sharing, size: int | None) -> None:
        """Create an empty pool.

        Args:
            build: Returns a new client; with `fixed`, always the same.
            sharing: How many calls may use a client at the same time.
            size: Calls at the same time, and with `exclusive` clients as well; None: no limit.
        """
        self.gate = None if size is None else ConnectionGate(size)
        self._build = build
        self._sharing: Sharing = sharing
        self.direct = sharing == "direct"
        """Whether the client is a `DirectClient`."""
        self.fixed = self.direct or sharing == "fixed"
        """Whether all calls share a client that is never replaced."""
        self.multiplexed = sharing == "multiplexed"
        """Whether calls may share a connection."""
        self.guarded = False
        """Whether native cancellation must not reach the client: known with the first call."""
        self._guarded: bool | None = None
        self._size = sys.maxsize if size is None else size
        self._all: set[PooledClient] = set()
        self._current: PooledClient | None = None
        self._shared: list[PooledClient] = []
        self._opening: PooledClient | None = None
        self._opened: anyio.Event | None = None
        self._http1_origins: set[str] = set()
        self._idle: dict[str, list[PooledClient]] = {}
        self.discarded: deque[_Closable] = deque()
        """Clients and connections that are not used again, and are still to be closed."""
        self._closed = False

    @property
    def sample(self) -> HttpClient:
        """A client to read settings from. It is not marked as used."""
        if self.fixed:
            return self._get_fixed().client
        for clients in (*self._idle.values(), self._shared):
            if clients:
                return clients[-1].client
        pooled = self._new()
        self._idle.setdefault(_NO_ORIGIN, []).append(pooled)
        return pooled.client

    async def acquire(self, origin: str, *, exclusive: bool = False) -> Lease:
        """Return a lease of a client. The call needs a permit of the gate.

        Args:
            origin: The origin of the request. A client that is connected to it is preferred.
            exclusive: Whether the call must not share its client.
        """
        if self.fixed:
            pooled = self._current or self._get_fixed()
            if self._guarded is None:
                self._guarded = self.guarded = on_asyncio() and any(
                    map(_has_connections, transports(pooled.client))
                )
        elif self._sharing == "exclusive" or exclusive or not self._may_share(origin):
            pooled = self._take_idle(origin)
            pooled.origin = origin
        else:
            while (pooled := self._find_shared(origin)) is None:
                assert self._opened is not None
                await self._opened.wait()
                if not self._may_share(origin):
                    pooled = self._take_idle(origin)
                    break
            pooled.origin = origin
        pooled.calls += 1
        return Lease(self, pooled, pooled.client, self.guarded)

    def _may_share(self, origin: str) -> bool:
        """Return whether an origin may support HTTP/2, which is negotiated in TLS only."""
        return origin not in self._http1_origins and origin.startswith("https:")

    def _find_shared(self, origin: str) -> PooledClient | None:
        """Return a client with a free stream, or a new one; None: a connection is being opened."""
        oldest = time.monotonic() - _KEEPALIVE
        for pooled in self._shared:
            fresh = pooled.calls or pooled.idle_since > oldest
            if pooled.calls < pooled.capacity and pooled.origin == origin and fresh:
                return pooled
        if self._opening is not None:
            return None
        pooled = self._opening = self._take_idle(_NO_ORIGIN)
        self._opened = anyio.Event()
        return pooled

    def set_capacity(self, pooled: PooledClient, streams: int | None, *, http2: bool) -> None:
        """Set what the server of a new connection allows.

        Args:
            pooled: The client of the connection.
            streams: Maximum number of streams; None: the server does not limit them.
            http2: Whether the connection uses HTTP/2.
        """
        if streams:
            pooled.capacity = min(streams, _MAX_STREAMS)
        if http2:
            if pooled.healthy and pooled.origin != _CROSS_ORIGIN and pooled not in self._shared:
                self._shared.append(pooled)
        elif pooled is self._opening:
            self._http1_origins.add(pooled.origin)
        self._end_opening(pooled)

    def pause(self, pooled: PooledClient) -> None:
        """Make new calls wait while httpcore applies changed settings of the server."""
        if pooled in self._shared:
            self._shared.remove(pooled)
            if self._opening is None:
                self._opening = pooled
                self._opened = anyio.Event()

    def retire(self, pooled: PooledClient) -> None:
        """Do not share a client any more: httpcore has opened a second connection in it."""
        if pooled in self._shared:
            self._shared.remove(pooled)
            pooled.healthy = False

    def _end_opening(self, pooled: PooledClient) -> None:
        if self._opening is pooled and self._opened is not None:
            self._opening = None
            self._opened.set()

    def _new(self) -> PooledClient:
        pooled = PooledClient(self._build())
        self._all.add(pooled)
        return pooled

    def _get_fixed(self) -> PooledClient:
        if self._current is None:
            self._current = self._new()
        return self._current

    def _take_idle(self, origin: str) -> PooledClient:
        idle = self._idle
        # The most recently used one: its connection is the most likely to be open still, and
        # surplus clients become old enough to be closed.
        clients = idle.get(origin) or idle.get(_NO_ORIGIN)
        if clients:
            return clients.pop()
        if len(self._all) < self._size:
            return self._new()
        # A call with a permit implies an idle client, perhaps one that is connected to another
        # origin: httpcore closes that connection and opens one to this origin.
        for clients in idle.values():
            if clients:
                return clients.pop(0)
        for pooled in self._shared:
            if not pooled.calls:
                self._shared.remove(pooled)
                self._discard(pooled)
                break
        return self._new()

    def release(self, pooled: PooledClient, reusable: bool) -> None:
        """Return a client to the pool; close it later if it is not reusable."""
        pooled.calls -= 1
        if not reusable or self._closed:
            pooled.healthy = False
        if self.fixed:
            if not reusable:
                self.discarded.extend(remove_orphans(pooled.client))
                pooled.healthy = True
            return
        self._end_opening(pooled)
        now = time.monotonic()
        self._drop_old(now - _KEEPALIVE)
        if not pooled.healthy:
            if pooled in self._shared:
                self._shared.remove(pooled)
            if not pooled.calls:
                self._discard(pooled)
            return
        pooled.idle_since = now
        if pooled not in self._shared:
            self._idle.setdefault(pooled.origin, []).append(pooled)

    def _drop_old(self, before: float) -> None:
        """Discard clients that have been idle for longer than a connection is kept open."""
        for clients in self._idle.values():
            while clients and clients[0].idle_since < before:
                self._discard(clients.pop(0), urgent=False)
        for pooled in [p for p in self._shared if not p.calls and p.idle_since < before]:
            self._shared.remove(pooled)
            self._discard(pooled, urgent=False)

    def _discard(self, pooled: PooledClient, *, urgent: bool = True) -> None:
        if pooled not in self._all:
            return  # closed already
        self._all.discard(pooled)
        if urgent:
            self.discarded.append(pooled.client)
        else:
            self.discarded.appendleft(pooled.client)

    def close_soon(self, stream: _Closable) -> None:
        """Close a connection later that httpcore does not close."""
        self.discarded.append(stream)

    async def close_discarded(self) -> None:
        """Close discarded clients. If this is interrupted, a later call closes the others."""
        if not self.discarded:
            return
        with anyio.CancelScope(shield=True):
            for _ in range(_MAX_CLOSED_PER_CALL):
                if not self.discarded:
                    break
                await self._close(self.discarded.pop())

    async def _close(self, what: _Closable) -> None:
        # A connection that fails while it is being closed is closed. So is one whose closing is
        # interrupted by a native cancellation: httpcore and anyio close the socket before their
        # first await.
        with suppress(Exception):
            await what.aclose()

    async def aclose(self) -> None:
        """Close all clients, including those in use."""
        self._closed = True
        self._idle.clear()
        self._shared.clear()
        self._current = None
        self.discarded.extend(pooled.client for pooled in self._all)
        self._all.clear()
        interruption: BaseException | None = None
        while self.discarded:
            try:
                await self._close(self.discarded.pop())
            except BaseException as error:
                interruption = error  # close the others first, which takes no time
        if interruption is not None:
            raise interruption

    def discard(self) -> None:
        """Drop all clients without closing them, after their event loop has ended."""
        self._closed = True
        for pooled in self._all:
            if (abandon := getattr(pooled.client, "abandon", None)) is not None:
                abandon()
        self._idle.clear()
        self._shared.clear()
        self._all.clear()
        self.discarded.clear()
        self._current = None


@dataclass(slots=True, eq=False)
class Lease:
    """A client for one call, and the permit of the connection gate that came with it."""

    _pool: ClientPool
    _pooled: PooledClient
    client: HttpClient
    guarded: bool
    """Whether native cancellation must not reach the client."""
    released: bool = False
    _previous_trace: Any = None
    _handshake: _Closable | None = None
    """The connection while its TLS handshake runs."""

    def install_trace(self, request: httpx.Request) -> None:
        """Trace a request, for the settings of an HTTP/2 server and for interrupted TLS handshakes.

        httpcore drops the connection of an interrupted handshake without closing its socket.
        """
        earlier = request.extensions.get("trace")
        # Middleware may have set a trace function, or send the same request twice: then the
        # function is the one of an earlier lease, and must not be chained.
        before = getattr(earlier, "__self__", None)
        self._previous_trace = before._previous_trace if isinstance(before, Lease) else earlier
        request.extensions["trace"] = self._trace

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if self._previous_trace is not None:
            await self._previous_trace(event, info)
        if event.endswith(_CONNECTED):
            self._handshake = cast("_Closable", info["return_value"])
        elif event.endswith(_POOL_OWNED):
            self._handshake = None
        if not self._pool.multiplexed:
            return
        if event == _SETTINGS_BEGIN:
            self._pool.pause(self._pooled)
        elif event == _SETTINGS:
            changed = info["return_value"].changed_settings.get(_SETTING_MAX_CONCURRENT_STREAMS)
            self._pool.set_capacity(self._pooled, changed and changed.new_value, http2=True)
        elif event == "http11.send_request_headers.started":
            if info["request"].method != b"CONNECT":  # a request to a proxy
                self._pool.set_capacity(self._pooled, None, http2=False)
        elif event.endswith("connect_tcp.started"):
            self._pool.retire(self._pooled)

    def mark_cross_origin(self) -> None:
        """Note that the connection may be to another origin after the call."""
        self._pooled.origin = _CROSS_ORIGIN

    def release(self, reusable: bool) -> None:
        """Return the client to the pool and release the permit, if that was not done before.

        Args:
            reusable: Whether the call was successful, so that its connection can be reused.
        """
        if self.released:
            return
        self.released = True
        if self._handshake is not None and not reusable:
            self._pool.close_soon(self._handshake)
        self._pool.release(self._pooled, reusable)
        if self._pool.gate is not None:
            self._pool.gate.release(succeeded=reusable)

    def discard_stream(self, stream: _Closable) -> None:
        """Release the lease of a response that was not closed, and close the response later."""
        if not self.released and self._pool.fixed:
            self._pool.close_soon(stream)
        self.release(reusable=False)

    async def close(self) -> None:
        """Release the lease if it was not released, and close discarded clients."""
        self.release(reusable=False)
        await self._pool.close_discarded()


class LeasedStream(httpx.AsyncByteStream):
    """The body of a streamed response. It has a lease until it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, lease: Lease) -> None:
        """Keep a lease until the stream is closed."""
        self._inner = inner
        self._lease = lease
        self._complete = False
        self._replaced = False
        token: Any = current_token()
        loop: Any = getattr(token, "native_token", token)
        # The first is the method of asyncio, the second the one of trio.
        self._call_soon: Callable[[Callable[[], None]], object] = (
            getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        if self._replaced:
            raise httpx.ReadError(
                "the response was closed because middleware called call_next again"
            )
        if not self._lease.guarded:
            async for chunk in self._inner:
                yield chunk
        else:
            pieces = aiter(self._inner)
            while (
                piece := await shield_from_native_cancellation(partial(anext, pieces, None))
            ) is not None:
                yield piece
        self._complete = True

    async def close_for_replacement(self) -> None:
        """Close the response, because middleware requests another one."""
        if not self._lease.released:
            self._replaced = True
        await self.aclose()

    async def aclose(self) -> None:
        """Close the response and release its lease. An unread rest of the body is discarded."""
        try:
            if self._lease.guarded:
                await shield_from_native_cancellation(self._inner.aclose)
            else:
                await self._inner.aclose()
        except BaseException:
            self._complete = False
            raise
        finally:
            self._lease.release(self._complete)
            await self._lease.close()

    def __del__(self) -> None:
        """Release the lease of a response that was dropped without being closed."""
        if not self._lease.released:
            # The garbage collector may run in another thread, or while the gate is being changed.
            with suppress(RuntimeError):
                self._call_soon(partial(self._lease.discard_stream, self._inner))


class _MiddlewareStream(httpx.AsyncByteStream):
    """The body of a response that middleware has built from others, which it closes as well."""

    def __init__(self, inner: httpx.AsyncByteStream, streams: list[LeasedStream]) -> None:
        self._inner = inner
        self._streams = streams

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            await close_all(self._streams)


async def close_all(streams: list[LeasedStream]) -> None:
    """Close responses that the caller does not get."""
    error_to_raise: BaseException | None = None
    while streams:
        try:
            await streams.pop().aclose()
        except httpx.HTTPError:
            pass  # it is closed nevertheless
        except BaseException as error:
            error_to_raise = error  # close the others first
    if error_to_raise is not None:
        raise error_to_raise


async def hand_to_caller(response: httpx.Response, streams: list[LeasedStream]) -> None:
    """Pass a streamed response to the caller; close those that middleware did not return."""
    own = response.stream
    if response.is_closed or any(stream is own for stream in streams):
        await close_all([stream for stream in streams if stream is not own])
    elif streams:
        response.stream = _MiddlewareStream(cast("httpx.AsyncByteStream", own), [*streams])
    streams.clear()  # the caller closes it from now on


def connection_limit(transports: Iterable[object], default_limit: int) -> int | None:
    """Return how many calls the transports of a user support at the same time; None: no limit.

    Args:
        transports: The transports; None is skipped.
        default_limit: The limit of transports whose own limit is unknown.
    """
    sizes: list[int] = []
    for transport in transports:
        if transport is None or not _has_connections(transport):
            continue
        size: object = default_limit
        if is_of_httpx(transport, "AsyncHTTPTransport"):
            pool = getattr(transport, "_pool", None)
            size = getattr(pool, "_max_connections", default_limit)
        if isinstance(size, int) and size < sys.maxsize:
            sizes.append(max(1, size))
    return min(sizes, default=None)


def _has_connections(transport: object) -> bool:
    return not is_of_httpx(transport, "MockTransport", "ASGITransport")
