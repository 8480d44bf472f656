"""A FIFO semaphore for HTTP connections. Calls wait here instead of inside httpx.

httpcore scans its queue whenever a call enters or leaves it, so the cost of a call grows with the
number of waiting calls; and a call that is cancelled there can leak a connection. Here, all
operations are O(1), and a cancelled call leaks nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import anyio

__all__ = ["ConnectionGate"]


class ConnectionGate:
    """Permits for a number of calls at the same time, granted in order of arrival.

    Not thread-safe; for one event loop. `release` does not wait, so it can be called while the
    caller is being cancelled.
    """

    __slots__ = ("_free", "_last_progress_at", "_waiters", "size")

    def __init__(self, size: int) -> None:
        """Create a gate with all permits free."""
        self.size = size
        self._free = size
        self._last_progress_at = -math.inf
        # A free permit and a waiter never exist at the same time: a permit that is released goes
        # straight to the first waiter, and a new call cannot overtake it. An OrderedDict because
        # waiters also leave from the middle: both ends and the middle are O(1).
        self._waiters: OrderedDict[anyio.Event, None] = OrderedDict()

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

    async def acquire(self, stall_timeout: float | None = None) -> bool:
        """Wait for a permit. If the wait is cancelled, none is taken.

        A long queue may still advance, so the time limit is not for the wait as a whole: it starts
        again whenever a call has succeeded.

        Args:
            stall_timeout: Seconds to wait after the last success of a call; None: no limit.

        Returns:
            Whether a permit was taken. If not, the place in the queue is lost.
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
        if self._waiters:
            self._waiters.popitem(last=False)[0].set()
        else:
            self._free += 1
