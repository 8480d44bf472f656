"""What was asked for: data that can be pickled, and made into an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

from asyncposthog.executor import Executor
from asyncposthog.types import RequestOptions

from .engine import Engine, Tally
from .moments import as_text, from_text
from .querying import QueryEngine
from .source import Source

__all__ = ["EngineName", "QueryRequest", "Request"]

EngineName: TypeAlias = Literal["auto", "query"]


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
    settle: int = 0
    """Rows younger than so many microseconds are left out."""
    concurrency: int = 3
    page_size: int = 50_000
    ordered: bool = True
    engine_name: EngineName = "auto"
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
        return {
            "kind": source.kind,
            "table": source.table,
            "columns": list(source.columns),
            "where": list(source.where),
            "values": {name: repr(value) for name, value in source.values.items()},
            "key": [part for part in (source.time, source.key) if part],
            "start": as_text(self.start) if timed else None,
            "end": as_text(self.end) if timed else None,
            "settle": self.settle / 1_000_000,
        }

    def settled(self, now: int) -> Any:
        """Decide where the export ends: not before late rows had the time to arrive."""
        if not self.settle:
            return {"end": as_text(self.end)}
        return {"end": as_text(max(self.start, min(self.end, now - self.settle)))}

    async def engine(self, executor: Executor, settled: Any, tally: Tally) -> Engine:
        """Return what gets the rows."""
        return self.query_engine(executor, settled)

    def query_engine(self, executor: Executor, settled: Any) -> QueryEngine:
        """Return what gets the rows by queries."""
        return QueryEngine(
            executor=executor,
            source=self.source,
            start=self.start,
            end=from_text(settled["end"]),
            concurrency=self.concurrency,
            page_size=self.page_size,
            ordered=self.ordered,
            options=self.options,
        )

    def between(self, start: int, end: int) -> QueryRequest:
        """Return the same for a part of the range."""
        return replace(self, start=start, end=end, settle=0)
