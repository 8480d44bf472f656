"""Use clients and transports of httpx2, the successor of httpx.

This is the only module that imports httpx2, and it is imported only if the user passes an object of
it. Everything else works with requests, responses and errors of httpx.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx
import httpx2

from .exchange import BODY_HEADERS, NoCookies

__all__ = ["Httpx2Client", "build_client"]

_NO_AUTH: Final = httpx2.Auth()
"""Disables the auth of the user's client."""


def build_client(transport: httpx2.AsyncBaseTransport) -> Httpx2Client:
    """Return a client for a transport of httpx2."""
    # The timeout is None because every request carries its own.
    return Httpx2Client(httpx2.AsyncClient(transport=transport, timeout=None, cookies=NoCookies()))


class Httpx2Client:
    """Sends requests of httpx with a client of httpx2."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        """Keep the client."""
        self._client = client

    @property
    def is_closed(self) -> bool:
        """Whether it refuses requests."""
        return self._client.is_closed

    @property
    def headers(self) -> httpx.Headers:
        """Its default headers."""
        return httpx.Headers(self._client.headers.raw)

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """The user's hooks, which get requests and responses of httpx2."""
        return self._client.event_hooks

    @property
    def is_plain(self) -> bool:
        """Whether sending a request runs no code but that of httpx2."""
        client = self._client
        if type(client) is not httpx2.AsyncClient or any(client.event_hooks.values()):
            return False
        own: tuple[object, ...] = (self._transport, *self._mounts.values())
        return all(t is None or type(t) is httpx2.AsyncHTTPTransport for t in own)

    # As in `httpx.AsyncClient`: connections of cancelled calls are looked for there.

    @property
    def _transport(self) -> Any:
        return getattr(self._client, "_transport", None)

    @property
    def _mounts(self) -> dict[Any, Any]:
        return getattr(self._client, "_mounts", {})

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
            auth: Ignored: the auth of the client is not used.
            follow_redirects: Ignored: redirects are returned.

        Raises:
            httpx.HTTPError: The exchange failed.
        """
        theirs = httpx2.Request(
            request.method,
            str(request.url),
            headers=request.headers.raw,
            stream=_RequestBody(request.stream),
            extensions=request.extensions,
        )
        try:
            response = await self._client.send(
                theirs, stream=True, auth=_NO_AUTH, follow_redirects=False
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _httpx_error(error) from error
        finally:
            # The response refers to the request, which has the key only while it is sent.
            theirs.headers.pop("Authorization", None)
        if response.is_closed:  # a hook of the user has read it
            return httpx.Response(
                response.status_code,
                headers=[(n, v) for n, v in response.headers.raw if n.lower() not in BODY_HEADERS],
                content=response.content,
                request=request,
                extensions=response.extensions,
            )
        return httpx.Response(
            response.status_code,
            headers=response.headers.raw,
            stream=_ResponseBody(response),
            request=request,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def _httpx_error(error: Exception) -> Exception:
    """Return the error of httpx for one of httpx2: that with the same name, or of a base class."""
    for kind in type(error).__mro__:
        ours = getattr(httpx, kind.__name__, None)
        if isinstance(ours, type) and issubclass(ours, httpx.HTTPError | httpx.InvalidURL):
            return ours(str(error))
    return httpx.ReadError(f"{type(error).__name__}: {error}")


class _RequestBody(httpx2.AsyncByteStream):
    """The body of a request of httpx."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)


class _ResponseBody(httpx.AsyncByteStream):
    """The body of a response of httpx2, as it was sent."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx2.HTTPError as error:
            raise _httpx_error(error) from error

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        except httpx2.HTTPError as error:
            raise _httpx_error(error) from error
