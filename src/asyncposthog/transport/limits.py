"""The place of the limiter in the path of a call."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncposthog.operation import Operation

__all__ = ["Limiter", "NoLimiter"]


class Limiter(Protocol):
    """Decides when an attempt may be sent."""

    def admit(
        self, operation: Operation, project: int | None
    ) -> AbstractAsyncContextManager[object]:
        """Return a context that is entered when the attempt may go, and left when it is done."""
        ...


class NoLimiter:
    """Lets everything go at once."""

    __slots__ = ()

    def admit(
        self, operation: Operation, project: int | None
    ) -> AbstractAsyncContextManager[object]:
        """Return a context that does nothing."""
        return _PASS


class _Pass(AbstractAsyncContextManager[None]):
    """Nothing to wait for, nothing to give back."""

    __slots__ = ()

    async def __aexit__(self, *exc: object) -> None:
        return None


_PASS = _Pass()
