"""The queue of time windows that an export reads, as pure data.

A window whose page came back full continues after its last row. The rest is split into as many
pieces as its row density suggests, unless its rows were counted: then it stays whole, so that the
received rows can be compared with the count. A window that was too much for the server is halved.
Adjacent windows with few rows are read as one. However windows are split or merged, together they
cover the range exactly once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from .source import RowKey

__all__ = [
    "CountedRange",
    "Window",
    "WindowQueue",
    "WindowSlot",
    "bucket_seconds",
    "counted_ranges",
    "even_windows",
    "fitted_windows",
    "halves",
    "merge_windows",
    "overfull_ranges",
    "refine",
    "split_remainder",
]

T = TypeVar("T")

_FILL_RATIO: Final = 0.95
"""Share of a page that a window is planned to fill: row counts are estimates."""
_MAX_PIECES: Final = 64
"""Pieces that one window is split into at a time, at most."""
_MIN_PAGE_ROWS: Final = 100
"""Rows of the smallest page that is requested."""
_MAX_MERGED: Final = 4096
"""Adjacent windows of unknown content that are read as one, at most."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time range from `start` up to but not including `end`, in microseconds since 1970."""

    start: int
    end: int
    after: RowKey | None = None
    """Key of the last received row, if part of the window was read."""
    expected_rows: float | None = None
    """Rows that the window is expected to have; None: unknown."""
    limit: int | None = None
    """Rows to request at a time, if the server could not return a page of the usual size."""
    isolated: bool = False
    """Whether it must not be merged with adjacent windows."""
    counted_rows: int | None = None
    """Rows that were counted from `counted_from` to `end`; None: not counted."""
    counted_from: int | None = None
    """Start of the counted range, in microseconds; None: `start`."""
    received_rows: int | None = 0
    """Received rows of the counted range; None: unknown, because an earlier run received them."""
    duplicates: int = 0
    """Received rows that are equal to the row before them."""
    deferred_rows: int = 0
    """Rows after `after` that the last page had and left to the next one."""


def halves(window: Window) -> tuple[Window, Window] | None:
    """Return the two halves of a window; None if it cannot be divided."""
    start = max(window.start, window.after.time) if window.after else window.start
    middle = (start + window.end) // 2
    if middle <= start:
        return None
    rows = None if window.expected_rows is None else window.expected_rows / 2
    # The count cannot be divided: how many of the counted rows lie before the middle is unknown,
    # and so is how many of those were received.
    received = 0 if window.after is None else None
    return (
        replace(
            window,
            end=middle,
            expected_rows=rows,
            isolated=True,
            counted_rows=None,
            received_rows=received,
        ),
        Window(middle, window.end, expected_rows=rows, limit=window.limit, isolated=True),
    )


