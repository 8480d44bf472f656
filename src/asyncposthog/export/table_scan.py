"""Scan the rows of an export like a table: some columns, a time range, a limit. Needs pyarrow.

DuckDB and Polars say what a query needs of a table; only that is asked of the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias, cast

from asyncposthog.core.background import BackgroundLoop
from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError
from asyncposthog.query.arrow import pyarrow_module
from asyncposthog.query.result import QueryResult
from asyncposthog.query.service import QueryService
from asyncposthog.query.sql_scan import MAX_LIMIT, scan_sql

from .arrow_reader import ArrowBatches
from .job import ExportJob, get_request
from .request import QueryRequest
from .source import Source, head_query

__all__ = ["TableScan", "TimeRange", "scan_job"]

# pyarrow has no type annotations.
RecordBatchReader: TypeAlias = Any
Schema: TypeAlias = Any

_TIME: Final = "timestamp"
_COLUMN_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "events": {"timestamp": _TIME, "created_at": _TIME},
    "persons": {"created_at": _TIME, "is_identified": "bool"},
    "sessions": {
        "$start_timestamp": _TIME,
        "$end_timestamp": _TIME,
        "$session_duration": "int64",
        "$pageview_count": "int64",
        "$autocapture_count": "int64",
        "$is_bounce": "bool",
    },
    "groups": {"index": "int64", "created_at": _TIME},
}
"""Types of the default columns of each kind; others are text. Times are in UTC."""
_RANGED: Final = frozenset({"events", "sessions"})
"""Kinds that are not read without a start: a project can have any number of them."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of times in microseconds since 1970; None: no bound."""

    start: int | None = None
    end: int | None = None
    """Exclusive."""

    def intersect(self, other: TimeRange) -> TimeRange:
        """Return what both ranges have in common."""
        starts = [s for s in (self.start, other.start) if s is not None]
        ends = [e for e in (self.end, other.end) if e is not None]
        return TimeRange(max(starts, default=None), min(ends, default=None))

    @property
    def is_empty(self) -> bool:
        """Whether no time is in the range."""
        return self.start is not None and self.end is not None and self.end <= self.start


