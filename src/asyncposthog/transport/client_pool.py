"""The httpx clients that calls are sent with, and the connections inside them.

A call can be cancelled anywhere, but httpcore (1.0.9) does not survive that everywhere: a
connection whose call was cancelled while a lock was taken, while it was handed over, or while its
answer was being closed stays "connecting" or "active" for ever, and a limited pool has one less.
So each call over HTTP/1.1 gets an httpx client of its own, with a pool of one connection, and the
client of a call that did not end well is closed and replaced. What is used again is what ended
well, and nothing else.

Over HTTP/2 a client has as many calls as its server allows streams. Until that is known, only the
call that opens the connection has it: the others wait here for the server's settings.
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
]

Sharing: TypeAlias = Literal["exclusive", "multiplexed", "fixed"]
"""`exclusive`: a client has one call at a time. `multiplexed`: so many as its server allows where
it speaks HTTP/2, else one; it is replaced when a call was cut off. `fixed`: all calls share a
client, which is the user's own and never replaced."""

_KEEPALIVE: Final = 5.0
"""Seconds an unused connection is kept, as by httpx."""
_NO_ORIGIN: Final = ""
"""Where clients are kept that have no connection yet."""
_CROSS_ORIGIN: Final = "*"
"""Where clients are kept whose connection leads to a file store."""
_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete")
_POOL_OWNED: Final = ("start_tls.complete", "send_request_headers.started")
"""From these on a connection belongs to httpcore's pool, and is closed with it."""
_MAX_CLOSED_PER_CALL: Final = 8
"""Clients that one call closes, at most: others may be closed by the calls after it."""
_MAX_STREAMS: Final = 100
"""Streams that httpcore has at a time on an HTTP/2 connection, at most."""
_SETTINGS_BEGIN: Final = "http2.receive_remote_settings.started"
_SETTINGS: Final = "http2.receive_remote_settings.complete"
_SETTING_MAX_CONCURRENT_STREAMS: Final = 3
"""SETTINGS_SETTING_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2)."""


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class PooledClient:
    """An httpx client, and how it is used."""

    __slots__ = ("calls", "capacity", "client", "healthy", "idle_since", "origin")

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Keep a new client."""
        self.client = client
        self.calls = 0
        self.capacity = 1
        self.healthy = True
        self.idle_since = math.inf
        self.origin = _NO_ORIGIN


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
        self._shared: list[PooledClient] = []
        self._opening: PooledClient | None = None
        self._opened: anyio.Event | None = None
        self._http1_origins: set[str] = set()
        self._guarded: bool | None = None
        self._idle: dict[str, list[PooledClient]] = {}
        self._discarded: deque[_Closable] = deque()
        self._closed = False

    @property
    def sample(self) -> httpx.AsyncClient:
        """A client to read settings from; it is not taken."""
        if self._sharing == "fixed":
            return self._get_fixed().client
        for clients in (*self._idle.values(), self._shared):
            if clients:
                return clients[-1].client
        pooled = self._new()
        self._idle.setdefault(_NO_ORIGIN, []).append(pooled)
        return pooled.client

    @property
    def fixed(self) -> bool:
        """Whether all calls share a client that is never replaced."""
        return self._sharing == "fixed"

    @property
    def multiplexed(self) -> bool:
        """Whether calls may share a connection."""
        return self._sharing == "multiplexed"

    @property
    def guarded(self) -> bool:
        """Whether native cancellation must not reach the client; asked within the event loop."""
        if self._guarded is None:
            self._guarded = (
                self._sharing == "fixed"
                and on_asyncio()
                and any(_has_connections(one) for one in transports(self._get_fixed().client))
            )
        return self._guarded

    async def acquire(self, origin: str, *, exclusive: bool = False) -> Lease:
        """Return a client for a call that has a permit of the gate.

        Args:
            origin: Where the call goes: a client that is connected to there is preferred.
            exclusive: Whether the call must not share its client.
        """
        if self._sharing == "fixed":
            pooled = self._get_fixed()
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
        return Lease(self, pooled)

    def _may_share(self, origin: str) -> bool:
        """Return whether a server may speak HTTP/2: it is negotiated by TLS alone."""
        return origin not in self._http1_origins and origin.startswith("https:")

    def _find_shared(self, origin: str) -> PooledClient | None:
        """Return a client that has room, or that opens a connection; None: one is being opened."""
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
        """Note what the server of a new connection allows.

        Args:
            pooled: Its client.
            streams: Calls at a time; None: not said.
            http2: Whether it speaks HTTP/2.
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
        """Have new calls wait while httpcore adjusts to other settings of the server."""
        if pooled in self._shared:
            self._shared.remove(pooled)
            if self._opening is None:
                self._opening = pooled
                self._opened = anyio.Event()

    def retire(self, pooled: PooledClient) -> None:
        """Have no more calls share a client: httpcore opens another connection in it."""
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
        # The one that was used last: its connection is the likeliest to be still open, and those
        # that are not needed get old enough to be closed.
        clients = idle.get(origin) or idle.get(_NO_ORIGIN)
        if clients:
            return clients.pop()
        if len(self._all) < self._size:
            return self._new()
        # All clients but those of calls with a permit are unused, so there is one: it closes its
        # connection to another host and opens one to this.
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
        """Take a client back, to be used again if its call ended well, else to be closed."""
        pooled.calls -= 1
        if not reusable or self._closed:
            pooled.healthy = False
        if self._sharing == "fixed":
            if not reusable:
                self._discarded.extend(remove_orphans(pooled.client))
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
        """Close clients that have been unused for longer than a connection is kept."""
        for clients in self._idle.values():
            while clients and clients[0].idle_since < before:
                self._discard(clients.pop(0), urgent=False)
        for pooled in [one for one in self._shared if not one.calls and one.idle_since < before]:
            self._shared.remove(pooled)
            self._discard(pooled, urgent=False)

    def _discard(self, pooled: PooledClient, *, urgent: bool = True) -> None:
        if pooled not in self._all:
            return  # closed already
        self._all.discard(pooled)
        if urgent:
            self._discarded.append(pooled.client)
        else:
            self._discarded.appendleft(pooled.client)

    def close_soon(self, stream: _Closable) -> None:
        """Have a connection closed that httpcore has lost."""
        self._discarded.append(stream)

    async def close_discarded(self) -> None:
        """Close what is not to be used again; what is cut off here is done by a later call."""
        if not self._discarded:
            return
        with anyio.CancelScope(shield=True):
            for _ in range(_MAX_CLOSED_PER_CALL):
                if not self._discarded:
                    break
                await self._close(self._discarded.pop())

    async def _close(self, what: _Closable) -> None:
        # A connection that fails while it is closed is closed; so is one whose closing is cut off
        # by a native cancellation: httpcore and anyio close the socket before they first wait.
        with suppress(Exception):
            await what.aclose()

    async def aclose(self) -> None:
        """Close every client, also those in use."""
        self._closed = True
        self._idle.clear()
        self._shared.clear()
        self._current = None
        self._discarded.extend(pooled.client for pooled in self._all)
        self._all.clear()
        interruption: BaseException | None = None
        while self._discarded:
            try:
                await self._close(self._discarded.pop())
            except BaseException as error:
                interruption = error  # the others are closed all the same: it takes no time
        if interruption is not None:
            raise interruption

    def discard(self) -> None:
        """Drop every client without closing it: the event loop has gone, and its sockets too."""
        self._closed = True
        self._idle.clear()
        self._shared.clear()
        self._all.clear()
        self._discarded.clear()
        self._current = None


