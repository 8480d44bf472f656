"""What Redis has been told, and what it has yet to be told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeAlias

__all__ = ["ACQUIRED", "GONE", "RELEASED", "Entry", "Ledger"]

RELEASED: Final = "free"
ACQUIRED: Final = "fly"
GONE: Final = "gone"

Entry: TypeAlias = tuple[float, str]
"""A moment, and what became of a ticket then: one of the above, or the number of the window that
did not count it, 0 for none. See `finish` in redis.lua."""


class Ledger:
    """What became of tickets, by their number, for as long as it makes a difference."""

    def __init__(self, longest: float) -> None:
        """Begin empty.

        Args:
            longest: Seconds after which an entry makes no difference any more.
        """
        self._longest = longest
        self._owed: dict[int, Entry] = {}
        self._told: dict[int, Entry] = {}

    def __len__(self) -> int:
        """Count the tickets that Redis knows wrongly."""
        return len(self._owed)

    def __contains__(self, ticket: object) -> bool:
        """Tell whether Redis knows a ticket wrongly."""
        return ticket in self._owed

    def owe(self, ticket: int, moment: float, what: str) -> None:
        """Write down what Redis has yet to be told; what was written before is void."""
        self._told.pop(ticket, None)
        self._write(self._owed, ticket, moment, what)

    def tell(self, ticket: int, moment: float, what: str) -> None:
        """Write down what Redis was told of a request that was answered."""
        if what not in (RELEASED, ACQUIRED, GONE):
            self._write(self._told, ticket, moment, what)

    def batch(self, size: int) -> list[tuple[int, Entry]]:
        """Return the oldest entries that Redis has yet to be told."""
        return list(islice(self._owed.items(), size))

    def acknowledge(self, batch: Sequence[tuple[int, Entry]]) -> None:
        """Note that Redis was told of some, except where they have changed since."""
        for ticket, entry in batch:
            if self._owed.get(ticket) is entry:
                del self._owed[ticket]
                self.tell(ticket, *entry)

    def recall(self, flying: Iterable[int], moment: float) -> None:
        """Owe everything again: Redis has lost its memory."""
        told, self._told = self._told, {}
        for ticket in flying:
            self._owed.setdefault(ticket, (moment, ACQUIRED))
        self._owed = {**told, **self._owed}

    def _write(self, entries: dict[int, Entry], ticket: int, moment: float, what: str) -> None:
        entries.pop(ticket, None)
        entries[ticket] = (moment, what)
        while True:
            oldest = next(iter(entries))
            if entries[oldest][0] > moment - self._longest:
                return
            del entries[oldest]
