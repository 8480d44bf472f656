"""A FIFO semaphore for HTTP connections. Calls wait here instead of inside httpx.

httpcore scans its queue whenever a call enters or leaves it, so the cost of a call grows with the
number of waiting calls; and a call that is cancelled there can leak a connection. Here, all
operations are O(1), and a cancelled call leaks nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from .native_cancellation import on_asyncio

if TYPE_CHECKING:
    import asyncio

    _Waiter: TypeAlias = "anyio.Event | asyncio.Future[bool]"

__all__ = ["ConnectionGate"]


class ConnectionGate:
    """Permits for a number of calls at the same time, granted in order of arrival.

    Not thread-safe; for one event loop. `release` does not wait, so it can be called while the
    caller is being cancelled.
    """

    __slots__ = (
        "_free",
        "_last_progress_at",
        "_native",
        "_stall_at",
        "_stall_timer",
        "_stalls",
        "_waiters",
        "size",
    )

    def __init__(self, size: int) -> None:
        """Create a gate with all permits free."""
        self.size = size
        self._free = size
        self._last_progress_at = -math.inf
        # A free permit and a waiter never exist at the same time: a permit that is released goes
        # straight to the first waiter, and a new call cannot overtake it. An OrderedDict because
        # waiters also leave from the middle: both ends and the middle are O(1).
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        # On asyncio a waiter is a future, and one timer watches over all: thousands of calls may
        # wait, and the garbage collector looks at every object of each again and again.
        self._native: bool | None = None
        """Whether the event loop is one of asyncio; None: not known yet."""
        self._stalls: dict[float, OrderedDict[asyncio.Future[bool], float]] = {}
        """When waiters have started to wait, by their stall timeout, in order of arrival."""
        self._stall_timer: asyncio.TimerHandle | None = None
        self._stall_at = math.inf
        """When the timer fires."""

    @property
    def free(self) -> int:
        """The number of free permits."""
        return self._free

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a permit."""
        return len(self._waiters)

    def try_acquire(self) -> bool:
        """Take a permit if one is free; return whether one was."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def acquire(self, stall_timeout: float | None = None) -> Coroutine[Any, Any, bool]:
        """Wait for a permit. If the wait is cancelled, none is taken.

        A long queue may still advance, so the time limit is not for the wait as a whole: it starts
        again whenever a call has succeeded.

        Args:
            stall_timeout: Seconds to wait after the last success of a call; None: no limit.

        Returns:
            Whether a permit was taken. If not, the place in the queue is lost.
        """
        if self._native is None:
            self._native = on_asyncio()
        return self._acquire_native(stall_timeout) if self._native else self._acquire(stall_timeout)

    async def _acquire_native(self, stall_timeout: float | None) -> bool:
        if self.try_acquire():
            return True
        from asyncio import get_running_loop

        loop = get_running_loop()
        granted: asyncio.Future[bool] = loop.create_future()
        self._waiters[granted] = None
        if stall_timeout is not None:
            started = loop.time()
            self._stalls.setdefault(stall_timeout, OrderedDict())[granted] = started
            self._watch_stalls(loop, started + stall_timeout)
        try:
            return await granted
        except BaseException:
            if granted.done() and not granted.cancelled() and granted.result():
                # Cancelled after a release has chosen this waiter, before it could run.
                self._hand_over_permit()
            else:
                self._waiters.pop(granted, None)
            raise
        finally:
            if stall_timeout is not None and (group := self._stalls.get(stall_timeout)):
                group.pop(granted, None)
            if not self._waiters and self._stall_timer is not None:
                self._stall_timer.cancel()
                self._stall_timer, self._stall_at = None, math.inf
                self._stalls.clear()

    def _watch_stalls(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        """Look for stalled waiters at a time of the event loop, if not before."""
        if at < self._stall_at:
            if self._stall_timer is not None:
                self._stall_timer.cancel()
            self._stall_at = at
            self._stall_timer = loop.call_at(at, self._end_stalled, loop)

    def _end_stalled(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the wait of those who have seen no progress for their stall timeout."""
        self._stall_timer, self._stall_at = None, math.inf
        now, following = loop.time(), math.inf
        for seconds, group in self._stalls.items():
            while group:
                waiter, started = next(iter(group.items()))
                deadline = max(started, self._last_progress_at) + seconds
                if deadline > now:
                    following = min(following, deadline)
                    break
                del group[waiter]
                self._waiters.pop(waiter, None)
                if not waiter.done():
                    waiter.set_result(False)
        if following < math.inf:
            self._watch_stalls(loop, following)

    async def _acquire(self, stall_timeout: float | None) -> bool:
        if self.try_acquire():
            return True
        granted = anyio.Event()
        self._waiters[granted] = None
        try:
            if stall_timeout is None:
                await granted.wait()
                return True
            started = anyio.current_time()
            while True:
                deadline = max(started, self._last_progress_at) + stall_timeout
                if deadline <= anyio.current_time():
                    del self._waiters[granted]
                    return False
                with anyio.CancelScope(deadline=deadline):
                    await granted.wait()
                if granted.is_set():
                    return True
        except BaseException:
            if granted.is_set():
                # Cancelled after a release has chosen this waiter, before it could run.
                self._hand_over_permit()
            else:
                self._waiters.pop(granted, None)
            raise

    def release(self, *, succeeded: bool = True) -> None:
        """Release a permit. The first waiter gets it, if there is one.

        Args:
            succeeded: Whether the call did. That restarts the time limit of the waiters.
        """
        if succeeded and self._waiters:
            self._last_progress_at = anyio.current_time()
        self._hand_over_permit()

    def _hand_over_permit(self) -> None:
        while self._waiters:
            waiter = self._waiters.popitem(last=False)[0]
            if isinstance(waiter, anyio.Event):
                waiter.set()
                return
            if not waiter.done():  # it is done if its task was cancelled and has not run since
                waiter.set_result(True)
                return
        self._free += 1