class Lease:
    """A client for one call, and the permit of the gate that came with it."""

    __slots__ = (
        "_handshake",
        "_multiplexed",
        "_pool",
        "_pooled",
        "_previous_trace",
        "client",
        "guarded",
        "released",
    )

    def __init__(self, pool: ClientPool, pooled: PooledClient) -> None:
        """Keep what is lent."""
        self._pool = pool
        self._pooled = pooled
        self.client = pooled.client
        self.released = False
        self.guarded = pool.guarded
        self._previous_trace: Any = None
        self._multiplexed = pool.multiplexed
        self._handshake: _Closable | None = None

    def install_trace(self, request: httpx.Request) -> None:
        """Find out what the server allows, and about a TLS handshake that is cut off.

        httpcore drops its connection without closing the socket, and the event loop keeps that.
        """
        earlier = request.extensions.get("trace")
        # Middleware may have set one of its own, or may send the same request twice.
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
        if not self._multiplexed:
            return
        if event == _SETTINGS_BEGIN:
            self._pool.pause(self._pooled)
        elif event == _SETTINGS:
            changed = info["return_value"].changed_settings.get(_SETTING_MAX_CONCURRENT_STREAMS)
            self._pool.set_capacity(self._pooled, changed and changed.new_value, http2=True)
        elif event == "http11.send_request_headers.started":
            if info["request"].method != b"CONNECT":  # that is to a proxy
                self._pool.set_capacity(self._pooled, None, http2=False)
        elif event.endswith("connect_tcp.started"):
            self._pool.retire(self._pooled)

    def mark_cross_origin(self) -> None:
        """Note that the connection may lead to another host when the call is over."""
        self._pooled.origin = _CROSS_ORIGIN

    def release(self, reusable: bool) -> None:
        """Give back the client and the permit; only the first time counts.

        Args:
            reusable: Whether the call ended well, so that its connection can be used again.
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
        """Give back the place of an answer that was not closed, and have it closed."""
        if not self.released and self._pool.fixed:
            self._pool.close_soon(stream)
        self.release(reusable=False)

    async def close(self) -> None:
        """Give back what was not given back, and close what is not to be used again."""
        self.release(reusable=False)
        await self._pool.close_discarded()


class LeasedStream(httpx.AsyncByteStream):
    """The body of a streamed answer: holds a client and a permit until it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, lease: Lease) -> None:
        """Hold a lease as long as `inner` is open."""
        self._inner = inner
        self._lease = lease
        self._complete = False
        self._replaced = False
        token: Any = current_token()
        loop: Any = getattr(token, "native_token", token)
        # asyncio's name, and trio's.
        self._call_soon: Callable[[Callable[[], None]], object] = (
            getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        if self._replaced:
            raise httpx.ReadError(
                "the answer was closed, because middleware called call_next again after it"
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
        """Close the answer, because middleware asks for another one instead."""
        if not self._lease.released:
            self._replaced = True
        await self.aclose()

    async def aclose(self) -> None:
        """Close the answer and give back its place. One that was not read to its end is cut."""
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
        """Give back the place of an answer that was dropped without being closed."""
        if not self._lease.released:
            # The garbage collector may run in another thread, or in the middle of the gate.
            with suppress(RuntimeError):
                self._call_soon(partial(self._lease.discard_stream, self._inner))


class _MiddlewareStream(httpx.AsyncByteStream):
    """The body of an answer that middleware made, perhaps out of others, closed with those."""

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
    """Close answers that no caller has been given."""
    failed: BaseException | None = None
    while streams:
        try:
            await streams.pop().aclose()
        except httpx.HTTPError:
            pass  # it is closed all the same
        except BaseException as error:
            failed = error  # the others are closed all the same
    if failed is not None:
        raise failed


async def hand_to_caller(response: httpx.Response, streams: list[LeasedStream]) -> None:
    """Let the caller have a streamed answer, and close those its middleware did not return."""
    own = response.stream
    if response.is_closed or any(one is own for one in streams):
        await close_all([one for one in streams if one is not own])
    elif streams:
        response.stream = _MiddlewareStream(cast("httpx.AsyncByteStream", own), [*streams])
    streams.clear()  # from now on it is the caller who closes it


def connection_limit(
    transports: Iterable[httpx.AsyncBaseTransport | None], default_limit: int
) -> int | None:
    """Return how many calls at a time the transports of others can take; None: any number.

    Args:
        transports: Where calls go; None is skipped.
        default_limit: What holds for transports that cannot be asked.
    """
    sizes: list[int] = []
    for transport in transports:
        if transport is None or not _has_connections(transport):
            continue
        size: object = default_limit
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool = getattr(transport, "_pool", None)
            size = getattr(pool, "_max_connections", default_limit)
        if isinstance(size, int) and size < sys.maxsize:
            sizes.append(max(1, size))
    return min(sizes, default=None)


def _has_connections(transport: httpx.AsyncBaseTransport) -> bool:
    return not isinstance(transport, httpx.MockTransport | httpx.ASGITransport)
