"""Decide how events are divided into requests, and when a request is repeated. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

__all__ = [
    "AI_EVENT_BYTES",
    "BATCH_BYTES",
    "EVENT_BYTES",
    "Bisection",
    "EventBudget",
    "Record",
    "batch_bytes",
    "retry_delay",
    "take_batch",
]

EVENT_BYTES: Final = 900 * 1024
"""The maximum size of an event, as JSON."""
AI_EVENT_BYTES: Final = 8 * 1024 * 1024
"""The maximum size of an AI event, as JSON."""
BATCH_BYTES: Final = 5 * 1024 * 1024
"""The maximum size of the events of a request, uncompressed; one larger event is sent alone."""

_BASE_DELAY: Final = 1.0
_MAX_DELAY: Final = 30.0
_MAX_BARREN_PROBES: Final = 8


class Record(NamedTuple):
    """An event as it is sent."""

    uuid: str
    body: bytes
    """JSON in the form of capture v1."""
    id: int = 0
    """Its number in the spool."""


_UUID: Final = itemgetter(Record._fields.index("uuid"))
_BODY: Final = itemgetter(Record._fields.index("body"))


def batch_bytes(records: Iterable[Record]) -> int:
    """Return the size of the bodies of events."""
    return sum(map(len, map(_BODY, records)))


def take_batch(queue: deque[Record], max_events: int, max_bytes: int = BATCH_BYTES) -> list[Record]:
    """Remove the events of the next request from a queue, and return them in order.

    There is at least one if the queue is not empty. No two have the same UUID: the server rejects
    such a request as a whole.
    """
    batch: list[Record] = list(islice(queue, max_events))
    if batch_bytes(batch) + len(batch) <= max_bytes and len(set(map(_UUID, batch))) == len(batch):
        if len(batch) == len(queue):
            queue.clear()
        else:
            for _ in batch:
                queue.popleft()
        return batch
    batch = []
    uuids: set[str] = set()
    size = 0
    while queue and len(batch) < max_events:
        record = queue[0]
        size += len(record.body) + 1
        if batch and (size > max_bytes or record.uuid in uuids):
            break
        uuids.add(record.uuid)
        batch.append(queue.popleft())
    return batch


def retry_delay(
    attempt: int, chance: float, retry_after: float | None, max_retry_after: float
) -> float:
    """Return the seconds to wait after a failed attempt.

    Args:
        attempt: The number of failed attempts, 1 or more.
        chance: A random number from 0 to 1.
        retry_after: The seconds that the server requests: the minimum.
        max_retry_after: The maximum of `retry_after`.
    """
    # Half of the delay is random: clients that failed together must not return together. The
    # exponent is limited because 2.0 ** 1024 overflows.
    delay = min(_MAX_DELAY, _BASE_DELAY * 2.0 ** min(attempt - 1, 16)) * (0.5 + chance / 2)
    return max(delay, min(retry_after or 0.0, max_retry_after))


@dataclass(slots=True)
class Bisection:
    """Divides events that the server refused as a whole, until the culprits are alone.

    It ends early if single events are refused again and again while none is accepted: then the
    server refuses the client, and not an event.
    """

    groups: list[Sequence[Record]] = field(default_factory=list[Sequence[Record]])
    """The groups that are to be sent, the next one last."""
    _accepted: bool = False
    _refused_alone: int = 0

    def add(self, records: Sequence[Record]) -> None:
        """Add a group that is to be sent."""
        if records:
            self.groups.append(records)

    def accept(self) -> None:
        """Note that the server has accepted a group."""
        self._accepted = True

    def refuse(self, records: Sequence[Record]) -> Sequence[Record]:
        """Note that the server has refused a group; return the events to give up."""
        if len(records) > 1:
            half = len(records) // 2
            self.groups += [records[half:], records[:half]]
            return ()
        self._refused_alone += 1
        if self._accepted or self._refused_alone < _MAX_BARREN_PROBES:
            return records
        given_up = [*records]
        while self.groups:
            given_up += self.groups.pop()
        return given_up


class EventBudget:
    """A limit of events per minute, as a bucket that is full at first and refills steadily."""

    def __init__(self, per_minute: int, now: float) -> None:
        """Start with a full bucket, at a time of a clock in seconds."""
        self._capacity = float(per_minute)
        self._tokens = float(per_minute)
        self._updated_at = now

    def try_spend(self, now: float) -> bool:
        """Use the place of one event; return False if there is none."""
        elapsed = max(0.0, now - self._updated_at)
        self._updated_at = now
        self._tokens = min(self._capacity, self._tokens + elapsed * self._capacity / 60)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
