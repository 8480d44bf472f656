"""Where windows live. The limiter knows only these two protocols.

`memory.MemoryStore` keeps them in the process. Another store may keep them where several
processes meet; everything below then holds for all of them together, by one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncposthog.rate_limits.limits import Limit, Usage

__all__ = ["Store", "Windows"]


class Windows(Protocol):
    """Some budgets that are drawn on together: all of them, or none.

    A ticket is a number that the limiter chooses, once per request, unique within its process.
    Its life: `acquire` until that returns 0, then one of `settle` and `release`. One that gives
    up while it waits, or is cancelled in the middle of `acquire`, is released too: `release`
    takes any ticket, and knows itself whether it held places. Calls may be cancelled by a
    deadline or by the user; the limiter shields `settle` and `release` from that.
    """

    @property
    def rules(self) -> tuple[Limit, ...]:
        """The budgets, in the order that indexes below refer to."""
        ...

    async def acquire(self, ticket: int) -> float:
        """Take a place in every window, or in none.

        A place is free in a window that is open (see `close`) while answered requests younger
        than its seconds, and those in flight, are fewer than its share. Asked again and again
        with one ticket, a store that serves several processes may use that to keep the order.

        Returns:
            0.0 if the places were taken; else the seconds after which asking again makes sense.
            `inf` says that only something else done by this limiter can change the answer.
        """
        ...

    async def settle(self, ticket: int, *, uncharged: int | None = None) -> None:
        """Note that the request was answered, or failed in a way that may have reached the server.

        From now on, not from when it was sent, the place counts for the seconds of its window:
        the server noted the request at some moment between the two. A ticket that is neither
        settled nor released by its process has to be taken as settled after some time.

        Args:
            ticket: Whose places they are.
            uncharged: The index of the window that did not count it, because it refused it.
        """
        ...

    async def release(self, ticket: int) -> None:
        """Give the places back: the request never reached the server, or never left."""
        ...

    async def close(self, index: int, seconds: float, *, learn: bool) -> None:
        """Let nothing through a window for some time. A closure never shortens an earlier one.

        Args:
            index: Which window.
            seconds: For how long.
            learn: Whether the server said that the window is full: what it holds of ours
                (`Usage.used`) is then all that others leave us, and the share becomes
                `feedback.Share` of that.
        """
        ...

    async def usage(self) -> tuple[Usage, ...]:
        """Return how full each window is."""
        ...

    def peek(self) -> tuple[Usage, ...]:
        """Return how full each window was when this process last heard of it."""
        ...

    def idle(self) -> bool:
        """Whether this process could drop the windows without anything being forgotten."""
        ...

    async def forecast(self, ahead: int) -> tuple[float, int]:
        """Return when a request could go at the earliest, if `ahead` others go before it.

        Returns:
            Seconds from now, and the index of the window that makes it wait. What is in flight is
            taken to be answered now, so it turns out later as a rule, and earlier only if one of
            those is released. (0.0, 0) where it is not known.
        """
        ...


class Store(Protocol):
    """Keeps windows."""

    def windows(self, rules: Sequence[Limit]) -> Windows:
        """Return the windows of some rules. It does no I/O.

        Rules with the same key share one window, even where they put different limits to it.
        """
        ...

    async def aclose(self) -> None:
        """Give back what the store holds open."""
        ...
