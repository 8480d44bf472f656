"""The place of the limiter in the path of a call."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from asyncposthog.operation import Operation
from asyncposthog.transport.encoding.request import PreparedRequest

__all__ = ["Admission", "KeyRateLimits", "Limiter", "NoLimiter"]


class Admission(AbstractAsyncContextManager[object], Protocol):
    """The way of one call through the limits.

    It is entered for every attempt, which waits until the attempt may go, and left when that was
    answered or has failed; a 429 leaves it as `RateLimitError`.
    """

    timeout: float | None
    """Seconds the call may still wait; None: any time. Set before it is entered."""
    max_block_seconds: float
    """Seconds for which the server may have closed a limit before the call fails instead of
    waiting. Set before it is entered."""
    was_sent: bool
    """Whether the server may have received the attempt. Set while it is under way."""

    @property
    def needs_query_slot(self) -> bool:
        """Whether the call has to `hold` something as well."""
        ...

    @property
    def extra_timeout(self) -> float:
        """Seconds for which the server may keep an attempt waiting, on top of its own time."""
        ...

    @property
    def buckets(self) -> str:
        """What the last attempt was charged to, for logs."""
        ...

    def query_slot(self) -> AbstractAsyncContextManager[None]:
        """Hold what the call needs from its first attempt to its last."""
        ...

    async def on_response(self, status: int) -> None:
        """Note that an answer begins."""
        ...


class KeyRateLimits(Protocol):
    """The limits of one API key on one host."""

    def admission(self, operation: Operation, request: PreparedRequest) -> Admission:
        """Return the way of one call through them."""
        ...

    def status(self) -> Any:
        """Return how much of them is used."""
        ...


class Limiter(Protocol):
    """Decides when attempts may be sent."""

    def for_key(self, base_url: str, api_key: str) -> KeyRateLimits | None:
        """Return the limits of a key on a host; None: there are none."""
        ...

    async def aclose(self) -> None:
        """Give back what it holds open."""
        ...


class NoLimiter:
    """Lets everything go at once."""

    __slots__ = ()

    def for_key(self, base_url: str, api_key: str) -> None:
        """Return that there are no limits."""

    async def aclose(self) -> None:
        """Do nothing."""
