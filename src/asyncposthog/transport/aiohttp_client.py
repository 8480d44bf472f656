"""An HTTP client over aiohttp, with the meaning and the errors of httpx. For asyncio only.

aiohttp parses responses in C, and looks for a free connection in constant time: a call costs half
the processor time, whatever the number of connections. httpx remains the interface: middleware gets
its requests and responses, and it decompresses bodies.

The package httpx-aiohttp is not used. It reports a connection that is lost after the request was
sent as `ConnectTimeout`, after which a write would be sent a second time; and aiohttp by itself
repeats a GET, PUT or DELETE whose connection is lost, which the rate limiter would not see.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple, cast
from weakref import WeakSet

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from asyncposthog.errors import ConfigurationError

from .environment import environment_proxy
from .native_cancellation import on_asyncio

__all__ = ["AiohttpClient"]

_KEEPALIVE: Final = 5.0
"""Seconds that an idle connection is kept open; the default of httpx."""
_MAX_HEADER_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 1000
_READ_BUFFER: Final = 256 * 1024
"""Bytes that are received ahead of a slow reader, of each response."""
_AUTOMATIC_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would add."""
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)
_MAX_TIMEOUTS: Final = 64
_NEVER_CEIL: Final = float("inf")
"""aiohttp rounds timeouts above a threshold up to whole seconds."""


class _Proxy(NamedTuple):
    """A proxy."""

    url: str
    """Its URL, without credentials."""
    password: str
    """The value of `Proxy-Authorization`; empty: none."""


class _StaleConnectionError(Exception):
    """The server has closed an idle connection. Nothing was sent on it."""


class _Request(aiohttp.ClientRequest):
    """A request that is not sent on a connection which the server has closed meanwhile."""

    used: WeakSet[Any]
    """The connections of the session that were used before."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send the request.

        Raises:
            _StaleConnectionError: The connection cannot be used; it is closed.
        """
        # asyncio notices the end of a connection one turn of the event loop later, which is too
        # late for a call that follows another one at once. A write that is lost so is not repeated,
        # because the server may have received it. httpx looks in the same way.
        protocol, used = conn.protocol, self.used
        if protocol in used:
            socket = conn.transport.get_extra_info("socket")
            if socket is not None and _is_readable(socket.fileno()):
                conn.close()
                raise _StaleConnectionError
        else:
            used.add(protocol)
        return await super().send(conn)


