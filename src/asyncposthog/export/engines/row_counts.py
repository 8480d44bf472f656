"""How many rows there are: of a range before it is read, and of a window after it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from asyncposthog.errors import QueryTooLargeError
from asyncposthog.export.query_client import Asker
from asyncposthog.export.source import Source, histogram_query
from asyncposthog.export.windows import (
    Stretch,
    Window,
    bucket_seconds,
    counted_stretches,
    crowded_ranges,
    even_windows,
    fitted_windows,
    refined,
)

from .base import Tally
from .query_page import UnexpectedResponseError, answer_rows

__all__ = ["Counter"]

_SECOND: Final = 1_000_000
_BUCKETS: Final = 50_000
"""Buckets that a query asks for at most: the server gives no more rows than that."""
_PARTS: Final = 10
"""How many answers the buckets of a range may come in."""
_FINER: Final = 60
"""Into how many parts a bucket is divided that has more rows than fit onto a page."""
_ONE_BUCKET: Final = 10**11
"""Seconds of a bucket that holds every time there is: a total is one row, which nothing cuts."""


class Counter:
    """Counts the rows of one export."""

    def __init__(self, asker: Asker, source: Source, tally: Tally) -> None:
        """Ask for nothing yet."""
        self._asker = asker
        self._source = source
        self._tally = tally
        self.available = source.time is not None
        """Whether rows can be counted, as far as is known."""

    async def windows(self, start: int, end: int, target: int, pieces: int) -> list[Window]:
        """Cut a range into windows.

        Args:
            start: Where it begins, in microseconds.
            end: Where it ends.
            target: How many rows a window should hold.
            pieces: How many windows are made of a range whose rows cannot be counted.
        """
        step = bucket_seconds(start, end)
        try:
            stretches, until = await self._stretches(start, end, step)
        except QueryTooLargeError:
            self._give_up()
            return even_windows(start, end, pieces)
        if self._tally.expected is None and until == end:
            self._tally.expected = sum(stretch.rows for stretch in stretches)
        stretches = await self._refined(stretches, step, target)
        windows = fitted_windows(start, until, stretches, target)
        if until < end:
            windows += even_windows(until, end, pieces)
        if not self._source.repeatable:
            # Each query draws other rows, so that no count is that of what is read.
            windows = [replace(window, counted=None) for window in windows]
        return windows

    async def _stretches(self, start: int, end: int, step: int) -> tuple[list[Stretch], int]:
        """Count the rows of equal stretches.

        Returns:
            Those that hold rows, in order, and up to where the range was counted.

        Raises:
            QueryTooLargeError: It is too much for the server.
        """
        counts: dict[int, int] = {}
        begin = start
        for _ in range(_PARTS):
            found = await self._ask(begin, end, step)
            counts |= found
            reached = (max(found) + 1) * step * _SECOND if found else end
            # A server that cuts answers may cut this one too: it is whole where it reaches the end,
            # or where nothing comes behind it.
            if reached >= end:
                return counted_stretches(start, end, counts, step), end
            begin = max(begin, reached)
        return counted_stretches(start, begin, counts, step), begin

    async def _refined(self, stretches: list[Stretch], step: int, target: int) -> list[Stretch]:
        """Count again, in shorter stretches, where one has more rows than a page."""
        while step > 1:
            finer = max(1, step // _FINER)
            ranges = crowded_ranges(stretches, target, _BUCKETS * finer * _SECOND)
            found: list[Stretch] = []
            for first, last in ranges:
                try:
                    part, until = await self._stretches(first, last, finer)
                except QueryTooLargeError:
                    return stretches
                if until < last:
                    return stretches
                found += part
            if not ranges:
                break
            stretches, step = refined(stretches, found, target), finer
        return stretches

    async def rows(self, start: int, end: int, *, distinct: bool = False) -> int | None:
        """Count the rows of a range.

        Args:
            start: Where it begins, in microseconds.
            end: Where it ends.
            distinct: Whether rows of one key count once.

        Returns:
            How many there are; None: counting them is too much for the server.
        """
        try:
            return sum((await self._ask(start, end, _ONE_BUCKET, distinct=distinct)).values())
        except QueryTooLargeError:
            self._give_up()
            return None

    def _give_up(self) -> None:
        if self.available:
            self.available = False
            self._tally.notes.append(
                "counting the rows was too much for the server: windows were read until nothing "
                "more came, and could not be compared with a count"
            )

    async def _ask(
        self, start: int, end: int, step: int, *, distinct: bool = False
    ) -> dict[int, int]:
        sql, values = histogram_query(self._source, start, end, step, _BUCKETS, distinct=distinct)
        return await self._asker.ask(sql, values, _read_counts)


def _read_counts(body: object, _: int) -> dict[int, int]:
    rows = answer_rows(body)[2]
    if not all(len(row) == 2 and all(type(value) is int for value in row) for row in rows):
        raise UnexpectedResponseError("counts are not numbers")
    return {int(bucket): int(count) for bucket, count in rows}
