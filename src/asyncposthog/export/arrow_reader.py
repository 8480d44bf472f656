"""Read an export as Arrow record batches from synchronous code. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError
from asyncposthog.query.arrow import pyarrow_module

from .batch import Batch
from .engines.base import ExportStats
from .malloc import trim_heap
from .request import Request
from .synchronous import iterate_in_background, read_all

__all__ = ["ArrowBatches", "open_reader", "read_table"]

# pyarrow has no type annotations.
RecordBatch: TypeAlias = Any
RecordBatchReader: TypeAlias = Any
Table: TypeAlias = Any

_CONVERT_ROWS: Final = 5_000
"""Rows converted to Arrow at a time: the conversion temporarily needs more memory than its
result."""


class ArrowBatches(Iterator[RecordBatch]):
    """The record batches of a run. It reads the first ones when it is made, for their schema."""

    def __init__(self, executor: Executor, request: Request, *, uuids: bool = False) -> None:
        """Start reading, and wait for the first rows.

        Args:
            executor: The executor of the client, whose event loop is not used.
            request: The rows to export.
            uuids: Use Arrow's UUID type for columns of UUIDs, rather than text.

        Raises:
            ExportError: The export has no columns.
            PostHogError: A request failed after all retries.
            ImportError: pyarrow is not installed.
        """
        pyarrow_module()
        self.stats = ExportStats()
        prepare = partial(_record_batches, uuids=uuids)
        self._pages = iterate_in_background(executor, request, prepare, self.stats)
        self._ready: list[RecordBatch] = []
        try:
            first = next(self._pages, None)
        except BaseException:
            self._pages.close()
            raise
        if first is None:
            raise _no_columns_error(request)
        self.schema: Any = first[0].schema
        self._ready = list(reversed(first))

    def __next__(self) -> RecordBatch:
        """Return the next record batch that has rows.

        Raises:
            ExportError: The type of a column has changed.
            PostHogError: A request failed after all retries.
        """
        while True:
            while self._ready:
                batch = self._ready.pop()
                if batch.num_rows:
                    return batch
            page = next(self._pages)
            if not page[0].schema.equals(self.schema):
                self.close()
                raise _schema_error(self.schema, page[0].schema)
            self._ready = list(reversed(page))

    def close(self) -> None:
        """Stop reading, and end the event loop and its thread."""
        self._ready = []
        self._pages.close()


async def read_table(executor: Executor, request: Request, *, uuids: bool) -> Table:
    """Return all rows as a `pyarrow.Table`; see `ExportJob.to_arrow`."""
    pa = pyarrow_module()
    batches: list[RecordBatch] = []

    async def keep(page: Sequence[RecordBatch]) -> None:
        if batches and not page[0].schema.equals(batches[0].schema):
            raise _schema_error(batches[0].schema, page[0].schema)
        batches.extend(page)

    prepare = partial(_record_batches, uuids=uuids)
    await read_all(request, executor, prepare, ExportStats(), keep)
    if not batches:
        raise _no_columns_error(request)
    return pa.Table.from_batches(batches)


def open_reader(executor: Executor, request: Request, *, uuids: bool) -> RecordBatchReader:
    """Return a `pyarrow.RecordBatchReader`; see `ExportJob.to_reader`."""
    batches = ArrowBatches(executor, request, uuids=uuids)
    return pyarrow_module().RecordBatchReader.from_batches(batches.schema, batches)


def _schema_error(first: Any, other: Any) -> ExportError:
    return ExportError(
        f"The types of the columns changed from {first} to {other}.",
        suggestion="Export columns whose types stay the same, with columns=.",
    )


def _no_columns_error(request: Request) -> ExportError:
    return ExportError(
        f"The export of {request.kind} has no rows and no columns.",
        suggestion="Name the columns with columns=.",
    )


def _record_batches(batch: Batch, *, uuids: bool) -> Sequence[RecordBatch]:
    """Return the rows of a batch as record batches, at least one."""
    starts = range(0, len(batch), _CONVERT_ROWS) or (0,)
    # A table of no rows has no batches, but one is needed for the schema.
    tables = [batch.slice(at, at + _CONVERT_ROWS).to_arrow(uuids=uuids) for at in starts]
    trim_heap()
    pa = pyarrow_module()
    return [
        part
        for table in tables
        for part in (table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)])
    ]
