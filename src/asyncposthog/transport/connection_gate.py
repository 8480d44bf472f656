"""A fair semaphore in front of the HTTP connections: calls wait here, never inside httpx.

httpcore's own queue is searched once for every call that joins or leaves it, so that the cost of
a call grows with the number that wait; and a call that is cancelled in it can leave a connection
behind that is never used again. Here every operation takes the same time whoever waits, and a
cancelled call leaves nothing behind.
"""

from __future__ import annotations

from collections import OrderedDict

import anyio

__all__ = ["ConnectionGate"]


class ConnectionGate:
    """Permits for a number of calls at a time, given out in order of arrival.

    It belongs to one event loop and is not thread-safe. `release` may be called from anywhere in
    that loop, also while the caller is being cancelled: it does not wait.
    """

    __slots__ = ("_free", "_waiters", "size")

    def __init__(self, size: int) -> None:
        """Start with all permits free."""
        self.size = size
        self._free = size
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

    async def acquire(self) -> None:
        """Wait for a permit. If the wait is cancelled, in whichever way, none is taken."""
        if self.try_acquire():
            return
        granted = anyio.Event()
        self._waiters[granted] = None
        try:
            await granted.wait()
        except BaseException:
            if granted.is_set():
                # Cancelled between the release that chose us and our turn to run.
                self.release()
            else:
                del self._waiters[granted]
            raise

    def release(self) -> None:
        """Give a permit back: to the first waiter, if there is one."""
        if self._waiters:
            self._waiters.popitem(last=False)[0].set()
        else:
            self._free += 1