@dataclass(frozen=True, slots=True)
class TableScan:
    """The rows of a query as a table."""

    executor: Executor
    request: QueryRequest
    schema: Schema
    """Columns and types of the whole table."""
    range: TimeRange
    """The range that a scan is narrowed to."""
    casts: bool
    """Whether columns are cast to the types of the schema, because the server may use others."""

    @property
    def time_column(self) -> str | None:
        """The column that ranges of time are about; None: there is none."""
        name = (self.request.source.time or "").rpartition(".")[2]
        return name if name in self.request.source.columns else None

    def between(self, other: TimeRange) -> TableScan:
        """Return the table of the rows in a range of time."""
        return replace(self, range=self.range.intersect(other))

    def read(
        self,
        columns: Sequence[str] | None = None,
        within: TimeRange | None = None,
        limit: int | None = None,
    ) -> RecordBatchReader:
        """Return a `pyarrow.RecordBatchReader`, in the order of the time.

        Args:
            columns: The columns to read, in that order; None: all. At least one.
            within: A range of time.
            limit: The number of rows, at most.

        Raises:
            ExportError: The table has to be read without a start, or a type cannot be cast.
            PostHogError: A query failed after all retries. Also from the reader.
        """
        pa = pyarrow_module()
        names = list(self.schema.names if columns is None else columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        wanted = self.range.intersect(within or TimeRange())
        if wanted.is_empty or limit == 0:
            return pa.RecordBatchReader.from_batches(schema, iter(()))
        request = self._narrowed(names, wanted)
        batches: Any
        if limit is not None and limit <= MAX_LIMIT:
            batches = _arrow(_head(self.executor, request, limit)).to_batches()
        else:
            batches = ArrowBatches(self.executor, request)
        return pa.RecordBatchReader.from_batches(
            schema, _Limited(batches, schema, limit, casts=self.casts)
        )

    def _narrowed(self, names: Sequence[str], wanted: TimeRange) -> QueryRequest:
        """Return the request for some columns and a range.

        Raises:
            ExportError: The range has no start.
        """
        request, source = self.request, self.request.source
        by_name = dict(zip(self.schema.names, source.columns, strict=True))
        selected = tuple(by_name[name] for name in names)
        source = replace(source, columns=selected, values=_used_values(source, selected))
        if source.time is None:
            return replace(request, source=source)
        if wanted.start is None and source.kind in _RANGED:
            raise ExportError(
                f"All {source.kind} of the project would be read: there is no start of "
                f"{self.time_column}.",
                suggestion=f"Add a condition such as {self.time_column} >= '2026-01-01', or give a "
                "start.",
            )
        start, end = wanted.start or 0, wanted.end
        if end is None:
            return replace(request, source=source, start=start, open_ended=True)
        return replace(request, source=source, start=start, end=end, open_ended=False)


class _Limited:
    """Record batches, cast to a schema and cut after a number of rows."""

    def __init__(self, batches: Any, schema: Schema, limit: int | None, *, casts: bool) -> None:
        self._batches, self._schema, self._left, self._casts = batches, schema, limit, casts
        self._iterator = iter(batches)

    def __iter__(self) -> _Limited:
        """Return the iterator itself."""
        return self

    def __next__(self) -> Any:
        """Return the next record batch."""
        if self._left == 0:
            if isinstance(self._batches, ArrowBatches):
                self._batches.close()
            raise StopIteration
        batch = next(self._iterator)
        if self._left is not None:
            batch = batch.slice(0, self._left)
            self._left -= batch.num_rows
        return self._cast(batch) if self._casts else batch

    def _cast(self, batch: Any) -> Any:
        pa = pyarrow_module()
        if batch.schema.equals(self._schema):
            return batch
        try:
            columns = [
                column.cast(field.type)
                for column, field in zip(batch.columns, self._schema, strict=True)
            ]
        except pa.ArrowException as error:
            raise ExportError(
                f"A column has other types than expected: {batch.schema} instead of "
                f"{self._schema} ({error}).",
                suggestion="Name the columns with columns=: their types are then asked for.",
            ) from None
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def scan_job(job: ExportJob, *, default_columns: bool, range: TimeRange) -> TableScan:
    """Return the rows of an export of events, persons, sessions or groups as a table.

    Args:
        job: The export. Its range is replaced.
        default_columns: Whether it has the default columns of its kind, whose types are known. The
            types of others are asked for, with a query that returns no rows.
        range: The range of times.

    Raises:
        PostHogError: The query failed.
    """
    executor, request = get_request(job)
    assert isinstance(request, QueryRequest)
    schema = _known_schema(request.source) if default_columns else _asked_schema(executor, request)
    return TableScan(executor, request, schema, range, casts=default_columns)


def _known_schema(source: Source) -> Schema:
    pa = pyarrow_module()
    types = {_TIME: pa.timestamp("us", "UTC"), "int64": pa.int64(), "bool": pa.bool_()}
    kinds = _COLUMN_TYPES[source.kind]
    return pa.schema(
        [(name, types.get(kinds.get(name, ""), pa.string())) for name in source.columns]
    )


def _asked_schema(executor: Executor, request: QueryRequest) -> Schema:
    result = _head(executor, replace(request, open_ended=False), 0)
    schema = _arrow(result).schema
    if len(schema.names) != len(request.source.columns):
        raise ValueError("columns must be expressions with one column each, not *")
    return schema


def _arrow(result: QueryResult) -> Any:
    return cast("Any", result).to_arrow()


def _head(executor: Executor, request: QueryRequest, limit: int) -> QueryResult:
    """Return the first rows, in the order of the time, with one query."""
    other = executor.for_other_event_loop()
    end = int(other.transport.clock.time() * 1_000_000) if request.open_ended else request.end
    sql, values = head_query(request.source, request.start, end, limit)
    loop = BackgroundLoop()
    loop.on_close(partial(other.transport.aclose, cancel=True))
    try:
        return loop.run(partial(QueryService(other), sql, values, options=request.options))
    finally:
        loop.close()


def _used_values(source: Source, columns: Sequence[str]) -> dict[str, Any]:
    """Return the values that the columns and conditions of a query have placeholders for."""
    texts = (*columns, *source.where, source.table, source.time or "", source.key)
    used = {p.name for text in texts for p in scan_sql(text).placeholders}
    return {name: value for name, value in source.values.items() if name in used}
