"""What the transport needs of an HTTP client: a part of `httpx.AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import httpx

__all__ = ["DirectClient", "HttpClient", "OwnClient", "OwnTransport", "is_of_httpx"]


class OwnTransport(Protocol):
    """A transport of the user: an `AsyncBaseTransport` of httpx or httpx2.

    A protocol, because httpx2 need not be installed for type checkers.
    """

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class OwnClient(Protocol):
    """An HTTP client of the user: an `AsyncClient` of httpx or httpx2."""

    @property
    def is_closed(self) -> bool:
        """Whether it refuses requests."""
        ...

    @property
    def send(self) -> Callable[..., Any]:
        """Sends a request."""
        ...


def is_of_httpx(value: object, *names: str) -> bool:
    """Return whether a value is of a class of httpx, or of httpx2, with one of these names."""
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] in {"httpx", "httpx2"}
        for kind in type(value).__mro__
    )


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
