"""The `query` engine: an export by HogQL queries, window by window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from asyncposthog.core.executor import Executor
from asyncposthog.export.query_client import Asker
from asyncposthog.export.runner import Runner
from asyncposthog.export.source import Place, Source
from asyncposthog.export.timestamps import as_text, parse_clickhouse
from asyncposthog.export.windows import Window, WindowQueue
from asyncposthog.types import RequestOptions

from .base import Consume, Prepare, PreparedBatch, Tally
from .row_counts import Counter
from .window_reader import WindowReader

__all__ = ["QueryEngine"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class QueryEngine:
    """Reads a source by queries."""

    executor: Executor
    source: Source
    start: int = 0
    """The first moment, in microseconds since 1970."""
    end: int = 1
    """The first moment that is not exported any more."""
    concurrency: int = 3
    page_size: int = 50_000
    ordered: bool = True
    options: RequestOptions | None = None
    expected: Mapping[int, int] | None = field(default=None, repr=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is exported."""
        source = self.source
        return {
            "engine": "query",
            "kind": source.kind,
            "table": source.table,
            "columns": list(source.columns),
            "where": list(source.where),
            "values": {name: str(value) for name, value in source.values.items()},
            "key": [part for part in (source.time, source.key) if part],
            "start": as_text(self.start) if source.time else None,
            "end": as_text(self.end) if source.time else None,
        }

    async def windows(self, asker: Asker, tally: Tally, position: Any = None) -> list[Window]:
        """Cut what is left to do into windows."""
        start, after = self.start, None
        if position is not None:
            start = parse_clickhouse(position["time"])
            if position["key"] is not None:
                after = Place(start, position["key"])
        if self.source.time is None:
            if position is None:
                return [Window(0, 1)]
            return [Window(0, 1, after, received=None)] if after is not None else []
        if start >= self.end:
            return []
        counter = Counter(asker, self.source, tally)
        windows: list[Window] = []
        if after is not None:
            # How many rows of this moment were received is not known: it is not compared.
            windows = [Window(start, start + 1, after, rows=0, alone=True, received=None)]
            start += 1
        if start < self.end:
            # One below: a page that could be full has to be followed by another.
            target = max(1, self.page_size - 1)
            windows += await counter.windows(start, self.end, target, self.concurrency)
        return windows

    def _asker(self, tally: Tally) -> Asker:
        return Asker(
            self.executor, tally, name=f"export of {self.source.kind}", options=self.options
        )

    async def run(
        self, position: Any, prepare: Prepare[T], consume: Consume[T], tally: Tally
    ) -> None:
        """Get all rows behind a position, ahead of what consumes them."""
        steps = QueryBatchReader(self, position, prepare, tally)
        runner = await steps.begin()
        await runner.run(consume)

    def steps(self, position: Any, prepare: Prepare[T], tally: Tally) -> QueryBatchReader[T]:
        """Return the same pieces, to be had one step at a time."""
        return QueryBatchReader(self, position, prepare, tally)

    async def plan(self, tally: Tally) -> list[Window]:
        """Return the windows that an export would begin with."""
        return await self.windows(self._asker(tally), tally)

    def asker(self, tally: Tally) -> Asker:
        """Return what sends the queries."""
        return self._asker(tally)


class QueryBatchReader(Generic[T]):
    """The pieces of one export by queries."""

    def __init__(
        self,
        engine: QueryEngine,
        position: Any,
        prepare: Prepare[T],
        tally: Tally,
        windows: list[Window] | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            engine: What is exported.
            position: Where to go on.
            prepare: Run for every batch.
            tally: Kept up to date.
            windows: The windows behind the position, where they are known.
        """
        self._windows = windows
        self._engine = engine
        self._position = position
        self._prepare = prepare
        self._tally = tally
        self._asker = engine.asker(tally)
        self._base = (tally.windows, tally.splits)
        self._runner: Runner[T] | None = None

    async def begin(self) -> Runner[T]:
        """Make the plan, once."""
        if self._runner is None:
            engine = self._engine
            windows = self._windows
            if windows is None:
                windows = await engine.windows(self._asker, self._tally, self._position)
            self._planner: WindowQueue[PreparedBatch[T]] = WindowQueue(windows, engine.page_size)
            self._changed()
            counter = Counter(self._asker, engine.source, self._tally)
            # What could not be counted as a whole is not counted window by window either.
            counter.available &= any(w.rows is not None for w in windows if w.received is not None)
            reader = WindowReader(
                self._asker, counter, engine.source, engine.page_size, self._prepare, self._tally
            )
            self._runner = Runner(
                self._planner,
                reader.read,
                concurrency=engine.concurrency,
                ordered=engine.ordered,
                changed=self._changed,
            )
        return self._runner

    async def advance(self) -> list[PreparedBatch[T]]:
        """Return the next pieces in order; none at the end."""
        runner = await self.begin()
        return await runner.step()

    def _changed(self) -> None:
        planner, (windows, splits) = self._planner, self._base
        self._tally.windows = windows + planner.done
        self._tally.windows_total = windows + planner.total
        self._tally.splits = splits + planner.splits
