"""Those who wait for the same windows, in their order."""

from __future__ import annotations

import math
from collections import OrderedDict
from heapq import heappop, heappush

import anyio

from asyncposthog.rate_limits.stores.base import Windows
from asyncposthog.rate_limits.stores.memory import MemoryWindows

from .limits import UNENFORCED

__all__ = ["WaitQueue", "Waiter"]


class Waiter:
    """A request that may not go yet."""

    __slots__ = (
        "again",
        "asking",
        "deadline",
        "event",
        "gone",
        "granted",
        "late",
        "patience",
        "place",
        "ticket",
    )

    def __init__(
        self, ticket: int, place: int, deadline: float, *, again: bool, patience: float = math.inf
    ) -> None:
        """Wait from now on.

        Args:
            ticket: What it takes places with.
            place: Its place in the order of arrival, over all lanes.
            deadline: When waiting has to end.
            again: Whether it had gone before, and was refused by the server.
            patience: Seconds for which a window may be closed before waiting for it has to end.
        """
        self.ticket = ticket
        self.place = place
        self.deadline = deadline
        self.again = again
        self.patience = patience
        self.event = anyio.Event()
        self.asking = False
        """Whether the store is being asked for it at this moment."""
        self.granted = False
        self.late: tuple[float, int, bool] | None = None
        """Once it is known to fail: when it could have gone, which window is in the way, and
        whether that is because the server has closed it."""
        self.gone = False
        """Whether nobody waits for it any more."""


class WaitQueue:
    """First come, first served; those refused by the server before all others."""

    __slots__ = (
        "_deadlines",
        "_least",
        "_queue",
        "_refused",
        "due",
        "failures",
        "keys",
        "memory_windows",
        "told",
        "waits",
        "wake",
        "watched",
        "windows",
    )  # fmt: skip

    def __init__(self, windows: Windows) -> None:
        """Begin empty."""
        self.windows = windows
        self.keys = tuple(rule.key for rule in windows.rules)
        self.memory_windows = windows if isinstance(windows, MemoryWindows) else None
        """The windows, if their store never makes anybody wait for it."""
        self.watched = any(rule.limit == UNENFORCED for rule in windows.rules)
        """Whether what is drawn on may change, because the plan is not known yet."""
        self.wake = 0.0
        """When asking for the first one makes sense again."""
        self.due = math.inf
        """When the queue looks at it again, if nothing happens before."""
        self.told = -math.inf
        """Until when the log says that calls wait."""
        self.failures = 0
        """429s without a `Retry-After` in a row."""
        self.waits = 0
        """How many had to wait, ever."""
        self._queue: OrderedDict[int, Waiter] = OrderedDict()
        self._refused: OrderedDict[int, Waiter] = OrderedDict()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._least = math.inf
        """At most the least patience of those who wait."""

    def __len__(self) -> int:
        """Count who waits."""
        return len(self._queue) + len(self._refused)

    def join(self, waiter: Waiter) -> None:
        """Add one at its end of the lane."""
        self.waits += 1
        (self._refused if waiter.again else self._queue)[waiter.ticket] = waiter
        self._least = min(self._least, waiter.patience)
        if waiter.deadline < math.inf:
            heappush(self._deadlines, (waiter.deadline, waiter.ticket, waiter))
            if len(self._deadlines) > 64 + 2 * len(self):
                # Most of these no longer wait.
                alive = [entry for entry in self._deadlines if self._has(entry[2])]
                self._deadlines = sorted(alive, key=lambda entry: entry[:2])

    def leave(self, waiter: Waiter) -> None:
        """Take one out, wherever it stands."""
        (self._refused if waiter.again else self._queue).pop(waiter.ticket, None)

    def first(self) -> Waiter | None:
        """Return who is next."""
        return next(iter((self._refused or self._queue).values()), None)

    def last(self) -> Waiter | None:
        """Return who waits longest from now, as far as is known."""
        return next(reversed((self._queue or self._refused).values()), None)

    def closed(self) -> tuple[float, int]:
        """Return for how long the server has closed a window, as far as is known, and which."""
        seconds = [usage.closed for usage in self.windows.peek()]
        longest = max(seconds, default=0.0)
        return longest, seconds.index(longest) if seconds else 0

    def impatient(self, seconds: float) -> list[Waiter]:
        """Return who does not wait for so long a closure."""
        if seconds <= self._least:
            return []
        everybody = [*self._refused.values(), *self._queue.values()]
        staying = (waiter.patience for waiter in everybody if waiter.patience >= seconds)
        self._least = min(staying, default=math.inf)
        return [waiter for waiter in everybody if waiter.patience < seconds]

    def hurried(self) -> Waiter | None:
        """Return who has the earliest deadline."""
        while self._deadlines:
            waiter = self._deadlines[0][2]
            if self._has(waiter):
                return waiter
            heappop(self._deadlines)
        return None

    def _has(self, waiter: Waiter) -> bool:
        return waiter.ticket in (self._refused if waiter.again else self._queue)
