"""Queue of the requests that wait for the same rate-limit windows."""

from __future__ import annotations

import math
from collections import OrderedDict
from heapq import heappop, heappush

import anyio

from asyncposthog.rate_limits.stores.base import Windows

from .limits import UNENFORCED

__all__ = ["WaitQueue", "Waiter"]


class Waiter:
    """A request that waits for capacity."""

    __slots__ = (
        "acquiring",
        "cancelled",
        "deadline",
        "event",
        "granted",
        "is_retry",
        "max_block_seconds",
        "priority",
        "rejection",
        "ticket",
    )

    def __init__(
        self,
        ticket: int,
        priority: int,
        deadline: float,
        *,
        is_retry: bool,
        max_block_seconds: float = math.inf,
    ) -> None:
        """Describe a request that starts to wait.

        Args:
            ticket: The number under which it acquires windows.
            priority: Its rank over all queues: lower numbers go first.
            deadline: The time of the limiter's clock at which waiting has to end.
            is_retry: Whether an earlier attempt was admitted and answered with an error.
            max_block_seconds: Fail instead of waiting if a window is blocked for longer than this.
        """
        self.ticket = ticket
        self.priority = priority
        self.deadline = deadline
        self.is_retry = is_retry
        self.max_block_seconds = max_block_seconds
        self.event = anyio.Event()
        """Set when the request is granted or rejected, or when it becomes the leader."""
        self.acquiring = False
        """Whether a call of `Windows.acquire` for it is running."""
        self.granted = False
        self.rejection: tuple[float, int, bool] | None = None
        """Why it fails: the arguments of `AcquireTimeout`."""
        self.cancelled = False
        """Whether its task has stopped waiting."""


class WaitQueue:
    """Requests that wait for the same windows, in order of arrival; retries go first."""

    __slots__ = (
        "_deadlines",
        "_first_attempts",
        "_min_block_seconds",
        "_retries",
        "failures",
        "keys",
        "last_warned_until",
        "next_attempt_at",
        "next_check_at",
        "plan_unknown",
        "wait_count",
        "windows",
    )  # fmt: skip

    def __init__(self, windows: Windows) -> None:
        """Create an empty queue for some windows."""
        self.windows = windows
        self.keys = tuple(limit.key for limit in windows.limits)
        self.plan_unknown = any(limit.requests == UNENFORCED for limit in windows.limits)
        """Whether the limits of its calls change once the query plan is detected."""
        self.next_attempt_at = 0.0
        """When trying to acquire for the head makes sense again."""
        self.next_check_at = math.inf
        """When the scheduler looks at the queue again if nothing happens before."""
        self.last_warned_until = -math.inf
        """The end of the wait that the last warning in the log announced."""
        self.failures = 0
        """429 responses without a usable `Retry-After` in a row."""
        self.wait_count = 0
        """How many requests had to wait since the queue was created."""
        # Retries are kept apart and go first: they were admitted once already, so requests that
        # came after them must not get ahead.
        self._retries: OrderedDict[int, Waiter] = OrderedDict()
        self._first_attempts: OrderedDict[int, Waiter] = OrderedDict()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._min_block_seconds = math.inf
        """A lower bound of `max_block_seconds` of all waiters."""

    def __len__(self) -> int:
        """Return the number of waiters."""
        return len(self._first_attempts) + len(self._retries)

    def add(self, waiter: Waiter) -> None:
        """Append a waiter."""
        self.wait_count += 1
        self._of(waiter)[waiter.ticket] = waiter
        self._min_block_seconds = min(self._min_block_seconds, waiter.max_block_seconds)
        if waiter.deadline < math.inf:
            heappush(self._deadlines, (waiter.deadline, waiter.ticket, waiter))
            # Removing from the middle of a heap is slow, so entries of waiters that left stay
            # until they reach the top. Rebuild the heap when most entries are of that kind.
            if len(self._deadlines) > 64 + 2 * len(self):
                current = [entry for entry in self._deadlines if self._has(entry[2])]
                self._deadlines = sorted(current, key=lambda entry: entry[:2])

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter from any position; do nothing if it is not in the queue."""
        self._of(waiter).pop(waiter.ticket, None)

    def head(self) -> Waiter | None:
        """Return the waiter that is admitted next."""
        return next(iter((self._retries or self._first_attempts).values()), None)

    def tail(self) -> Waiter | None:
        """Return the waiter that is admitted last."""
        return next(reversed((self._first_attempts or self._retries).values()), None)

    def current_block(self) -> tuple[float, int]:
        """Return for how many seconds a window is blocked, and its index; (0.0, 0) if none is."""
        seconds = [usage.blocked_for for usage in self.windows.snapshot()]
        longest = max(seconds, default=0.0)
        return longest, seconds.index(longest) if seconds else 0

    def waiters_exceeding(self, seconds: float) -> list[Waiter]:
        """Return the waiters whose `max_block_seconds` is below `seconds`."""
        if seconds <= self._min_block_seconds:
            return []
        waiters = [*self._retries.values(), *self._first_attempts.values()]
        remaining = (w.max_block_seconds for w in waiters if w.max_block_seconds >= seconds)
        self._min_block_seconds = min(remaining, default=math.inf)
        return [waiter for waiter in waiters if waiter.max_block_seconds < seconds]

    def earliest_deadline(self) -> Waiter | None:
        """Return the waiter with the earliest deadline, or None if no waiter has one."""
        while self._deadlines:
            waiter = self._deadlines[0][2]
            if self._has(waiter):
                return waiter
            heappop(self._deadlines)
        return None

    def _of(self, waiter: Waiter) -> OrderedDict[int, Waiter]:
        return self._retries if waiter.is_retry else self._first_attempts

    def _has(self, waiter: Waiter) -> bool:
        return waiter.ticket in self._of(waiter)
