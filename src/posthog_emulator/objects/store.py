"""Where objects are kept: one bucket a collection and parent, in order of creation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Bucket", "Row", "Store"]


@dataclass(slots=True)
class Row:
    """One object."""

    key: str
    """What stands for it in a path."""
    data: dict[str, Any]
    sequence: int
    """Its place in the order of creation, over the whole store."""
    deleted: bool = False


@dataclass(slots=True)
class Bucket:
    """The objects of one collection below one parent."""

    rows: dict[str, Row] = field(default_factory=dict[str, Row])

    def put(self, row: Row) -> Row:
        """Add a row, or replace the one with the same key; return it as it is kept."""
        self.rows[row.key] = row
        return row

    def remove(self, key: str) -> None:
        """Take a row out, if it is there."""
        self.rows.pop(key, None)

    def __iter__(self) -> Iterator[Row]:
        """Go through the rows in the order of creation, deleted ones included."""
        return iter(self.rows.values())

    def find(self, value: str, key_field: str | None = None) -> Row | None:
        """The row a path segment names: by its key, or else by its `id` or `uuid`.

        Args:
            value: The segment.
            key_field: A field to look in instead.
        """
        if key_field is None:
            row = self.rows.get(value)
            return row or self.find(value, "uuid") or self.find(value, "id")
        return next((row for row in self if str(row.data.get(key_field)) == value), None)


@dataclass(slots=True)
class Store:
    """Every bucket, and the counters that number what is put in."""

    buckets: dict[str, Bucket] = field(default_factory=dict[str, Bucket])
    singletons: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Single objects, by their concrete path."""
    numbers: Counter[str] = field(default_factory=Counter[str])
    """The last number given out in each collection, over all parents, as in a database."""
    sequence: int = 0
    elsewhere: Callable[[str], Bucket | None] = lambda _: None
    """Gives the buckets whose rows are kept somewhere else, and are none of `buckets`."""

    def bucket(self, address: str) -> Bucket:
        """The bucket at a concrete path, made when first asked for."""
        found = self.buckets.get(address)
        if found is None:
            found = self.elsewhere(address)
        if found is None:
            found = self.buckets[address] = Bucket()
        return found

    def put(self, address: str, key: str, data: dict[str, Any]) -> Row:
        """Add a row, or replace the one with the same key."""
        self.sequence += 1
        return self.bucket(address).put(Row(key, data, self.sequence))

    def next_number(self, template: str) -> int:
        """The next number of a collection."""
        self.numbers[template] += 1
        return self.numbers[template]
