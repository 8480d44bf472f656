"""Admit waiting requests in order of arrival (FIFO), without a background task.

One of the waiting tasks is the leader: it sleeps until the next request can be admitted, admits
every request that fits, and hands the role to another waiter when it stops waiting itself. So
there is one timer for all waiters, and nothing to start or stop with the client.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from .monotonic import MonotonicClock
from .wait_queue import Waiter, WaitQueue

__all__ = ["AcquireTimeout", "Scheduler"]

logger = logging.getLogger("asyncposthog")

_LONG_WAIT_SECONDS: Final = 90.0
"""Waits from here on are logged: longer than a full limit per minute takes."""


class AcquireTimeout(Exception):
    """A request cannot be admitted before its deadline, or a window is blocked for too long."""

    def __init__(self, available_in: float, index: int, blocked: bool = False) -> None:
        """Store the reason.

        Args:
            available_in: Seconds until the request could be admitted; 0 if that is unknown.
            index: The index of the window that has no capacity.
            blocked: Whether the window is blocked after a 429, rather than full.
        """
        super().__init__(available_in, index, blocked)
        self.available_in = available_in
        self.index = index
        self.blocked = blocked


class Scheduler:
    """Admits the requests of all wait queues.

    There is one queue for each set of windows, and queues do not block each other. Where two
    queues wait for a window that they share, the request that came first is admitted first.
    """

    def __init__(self, clock: MonotonicClock) -> None:
        """Create a scheduler without waiters."""
        self._clock = clock
        self._last_ticket = 0
        self._sequence = count()
        """Breaks ties between heap entries: queues have no order."""
        self.queues: dict[WaitQueue, None] = {}
        """Queues with waiters."""
        """Queues with waiters."""
        self._queues_by_key: dict[str, dict[WaitQueue, None]] = {}
        """The same queues by the keys of their windows."""
        self._ready_queues: dict[WaitQueue, None] = {}
        """Queues to check now, because capacity may have become free earlier than planned."""
        self._scheduled_checks: list[tuple[float, int, WaitQueue]] = []
        """A heap of planned checks. An entry that differs from `next_check_at` is out of date."""
        self._leader: Waiter | None = None
        self._sleep_scope: anyio.CancelScope | None = None
        self._wake_at = math.inf
        """The end of the leader's sleep."""

    def try_acquire(self, queue: WaitQueue) -> int:
        """Return the ticket of a request that can be sent now, or 0 if it has to call `acquire`.

        It is the path of most requests: no coroutine, no waiter.
        """
        if self.queues and self._is_contended(queue):
            return 0
        ticket = self._last_ticket + 1
        if not queue.windows.try_acquire_nowait(ticket):
            return 0
        self._last_ticket = ticket
        return ticket

    async def acquire(
        self,
        queue: WaitQueue,
        timeout: float | None = None,  # noqa: ASYNC109
        priority: int | None = None,
        max_block_seconds: float = math.inf,
    ) -> int:
        """Wait until a request can be sent, and return its ticket.

        Args:
            queue: The queue of the windows that it counts against.
            timeout: Seconds it may wait; None: no limit.
            priority: The ticket of its earlier attempt, whose rank it keeps; None: a first attempt.
            max_block_seconds: Seconds for which a window may be blocked after a 429.

        Raises:
            AcquireTimeout: It cannot be admitted within `timeout`, or a window is blocked for
                longer than `max_block_seconds`. Raised as soon as that is certain.
        """
        ticket = self._next_ticket()
        if not self.queues or not self._is_contended(queue):
            try:
                wait = await queue.windows.acquire(ticket)
            except BaseException:
                # A cancelled call may have reached the store all the same.
                await self._release(queue, ticket)
                raise
            if not wait:
                return ticket
        await self._wait(queue, ticket, timeout, priority, max_block_seconds)
        return ticket

    def notify(self, queue: WaitQueue) -> None:
        """Check for waiters to admit, after capacity in the queue's windows may have changed."""
        if self.queues:
            for key in queue.keys:
                self._check_now(self._queues_by_key.get(key, ()))

    def _next_ticket(self) -> int:
        self._last_ticket += 1
        return self._last_ticket

    def _is_contended(self, queue: WaitQueue) -> bool:
        # A new request must not overtake the waiters of any queue that shares a window with it.
        by_key = self._queues_by_key
        return any(key in by_key for key in queue.keys)

    def _check_now(self, queues: Iterable[WaitQueue]) -> None:
        self._ready_queues.update(dict.fromkeys(queues))
        if self._ready_queues and self._sleep_scope is not None:
            self._sleep_scope.cancel()

    async def _wait(
        self,
        queue: WaitQueue,
        ticket: int,
        timeout: float | None,  # noqa: ASYNC109
        priority: int | None,
        max_block_seconds: float,
    ) -> None:
        deadline = math.inf if timeout is None else self._clock.now() + timeout
        is_retry = priority is not None
        waiter = Waiter(
            ticket,
            priority or ticket,
            deadline,
            is_retry=is_retry,
            max_block_seconds=max_block_seconds,
        )
        try:
            seconds, index = queue.current_block()
            if seconds > max_block_seconds:
                raise AcquireTimeout(seconds, index, blocked=True)
            if timeout is not None:
                seconds, index = await queue.windows.estimate_wait(0 if is_retry else len(queue))
                if seconds > timeout:
                    raise AcquireTimeout(seconds, index)
            self._add(queue, waiter)
            while not waiter.granted:
                if self._leader is None or self._leader is waiter:
                    await self._lead(waiter)
                else:
                    await waiter.event.wait()
                if waiter.rejection is not None:
                    raise AcquireTimeout(*waiter.rejection)
        except BaseException:
            self._remove(queue, waiter)
            waiter.cancelled = True
            # While the leader is acquiring for this waiter, only the leader knows whether the
            # store has granted the ticket: it releases the ticket then (see `_try_admit`).
            if not waiter.acquiring:
                await self._release(queue, ticket)
            raise
        finally:
            if self._leader is waiter:
                self._elect_leader()

    def _add(self, queue: WaitQueue, waiter: Waiter) -> None:
        if not len(queue):
            self.queues[queue] = None
            for key in queue.keys:
                self._queues_by_key.setdefault(key, {})[queue] = None
            queue.next_attempt_at = 0.0
            self._check_now((queue,))
        elif waiter.deadline < self._wake_at:
            # The leader would sleep past this deadline.
            self._check_now((queue,))
        queue.add(waiter)
        self._schedule_check(queue, min(queue.next_check_at, waiter.deadline))

    def _schedule_check(self, queue: WaitQueue, timestamp: float) -> None:
        if timestamp == queue.next_check_at:
            return
        queue.next_check_at = timestamp
        if timestamp < math.inf:
            heappush(self._scheduled_checks, (timestamp, next(self._sequence), queue))
        if len(self._scheduled_checks) > 64 + 2 * len(self.queues):
            # Most entries are out of date: rebuild the heap, so that it does not grow forever.
            checks = ((queue.next_check_at, next(self._sequence), queue) for queue in self.queues)
            self._scheduled_checks = [entry for entry in checks if entry[0] < math.inf]
            heapify(self._scheduled_checks)

    def _remove(self, queue: WaitQueue, waiter: Waiter) -> None:
        queue.remove(waiter)
        if not len(queue) and queue in self.queues:
            del self.queues[queue]
            self._ready_queues.pop(queue, None)
            queue.next_check_at = math.inf
            for key in queue.keys:
                sharing = self._queues_by_key[key]
                sharing.pop(queue, None)
                if not sharing:
                    del self._queues_by_key[key]

    async def _release(self, queue: WaitQueue, ticket: int) -> None:
        with anyio.CancelScope(shield=True):
            await queue.windows.release(ticket)
        self.notify(queue)

    def _elect_leader(self) -> None:
        # The tail of a queue waits longest, so the role changes hands least often.
        queue = next(iter(self.queues), None)
        self._leader = None if queue is None else queue.tail()
        if self._leader is not None:
            self._leader.event.set()

    async def _lead(self, leader: Waiter) -> None:
        self._leader = leader
        while True:
            # Infinite during the dispatch, so that `_add` marks the queue of any waiter with a
            # deadline that comes meanwhile: the dispatch may have passed that queue already.
            self._wake_at = math.inf
            # Shielded: a dispatch that stops half-way would leave queues without a planned check.
            with anyio.CancelScope(shield=True):
                self._wake_at = await self._dispatch()
            if leader.granted or leader.rejection is not None:
                return
            with anyio.CancelScope() as self._sleep_scope:
                if not self._ready_queues:
                    await self._clock.sleep_until(self._wake_at)
            self._sleep_scope = None
            # Lets other tasks run, and this one be cancelled, when there was nothing to sleep for.
            await checkpoint()

    async def _dispatch(self) -> float:
        """Admit waiters that fit, in FIFO order. Return the time of the next check."""
        now = self._clock.now()
        queues = self._due_queues(now)
        heads = [
            (head.priority, head.ticket, queue)
            for queue in queues
            if (head := queue.head()) is not None
        ]
        heapify(heads)
        while heads:
            _, ticket, queue = heads[0]
            waiter = queue.head()
            if waiter is None:
                heappop(heads)
            elif waiter.ticket != ticket:
                # The entry's waiter was admitted, or has left: go on with the one behind it.
                heapreplace(heads, (waiter.priority, waiter.ticket, queue))
            elif wait := await self._try_admit(queue, waiter):
                # The head does not fit, so no waiter behind it is tried: this keeps FIFO order.
                queue.next_attempt_at = self._clock.now() + wait
                heappop(heads)
                self._warn_of_long_wait(queue, wait)
        for queue in queues:
            if queue.next_attempt_at > now:
                self._reject_blocked(queue)
            await self._reject_expired(queue)
            if queue in self.queues:
                urgent = queue.earliest_deadline()
                next_check = queue.next_attempt_at
                if urgent is not None:
                    next_check = min(next_check, urgent.deadline)
                self._schedule_check(queue, next_check)
        return self._next_check()

    def _warn_of_long_wait(self, queue: WaitQueue, wait: float) -> None:
        # Once for each long wait, and not again for every waiter or check within it.
        until = queue.next_attempt_at
        if (
            _LONG_WAIT_SECONDS <= wait < math.inf
            and queue.last_warned_until < until - _LONG_WAIT_SECONDS
        ):
            queue.last_warned_until = until
            names = ", ".join(limit.name for limit in queue.windows.limits)
            logger.warning("rate limits (%s): calls wait for %.0f s", names, wait)

    def _due_queues(self, now: float) -> list[WaitQueue]:
        """Remove and return the queues to check now: ready ones, and those whose time has come."""
        due, self._ready_queues = self._ready_queues, {}
        while self._scheduled_checks and self._scheduled_checks[0][0] <= now:
            timestamp, _, queue = heappop(self._scheduled_checks)
            if timestamp == queue.next_check_at:
                queue.next_check_at = math.inf
                due[queue] = None
        return [queue for queue in due if queue in self.queues]

    def _next_check(self) -> float:
        """Return the time of the next planned check, dropping entries that are out of date."""
        checks = self._scheduled_checks
        while checks and checks[0][0] != checks[0][2].next_check_at:
            heappop(checks)
        return checks[0][0] if checks else math.inf

    async def _try_admit(self, queue: WaitQueue, waiter: Waiter) -> float:
        """Admit the head of a queue if its windows have capacity; return the seconds to wait."""
        waiter.acquiring = True
        try:
            wait = await queue.windows.acquire(waiter.ticket)
        finally:
            waiter.acquiring = False
        if waiter.cancelled:  # It stopped waiting during the call.
            await queue.windows.release(waiter.ticket)
            self.notify(queue)
        elif not wait:
            self._remove(queue, waiter)
            waiter.granted = True
            waiter.event.set()
        return wait

    def _reject_blocked(self, queue: WaitQueue) -> None:
        """Reject waiters whose `max_block_seconds` is below the current block."""
        seconds, index = queue.current_block()
        for waiter in queue.waiters_exceeding(seconds):
            self._remove(queue, waiter)
            waiter.rejection = seconds, index, True
            waiter.event.set()

    async def _reject_expired(self, queue: WaitQueue) -> None:
        """Reject waiters whose deadline has passed, or comes before the next attempt."""
        while (waiter := queue.earliest_deadline()) is not None:
            now = self._clock.now()
            if waiter.deadline > now and not waiter.deadline < queue.next_attempt_at < math.inf:
                return
            seconds, index = await queue.windows.estimate_wait(0)
            self._remove(queue, waiter)
            until_attempt = queue.next_attempt_at - now if queue.next_attempt_at < math.inf else 0.0
            waiter.rejection = max(seconds, until_attempt), index, False
            waiter.event.set()