def split_remainder(window: Window, rest: Window, count: int, target: int) -> list[Window]:
    """Return the rest of a window after a page, split by its expected row density.

    Args:
        window: The window that was read.
        rest: The same window after the last received row. It is split only if the number of its
            rows is unknown.
        count: The number of received rows.
        target: The number of rows that a window should have.
    """
    last = rest.after
    assert last is not None
    rest = replace(rest, start=max(window.start, last.time))
    read_micros = last.time - window.start
    rest_micros = window.end - last.time
    if rest.expected_rows is not None or read_micros <= 0 or rest_micros <= 1:
        return [rest]
    expected = count * rest_micros / read_micros
    if window.expected_rows is not None:
        # An estimate of the whole window is better than the density of the part that was read,
        # which may differ from that of the rest.
        expected = max(window.expected_rows - count, 1.0)
    piece_count = min(max(1, math.ceil(expected / target)), _MAX_PIECES, rest_micros)
    if piece_count == 1:
        return [replace(rest, expected_rows=expected)]
    cuts = [last.time + rest_micros * i // piece_count for i in range(1, piece_count)]
    bounds = [last.time, *cuts, window.end]
    pieces = [
        Window(start, end, expected_rows=expected / piece_count, limit=window.limit)
        for start, end in itertools.pairwise(bounds)
    ]
    # Only the first piece continues after a key: the others start at a time without a row before.
    first = replace(
        rest,
        end=cuts[0],
        expected_rows=expected / piece_count,
        counted_rows=None,
        received_rows=None,
    )
    return [first, *pieces[1:]]


def merge_windows(windows: Sequence[Window]) -> Window:
    """Return adjacent windows as one."""
    rows = [w.expected_rows for w in windows if w.expected_rows is not None]
    counts = [w.counted_rows for w in windows if w.counted_rows is not None]
    return replace(
        windows[0],
        end=windows[-1].end,
        expected_rows=sum(rows) if len(rows) == len(windows) else None,
        counted_rows=sum(counts) if len(counts) == len(windows) else None,
    )


@dataclass(slots=True, eq=False)
class WindowSlot(Generic[T]):
    """A window's position in the queue and, once it was read, its result."""

    window: Window
    state: Literal["waiting", "reading", "ready", "replaced"] = "waiting"
    result: T | None = None


class WindowQueue(Generic[T]):
    """Windows still to be read and results still to be delivered, in order of time."""

    def __init__(self, windows: Iterable[Window], limit: int) -> None:
        """Start with windows that follow each other without gap or overlap.

        Args:
            windows: The windows; together they cover the range.
            limit: The number of rows that the server returns for a query, at most.
        """
        self.limit = limit
        self.splits = 0
        self.windows_done = 0
        """Windows that were read to their end."""
        self.open_count = 0
        """Windows being read and results waiting for delivery."""
        self._slots: list[WindowSlot[T]] = [WindowSlot(window) for window in windows]
        self._rows_per_micro: float | None = None
        # How many windows of unknown content are read as one. It starts at one and doubles while
        # the results are small, so that an empty range costs few queries and a dense one is not
        # requested as one huge window.
        self._merge_limit = 1

    @property
    def total(self) -> int:
        """Number of windows, including those already read."""
        return self.windows_done + sum(slot.state != "ready" for slot in self._slots)

    @property
    def target(self) -> int:
        """Number of rows that a window should have."""
        return max(1, int(self.limit * _FILL_RATIO))

    @property
    def finished(self) -> bool:
        """Whether all windows were read and all results delivered."""
        return not self._slots

    @property
    def is_head_waiting(self) -> bool:
        """Whether the first window is not being read, so that all later results wait for it."""
        return bool(self._slots) and self._slots[0].state == "waiting"

    def next_slot(self) -> WindowSlot[T] | None:
        """Return the first waiting window, merged with adjacent small ones; None if there is none.

        Its state becomes `reading`.
        """
        for index, slot in enumerate(self._slots):
            if slot.state == "waiting":
                stop = self._merge_end(index)
                slot.window = merge_windows([s.window for s in self._slots[index:stop]])
                del self._slots[index + 1 : stop]
                slot.state = "reading"
                self.open_count += 1
                return slot
        return None

    def _merge_end(self, index: int) -> int:
        """Return the index after the last slot that fits on one page with the slot at `index`."""
        total, unknown, stop = 0.0, 0, index
        end = self._slots[index].window.start
        for slot in self._slots[index : index + _MAX_MERGED]:
            window = slot.window
            # Where results are delivered in any order, a window between two others may be gone from
            # the queue already: merging over the gap would read its rows again.
            if window.start != end:
                break
            end = window.end
            rows = self._expected_rows(window)
            unknown += rows is None
            total += rows or 0.0
            full = total > self.target or unknown > self._merge_limit or window.isolated
            # A window that continues after a key can be the first of a merge, but no later one:
            # the query has one key to continue after.
            if slot.state != "waiting" or (stop > index and (full or window.after is not None)):
                break
            stop += 1
            if window.isolated:
                break
        return stop

    def _expected_rows(self, window: Window) -> float | None:
        if window.expected_rows is not None:
            return window.expected_rows
        return (
            None
            if self._rows_per_micro is None
            else self._rows_per_micro * (window.end - window.start)
        )

    def finish(self, slot: WindowSlot[T], count: int, result: T) -> None:
        """Record that a window was read to its end.

        Args:
            slot: The window.
            count: The number of received rows.
            result: The result to deliver.
        """
        slot.state, slot.result = "ready", result
        self.windows_done += 1
        self._record_density(slot.window, count)

    def continue_after(self, slot: WindowSlot[T], rest: Window, count: int, result: T) -> None:
        """Record that a part of a window was read, and queue the rest.

        Args:
            slot: The window.
            rest: The window after the last received row.
            count: The number of received rows.
            result: The result to deliver.
        """
        index = self._slots.index(slot)
        parts = split_remainder(slot.window, rest, count, self.target)
        self._slots[index + 1 : index + 1] = [WindowSlot(window) for window in parts]
        slot.state, slot.result = "ready", result
        if rest.expected_rows == 0:
            self._record_density(slot.window, count)
        else:
            self._merge_limit = 1

    def _record_density(self, window: Window, count: int) -> None:
        """Update the estimates for windows of unknown content."""
        length = window.end - window.start
        if window.after is None:
            self._rows_per_micro = count / length if length > 0 else None
        if count * 4 < self.target:
            self._merge_limit = min(self._merge_limit * 2, _MAX_MERGED)
        elif count * 2 > self.target:
            self._merge_limit = max(1, self._merge_limit // 2)

    def split(self, slot: WindowSlot[T]) -> bool:
        """Replace a window that was too much for the server by its halves.

        A window that cannot be divided is read in smaller pages.

        Returns:
            False if the pages cannot become smaller either.
        """
        window = slot.window
        parts = halves(window)
        if parts is None:
            limit = (window.limit or self.limit) // 2
            if limit < _MIN_PAGE_ROWS:
                return False
            parts = (replace(window, limit=limit),)
        index = self._slots.index(slot)
        self._slots[index : index + 1] = [WindowSlot(window) for window in parts]
        slot.state = "replaced"
        self.open_count -= 1
        self.splits += 1
        self._merge_limit = 1
        return True

    def requeue(self, slot: WindowSlot[T]) -> None:
        """Return a window whose reading was interrupted to the queue."""
        slot.state = "waiting"
        self.open_count -= 1

    def pop(self, *, ordered: bool = True) -> WindowSlot[T] | None:
        """Remove and return a result to deliver; None if there is none.

        Args:
            ordered: Return only the first in order; False: any.
        """
        for index, slot in enumerate(self._slots):
            if slot.state == "ready":
                del self._slots[index]
                self.open_count -= 1
                return slot
            if ordered:
                break
        return None


_SECOND: Final = 1_000_000
_BUCKET_SECONDS: Final = (60, 300, 900, 3600, 6 * 3600, 86400)
_MAX_BUCKETS: Final = 10_000
_MAX_WINDOW_MICROS: Final = 7 * 86400 * _SECOND
"""Length of the longest window whose number of rows is unknown."""


class CountedRange(NamedTuple):
    """A time range and the number of rows counted in it."""

    first: int
    """Start, in microseconds since 1970."""
    last: int
    """End, exclusive."""
    rows: int


def bucket_seconds(start: int, end: int) -> int:
    """Return the length of the buckets that the rows of a range are counted in, in seconds."""
    seconds = (end - start) / _SECOND
    return next(
        (step for step in _BUCKET_SECONDS if seconds / step <= _MAX_BUCKETS), _BUCKET_SECONDS[-1]
    )


def even_windows(start: int, end: int, pieces: int) -> list[Window]:
    """Split a range of which nothing is known into windows of equal length."""
    pieces = max(1, min(max(pieces, -(-(end - start) // _MAX_WINDOW_MICROS)), end - start))
    cuts = [start + (end - start) * i // pieces for i in range(pieces + 1)]
    return [Window(a, b) for a, b in itertools.pairwise(cuts)]


def fitted_windows(
    start: int, end: int, ranges: Iterable[CountedRange], target: int
) -> list[Window]:
    """Split a range into windows of at most `target` rows, by the counts of its parts.

    A counted range with more rows is split by time; the rows of its pieces are then an estimate.

    Args:
        start: The start of the range, in microseconds since 1970.
        end: The end of the range, exclusive.
        ranges: All counted ranges with rows, in order.
        target: The number of rows that a window should have.
    """
    windows: list[Window] = []
    window_start, window_rows = start, 0
    for first, last, rows in ranges:
        if window_rows + rows > target and first > window_start:
            windows.append(
                Window(window_start, first, expected_rows=window_rows, counted_rows=window_rows)
            )
            window_start, window_rows = first, 0
        if rows <= target:
            window_rows += rows
            continue
        pieces = min(math.ceil(rows / target), last - first)
        cuts = [first + (last - first) * i // pieces for i in range(pieces + 1)]
        counted = rows if pieces == 1 else None
        windows += [
            Window(a, b, expected_rows=rows / pieces, counted_rows=counted)
            for a, b in itertools.pairwise(cuts)
        ]
        window_start = last
    if window_start < end:
        windows.append(
            Window(window_start, end, expected_rows=window_rows, counted_rows=window_rows)
        )
    return windows


def counted_ranges(
    start: int, end: int, counts: Mapping[int, int], step: int
) -> list[CountedRange]:
    """Return the buckets that have rows as ranges, cut to a range, in order.

    Args:
        start: The start of the range, in microseconds since 1970.
        end: The end of the range, exclusive.
        counts: Rows by bucket number: bucket n goes from n times `step` to n + 1 times `step`.
        step: The length of a bucket, in seconds.
    """
    length = step * _SECOND
    ranges: list[CountedRange] = []
    for number in sorted(counts):
        first, last = max(start, number * length), min(end, (number + 1) * length)
        if counts[number] > 0 and first < last:
            ranges.append(CountedRange(first, last, counts[number]))
    return ranges


def overfull_ranges(
    ranges: Iterable[CountedRange], target: int, longest: int
) -> list[tuple[int, int]]:
    """Return time ranges that cover the counted ranges with more rows than `target`.

    A time range is at most `longest` microseconds long, or is a single counted range.
    """
    covering: list[tuple[int, int]] = []
    for first, last, rows in ranges:
        if rows <= target:
            continue
        if covering and last - covering[-1][0] <= longest:
            covering[-1] = (covering[-1][0], last)
        else:
            covering.append((first, last))
    return covering


def refine(
    ranges: Iterable[CountedRange], finer: Sequence[CountedRange], target: int
) -> list[CountedRange]:
    """Replace the ranges with more rows than `target` by finer ones."""
    refined: list[CountedRange] = []
    i = 0
    for coarse in ranges:
        if coarse.rows <= target:
            refined.append(coarse)
            continue
        while i < len(finer) and finer[i].first < coarse.first:
            i += 1
        while i < len(finer) and finer[i].first < coarse.last:
            refined.append(finer[i])
            i += 1
    return refined
