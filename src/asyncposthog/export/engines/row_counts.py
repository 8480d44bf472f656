"""Count rows by queries: of a range before it is read, and of a window after it was read."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from asyncposthog.errors import QueryTooLargeError
from asyncposthog.export.query_client import ExportQueryClient
from asyncposthog.export.source import Source, histogram_query
from asyncposthog.export.windows import (
    CountedRange,
    Window,
    bucket_seconds,
    counted_ranges,
    even_windows,
    fitted_windows,
    overfull_ranges,
    refine,
)

from .base import ExportStats
from .query_page import UnexpectedResponseError, response_rows

__all__ = ["RowCounter"]

_SECOND: Final = 1_000_000
_MAX_BUCKETS: Final = 50_000
"""Buckets that a query requests at most: the server returns no more rows for one query."""
_MAX_RESPONSES: Final = 10
"""Responses that the buckets of a range may be spread over."""
_REFINE_FACTOR: Final = 60
"""Number of parts that a bucket with more rows than a page is divided into."""
_ONE_BUCKET: Final = 10**11
"""Length in seconds of a bucket that contains every timestamp. A total is then a single row, which
no limit of the server can truncate."""


class RowCounter:
    """Counter of the rows of one export."""

    def __init__(self, query_client: ExportQueryClient, source: Source, stats: ExportStats) -> None:
        """Store the arguments. Nothing is sent yet.

        Args:
            query_client: Sends the queries.
            source: The rows to count.
            stats: Updated while counting.
        """
        self._query_client = query_client
        self._source = source
        self._stats = stats
        self.available = source.time is not None
        """Whether rows can be counted; False after a count was too much for the server."""

    async def windows(self, start: int, end: int, target: int, pieces: int) -> list[Window]:
        """Return the windows of a range, cut by its row counts.

        Args:
            start: The start of the range, in microseconds since 1970.
            end: The end of the range, exclusive.
            target: The number of rows that a window should have.
            pieces: The number of windows to return if the rows cannot be counted.
        """
        step = bucket_seconds(start, end)
        try:
            ranges, counted_until = await self._count_ranges(start, end, step)
        except QueryTooLargeError:
            self._mark_unavailable()
            return even_windows(start, end, pieces)
        if self._stats.expected is None and counted_until == end:
            self._stats.expected = sum(counted.rows for counted in ranges)
        ranges = await self._refine(ranges, step, target)
        windows = fitted_windows(start, counted_until, ranges, target)
        if counted_until < end:
            windows += even_windows(counted_until, end, pieces)
        if not self._source.is_deterministic:
            # Each query draws other rows, so no count is that of the rows that are read.
            windows = [replace(window, counted_rows=None) for window in windows]
        return windows

    async def _count_ranges(
        self, start: int, end: int, step: int
    ) -> tuple[list[CountedRange], int]:
        """Count the rows of a range in buckets of `step` seconds.

        Returns:
            The buckets that have rows, in order, and the time up to which the range was counted.

        Raises:
            QueryTooLargeError: The count is too much for the server.
        """
        counts: dict[int, int] = {}
        query_start = start
        for _ in range(_MAX_RESPONSES):
            part = await self._query(query_start, end, step)
            counts |= part
            counted_until = (max(part) + 1) * step * _SECOND if part else end
            # A server that truncates responses may truncate this one too. It is complete if it
            # reaches the end of the range, or if a query for the time after it returns nothing.
            if counted_until >= end:
                return counted_ranges(start, end, counts, step), end
            query_start = max(query_start, counted_until)
        return counted_ranges(start, query_start, counts, step), query_start

    async def _refine(
        self, ranges: list[CountedRange], step: int, target: int
    ) -> list[CountedRange]:
        """Count ranges with more rows than a page again, in shorter buckets."""
        while step > 1:
            finer_step = max(1, step // _REFINE_FACTOR)
            spans = overfull_ranges(ranges, target, _MAX_BUCKETS * finer_step * _SECOND)
            finer: list[CountedRange] = []
            for first, last in spans:
                try:
                    part, counted_until = await self._count_ranges(first, last, finer_step)
                except QueryTooLargeError:
                    # The coarse counts are correct too; windows are then cut by time.
                    return ranges
                if counted_until < last:
                    return ranges
                finer += part
            if not spans:
                break
            ranges, step = refine(ranges, finer, target), finer_step
        return ranges

    async def count_rows(self, start: int, end: int, *, distinct: bool = False) -> int | None:
        """Return the number of rows of a range; None if counting is too much for the server.

        Args:
            start: The start of the range, in microseconds since 1970.
            end: The end of the range, exclusive.
            distinct: Count rows of the same key once.
        """
        try:
            return sum((await self._query(start, end, _ONE_BUCKET, distinct=distinct)).values())
        except QueryTooLargeError:
            self._mark_unavailable()
            return None

    def _mark_unavailable(self) -> None:
        if self.available:
            self.available = False
            self._stats.notes.append(
                "counting the rows was too much for the server: each window was read until no "
                "more rows followed, and could not be compared with a count"
            )

    async def _query(
        self, start: int, end: int, step: int, *, distinct: bool = False
    ) -> dict[int, int]:
        sql, values = histogram_query(
            self._source, start, end, step, _MAX_BUCKETS, distinct=distinct
        )
        return await self._query_client.run(sql, values, _read_counts)


def _read_counts(body: object, _: int) -> dict[int, int]:
    rows = response_rows(body)[2]
    if not all(len(row) == 2 and all(type(value) is int for value in row) for row in rows):
        raise UnexpectedResponseError("counts are not numbers")
    return {int(bucket): int(count) for bucket, count in rows}
