"""Collections that drop their oldest items, bounded in bytes as well as in number."""

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
    """The latest items, in order. The newest item is kept whatever its size.

    Args:
        max_items: The number of items to keep.
        max_bytes: The maximum sum of the sizes of the items.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int, int]] = deque()
        """Each with its size, and the number of items that it counts as."""
        self._count = 0
        self.bytes: int = 0
        """The sum of the sizes of the items."""

    def append(self, item: T, size: int, count: int = 1) -> None:
        """Append an item, and drop the oldest items that are not needed to reach the bounds.

        Args:
            item: The item.
            size: Its size in bytes.
            count: The number of items that it counts as.
        """
        items = self._items
        items.append((item, size, count))
        self.bytes += size
        self._count += count
        while len(items) > 1 and (
            self._count - items[0][2] >= self._max_items or self.bytes > self._max_bytes
        ):
            _, size, count = items.popleft()
            self.bytes -= size
            self._count -= count

    def clear(self) -> None:
        """Drop every item."""
        self._items.clear()
        self._count = self.bytes = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items, the oldest first."""
        return (item for item, _, _ in self._items)

    def __reversed__(self) -> Iterator[T]:
        """Iterate over the items, the newest first."""
        return (item for item, _, _ in reversed(self._items))


class BoundedCache(Generic[K, T]):
    """A mapping that drops the least recently used items first. Safe to use from any thread.

    Args:
        max_bytes: The maximum sum of the sizes of the items. A larger item is not stored.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: OrderedDict[K, tuple[T, int]] = OrderedDict()
        self._lock = Lock()
        self.bytes: int = 0
        """The sum of the sizes of the items."""

    def get(self, key: K) -> T | None:
        """Return the item with a key; None if there is none."""
        with self._lock:
            entry = self._items.get(key)
            if entry is None:
                return None
            self._items.move_to_end(key)
            return entry[0]

    def put(self, key: K, item: T, size: int) -> None:
        """Store an item, replacing the one with the same key."""
        with self._lock:
            replaced = self._items.pop(key, None)
            self.bytes -= 0 if replaced is None else replaced[1]
            # The replaced item is dropped even if the new one is too large: it is out of date.
            if size > self._max_bytes:
                return
            self._items[key] = (item, size)
            self.bytes += size
            while self.bytes > self._max_bytes:
                self.bytes -= self._items.popitem(last=False)[1][1]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)
