"""One request on the wire: credentials, redirects, and a bound on the size of answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import httpx

from asyncposthog.config import Secret
from asyncposthog.errors import ResponseTooLargeError

from .request import PreparedRequest, request_info

__all__ = ["Bearer", "exchange", "origin", "read_bounded"]

_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def origin(url: httpx.URL) -> tuple[str, bytes]:
    """Return what two URLs of one origin have in common: scheme, host and port."""
    return url.scheme, url.netloc


class Bearer(httpx.Auth):
    """Puts the key on a request while it is on the wire, and only to the origins it is for.

    Afterwards the request does not hold it any more: neither an exception nor a response kept
    by a user can give it away.
    """

    def __init__(self, secret: Secret, bases: tuple[str, ...]) -> None:
        """Know the key, and the base URLs it may be sent to."""
        self._value = f"Bearer {secret.reveal()}"
        self._origins = frozenset(origin(httpx.URL(base)) for base in bases)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the header, send, and take it away again."""
        headers = request.headers
        if "Authorization" in headers or origin(request.url) not in self._origins:
            yield request
            return
        headers["Authorization"] = self._value
        try:
            yield request
        finally:
            del headers["Authorization"]


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, auth: httpx.Auth
) -> httpx.Response:
    """Send a request and return the answer, its body not read yet.

    Redirects are followed within the origin alone; any other is returned as it is.
    """
    for _ in range(_MAX_REDIRECTS):
        response = await client.send(request, stream=True, auth=auth, follow_redirects=False)
        if response.status_code not in _REDIRECTS:
            return response
        target = _redirect(request, response)
        if target is None:
            return response
        await response.aclose()
        request = target
    return await client.send(request, stream=True, auth=auth, follow_redirects=False)


def _redirect(request: httpx.Request, response: httpx.Response) -> httpx.Request | None:
    """Return the request a redirect asks for, or None if it must not be followed."""
    location = response.headers.get("Location")
    # 301, 302 and 303 turn other methods into GET, which would drop what was to be written.
    if not location or (response.status_code < 307 and request.method not in {"GET", "HEAD"}):
        return None
    try:
        url = request.url.join(location)
    except httpx.InvalidURL:
        return None
    if origin(url) != origin(request.url):
        return None
    return httpx.Request(
        request.method,
        url,
        headers=request.headers,
        content=request.content or None,
        extensions=request.extensions,
    )


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
        if limit is None:
            await response.aread()
            return response
        if response.is_closed:
            if len(response.content) > limit:
                raise _too_large(limit, request, operation)
            return response
        declared = response.headers.get("Content-Length", "")
        if declared.isascii() and declared.isdigit():
            if int(declared) > limit:
                raise _too_large(limit, request, operation)
            if "Content-Encoding" not in response.headers:
                # The protocol holds the server to the length it declared.
                await response.aread()
                return response
        content = await _collect(response, limit, request, operation)
    finally:
        await response.aclose()
    return _copy(response, content)


async def _collect(
    response: httpx.Response, limit: int, request: PreparedRequest, operation: str
) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, request, operation)
        chunks.append(chunk)
    return b"".join(chunks)


def _copy(response: httpx.Response, content: bytes) -> httpx.Response:
    """Return the same response with its body read, and so no longer compressed."""
    dropped = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [(k, v) for k, v in response.headers.multi_items() if k not in dropped]
    return httpx.Response(
        response.status_code,
        headers=headers,
        content=content,
        request=response.request,
        extensions=response.extensions,
    )


def _too_large(limit: int, request: PreparedRequest, operation: str) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"The answer is larger than {limit:,} bytes.",
        operation=operation,
        request=request_info(request),
        suggestion="Ask for less, read it with `ph.stream(...)`, or raise max_response_bytes.",
    )
