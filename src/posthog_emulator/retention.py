"""Collections that keep the latest items only, bounded in bytes as well as in number."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["MIB", "BoundedCache", "BoundedLog"]

MIB = 1024 * 1024

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class BoundedLog(Generic[T]):
    """The latest items, in order. The newest one stays, whatever its size.

    Args:
        max_items: How many items to keep.
        max_bytes: How many bytes their sizes may come to.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self.bytes: int = 0
        """The sum of the sizes."""

    def append(self, item: T, size: int) -> None:
        """Add an item, and drop the oldest ones beyond the bounds."""
        self._items.append((item, size))
        self.bytes += size
        while len(self._items) > self._max_items or (
            self.bytes > self._max_bytes and len(self._items) > 1
        ):
            self.bytes -= self._items.popleft()[1]

    def clear(self) -> None:
        """Drop every item."""
        self._items.clear()
        self.bytes = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items, the oldest first."""
        return (item for item, _ in self._items)


class BoundedCache(Generic[K, T]):
    """Items by key; the least recently used ones are dropped first. Safe to use from any thread.

    Args:
        max_bytes: How many bytes the sizes of the items may come to. A larger item is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: OrderedDict[K, tuple[T, int]] = OrderedDict()
        self._lock = Lock()
        self.bytes: int = 0
        """The sum of the sizes."""

    def get(self, key: K) -> T | None:
        """Return the item with a key; None if it is not kept."""
        with self._lock:
            found = self._items.get(key)
            if found is None:
                return None
            self._items.move_to_end(key)
            return found[0]

    def put(self, key: K, item: T, size: int) -> None:
        """Keep an item, in place of the one with the same key."""
        with self._lock:
            old = self._items.pop(key, None)
            self.bytes -= 0 if old is None else old[1]
            if size > self._max_bytes:
                return
            self._items[key] = (item, size)
            self.bytes += size
            while self.bytes > self._max_bytes:
                self.bytes -= self._items.popitem(last=False)[1][1]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)
