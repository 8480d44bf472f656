"""Events that wait to be sent: in memory, or in a spool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import anyio

from .plan import Record, batch_bytes, take_batch
from .protocol import Lane
from .spool import Spool

__all__ = ["EventQueue", "MemoryQueue", "SpoolQueue"]


class EventQueue(Protocol):
    """The events of a lane that are not being sent."""

    @property
    def size(self) -> int:
        """The number of events that can be taken."""
        ...

    def offer(self, record: Record) -> bool:
        """Add an event without waiting; return False if the queue is full."""
        ...

    def try_put(self, record: Record) -> bool:
        """Add an event if that needs no waiting and drops nothing; return whether it was added."""
        ...

    async def put(self, record: Record) -> None:
        """Add an event; wait until there is a place for it, and until it is safe."""
        ...

    async def take(self, max_events: int, max_bytes: int) -> list[Record]:
        """Remove the events of the next request, which the caller has to settle."""
        ...

    async def settle(self, records: Sequence[Record]) -> None:
        """Note that events that were taken need not be sent any more."""
        ...

    def drain(self) -> list[Record]:
        """Remove and return the events that would be lost with the process."""
        ...


class MemoryQueue:
    """A bounded queue in memory."""

    def __init__(
        self,
        max_events: int,
        max_bytes: int,
        when_full: Literal["drop_newest", "drop_oldest"] = "drop_newest",
        on_dropped: Callable[[], None] = lambda: None,
    ) -> None:
        """Create an empty queue.

        Args:
            max_events: The maximum number of events.
            max_bytes: Their maximum size. One larger event has a place in an empty queue.
            when_full: Which event `offer` drops.
            on_dropped: Called when the oldest event was dropped.
        """
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.on_added: Callable[[int], None] = lambda count: None
        """Called with the number of events that were added."""
        self._drop_oldest = when_full == "drop_oldest"
        self._on_dropped = on_dropped
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._waiting: deque[tuple[Record, anyio.Event]] = deque()

    @property
    def size(self) -> int:
        """The number of events."""
        return len(self._records)

    def _has_place(self, record: Record) -> bool:
        records = self._records
        return not records or (
            len(records) < self._max_events and self._bytes + len(record.body) <= self._max_bytes
        )

    def _add(self, record: Record) -> None:
        self._records.append(record)
        self._bytes += len(record.body)

    def try_put(self, record: Record) -> bool:
        """Add an event if there is a place for it; return whether it was added."""
        records, size = self._records, len(record.body)
        if self._waiting or (
            records and (len(records) >= self._max_events or self._bytes + size > self._max_bytes)
        ):
            return False
        records.append(record)
        self._bytes += size
        self.on_added(1)
        return True

    def offer(self, record: Record) -> bool:
        """Add an event without waiting; return False if the queue is full."""
        if self._waiting:
            return False
        while not self._has_place(record):
            if not self._drop_oldest:
                return False
            self._bytes -= len(self._records.popleft().body)
            self._on_dropped()
        self._add(record)
        self.on_added(1)
        return True

    async def put(self, record: Record) -> None:
        """Add an event; wait until there is a place for it. Those who wait get one in order."""
        if self.try_put(record):
            return
        entry = (record, anyio.Event())
        self._waiting.append(entry)
        try:
            await entry[1].wait()
        except BaseException:
            if not entry[1].is_set():
                self._waiting.remove(entry)
            raise

    async def take(self, max_events: int, max_bytes: int) -> list[Record]:
        """Remove the events of the next request."""
        batch = take_batch(self._records, max_events, max_bytes)
        self._bytes -= batch_bytes(batch)
        added = 0
        while self._waiting and self._has_place(self._waiting[0][0]):
            record, event = self._waiting.popleft()
            self._add(record)
            added += 1
            event.set()
        if added:
            self.on_added(added)
        return batch

    async def settle(self, records: Sequence[Record]) -> None:
        """Do nothing: the events are not here any more."""

    def drain(self) -> list[Record]:
        """Remove and return all events, and those of tasks that wait for a place."""
        records = [*self._records, *(record for record, _ in self._waiting)]
        waiting, self._waiting = self._waiting, deque()
        self._records.clear()
        self._bytes = 0
        if waiting:
            self.on_added(len(waiting))
        for _, event in waiting:
            event.set()
        return records


class SpoolQueue:
    """The events of a lane in a spool. What waits is on disk, so its number is not limited."""

    def __init__(self, spool: Spool, lane: Lane, max_uncommitted: int, size: int) -> None:
        """Read from the beginning of a spool.

        Args:
            spool: The spool, opened.
            lane: The lane.
            max_uncommitted: Events that may wait for the disk before `offer` refuses more.
            size: The number of events that the spool has.
        """
        self._spool = spool
        self._lane: Lane = lane
        self._max_uncommitted = max_uncommitted
        self._read_until = 0
        self.size = size
        """The number of events that can be taken."""

    def offer(self, record: Record) -> bool:
        """Write an event soon; return False if too many are being written."""
        if self._spool.uncommitted >= self._max_uncommitted:
            return False
        self._spool.append_nowait(self._lane, record)
        return True

    def try_put(self, record: Record) -> bool:
        """Return False: an event has to be written."""
        return False

    async def put(self, record: Record) -> None:
        """Write an event, and return when it is in the file."""
        await self._spool.append(self._lane, record)

    async def take(self, max_events: int, max_bytes: int) -> list[Record]:
        """Read the events of the next request."""
        batch = await self._spool.read(self._lane, self._read_until, max_events, max_bytes)
        if batch:
            self._read_until = batch[-1].id
            self.size -= len(batch)
        return batch

    async def settle(self, records: Sequence[Record]) -> None:
        """Remove events from the file."""
        await self._spool.remove(self._lane, records)

    def drain(self) -> list[Record]:
        """Return nothing: the file has the events."""
        return []
