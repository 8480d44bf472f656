"""One request on the wire: credentials, redirects, and a bound on the size of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any, Final, cast

import anyio
import httpx

from asyncposthog.config import Secret
from asyncposthog.errors import ClosedError, PostHogError, ResponseTooLargeError
from asyncposthog.redact import Unpicklable
from asyncposthog.transport.encoding.request import PreparedRequest, request_info

__all__ = [
    "NOT_SENT_ERRORS",
    "TRUNCATED",
    "Credentials",
    "Progress",
    "build_request",
    "close",
    "headers_without",
    "is_network_response",
    "normalize_error",
    "origin",
    "read_bounded",
    "read_error",
    "send_following_redirects",
]

TRUNCATED: Final = "asyncposthog.cut"
"""The extension of an error answer whose body was cut."""
_MAX_ERROR_BYTES: Final = 1 << 20
"""Bytes that are read of the body of an error answer."""
_MAX_REDIRECTS: Final = 5
_MAX_PORT: Final = 65535
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DECOMPRESS_CHUNK: Final = 256
"""Bytes of a compressed error answer that are decompressed at a time."""
_STREAM_THRESHOLD: Final = 1 << 20
"""Bytes from which on a body is collected in one piece."""
_FORWARDED_HEADERS: Final = ("User-Agent", "Accept-Encoding", "Range", "If-Match", "If-Range")
"""What a file store is told: no more than it needs to hand out a file, or a part of one."""
_BODY_HEADERS: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_NO_AUTH: Final = httpx.Auth()
"""Does nothing: the credentials of a client that users gave us are not ours to send."""


NOT_SENT_ERRORS: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
)
"""With these the server never got the request, where the httpx client raised them itself."""

_LOWER_LAYER_ERRORS: Final = (
    OSError,  # ssl.SSLError among them
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""What httpx lets pass of the layers below it."""


class Progress:
    """What the server may have done of an attempt, whatever exception ends it."""

    __slots__ = ("accepted", "sent")

    def __init__(self) -> None:
        """Begin: nothing was sent."""
        self.sent = False
        """Whether the server may have received a request."""
        self.accepted = False
        """Whether it may have received one without refusing it by a 429."""


def normalize_error(
    error: Exception, client: httpx.AsyncClient | None = None, *, of_httpx: bool = False
) -> Exception | None:
    """Return the exception to raise for one that httpx has let pass; None: it is not of the wire.

    Args:
        error: What was raised while a request was sent, or its answer read.
        client: What sent it; httpx raises a `RuntimeError` when it was closed meanwhile.
        of_httpx: Whether only code of httpx and below it ran, none of the user: whatever it
            raises is then a failure of the connection.
    """
    if isinstance(error, ExceptionGroup):
        # anyio's, of attempts to connect to several addresses
        group = cast("ExceptionGroup[Exception]", error)
        found = [normalize_error(one, client, of_httpx=of_httpx) for one in group.exceptions]
        return None if None in found else found[0]
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


def _is_plain_client(client: httpx.AsyncClient, request: httpx.Request) -> bool:
    """Return whether sending runs nothing but httpx's own code."""
    if type(client) is not httpx.AsyncClient or any(client.event_hooks.values()):
        return False
    transports: dict[object, object] = getattr(client, "_mounts", {})
    own = (getattr(client, "_transport", None), *transports.values())
    return all(found is None or type(found) is httpx.AsyncHTTPTransport for found in own)


def is_network_response(response: httpx.Response) -> bool:
    """Return whether the body of an answer is read from a connection of httpx."""
    return "network_stream" in response.extensions


class _OneChunk:
    """Gives one piece of bytes."""

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

    httpx's own is read by an async generator, which is left open when the connection breaks while
    it is sent: Trio complains of that.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _OneChunk(self._content)


_EMPTY_BODY: Final = _RequestBody(b"")


def origin(url: httpx.URL) -> tuple[str, bytes]:
    """Return what two URLs of one origin have in common: scheme, host and port."""
    return url.scheme, url.netloc


