"""The `query` engine: an export by HogQL queries, one per page of a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from anyio.abc import TaskGroup

from asyncposthog.core.executor import Executor
from asyncposthog.export.query_client import ExportQueryClient
from asyncposthog.export.runner import Runner
from asyncposthog.export.source import RowKey, Source
from asyncposthog.export.timestamps import parse_clickhouse
from asyncposthog.export.windows import Window, WindowQueue
from asyncposthog.types import RequestOptions

from .base import ExportStats, Prepare, PreparedBatch
from .row_counts import RowCounter
from .window_reader import WindowReader

__all__ = ["QueryEngine"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class QueryEngine:
    """Engine that reads a source by queries."""

    executor: Executor
    source: Source
    start: int = 0
    """Start of the range, in microseconds since 1970."""
    end: int = 1
    """End of the range, exclusive."""
    concurrency: int = 3
    page_size: int = 50_000
    ordered: bool = True
    options: RequestOptions | None = None

    async def plan(self, stats: ExportStats, position: Any = None) -> list[Window]:
        """Return the windows after a position. It counts their rows with one query or a few.

        Args:
            stats: Updated while counting.
            position: The position of the last processed batch; None: from the beginning.

        Raises:
            PostHogError: A query failed after all retries.
        """
        start, after = self.start, None
        if position is not None:
            start = parse_clickhouse(position["time"])
            if position["key"] is not None:
                after = RowKey(start, position["key"])
        if self.source.time is None:
            # Without a time there is one window, and the key alone pages through it.
            if position is None:
                return [Window(0, 1)]
            return [Window(0, 1, after, received_rows=None)] if after is not None else []
        if start >= self.end:
            return []
        counter = RowCounter(self.query_client(stats), self.source, stats)
        windows: list[Window] = []
        if after is not None:
            # The rest of the microsecond that the position is in gets a window of its own: how many
            # of its rows an earlier run received is unknown, so it cannot be compared with a count.
            windows = [
                Window(start, start + 1, after, expected_rows=0, isolated=True, received_rows=None)
            ]
            start += 1
        if start < self.end:
            # One row below the page size: a page that could be full needs another query after it.
            target = max(1, self.page_size - 1)
            windows += await counter.windows(start, self.end, target, self.concurrency)
        return windows

    def query_client(self, stats: ExportStats) -> ExportQueryClient:
        """Return the client that sends the queries."""
        return ExportQueryClient(
            self.executor, stats, name=f"export of {self.source.kind}", options=self.options
        )

    async def open(
        self,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
        tasks: TaskGroup | None = None,
        *,
        windows: list[Window] | None = None,
    ) -> Runner[T]:
        """Start reading; see `Engine.open`.

        Args:
            position: See `Engine.open`.
            prepare: See `Engine.open`.
            stats: See `Engine.open`.
            tasks: See `Engine.open`.
            windows: The windows after the position, if they were planned already.

        Raises:
            PostHogError: A query failed after all retries.
        """
        if windows is None:
            windows = await self.plan(stats, position)
        # Counters of earlier runs, and of an attempt with files: those of the queue are added.
        windows_before, splits_before = stats.windows, stats.splits
        query_client = self.query_client(stats)
        queue = WindowQueue[PreparedBatch[T]](windows, self.page_size)

        def update_stats() -> None:
            stats.windows = windows_before + queue.windows_done
            stats.windows_total = windows_before + queue.total
            stats.splits = splits_before + queue.splits

        update_stats()
        counter = RowCounter(query_client, self.source, stats)
        # If the range could not be counted as a whole, single windows are not counted either.
        counter.available &= any(
            window.expected_rows is not None
            for window in windows
            if window.received_rows is not None
        )
        reader = WindowReader(query_client, counter, self.source, self.page_size, prepare, stats)
        return Runner(
            queue,
            reader.read,
            concurrency=self.concurrency,
            ordered=self.ordered,
            on_change=update_stats,
            tasks=tasks,
        )
