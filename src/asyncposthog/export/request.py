"""What was asked for: data that can be pickled, and made into an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from asyncposthog.core.executor import Executor
from asyncposthog.export.engines.base import Engine, Tally
from asyncposthog.export.engines.query import QueryEngine
from asyncposthog.types import RequestOptions

from .source import Source
from .timestamps import as_text, parse_clickhouse

if TYPE_CHECKING:
    from asyncposthog.export.engines.files.engine import FilesEngine

__all__ = ["EngineName", "QueryRequest", "Request"]

EngineName: TypeAlias = Literal["auto", "query", "files"]


class Request(Protocol):
    """What an export is of."""

    @property
    def kind(self) -> str:
        """What the rows are: `events`."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What was asked for, as JSON data: a checkpoint is good for no other."""
        ...

    def settled(self, now: int) -> Any:
        """Return what is decided when an export begins, and holds until it has ended.

        Args:
            now: In microseconds since 1970.

        Returns:
            JSON data.
        """
        ...

    async def engine(self, executor: Executor, settled: Any, tally: Tally) -> Engine:
        """Return what gets the rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class QueryRequest:
    """Rows that HogQL can read."""

    source: Source
    start: int = 0
    end: int = 1
    until_now: bool = False
    """Whether it ends when it begins to be read; what goes on with it keeps to that moment."""
    settle: int = 0
    """Rows younger than so many microseconds are left out."""
    overlap: int = 0
    """By how many microseconds a later export reads again what this one has read."""
    concurrency: int = 3
    page_size: int = 50_000
    ordered: bool = True
    engine_name: EngineName = "auto"
    resumable: bool = True
    """Whether another run may go on with it: downloaded files are kept for that."""
    options: RequestOptions | None = None

    @property
    def kind(self) -> str:
        """What the rows are."""
        return self.source.kind

    @property
    def identity(self) -> Mapping[str, Any]:
        """What was asked for."""
        source = self.source
        timed = source.time is not None
        overlap = {"overlap": self.overlap / 1_000_000} if self.overlap else {}
        return {
            **overlap,
            "kind": source.kind,
            "table": source.table,
            "columns": list(source.columns),
            "where": list(source.where),
            "values": {name: repr(value) for name, value in source.values.items()},
            "key": [part for part in (source.time, source.key) if part],
            "start": as_text(self.start) if timed else None,
            "end": as_text(self.end) if timed and not self.until_now else None,
            "settle": self.settle / 1_000_000,
        }

    def settled(self, now: int) -> Any:
        """Decide where the export ends: not before late rows had the time to arrive."""
        end = now if self.until_now else self.end
        if self.settle or self.overlap:
            end = max(self.start, min(end, now - self.settle))
        return {"from": None, "end": as_text(end), "until": as_text(now)}

    async def engine(self, executor: Executor, settled: Any, tally: Tally) -> Engine:
        """Return what gets the rows."""
        query = self.query_engine(executor, settled)
        if self.engine_name == "query" or self.source.kind != "events":
            return query
        from asyncposthog.export.engines.files.plan import unsupported

        if unsupported(self.source) is not None:
            return query
        from asyncposthog.export.engines.files.choice import AutoEngine

        def files(expected: int | None = None) -> FilesEngine:
            return self.files_engine(executor, settled, expected)

        if self.engine_name == "files":
            return files()
        return AutoEngine(query=query, files=files)

    def files_engine(
        self, executor: Executor, settled: Any, expected: int | None = None
    ) -> FilesEngine:
        """Return what gets the rows by files.

        Args:
            executor: Performs the calls.
            settled: What was decided when the export began.
            expected: How many rows there have to be at least.

        Raises:
            ImportError: pyarrow is not installed.
        """
        from asyncposthog.export.engines.files.engine import FilesEngine

        return FilesEngine(
            executor=executor,
            source=self.source,
            start=self._begin(settled),
            end=parse_clickhouse(settled["end"]),
            until=parse_clickhouse(settled["until"]),
            concurrency=self.concurrency,
            page_size=self.page_size,
            options=self.options,
            expected=expected,
            resumable=self.resumable,
        )

    def query_engine(self, executor: Executor, settled: Any) -> QueryEngine:
        """Return what gets the rows by queries."""
        return QueryEngine(
            executor=executor,
            source=self.source,
            start=self._begin(settled),
            end=parse_clickhouse(settled["end"]),
            concurrency=self.concurrency,
            page_size=self.page_size,
            ordered=self.ordered,
            options=self.options,
        )

    def _begin(self, settled: Any) -> int:
        """Return where it begins: later than asked for, where it goes on with another."""
        return self.start if settled["from"] is None else parse_clickhouse(settled["from"])

    def between(self, start: int, end: int) -> QueryRequest:
        """Return the same for a part of the range."""
        return replace(self, start=start, end=end, until_now=False, settle=0)
