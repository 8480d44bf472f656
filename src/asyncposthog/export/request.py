"""Requests for an export: data that can be pickled, and that opens a reader of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from anyio.abc import TaskGroup

from asyncposthog.core.executor import Executor
from asyncposthog.errors import PostHogError
from asyncposthog.export.engines.base import BatchReader, ExportStats, Prepare
from asyncposthog.export.engines.query import QueryEngine
from asyncposthog.types import RequestOptions

from .source import Source
from .timestamps import format_clickhouse, parse_clickhouse

if TYPE_CHECKING:
    from asyncposthog.export.engines.files.engine import FilesEngine

__all__ = ["EngineName", "QueryRequest", "Request", "choose_engine"]

T = TypeVar("T")

EngineName: TypeAlias = Literal["auto", "query", "files"]

FILES_THRESHOLD_QUERIES: Final = 200
"""Number of queries above which `auto` downloads files: ten million rows in pages of 50,000."""


class Request(Protocol):
    """Request for the rows of an export."""

    @property
    def kind(self) -> str:
        """Name of the rows: `events`."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The request as JSON data, to compare with that of a checkpoint."""
        ...

    def resolve_bounds(self, now: int) -> Any:
        """Return the time range of an export that starts now, as JSON data.

        It is stored in the checkpoint, and stays the same until the export is complete.

        Args:
            now: The time, in microseconds since 1970.
        """
        ...

    def with_executor(self, executor: Executor) -> Request:
        """Return the request for another executor of the same client."""
        ...

    async def open(
        self,
        executor: Executor,
        bounds: Any,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
        tasks: TaskGroup | None = None,
    ) -> BatchReader[T]:
        """Start reading.

        Args:
            executor: Performs the calls.
            bounds: The time range; see `resolve_bounds`.
            position: See `Engine.open`.
            prepare: See `Engine.open`.
            stats: See `Engine.open`.
            tasks: See `Engine.open`.

        Raises:
            PostHogError: A request failed after all retries.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class QueryRequest:
    """Request for rows that HogQL can read."""

    source: Source
    start: int = 0
    """Start of the range, in microseconds since 1970."""
    end: int = 1
    """End of the range, exclusive."""
    open_ended: bool = False
    """Whether the range ends when the export starts. A resumed run keeps the end of the first."""
    min_age: int = 0
    """Rows younger than this many microseconds are left out."""
    overlap: int = 0
    """Microseconds of the end of this export that a later one reads again, for late rows."""
    concurrency: int = 3
    page_size: int = 50_000
    ordered: bool = True
    engine: EngineName = "auto"
    resumable: bool = True
    """Whether another run may continue, so that downloaded files are kept for it."""
    options: RequestOptions | None = None

    @property
    def kind(self) -> str:
        """Name of the rows: `events`."""
        return self.source.kind

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The request as JSON data, to compare with that of a checkpoint.

        The engine, the page size and the concurrency are not part of it: they do not change the
        rows, so a resumed run may use others.
        """
        source = self.source
        has_time = source.time is not None
        overlap = {"overlap": self.overlap / 1_000_000} if self.overlap else {}
        return {
            **overlap,
            "kind": source.kind,
            "table": source.table,
            "columns": list(source.columns),
            "where": list(source.where),
            "values": {name: repr(value) for name, value in source.values.items()},
            "key": [part for part in (source.time, source.key) if part],
            "start": format_clickhouse(self.start) if has_time else None,
            "end": format_clickhouse(self.end) if has_time and not self.open_ended else None,
            "min_age": self.min_age / 1_000_000,
        }

    def resolve_bounds(self, now: int) -> Any:
        """Return the time range of an export that starts now; see `Request.resolve_bounds`."""
        end = now if self.open_ended else self.end
        if self.min_age or self.overlap:
            # With an overlap, the end is where a later export continues: it must not be in the
            # future, where rows can still be expected.
            end = max(self.start, min(end, now - self.min_age))
        return {
            "start": None,
            "end": format_clickhouse(end),
            "started_at": format_clickhouse(now),
        }

    def with_executor(self, executor: Executor) -> QueryRequest:
        """Return the request itself: it gets its executor when it is opened."""
        return self

    async def open(
        self,
        executor: Executor,
        bounds: Any,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
        tasks: TaskGroup | None = None,
    ) -> BatchReader[T]:
        """Start reading with the requested engine, or the one that suits the number of rows.

        Raises:
            ImportError: `files` was requested, and pyarrow is not installed.
            PostHogError: A request failed after all retries.
        """
        from asyncposthog.export.engines.files.plan import unsupported_reason

        query = self.make_query_engine(executor, bounds)
        if self.engine == "query" or unsupported_reason(self.source) is not None:
            return await query.open(position, prepare, stats, tasks)
        if self.engine == "files":
            files = self.make_files_engine(executor, bounds)
            return await files.open(position, prepare, stats, tasks)
        windows = await query.plan(stats, position)
        rows = int(sum(window.expected_rows or 0 for window in windows))
        queries = -(-rows // self.page_size)
        if choose_engine(queries) == "files":
            stats.notes.append(f"files were chosen: queries would have been {queries:,}")
            # A resumed export counts only the rest of its rows, and files always have all of them.
            min_rows = None if position is not None else stats.expected
            try:
                files = self.make_files_engine(executor, bounds, min_rows)
                return await files.open(position, prepare, stats, tasks)
            except PostHogError as error:
                # All files are downloaded before the first batch, so no row was delivered yet and
                # queries can start from the same position.
                if not _can_fall_back(error, stats):
                    raise
        return await query.open(position, prepare, stats, tasks, windows=windows)

    def make_files_engine(
        self, executor: Executor, bounds: Any, min_rows: int | None = None
    ) -> FilesEngine:
        """Return an engine that downloads files.

        Args:
            executor: Performs the calls.
            bounds: The time range; see `resolve_bounds`.
            min_rows: The number of rows the files must have at least.

        Raises:
            ImportError: pyarrow is not installed.
        """
        from asyncposthog.export.engines.files.engine import FilesEngine

        return FilesEngine(
            executor=executor,
            source=self.source,
            start=self._range_start(bounds),
            end=parse_clickhouse(bounds["end"]),
            started_at=parse_clickhouse(bounds["started_at"]),
            concurrency=self.concurrency,
            page_size=self.page_size,
            options=self.options,
            min_rows=min_rows,
            resumable=self.resumable,
        )

    def make_query_engine(self, executor: Executor, bounds: Any) -> QueryEngine:
        """Return an engine that sends queries."""
        return QueryEngine(
            executor=executor,
            source=self.source,
            start=self._range_start(bounds),
            end=parse_clickhouse(bounds["end"]),
            concurrency=self.concurrency,
            page_size=self.page_size,
            ordered=self.ordered,
            options=self.options,
        )

    def _range_start(self, bounds: Any) -> int:
        """Return the start: that of the request, or a later one that continues another export."""
        return self.start if bounds["start"] is None else parse_clickhouse(bounds["start"])

    def between(self, start: int, end: int) -> QueryRequest:
        """Return the same request for a part of its range, in microseconds since 1970."""
        return replace(self, start=start, end=end, open_ended=False, min_age=0)


def choose_engine(queries: int) -> Literal["query", "files"]:
    """Return the engine for an export that would take so many queries.

    Files need pyarrow; without it, `auto` uses queries.
    """
    if queries > FILES_THRESHOLD_QUERIES and find_spec("pyarrow") is not None:
        return "files"
    return "query"


def _can_fall_back(error: PostHogError, stats: ExportStats) -> bool:
    """Return whether queries can export what files could not, and add a note why they are used."""
    from asyncposthog.export.engines.files.engine import IncompleteError, is_unavailable

    if isinstance(error, IncompleteError):
        stats.notes.append(f"queries were used after all: {error}")
        return True
    if is_unavailable(error):
        stats.notes.append(f"queries were used after all: file downloads are refused: {error}")
        return True
    return False