class _SignedHeaders(Unpicklable, httpx.Headers):
    """Headers with the key among them."""


class Credentials(Unpicklable):
    """The key, and where it may go. A request holds it only while it is on the wire.

    Afterwards neither an exception nor a response kept by a user can give it away.
    """

    __slots__ = ("_headers", "_origins", "_value")

    def __init__(self, secret: Secret, bases: Iterable[str], headers: httpx.Headers) -> None:
        """Know the key, the base URLs it may be sent to, and the headers most requests have."""
        self._value = f"Bearer {secret.reveal()}"
        self._origins = frozenset(origin(httpx.URL(base)) for base in bases)
        self._headers = _SignedHeaders(headers)
        self._headers["Authorization"] = self._value

    def sign(self, request: httpx.Request, default_request: bool) -> httpx.Headers:
        """Return the request's headers with the key, if it goes where the key may go.

        Args:
            request: What is about to be sent.
            default_request: Whether it has the usual headers and goes to the usual host.
        """
        if default_request:
            return self._headers.copy()
        if "Authorization" in request.headers or origin(request.url) not in self._origins:
            return request.headers
        headers = request.headers.copy()
        headers["Authorization"] = self._value
        return headers


async def send_following_redirects(
    client: httpx.AsyncClient,
    request: httpx.Request,
    credentials: Credentials,
    *,
    content: bytes | None,
    default_request: bool,
    download: bool = False,
    progress: Progress,
) -> httpx.Response:
    """Send a request and return the answer, its body not read yet.

    Redirects are followed within the origin alone; any other is returned as it is, but for a
    download, which goes on without the key and never comes back with it.

    Args:
        client: What sends it. Its own credentials, headers and cookies are not used.
        request: What to send.
        credentials: Added to it for the time it takes.
        content: The request's body, to be sent again after a redirect.
        default_request: Whether it has the usual headers and goes to the usual host.
        download: Whether the answer may be a redirect to a file store of another origin.
        progress: Where to note that the server may have received something.
    """
    cross_origin = False
    seen: tuple[httpx.URL, ...] = ()
    for _ in range(_MAX_REDIRECTS):
        headers = request.headers if cross_origin else credentials.sign(request, default_request)
        response = await _send(client, request, headers, progress)
        if response.status_code not in _REDIRECTS:
            return response
        target = None if cross_origin else _redirect(request, response, content)
        if target is not None and request.method not in {"GET", "HEAD"}:
            # What answers a write with a redirect has not carried it out, but one that leads in a
            # circle is no such answer.
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
    client: httpx.AsyncClient, request: httpx.Request, headers: httpx.Headers, progress: Progress
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
        # An event hook of the user's client runs after the answer, and may raise the same.
        has_response_hook = client.event_hooks["response"]
        no_free_stream = isinstance(error, httpx.LocalProtocolError) and _is_too_many_streams(error)
        if (no_free_stream or isinstance(error, NOT_SENT_ERRORS)) and not has_response_hook:
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


