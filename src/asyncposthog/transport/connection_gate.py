"""A fair semaphore in front of the HTTP connections: calls wait here, never inside httpx.

httpcore's own queue is searched once for every call that joins or leaves it, so that the cost of
a call grows with the number that wait; and a call that is cancelled in it can leave a connection
behind that is never used again. Here every operation takes the same time whoever waits, and a
cancelled call leaves nothing behind.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import anyio

__all__ = ["ConnectionGate"]


class ConnectionGate:
    """Permits for a number of calls at a time, given out in order of arrival.

    It belongs to one event loop and is not thread-safe. `release` may be called from anywhere in
    that loop, also while the caller is being cancelled: it does not wait.
    """

    __slots__ = ("_free", "_last_progress_at", "_waiters", "size")

    def __init__(self, size: int) -> None:
        """Start with all permits free."""
        self.size = size
        self._free = size
        self._last_progress_at = -math.inf
        # A free permit and a waiter never exist at the same time: a permit that is released goes
        # straight to the first waiter, and a new call cannot overtake it. An OrderedDict because
        # waiters also leave from the middle: both ends and the middle are O(1).
        self._waiters: OrderedDict[anyio.Event, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Permits nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """Calls that wait for a permit."""
        return len(self._waiters)

    def try_acquire(self) -> bool:
        """Take a permit if there is one without waiting; return whether there was."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def acquire(self, stall_timeout: float | None = None) -> bool:
        """Wait for a permit. If the wait is cancelled, in whichever way, none is taken.

        A queue may be long and yet move: the wait ends without a permit only when nothing has
        moved for some time.

        Args:
            stall_timeout: Seconds to wait since a permit last came back from a successful call;
                None: any time.

        Returns:
            Whether there is a permit; if not, the place in the queue is lost.
        """
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
                # Cancelled between the release that chose us and our turn to run.
                self._hand_over_permit()
            else:
                self._waiters.pop(granted, None)
            raise

    def release(self, *, succeeded: bool = True) -> None:
        """Give a permit back: to the first waiter, if there is one.

        Args:
            succeeded: Whether its call did, which gives those that wait more time.
        """
        if succeeded and self._waiters:
            self._last_progress_at = anyio.current_time()
        self._hand_over_permit()

    def _hand_over_permit(self) -> None:
        if self._waiters:
            self._waiters.popitem(last=False)[0].set()
        else:
            self._free += 1