def _is_readable(descriptor: int) -> bool:
    """Return whether something can be read from a socket: data, or its end."""
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class AiohttpClient:
    """Sends requests of httpx over aiohttp. All calls of a client share one.

    It has no limit of connections: `ConnectionGate` has, and calls wait there.
    """

    def __init__(self, make_ssl_context: Callable[[], ssl.SSLContext]) -> None:
        """Keep the settings. The session is created by the first request.

        Args:
            make_ssl_context: Returns the TLS settings.
        """
        self._make_ssl_context = make_ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._proxies: dict[str, _Proxy | None] = {}
        """The proxy by base URL; None: there is no proxy."""
        self._timeouts: dict[tuple[float | None, float | None], aiohttp.ClientTimeout] = {}
        self.event_hooks: dict[str, list[Callable[..., Any]]] = {"request": [], "response": []}

    @property
    def is_closed(self) -> bool:
        """Whether it refuses requests."""
        return self._closed

    @property
    def headers(self) -> httpx.Headers:
        """The default headers of httpx: it decompresses the responses."""
        # A transport that is never used keeps httpx from loading certificates.
        transport = httpx.MockTransport(lambda _: httpx.Response(500))
        return httpx.AsyncClient(transport=transport).headers

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = None,
        follow_redirects: Any = False,
    ) -> httpx.Response:
        """Send a request and return the response with its body unread.

        Args:
            request: The request, complete with its headers.
            stream: Ignored: the body is always unread.
            auth: Ignored.
            follow_redirects: Ignored: redirects are returned.
        """
        content: bytes | httpx.AsyncByteStream | None
        headers = _wire_headers(request.headers)
        if isinstance(request.stream, httpx.ByteStream):
            content = await request.aread() or None
        else:  # middleware has replaced the body by a stream
            content = cast("httpx.AsyncByteStream", request.stream)
            headers.pop("Transfer-Encoding", None)
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        response = await self._request(
            request.method,
            str(request.url),
            f"{request.url.scheme}://{request.url.netloc.decode('ascii')}",
            headers,
            content,
            self._timeout(timeouts.get("connect"), timeouts.get("read")),
            request.extensions.get("sni_hostname"),
        )
        response.request = request
        return response

    async def send_direct(
        self,
        method: str,
        base: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None,
        connect_timeout: float,
    ) -> httpx.Response:
        """Send a request and return the response with its body unread, and without its request.

        There is no limit for the time of the response: the scope of the attempt has one.
        """
        return await self._request(
            method,
            base + target,
            base,
            headers,
            content,
            self._timeout(connect_timeout, None),
            None,
        )

    async def _request(
        self,
        method: str,
        url: str,
        base: str,
        headers: Mapping[str, str],
        content: bytes | httpx.AsyncByteStream | None,
        limits: aiohttp.ClientTimeout,
        server_name: str | None,
    ) -> httpx.Response:
        session = self._session or self._make_session()
        try:
            proxy = self._proxies[base] if base in self._proxies else self._find_proxy(base)
            proxy_headers = None
            if proxy is not None and proxy.password:
                proxy_headers = {"Proxy-Authorization": proxy.password}
                if base.startswith("http:"):  # the proxy gets the request itself
                    headers = CIMultiDict(headers)
                    headers.update(proxy_headers)
            while True:
                try:
                    response = await session.request(
                        method,
                        URL(url, encoded=True),
                        headers=headers,
                        data=content,
                        allow_redirects=False,
                        timeout=limits,
                        proxy=None if proxy is None else proxy.url,
                        proxy_headers=proxy_headers,
                        server_hostname=server_name,
                    )
                    break
                except _StaleConnectionError:
                    continue  # there are as many of them as idle connections at most
        except Exception as error:
            error_to_raise = self._httpx_error(error)
            if error_to_raise is None:
                raise
            raise error_to_raise from error
        reason = response.reason
        return httpx.Response(
            response.status,
            headers=cast("list[tuple[bytes, bytes]]", response.raw_headers),
            stream=_Body(response),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": b"" if reason is None else reason.encode("ascii", "replace"),
            },
        )

    def _make_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("the HTTP client is closed")
        if not on_asyncio():
            raise ConfigurationError(
                'transport="aiohttp" works on asyncio only, and another event loop is running.',
                suggestion='Leave transport="aiohttp" out.',
            )
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEEPALIVE,
            ssl=self._make_ssl_context(),
            # As httpx: the resolver of the operating system, and not aiodns if that is installed.
            resolver=aiohttp.ThreadedResolver(),
        )
        request_class = type("_SessionRequest", (_Request,), {"used": WeakSet[Any]()})
        session = aiohttp.ClientSession(
            connector=connector,
            request_class=request_class,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC_HEADERS,
            auto_decompress=False,
            timeout=_NO_TIMEOUT,
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            **_header_limit(),
        )
        # Not a public setting, but the one that aiohttp's own test client uses.
        cast("Any", session)._retry_connection = False
        self._session = session
        return session

    def _timeout(self, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get((connect, read))
        if timeout is None:
            if len(self._timeouts) >= _MAX_TIMEOUTS:
                self._timeouts.clear()
            timeout = self._timeouts[connect, read] = aiohttp.ClientTimeout(
                total=None,
                connect=connect,
                sock_connect=connect,
                sock_read=read,
                ceil_threshold=_NEVER_CEIL,
            )
        return timeout

    def _find_proxy(self, base: str) -> _Proxy | None:
        """Return the proxy for a base URL; None: there is none.

        Raises:
            ConfigurationError: It is a SOCKS proxy.
        """
        address = environment_proxy(base)
        if address is not None and address.startswith("socks"):
            raise ConfigurationError(
                'transport="aiohttp" does not support the SOCKS proxy in the environment.',
                suggestion=(
                    'Leave transport="aiohttp" out (and install httpx[socks]), or set NO_PROXY.'
                ),
            )
        proxy = self._proxies[base] = None if address is None else _parse_proxy(address)
        return proxy

    def _httpx_error(self, error: Exception) -> Exception | None:
        """Return the error of httpx for one of aiohttp; None: it is one of ours."""
        if isinstance(error, ConfigurationError):
            return None
        if isinstance(error, RuntimeError) and self._closed:
            return httpx.ReadError("the HTTP client was closed during the request")
        return _httpx_error(error)

    async def aclose(self) -> None:
        """Close the connections."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def abandon(self) -> None:
        """Forget the connections without closing them: their event loop has ended."""
        self._closed = True
        session, self._session = self._session, None
        if session is None:
            return
        connector = session.connector
        session.detach()
        if connector is not None:
            # A connector warns if it is dropped with connections, and closes them in their event
            # loop, which has ended or belongs to the parent process. The sockets are closed when
            # their objects are dropped.
            cast("Any", connector)._conns.clear()


def _parse_proxy(address: str) -> _Proxy:
    parsed = httpx.Proxy(address)
    password = ""
    if parsed.raw_auth is not None:
        # As httpx encodes it: aiohttp would use Latin-1.
        password = f"Basic {b64encode(b':'.join(parsed.raw_auth)).decode('ascii')}"
    return _Proxy(str(parsed.url), password)


def _wire_headers(headers: httpx.Headers) -> CIMultiDict[str]:
    """Return headers as they are sent, with the case of their names."""
    pairs = ((n.decode("latin-1"), v.decode(headers.encoding)) for n, v in headers.raw)
    return CIMultiDict(pairs)


def _header_limit() -> dict[str, Any]:
    """Return the limit for the number of headers, which older versions of aiohttp do not have."""
    parameters = aiohttp.ClientSession.__init__.__code__.co_varnames
    return {"max_headers": _MAX_HEADERS} if "max_headers" in parameters else {}


def _httpx_error(error: Exception) -> Exception:
    """Return the error of httpx for an error of aiohttp or of a lower layer.

    `ConnectError`, `ConnectTimeout` and `ProxyError` say that the request was not sent. So they
    stand only for errors that aiohttp raises before it has a connection.
    """
    text = _error_text(error)
    if isinstance(error, httpx.HTTPError):
        return error
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout(text)
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return httpx.ProxyError(text)
    if isinstance(error, aiohttp.ClientConnectorError):  # DNS and TLS among them
        return httpx.ConnectError(text)
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return httpx.ConnectError(text)
    if isinstance(error, asyncio.TimeoutError):  # aiohttp.SocketTimeoutError among them
        return httpx.ReadTimeout(text)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx.RemoteProtocolError("Server disconnected without sending a response.")
    if isinstance(error, aiohttp.ClientPayloadError):
        return httpx.RemoteProtocolError(text)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return httpx.UnsupportedProtocol(text)
    if isinstance(error, aiohttp.ClientResponseError):
        return httpx.RemoteProtocolError(text)
    if isinstance(error, OverflowError | UnicodeError):  # a port or host that cannot exist
        return httpx.UnsupportedProtocol(text)
    return httpx.ReadError(text)


def _error_text(error: Exception) -> str:
    """Return the message of an error, without the URL of the request or of a proxy."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}: {error.status} {error.message}"
    return str(error) or type(error).__name__


class _Body(httpx.AsyncByteStream):
    """The body of a response, as it was sent."""

    # An iterator, not an async generator: one that is left unfinished needs the event loop to end.

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except Exception as error:
            raise _httpx_error(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read_body(self) -> bytes:
        """Return the whole body, and give its connection back."""
        try:
            return await self._response.read()
        except Exception as error:
            raise _httpx_error(error) from error

    async def aclose(self) -> None:
        """Give the connection back; close it if the body was not read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
