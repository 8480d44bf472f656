"""Storage of objects: one collection per path, in order of creation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ObjectCollection", "Store", "StoredObject"]


@dataclass(slots=True)
class StoredObject:
    """An object with its key and its place in the order of creation."""

    key: str
    """The path segment that identifies the object in its collection."""
    data: dict[str, Any]
    """The fields of the object."""
    sequence: int
    """The position in the order of creation, over the whole store."""
    deleted: bool = False
    """Whether the object is soft-deleted."""


@dataclass(slots=True)
class ObjectCollection:
    """The objects of one collection below one parent."""

    rows: dict[str, StoredObject] = field(default_factory=dict[str, StoredObject])

    def put(self, row: StoredObject) -> StoredObject:
        """Add an object, or replace the one with the same key; return it as it is stored."""
        self.rows[row.key] = row
        return row

    def remove(self, key: str) -> None:
        """Remove the object with a key, if there is one."""
        self.rows.pop(key, None)

    def __iter__(self) -> Iterator[StoredObject]:
        """Iterate over the objects in the order of creation, soft-deleted ones included."""
        return iter(self.rows.values())

    def find(self, value: str, key_field: str | None = None) -> StoredObject | None:
        """Return the object that a path segment names; None if there is none.

        Args:
            value: The path segment.
            key_field: The only field to compare it with. By default it is compared with the key,
                then with the fields `uuid` and `id`: some paths of the API take either.
        """
        if key_field is None:
            row = self.rows.get(value)
            return row or self.find(value, "uuid") or self.find(value, "id")
        return next((row for row in self if str(row.data.get(key_field)) == value), None)


@dataclass(slots=True)
class Store:
    """All collections and singletons, and the counters of ids."""

    collections: dict[str, ObjectCollection] = field(default_factory=dict[str, ObjectCollection])
    """Collections by concrete path."""
    singletons: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Single objects by concrete path."""
    last_ids: Counter[str] = field(default_factory=Counter[str])
    """The last integer id by path template: the server counts over all parents, too."""
    sequence: int = 0
    """The last `StoredObject.sequence`."""
    external_collection: Callable[[str], ObjectCollection | None] = lambda _: None
    """Returns the collection at a path if its objects are stored elsewhere, as events are."""

    def collection(self, path: str) -> ObjectCollection:
        """Return the collection at a concrete path. It is created on first use."""
        collection = self.collections.get(path)
        if collection is None:
            collection = self.external_collection(path)
        if collection is None:
            collection = self.collections[path] = ObjectCollection()
        return collection

    def put(self, path: str, key: str, data: dict[str, Any]) -> StoredObject:
        """Store an object in the collection at a path, replacing the one with the same key."""
        self.sequence += 1
        return self.collection(path).put(StoredObject(key, data, self.sequence))

    def next_id(self, template: str) -> int:
        """Return the next integer id of the collections with a path template."""
        self.last_ids[template] += 1
        return self.last_ids[template]
