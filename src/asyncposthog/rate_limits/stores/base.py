"""Storage protocols for rate-limit windows.

`memory.MemoryStore` keeps windows in this process; `redis.RedisStore` shares them between
processes, which then use the limits together, by one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncposthog.rate_limits.limits import Limit, Usage

__all__ = ["Store", "Windows"]


class Windows(Protocol):
    """The windows of some limits, which a request acquires all together or not at all.

    A ticket is a number that the scheduler chooses for each request, unique in its process. It
    is passed to `acquire` until that returns 0, then to one of `complete` and `release`. A ticket
    whose request stops waiting, or is cancelled during `acquire`, is passed to `release` too:
    `release` accepts any ticket, and the implementation knows whether it was acquired. Any call
    may be cancelled; the limiter shields `complete` and `release` from cancellation.
    """

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits, in the order of the indexes below."""
        ...

    def try_acquire_nowait(self, ticket: int) -> bool:
        """Acquire every window if that needs no I/O; return whether it did.

        False means that there is no capacity, or that only `acquire` can find out.
        """
        ...

    async def acquire(self, ticket: int) -> float:
        """Acquire every window, or none.

        A window has capacity if it is not blocked and its requests in flight, together with the
        completed ones younger than its seconds, are fewer than its share. A store that serves
        several processes may use repeated calls with one ticket to keep the order of arrival.

        Returns:
            0.0 if the windows were acquired; otherwise the seconds after which to call again.
            Infinity means that only another call of this limiter can change the result.
        """
        ...

    def complete_nowait(self, ticket: int) -> bool:
        """Do what `complete(ticket)` does if that needs no I/O; return whether it did."""
        ...

    async def complete(self, ticket: int, *, refused_by: int | None = None) -> None:
        """Record that a request was answered, or failed after the server may have received it.

        The request counts from now on for the seconds of each window. The server counted it
        between its departure and its response, so this is never too early. A ticket that its
        process neither completes nor releases must be treated as completed after some time.

        Args:
            ticket: The ticket of the request.
            refused_by: The index of the window that caused a 429, and so did not count it.
        """
        ...

    async def release(self, ticket: int) -> None:
        """Return the acquired capacity: the server did not receive the request."""
        ...

    async def block(self, index: int, seconds: float, *, adapt: bool) -> None:
        """Block a window for some time. A block never shortens an earlier one.

        Args:
            index: The index of the window.
            seconds: How long, in seconds.
            adapt: Whether the server reported the window as full. `Usage.used` is then the
                capacity that other clients leave, and the share is reduced to about that.
        """
        ...

    async def usage(self) -> tuple[Usage, ...]:
        """Return the usage of each window."""
        ...

    def snapshot(self) -> tuple[Usage, ...]:
        """Return the usage of each window as last known to this process."""
        ...

    def is_idle(self) -> bool:
        """Return whether this process can drop the windows without losing information."""
        ...

    async def estimate_wait(self, ahead: int) -> tuple[float, int]:
        """Return a lower bound of the wait of a request.

        Args:
            ahead: How many other requests are admitted before it.

        Returns:
            Seconds from now, and the index of the window that causes the wait. Requests in flight
            are assumed to complete now, so the real wait is usually longer; it is shorter only
            if one of them is released. (0.0, 0) if it is unknown.
        """
        ...


class Store(Protocol):
    """Storage of windows."""

    def windows(self, limits: Sequence[Limit]) -> Windows:
        """Return the windows of some limits, without I/O.

        Limits with the same key share one window, even if they allow different numbers of
        requests in it.
        """
        ...

    async def aclose(self) -> None:
        """Close the resources of the store, such as connections."""
        ...
