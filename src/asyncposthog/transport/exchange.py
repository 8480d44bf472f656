"""Send one request: add credentials, follow redirects, limit the size of the response."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import Cookie, CookieJar
from io import BytesIO
from typing import Any, Final, Protocol, cast

import anyio
import httpx

from asyncposthog.config import Secret
from asyncposthog.errors import ClosedError, PostHogError, ResponseTooLargeError
from asyncposthog.redact import Unpicklable
from asyncposthog.transport.encoding.request import PreparedRequest, request_info

from .http_client import DirectClient, HttpClient

__all__ = [
    "BODY_HEADERS",
    "NOT_SENT_ERRORS",
    "REDIRECTS",
    "TRUNCATED",
    "Credentials",
    "NoCookies",
    "Progress",
    "TokenSource",
    "build_request",
    "close",
    "headers_without",
    "is_network_response",
    "normalize_error",
    "origin",
    "read_bounded",
    "read_error",
    "send_directly",
    "send_following_redirects",
]

TRUNCATED: Final = "asyncposthog.cut"
"""The extension of an error response whose body was truncated; its value is the limit."""
_MAX_ERROR_BYTES: Final = 1 << 20
"""Bytes that are read of the body of an error response."""
_MAX_REDIRECTS: Final = 5
_MAX_PORT: Final = 65535
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""The statuses of redirects."""
_MAX_WIRE_HEADERS: Final = 64
"""Sets of headers that are kept for later requests."""
_DECOMPRESS_CHUNK: Final = 256
"""Bytes of a compressed error response that are decompressed at a time."""
_STREAM_THRESHOLD: Final = 1 << 20
"""Bytes of a body from which on it is collected in one buffer."""
_FORWARDED_HEADERS: Final = ("User-Agent", "Accept-Encoding", "Range", "If-Match", "If-Range")
"""Headers that a file store gets: only what it needs to send a file, or a part of one."""
BODY_HEADERS: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_NO_AUTH: Final = httpx.Auth()
"""Disables the auth of a user's httpx client."""


NOT_SENT_ERRORS: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
)
"""Errors after which the server did not get the request, if the httpx client raised them."""

