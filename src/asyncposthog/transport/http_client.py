"""What the transport needs of an HTTP client: a part of `httpx.AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import httpx

__all__ = ["BodyReader", "DirectClient", "HttpClient"]


class HttpClient(Protocol):
    """An `httpx.AsyncClient`, or something that sends its requests and raises its errors."""

    @property
    def is_closed(self) -> bool:
        """Whether it refuses requests."""
        ...

    @property
    def headers(self) -> httpx.Headers:
        """Its default headers, of which `Accept-Encoding` is used."""
        ...

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Functions of the user that run before a request and after a response."""
        ...

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = None,
        follow_redirects: Any = False,
    ) -> httpx.Response:
        """Send a request and return the response; with `stream`, its body is unread.

        Raises:
            httpx.HTTPError: The exchange failed.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class DirectClient(HttpClient, Protocol):
    """An HTTP client that can send a request without an object of httpx for it."""

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

        Args:
            method: The HTTP method.
            base: The URL of the host.
            target: Path and query, encoded, below the host.
            headers: All headers but `Content-Length`. They are not changed or kept.
            content: The body; None: the request has none.
            connect_timeout: Seconds for a new connection. Other limits are the caller's.

        Raises:
            httpx.HTTPError: The exchange failed.
        """
        ...

    def abandon(self) -> None:
        """Forget the connections without closing them: their event loop has ended."""
        ...


@runtime_checkable
class BodyReader(Protocol):
    """The body of a response, which can be read in one piece."""

    async def read_body(self) -> bytes:
        """Return the whole body as it was sent, and give its connection back.

        Raises:
            httpx.HTTPError: The connection failed.
        """
        ...