def _is_too_many_streams(error: BaseException | None) -> bool:
    """Return whether a request was not sent, as its HTTP/2 connection had too many others."""
    while error is not None:
        # h2 is imported by httpcore where it is needed; its own exception is the argument of
        # httpcore's.
        if any(type(one).__name__ == "TooManyStreamsError" for one in (error, *error.args)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _redirect(
    request: httpx.Request, response: httpx.Response, content: bytes | None
) -> httpx.Request | None:
    """Return the request a redirect asks for, or None if it must not be followed."""
    location = response.headers.get("Location")
    # 301, 302 and 303 turn other methods into GET, which would drop what was to be written.
    if not location or (response.status_code < 307 and request.method not in {"GET", "HEAD"}):
        return None
    url = _join(request.url, location)
    if url is None or origin(url) != origin(request.url):
        return None
    return build_request(request.method, url, request.headers, content, request.extensions)


def _join(base: httpx.URL, location: str) -> httpx.URL | None:
    """Return the URL that a redirect names; None where it names none that a request can have."""
    try:
        url = base.join(location)
        # Read here as httpx reads it when it sends: IDNA may refuse what parsing has let pass.
        url.host  # noqa: B018
        if not 0 <= (url.port or 0) <= _MAX_PORT:
            return None
    except (httpx.InvalidURL, ValueError):
        return None
    return url


def _cross_origin_request(request: httpx.Request, response: httpx.Response) -> httpx.Request | None:
    """Return the request for a file at another origin: nothing of ours goes with it."""
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
    """Return a request. `headers` hold its `Host` already, which spares httpx much of its work."""
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
    """Read a body, refusing one larger than `limit` bytes before it fills the memory.

    Returns:
        The response, read; a copy of it where it was compressed.

    Raises:
        ResponseTooLargeError: It is larger.
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
                # The protocol holds the server to the length it declared.
                await response.aread()
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
        await close(response)
    return _copy(response, content)


async def read_error(response: httpx.Response, limit: int | None) -> httpx.Response:
    """Read the body of an error answer, up to 1 MiB or to `limit` bytes, and leave the rest.

    Returns:
        The response, read; its extensions have `CUT` where there was more.
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
    """Return the body, and whether it is no larger than `limit`; where it is, its beginning."""
    # One piece of memory that grows, and is handed over without a copy: many small ones would stay
    # with the process when they are free again, and for a large body there are a thousand.
    body = BytesIO()
    async for chunk in response.aiter_bytes():
        body.write(chunk)
        if limit is not None and body.tell() > limit:
            return body.getvalue(), False
    return body.getvalue(), True


async def _collect_beginning(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """Return the body, and whether it is no larger than `most`; where it is, its beginning.

    It is decompressed in small steps: a few kilobytes can stand for hundreds of megabytes.
    """
    # httpx's own decoders, the one that is applied first in front.
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
        if received > 2 * max_bytes:  # compressed, it is no larger than that
            return body.getvalue(), False
    for piece in _flush(decoders):
        body.write(piece)
        if body.tell() > max_bytes:
            return body.getvalue(), False
    return body.getvalue(), True


def _decompress(decoders: list[Any], data: bytes) -> Iterator[bytes]:
    """Yield what compressed data stands for, in pieces that are not large."""
    if not decoders or type(decoders[0]).__name__ == "IdentityDecoder":
        yield data
        return
    for start in range(0, len(data), _DECOMPRESS_CHUNK):
        yield from _decompress(
            decoders[1:], decoders[0].decode(data[start : start + _DECOMPRESS_CHUNK])
        )


def _flush(decoders: list[Any]) -> Iterator[bytes]:
    """Yield what the decoders have kept back, at the end of the data."""
    for at, decoder in enumerate(decoders):
        yield from _decompress(decoders[at + 1 :], decoder.flush())


def _copy(response: httpx.Response, content: bytes) -> httpx.Response:
    """Return the same response with its body read, and so no longer compressed."""
    copy = httpx.Response(
        response.status_code,
        headers=headers_without(response, _BODY_HEADERS),
        content=content,
        request=response.request,
        extensions={**response.extensions},
    )
    with suppress(RuntimeError):  # a middleware's own answer took no time
        copy.elapsed = response.elapsed
    return copy


async def close(response: httpx.Response) -> None:
    """Close an answer; that its connection breaks meanwhile no longer matters."""
    try:
        await response.aclose()
    except Exception as error:
        if normalize_error(error, of_httpx=is_network_response(response)) is None:
            raise


def headers_without(response: httpx.Response, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer but those of these lower-case names.

    As bytes: servers put characters outside ASCII into them, in whatever encoding.
    """
    return [(name, value) for name, value in response.headers.raw if name.lower() not in names]


def _too_large(limit: int, request: PreparedRequest, operation: str) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"The answer is larger than {limit:,} bytes.",
        operation=operation,
        request=request_info(request),
        suggestion="Ask for less, read it with `ph.stream(...)`, or raise max_response_bytes.",
    )
