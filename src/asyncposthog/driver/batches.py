"""Group records of an async iterator into lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Self

__all__ = ["Batches"]

Record = dict[str, Any]


class Batches:
    """An iterator over lists of records. Leaving it early needs no cleanup.

    Not an async generator: one that is left unfinished needs the event loop to clean it up.
    """

    def __init__(
        self, records: AsyncIterator[Record], size: int, convert: Callable[[Record], Record] | None
    ) -> None:
        """Wrap an iterator; `convert` is applied to each record."""
        self._records = records
        self._size = size
        self._convert = convert

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> list[Record]:
        """Return the next `size` records; fewer at the end."""
        batch: list[Record] = []
        while len(batch) < self._size:
            try:
                record = await self._records.__anext__()
            except StopAsyncIteration:
                break
            batch.append(self._convert(record) if self._convert else record)
        if not batch:
            raise StopAsyncIteration
        return batch


class Later:
    """An iterator over the records that one call returns; the call is made when it is used."""

    def __init__(self, call: Callable[[], Any]) -> None:
        """Store the call, an async function that returns a list."""
        self._call = call
        self._records: list[Record] | None = None

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> Record:
        """Return the next record."""
        if self._records is None:
            self._records = list(reversed(await self._call()))
        if not self._records:
            raise StopAsyncIteration
        return self._records.pop()
