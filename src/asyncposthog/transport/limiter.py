"""Protocols of the rate limiter, so that the transport does not depend on it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from asyncposthog.operation import Operation
from asyncposthog.transport.encoding.request import PreparedRequest

__all__ = ["Admission", "KeyRateLimits", "Limiter", "NoLimiter"]


class Admission(AbstractAsyncContextManager[object], Protocol):
    """The admission of one call, as a context manager that is entered for each attempt.

    Entering waits until the attempt can be sent. It is left after the response or the failure of
    the attempt; for a 429, with `RateLimitError`.
    """

    timeout: float | None
    """Seconds that the call may still wait; None: no limit. Set before it is entered."""
    max_block_seconds: float
    """Fail instead of waiting if a limit is blocked for longer than these seconds. Set before
    it is entered."""
    was_sent: bool
    """Whether the server may have received the attempt. Set while it is entered."""

    @property
    def needs_query_slot(self) -> bool:
        """Whether the whole call has to be made within `query_slot()`."""
        ...

    @property
    def extra_timeout(self) -> float:
        """Seconds that the server may queue an attempt for. Read within `query_slot()`."""
        ...

    @property
    def buckets(self) -> str:
        """The names of the limits that the last attempt counted against, for logs."""
        ...

    def query_slot(self) -> AbstractAsyncContextManager[None]:
        """Hold a query slot from the first attempt of the call to its last."""
        ...

    async def on_response(self, status: int) -> None:
        """Record that the headers of a response have arrived."""
        ...


class KeyRateLimits(Protocol):
    """The rate limits of one API key on one host."""

    def admission(self, operation: Operation, request: PreparedRequest) -> Admission:
        """Return the admission of one call."""
        ...

    def status(self) -> Any:
        """Return how much of them is used."""
        ...


class Limiter(Protocol):
    """Decides when requests can be sent."""

    def for_key(self, base_url: str, api_key: str) -> KeyRateLimits | None:
        """Return the rate limits of an API key on a host; None: there are none."""
        ...

    async def aclose(self) -> None:
        """Close connections that the limiter has opened."""
        ...


class NoLimiter:
    """A limiter without limits."""

    __slots__ = ()

    def for_key(self, base_url: str, api_key: str) -> None:
        """Return None: there are no limits."""

    def for_other_event_loop(self) -> NoLimiter:
        """Return the limiter itself."""
        return self

    async def aclose(self) -> None:
        """Do nothing."""
