"""Waiting for room, first come, first served.

There is no background task and no timer for each waiter. One of those who wait is the leader: it
sleeps until somebody may go, lets everybody go who may, and hands over when it goes itself.
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

_LONG: Final = 90.0
"""Seconds of waiting that are worth a line in the log: longer than a minute's limit takes."""


class AcquireTimeout(Exception):
    """A deadline cannot be met, or the server has closed a window for too long."""

    def __init__(self, seconds: float, index: int, closed: bool = False) -> None:
        """Keep in how many seconds it could go, which window is in the way, and which it is."""
        super().__init__(seconds, index, closed)
        self.seconds = seconds
        self.index = index
        self.closed = closed


class Scheduler:
    """Everybody who waits, in lanes: one for each set of windows.

    Lanes do not block each other. Where two wait for a window they share, the one that came first
    goes first.
    """

    def __init__(self, ticker: MonotonicClock) -> None:
        """Begin empty."""
        self._ticker = ticker
        self._numbers = count(1)
        self._lanes: dict[WaitQueue, None] = {}
        """Those where somebody waits."""
        self._sharing: dict[str, dict[WaitQueue, None]] = {}
        """Those of them that draw on a window, by its key."""
        self._marked: dict[WaitQueue, None] = {}
        """Those for which something happened that may let somebody go earlier than was planned."""
        self._planned: list[tuple[float, int, WaitQueue]] = []
        """When to look at which; an entry that is not the lane's `due` is out of date."""
        self._leader: Waiter | None = None
        self._alarm: anyio.CancelScope | None = None
        self._wake = math.inf
        """Until when the leader sleeps."""

    def try_acquire(self, lane: WaitQueue) -> int:
        """Return the ticket of a request that may go without waiting; 0 if it may have to."""
        if lane.memory_windows is None or (self._lanes and self._is_contended(lane)):
            return 0
        ticket = next(self._numbers)
        return 0 if lane.memory_windows.take(ticket) else ticket

    async def enter(
        self,
        lane: WaitQueue,
        within: float | None = None,
        place: int | None = None,
        patience: float = math.inf,
    ) -> int:
        """Wait until a request may go, and return its ticket.

        Args:
            lane: What it draws on.
            within: Seconds it may wait; None: any time.
            place: The ticket of its earlier attempt, which keeps its place in the order.
            patience: Seconds for which the server may have closed a window.

        Raises:
            LateError: It cannot go within that time, or a window is closed for longer than that.
                It is raised as soon as that is known.
        """
        ticket = next(self._numbers)
        if not self._lanes or not self._is_contended(lane):
            try:
                wait = await lane.windows.acquire(ticket)
            except BaseException:
                await self._release(lane, ticket)
                raise
            if not wait:
                return ticket
        await self._wait(lane, ticket, within, place, patience)
        return ticket

    def changed(self, lane: WaitQueue) -> None:
        """Look whether others may go, after something was given back or logged."""
        if self._lanes:
            for key in lane.keys:
                self._schedule_now(self._sharing.get(key, ()))

    def _is_contended(self, lane: WaitQueue) -> bool:
        sharing = self._sharing
        return any(key in sharing for key in lane.keys)

    def _schedule_now(self, lanes: Iterable[WaitQueue]) -> None:
        """Have lanes looked at, whatever was planned."""
        self._marked.update(dict.fromkeys(lanes))
        if self._marked and self._alarm is not None:
            self._alarm.cancel()

    async def _wait(
        self, lane: WaitQueue, ticket: int, within: float | None, place: int | None, patience: float
    ) -> None:
        deadline = math.inf if within is None else self._ticker.now() + within
        again = place is not None
        waiter = Waiter(ticket, place or ticket, deadline, again=again, patience=patience)
        try:
            seconds, index = lane.closed()
            if seconds > patience:
                raise AcquireTimeout(seconds, index, closed=True)
            if within is not None:
                seconds, index = await lane.windows.forecast(0 if again else len(lane))
                if seconds > within:
                    raise AcquireTimeout(seconds, index)
            self._join(lane, waiter)
            while not waiter.granted:
                if self._leader is None or self._leader is waiter:
                    await self._lead(waiter)
                else:
                    await waiter.event.wait()
                if waiter.late is not None:
                    raise AcquireTimeout(*waiter.late)
        except BaseException:
            self._leave(lane, waiter)
            waiter.gone = True
            if not waiter.asking:
                await self._release(lane, ticket)
            raise
        finally:
            if self._leader is waiter:
                self._elect_leader()

    def _join(self, lane: WaitQueue, waiter: Waiter) -> None:
        if not len(lane):
            self._lanes[lane] = None
            for key in lane.keys:
                self._sharing.setdefault(key, {})[lane] = None
            lane.wake = 0.0
            self._schedule_now((lane,))
        elif waiter.deadline < self._wake:
            self._schedule_now((lane,))
        lane.join(waiter)
        self._plan(lane, min(lane.due, waiter.deadline))

    def _plan(self, lane: WaitQueue, due: float) -> None:
        """Note when to look at a lane again."""
        if due == lane.due:
            return
        lane.due = due
        if due < math.inf:
            heappush(self._planned, (due, next(self._numbers), lane))
        if len(self._planned) > 64 + 2 * len(self._lanes):
            # Most of these are out of date.
            dues = ((lane.due, next(self._numbers), lane) for lane in self._lanes)
            self._planned = [entry for entry in dues if entry[0] < math.inf]
            heapify(self._planned)

    def _leave(self, lane: WaitQueue, waiter: Waiter) -> None:
        lane.leave(waiter)
        if not len(lane) and lane in self._lanes:
            del self._lanes[lane]
            self._marked.pop(lane, None)
            lane.due = math.inf
            for key in lane.keys:
                sharing = self._sharing[key]
                sharing.pop(lane, None)
                if not sharing:
                    del self._sharing[key]

    async def _release(self, lane: WaitQueue, ticket: int) -> None:
        with anyio.CancelScope(shield=True):
            await lane.windows.release(ticket)
        self.changed(lane)

    def _elect_leader(self) -> None:
        """Make somebody else the leader: one who is likely to stay for long."""
        lane = next(iter(self._lanes), None)
        self._leader = None if lane is None else lane.last()
        if self._leader is not None:
            self._leader.event.set()

    async def _lead(self, leader: Waiter) -> None:
        self._leader = leader
        while True:
            self._wake = math.inf  # who comes meanwhile may have been passed over
            with anyio.CancelScope(shield=True):
                self._wake = await self._dispatch()
            if leader.granted or leader.late is not None:
                return
            with anyio.CancelScope() as self._alarm:
                if not self._marked:
                    await self._ticker.sleep_until(self._wake)
            self._alarm = None
            await checkpoint()

    async def _dispatch(self) -> float:
        """Let everybody go who may, in order of arrival; return when to look again."""
        now = self._ticker.now()
        looked_at = self._due_queues(now)
        firsts = ((lane.first(), lane) for lane in looked_at)
        heads = [(first.place, first.ticket, lane) for first, lane in firsts if first is not None]
        heapify(heads)
        while heads:
            _, ticket, lane = heads[0]
            waiter = lane.first()
            if waiter is None:
                heappop(heads)
            elif waiter.ticket != ticket:
                heapreplace(heads, (waiter.place, waiter.ticket, lane))
            elif wait := await self._try_admit(lane, waiter):
                lane.wake = self._ticker.now() + wait
                heappop(heads)
                if _LONG <= wait < math.inf and lane.told < lane.wake - _LONG:
                    lane.told = lane.wake
                    names = ", ".join(rule.name for rule in lane.windows.rules)
                    logger.warning("rate limits (%s): calls wait for %.0f s", names, wait)
        for lane in looked_at:
            if lane.wake > now:
                self._reject_blocked(lane)
            await self._reject_expired(lane)
            if lane in self._lanes:
                hurried = lane.hurried()
                self._plan(lane, lane.wake if hurried is None else min(lane.wake, hurried.deadline))
        return self._next_check()

    def _due_queues(self, now: float) -> list[WaitQueue]:
        """Take those lanes where something happened, or was planned for now."""
        marked, self._marked = self._marked, {}
        while self._planned and self._planned[0][0] <= now:
            due, _, lane = heappop(self._planned)
            if due == lane.due:
                lane.due = math.inf
                marked[lane] = None
        return [lane for lane in marked if lane in self._lanes]

    def _next_check(self) -> float:
        """Return when a lane is due, leaving out what is no longer planned."""
        while self._planned and self._planned[0][0] != self._planned[0][2].due:
            heappop(self._planned)
        return self._planned[0][0] if self._planned else math.inf

    async def _try_admit(self, lane: WaitQueue, waiter: Waiter) -> float:
        """Ask the store for the first of a lane, and let it go if there is room."""
        waiter.asking = True
        try:
            wait = await lane.windows.acquire(waiter.ticket)
        finally:
            waiter.asking = False
        if waiter.gone:  # while the store was thinking
            await lane.windows.release(waiter.ticket)
            self.changed(lane)
        elif not wait:
            self._leave(lane, waiter)
            waiter.granted = True
            waiter.event.set()
        return wait

    def _reject_blocked(self, lane: WaitQueue) -> None:
        """Fail those who do not wait for as long as the server has closed a window."""
        seconds, index = lane.closed()
        for waiter in lane.impatient(seconds):
            self._leave(lane, waiter)
            waiter.late = seconds, index, True
            waiter.event.set()

    async def _reject_expired(self, lane: WaitQueue) -> None:
        """Fail those whose deadline is over, or comes before the first may go."""
        while (waiter := lane.hurried()) is not None:
            now = self._ticker.now()
            if waiter.deadline > now and not waiter.deadline < lane.wake < math.inf:
                return
            seconds, index = await lane.windows.forecast(0)
            self._leave(lane, waiter)
            waiter.late = (
                max(seconds, lane.wake - now if lane.wake < math.inf else 0.0),
                index,
                False,
            )
            waiter.event.set()