_LOWER_LAYER_ERRORS: Final = (
    OSError,  # ssl.SSLError among them
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""Errors of lower layers that httpx does not convert."""


@dataclass(slots=True)
class Progress:
    """What the server may have received of an attempt, whatever exception ends it."""

    sent: bool = False
    """Whether the server may have received a request."""
    accepted: bool = False
    """Whether it may have received one that it did not reject with 429."""


def normalize_error(
    error: Exception, client: HttpClient | None = None, *, of_httpx: bool = False
) -> Exception | None:
    """Return the exception to raise instead of one that httpx did not convert.

    Args:
        error: The exception that was raised while a request was sent or its response read.
        client: The httpx client. It raises `RuntimeError` if it is closed during a call.
        of_httpx: Whether only httpx and lower layers have run, and no code of the user. Then every
            exception is a failure of the connection.

    Returns:
        An error of httpx or of ours; None if the exception is not about the connection.
    """
    if isinstance(error, ExceptionGroup):
        # anyio's, of attempts to connect to several addresses
        group = cast("ExceptionGroup[Exception]", error)
        errors = [normalize_error(e, client, of_httpx=of_httpx) for e in group.exceptions]
        return None if None in errors else errors[0]
    if isinstance(error, httpx.HTTPError):
        return error
    if isinstance(error, OverflowError):  # a port that does not exist
        return httpx.UnsupportedProtocol(str(error))
    if isinstance(error, httpx.InvalidURL | UnicodeError):  # a host name that IDNA does not allow
        return httpx.UnsupportedProtocol(str(error))
    if isinstance(error, _LOWER_LAYER_ERRORS):
        return httpx.ReadError(str(error) or type(error).__name__)
    if isinstance(error, RuntimeError) and client is not None and client.is_closed:
        return ClosedError(
            "The http_client given to AsyncPostHog was closed while the call was running.",
            suggestion="Keep it open as long as the AsyncPostHog that uses it.",
        )
    if of_httpx and not isinstance(error, PostHogError):
        # h2's own errors, and httpcore's when its counts go wrong (ValueError, AssertionError …).
        return httpx.ReadError(f"{type(error).__name__}: {error}")
    return None


def _is_plain_client(client: HttpClient, request: httpx.Request) -> bool:
    """Return whether sending a request runs no code but that of httpx or httpx2."""
    if type(client) is not httpx.AsyncClient or any(client.event_hooks.values()):
        return getattr(client, "is_plain", False)
    transports: dict[object, object] = getattr(client, "_mounts", {})
    own = (getattr(client, "_transport", None), *transports.values())
    return all(t is None or type(t) is httpx.AsyncHTTPTransport for t in own)


def is_network_response(response: httpx.Response) -> bool:
    """Return whether the body of a response is read from a connection of httpx."""
    return "network_stream" in response.extensions


class _OneChunk:
    """An iterator over one chunk."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, None
        if content is None:
            raise StopAsyncIteration
        return content


class _RequestBody(httpx.ByteStream):
    """The body of a request.

    The one of httpx is an async generator, which stays open if the connection is lost while it is
    sent. Trio warns about that.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _OneChunk(self._content)


class _EmptyBody(httpx.ByteStream):
    """The body of a request without content. It has no state, so it is its own iterator."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


_EMPTY_BODY: Final = _EmptyBody(b"")


class NoCookies(CookieJar):
    """A cookie jar that stays empty: the API needs no cookies, and a stored one is never sent.

    `CookieJar` with a policy that rejects all cookies would parse the headers of every response.
    """

    def extract_cookies(self, response: object, request: object) -> None:
        """Do nothing."""

    def set_cookie(self, cookie: Cookie) -> None:
        """Do nothing."""


def origin(url: httpx.URL) -> tuple[str, bytes]:
    """Return the origin of a URL: scheme, and host with port."""
    return url.scheme, url.netloc


class _SignedHeaders(Unpicklable, httpx.Headers):
    """Headers with the API key."""


class TokenSource(Protocol):
    """Where tokens come from that expire."""

    async def get(self) -> Secret:
        """Return a token that is valid now."""
        ...

    async def renew(self, rejected: Secret) -> Secret | None:
        """Return another token than the one that the server rejected; None: there is none."""
        ...


class Credentials(Unpicklable):
    """The API key and the origins it may be sent to.

    A request has the key only while it is sent. So exceptions and responses, which refer to their
    request, cannot leak it.
    """

    __slots__ = (
        "_headers", "_name", "_origins", "_scheme", "_secret", "_source", "_unsigned", "_value",
        "_wire_headers", "renewable",
    )  # fmt: skip

    def __init__(
        self,
        secret: Secret | None,
        bases: Iterable[str],
        headers: httpx.Headers,
        *,
        name: str = "Authorization",
        scheme: str = "Bearer",
        source: TokenSource | None = None,
    ) -> None:
        """Keep the key, the base URLs it may be sent to, and the headers of default requests.

        Args:
            secret: The key. Without one (None), requests are sent as they are.
            bases: The base URLs.
            headers: The headers of default requests.
            name: The header that carries the key.
            scheme: The word before the key; may be empty.
            source: Where tokens come from that expire, which are sent instead of the key.
        """
        self._name, self._scheme, self._source = name, scheme, source
        self.renewable = source is not None
        """Whether the key is a token that expires: see `refresh`."""
        self._origins = frozenset(origin(httpx.URL(base)) for base in bases if secret is not None)
        self._unsigned = headers
        self._headers = _SignedHeaders(headers)
        self._wire_headers: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._secret, self._value = secret, ""
        if secret is not None and source is None:
            self._use(secret)

    def _use(self, secret: Secret) -> None:
        self._secret = secret
        self._value = f"{self._scheme} {secret.reveal()}".lstrip()
        self._headers[self._name] = self._value
        self._wire_headers.clear()

    async def refresh(self) -> Secret:
        """Get a token that is valid now, for the next request, and return it."""
        assert self._source is not None
        secret = await self._source.get()
        if secret != self._secret or not self._value:
            self._use(secret)
        return secret

    async def renew(self, rejected: Secret) -> bool:
        """Get another token than the one that the server rejected; return whether there is one."""
        assert self._source is not None
        secret = await self._source.renew(rejected)
        if secret is None:
            return False
        self._use(secret)
        return True

    def wire_headers(self, extra: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
        """Return the headers of a request to the first base URL, with the key.

        Args:
            extra: Headers of the request that are added to the default ones, or replace them.
        """
        cached = self._wire_headers.get(extra)
        if cached is not None:
            return cached
        own_key = any(name.lower() == self._name.lower() for name, _ in extra)
        headers = (self._unsigned if own_key else self._headers).copy()
        for name, value in extra:
            headers[name] = value
        if len(self._wire_headers) >= _MAX_WIRE_HEADERS:
            self._wire_headers.clear()
        wire = {name.decode("ascii"): value.decode("ascii") for name, value in headers.raw}
        self._wire_headers[extra] = wire
        return wire

    def sign(self, request: httpx.Request, default_request: bool) -> httpx.Headers:
        """Return the headers of a request, with the key if its origin may get it.

        Args:
            request: The request.
            default_request: Whether it has the default headers and the default host, so that
                neither has to be compared.
        """
        if default_request:
            return self._headers.copy()
        if self._name in request.headers or origin(request.url) not in self._origins:
            return request.headers
        headers = request.headers.copy()
        headers[self._name] = self._value
        return headers


async def send_directly(
    client: DirectClient,
    base: str,
    request: PreparedRequest,
    credentials: Credentials,
    *,
    connect_timeout: float,
    progress: Progress,
) -> httpx.Response:
    """Send a request without an object of httpx for it; return the response, its body unread.

    Args:
        client: The HTTP client.
        base: The URL of the host, which may have the key.
        request: The encoded request.
        credentials: The key, and the headers of every request.
        connect_timeout: Seconds for a new connection.
        progress: Updated when the server may have received something.
    """
    sent, accepted = progress.sent, progress.accepted
    progress.sent = progress.accepted = True
    try:
        response = await client.send_direct(
            request.method,
            base,
            request.target,
            credentials.wire_headers(request.headers),
            request.content,
            connect_timeout,
        )
    except NOT_SENT_ERRORS:
        progress.sent, progress.accepted = sent, accepted
        raise
    if response.status_code == 429:
        progress.accepted = accepted
    return response


async def send_following_redirects(
    client: HttpClient,
    request: httpx.Request,
    credentials: Credentials,
    *,
    content: bytes | None,
    default_request: bool,
    download: bool = False,
    progress: Progress,
    first: httpx.Response | None = None,
) -> httpx.Response:
    """Send a request and return the response with its body unread.

    Redirects within the origin are followed. Others are returned as the response, except for a
    download: it continues at the other origin without the key, and does not get it back.

    Args:
        client: The httpx client. Its auth, headers and cookies are not used.
        request: The request.
        credentials: The key, which the request has while it is sent.
        content: The body of the request, to send it again after a redirect.
        default_request: Whether it has the default headers and the default host.
        download: Whether the response may be a redirect to a file store of another origin.
        progress: Updated when the server may have received something.
        first: The response to the request, if it was sent already.
    """
    cross_origin = False
    seen: tuple[httpx.URL, ...] = ()
    for _ in range(_MAX_REDIRECTS):
        if first is not None:
            response, first = first, None
        else:
            headers = (
                request.headers if cross_origin else credentials.sign(request, default_request)
            )
            response = await _send(client, request, headers, progress)
        if response.status_code not in REDIRECTS:
            return response
        target = None if cross_origin else _redirect(request, response, content)
        if target is not None and request.method not in {"GET", "HEAD"}:
            # A server that redirects a write has not executed it. That is not certain for a
            # redirect cycle, so that is not followed.
            seen = (*seen, request.url)
            target = None if target.url in seen else target
        if target is None and download:
            target, cross_origin = _cross_origin_request(request, response), True
        if target is None:
            return response
        await close(response)
        request = target
    headers = request.headers if cross_origin else credentials.sign(request, default_request)
    return await _send(client, request, headers, progress)


async def _send(
    client: HttpClient, request: httpx.Request, headers: httpx.Headers, progress: Progress
) -> httpx.Response:
    unsigned_headers = request.headers
    request.headers = headers
    sent, accepted = progress.sent, progress.accepted
    progress.sent = progress.accepted = True
    try:
        response = await client.send(request, stream=True, auth=_NO_AUTH, follow_redirects=False)
        if response.status_code == 429:
            progress.accepted = accepted
        return response
    except httpx.HTTPError as error:
        # An event hook of the user's client runs after the response, and may raise the same error.
        has_response_hook = client.event_hooks["response"]
        no_free_stream = isinstance(error, httpx.LocalProtocolError) and _is_too_many_streams(error)
        not_sent = isinstance(error, NOT_SENT_ERRORS) and not _is_lost_connection(error)
        if (no_free_stream or not_sent) and not has_response_hook:
            progress.sent, progress.accepted = sent, accepted
        if no_free_stream:
            refused = httpx.PoolTimeout("the server allows no more streams on the connection")
            raise refused from error
        raise
    except Exception as error:
        error_to_raise = normalize_error(error, client, of_httpx=_is_plain_client(client, request))
        if error_to_raise is None:
            raise
        raise error_to_raise from error
    finally:
        request.headers = unsigned_headers


def _is_lost_connection(error: httpx.HTTPError) -> bool:
    """Return whether httpx-aiohttp reports a connection that was lost after the request was sent.

    It raises `ConnectTimeout` for that, which would mean that nothing was sent.
    """
    return type(error.__cause__).__name__ in {
        "ClientConnectionResetError",
        "ClientOSError",
        "ServerDisconnectedError",
    }


def _is_too_many_streams(error: BaseException | None) -> bool:
    """Return whether a request was not sent because its HTTP/2 connection had no free stream."""
    while error is not None:
        # Compared by name: h2 is an optional dependency. Its exception is an argument of the one
        # of httpcore.
        if any(type(e).__name__ == "TooManyStreamsError" for e in (error, *error.args)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _redirect(
    request: httpx.Request, response: httpx.Response, content: bytes | None
) -> httpx.Request | None:
    """Return the request of a redirect, or None if it must not be followed."""
    location = response.headers.get("Location")
    # Clients follow 301, 302 and 303 with a GET, which would drop the body of a write.
    if not location or (response.status_code < 307 and request.method not in {"GET", "HEAD"}):
        return None
    url = _join(request.url, location)
    if url is None or origin(url) != origin(request.url):
        return None
    return build_request(request.method, url, request.headers, content, request.extensions)


def _join(base: httpx.URL, location: str) -> httpx.URL | None:
    """Return the URL of a redirect, or None if it is invalid."""
    try:
        url = base.join(location)
        # httpx decodes the host when it sends, and IDNA may reject what the parser has accepted.
        url.host  # noqa: B018
        if not 0 <= (url.port or 0) <= _MAX_PORT:
            return None
    except (httpx.InvalidURL, ValueError):
        return None
    return url


def _cross_origin_request(request: httpx.Request, response: httpx.Response) -> httpx.Request | None:
    """Return the request for a file at another origin, without our headers and credentials."""
    url = _join(request.url, response.headers.get("Location", ""))
    if url is None or request.method != "GET" or not url.raw_host:
        return None
    plain = url.scheme == "http" and request.url.scheme == "http"
    if not (url.scheme == "https" or plain):
        return None
    forwarded = [name for name in _FORWARDED_HEADERS if name in request.headers]
    headers = httpx.Headers({name: request.headers[name] for name in forwarded})
    headers["Host"] = url.netloc.decode("ascii")
    headers["Accept"] = "*/*"
    return build_request("GET", url, headers, None, request.extensions)


def build_request(
    method: str,
    url: httpx.URL | str,
    headers: httpx.Headers,
    content: bytes | None,
    extensions: Mapping[str, Any],
) -> httpx.Request:
    """Return a request. `headers` include `Host`, so that httpx does not derive its defaults."""
    if content is None:
        request = httpx.Request(
            method, url, headers=headers, stream=_EMPTY_BODY, extensions={**extensions}
        )
        if method in {"POST", "PUT", "PATCH"}:
            request.headers["Content-Length"] = "0"
        return request
    request = httpx.Request(
        method, url, headers=headers, stream=_RequestBody(content), extensions={**extensions}
    )
    request.headers["Content-Length"] = str(len(content))
    request.read()
    return request


async def read_bounded(
    response: httpx.Response, limit: int | None, request: PreparedRequest, operation: str
) -> httpx.Response:
    """Read a response body of at most `limit` bytes, decompressed.

    Returns:
        The response with its body; a copy of it if the body was compressed.

    Raises:
        ResponseTooLargeError: The body is larger. The rest of it is not read.
    """
    try:
        if response.is_closed:
            if limit is not None and len(response.content) > limit:
                raise _too_large(limit, request, operation)
            return response
        declared = response.headers.get("Content-Length", "")
        if declared.isascii() and declared.isdigit() and len(declared) < 20:
            length = int(declared)
            if limit is not None and length > limit:
                raise _too_large(limit, request, operation)
            if length <= _STREAM_THRESHOLD and "Content-Encoding" not in response.headers:
                # h11 and h2 enforce the declared length, so it need not be counted again.
                await _read_declared(response)
                return response
        content, whole = await _collect(response, limit)
        if not whole and limit is not None:
            raise _too_large(limit, request, operation)
    except (httpx.HTTPError, ResponseTooLargeError):
        raise
    except Exception as error:
        error_to_raise = normalize_error(error, of_httpx=is_network_response(response))
        if error_to_raise is None:
            raise
        raise error_to_raise from error
    finally:
        if not response.is_closed:
            await close(response)
    return _copy(response, content)


async def _read_declared(response: httpx.Response) -> None:
    """Read a body that is not compressed and has a declared length."""
    body = response.stream
    read_body: Callable[[], Awaitable[bytes]] | None = getattr(body, "read_body", None)
    if read_body is not None:
        content = await read_body()
        response.is_closed = True
    elif isinstance(body, httpx.AsyncByteStream) and not response.is_stream_consumed:
        chunks = [chunk async for chunk in body]
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        await response.aclose()
    else:
        await response.aread()
        return
    # There is no public way: `aread` passes chunks through a decoder and three generators.
    response._content = content  # pyright: ignore[reportPrivateUsage]
    response.is_stream_consumed = True


async def read_error(response: httpx.Response, limit: int | None) -> httpx.Response:
    """Read the body of an error response up to 1 MiB or `limit` bytes, and discard the rest.

    Returns:
        A copy of the response with its body. It has the extension `TRUNCATED` if there was more.
    """
    max_bytes = _MAX_ERROR_BYTES if limit is None else min(limit, _MAX_ERROR_BYTES)
    try:
        if response.is_closed:
            content, whole = response.content, len(response.content) <= max_bytes
        else:
            content, whole = await _collect_beginning(response, max_bytes)
    except httpx.HTTPError:
        raise
    except Exception as error:
        error_to_raise = normalize_error(error, of_httpx=is_network_response(response))
        if error_to_raise is None:
            raise
        raise error_to_raise from error
    finally:
        await close(response)
    copy = _copy(response, content[:max_bytes])
    if not whole:
        copy.extensions[TRUNCATED] = max_bytes
    return copy


async def _collect(response: httpx.Response, limit: int | None) -> tuple[bytes, bool]:
    """Return the body, or its beginning, and whether it is complete within `limit` bytes."""
    # One growing buffer, returned without a copy. A list of chunks would fragment the heap, and the
    # process would keep that memory: a large body has a thousand chunks.
    body = BytesIO()
    async for chunk in response.aiter_bytes():
        body.write(chunk)
        if limit is not None and body.tell() > limit:
            return body.getvalue(), False
    return body.getvalue(), True


async def _collect_beginning(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """Return the body, or its beginning, and whether it is complete within `max_bytes`.

    It is decompressed in small steps: a few kilobytes may decompress to hundreds of megabytes.
    """
    # The decoders of httpx in the order in which they are applied. There is no public access,
    # and `aiter_bytes` decompresses a whole chunk at once.
    decoder: Any = response._get_content_decoder()  # pyright: ignore[reportPrivateUsage]
    decoders: list[Any] = list(getattr(decoder, "children", [decoder]))
    body = BytesIO()
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        for piece in _decompress(decoders, chunk):
            body.write(piece)
            if body.tell() > max_bytes:
                return body.getvalue(), False
        if received > 2 * max_bytes:  # compression never makes data that much larger
            return body.getvalue(), False
    for piece in _flush(decoders):
        body.write(piece)
        if body.tell() > max_bytes:
            return body.getvalue(), False
    return body.getvalue(), True


def _decompress(decoders: list[Any], data: bytes) -> Iterator[bytes]:
    """Yield decompressed data in small chunks."""
    if not decoders or type(decoders[0]).__name__ == "IdentityDecoder":
        yield data
        return
    for start in range(0, len(data), _DECOMPRESS_CHUNK):
        yield from _decompress(
            decoders[1:], decoders[0].decode(data[start : start + _DECOMPRESS_CHUNK])
        )


def _flush(decoders: list[Any]) -> Iterator[bytes]:
    """Yield the data that the decoders have buffered, at the end of the body."""
    for at, decoder in enumerate(decoders):
        yield from _decompress(decoders[at + 1 :], decoder.flush())


def _copy(response: httpx.Response, content: bytes) -> httpx.Response:
    """Return a copy of a response with its decompressed body."""
    copy = httpx.Response(
        response.status_code,
        headers=headers_without(response, BODY_HEADERS),
        content=content,
        # None if the request was sent directly; the property would raise an error.
        request=getattr(response, "_request", None),
        extensions={**response.extensions},
    )
    with suppress(RuntimeError):  # a response that middleware has built has no elapsed time
        copy.elapsed = response.elapsed
    return copy


async def close(response: httpx.Response) -> None:
    """Close a response, ignoring errors of its connection."""
    try:
        await response.aclose()
    except Exception as error:
        if normalize_error(error, of_httpx=is_network_response(response)) is None:
            raise


def headers_without(response: httpx.Response, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response without those with the given lower-case names.

    As bytes: servers send non-ASCII characters in unknown encodings.
    """
    return [(name, value) for name, value in response.headers.raw if name.lower() not in names]


def _too_large(limit: int, request: PreparedRequest, operation: str) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"The response is larger than {limit:,} bytes.",
        operation=operation,
        request=request_info(request),
        suggestion="Request less, read it with `ph.stream(...)`, or raise max_response_bytes.",
    )
