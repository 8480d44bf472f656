"""Updates of tickets that Redis has not received yet, or may have to receive again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeAlias

__all__ = ["ABANDONED", "ACQUIRED", "RELEASED", "PendingUpdates", "Update"]

RELEASED: Final = "released"
ACQUIRED: Final = "acquired"
ABANDONED: Final = "abandoned"

Update: TypeAlias = tuple[float, str]
"""A timestamp, and the state of a ticket since then: one of the above, or for a completed request
the number of the window that refused it, 0 for none. See `update` in script.lua."""


class PendingUpdates:
    """The latest update of each ticket, for as long as it makes a difference.

    An outage of Redis must not lose requests: PostHog counts those that were sent meanwhile, so
    Redis has to count them too when it is available again.
    """

    def __init__(self, max_age: float) -> None:
        """Create an empty collection.

        Args:
            max_age: Seconds after which an update makes no difference any more, because the
                request has left every window, or its lease has ended.
        """
        self._max_age = max_age
        self._pending: dict[int, Update] = {}
        self._sent: dict[int, Update] = {}

    def __len__(self) -> int:
        """Return the number of tickets with a pending update."""
        return len(self._pending)

    def __contains__(self, ticket: object) -> bool:
        """Return whether a ticket has a pending update."""
        return ticket in self._pending

    def add(self, ticket: int, timestamp: float, state: str) -> None:
        """Add an update to send. It replaces any earlier one of the same ticket."""
        self._sent.pop(ticket, None)
        self._store(self._pending, ticket, timestamp, state)

    def mark_sent(self, ticket: int, timestamp: float, state: str) -> None:
        """Remember an update that Redis has received."""
        # Only completed requests: released and abandoned tickets count nowhere, and `requeue_all`
        # is given those in flight.
        if state not in (RELEASED, ACQUIRED, ABANDONED):
            self._store(self._sent, ticket, timestamp, state)

    def batch(self, size: int) -> list[tuple[int, Update]]:
        """Return the oldest pending updates, at most `size`."""
        return list(islice(self._pending.items(), size))

    def acknowledge(self, batch: Sequence[tuple[int, Update]]) -> None:
        """Mark updates of a batch as sent, except those that were replaced meanwhile."""
        for ticket, update in batch:
            if self._pending.get(ticket) is update:
                del self._pending[ticket]
                self.mark_sent(ticket, *update)

    def requeue_all(self, in_flight: Iterable[int], timestamp: float) -> None:
        """Requeue all updates after Redis restarted empty.

        Args:
            in_flight: Tickets of requests in flight.
            timestamp: The current time, from which their leases run.
        """
        sent, self._sent = self._sent, {}
        for ticket in in_flight:
            self._pending.setdefault(ticket, (timestamp, ACQUIRED))
        self._pending = {**sent, **self._pending}

    def _store(self, updates: dict[int, Update], ticket: int, timestamp: float, state: str) -> None:
        # Removed first, so that the dict stays in order of time and its head is the oldest.
        updates.pop(ticket, None)
        updates[ticket] = (timestamp, state)
        while True:
            oldest = next(iter(updates))
            if updates[oldest][0] > timestamp - self._max_age:
                return
            del updates[oldest]
