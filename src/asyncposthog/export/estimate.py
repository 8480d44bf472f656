"""From the numbers of rows in equal stretches of time to windows of about a page each. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from .windows import Window

__all__ = [
    "Stretch", "bucket_seconds", "counted_stretches", "crowded_ranges", "even_windows",
    "fitted_windows", "refined",
]  # fmt: skip

_SECOND: Final = 1_000_000
_STEPS: Final = (60, 300, 900, 3600, 6 * 3600, 86400)
_BUCKETS: Final = 10_000
_LONGEST: Final = 7 * 86400 * _SECOND
"""The longest window of an unknown number of rows."""


class Stretch(NamedTuple):
    """A stretch of time and the rows that were counted in it."""

    first: int
    last: int
    """The first moment after it."""
    rows: int


def bucket_seconds(start: int, end: int) -> int:
    """Return how long the stretches should be that rows are counted in, for a range."""
    seconds = (end - start) / _SECOND
    return next((step for step in _STEPS if seconds / step <= _BUCKETS), _STEPS[-1])


def even_windows(start: int, end: int, pieces: int) -> list[Window]:
    """Cut a range of which nothing is known into equal windows."""
    pieces = max(1, min(max(pieces, -(-(end - start) // _LONGEST)), end - start))
    cuts = [start + (end - start) * i // pieces for i in range(pieces + 1)]
    return [Window(a, b) for a, b in itertools.pairwise(cuts)]


def fitted_windows(start: int, end: int, stretches: Iterable[Stretch], target: int) -> list[Window]:
    """Cut a range into windows that hold at most `target` rows, by what was counted.

    A stretch that holds more is divided by time alone, and what its parts hold is a guess.

    Args:
        start: Where the range begins, in microseconds.
        end: Where it ends.
        stretches: Where rows were counted, and how many; in order, and all of them.
        target: How many rows a window should hold.
    """
    windows: list[Window] = []
    begin, held = start, 0
    for first, last, rows in stretches:
        if held + rows > target and first > begin:
            windows.append(Window(begin, first, rows=held, counted=held))
            begin, held = first, 0
        if rows <= target:
            held += rows
            continue
        pieces = min(math.ceil(rows / target), last - first)
        cuts = [first + (last - first) * i // pieces for i in range(pieces + 1)]
        counted = rows if pieces == 1 else None
        windows += [
            Window(a, b, rows=rows / pieces, counted=counted) for a, b in itertools.pairwise(cuts)
        ]
        begin = last
    if begin < end:
        windows.append(Window(begin, end, rows=held, counted=held))
    return windows


def counted_stretches(start: int, end: int, counts: Mapping[int, int], step: int) -> list[Stretch]:
    """Return the stretches that hold rows, cut to a range, in order.

    Args:
        start: Where the range begins, in microseconds.
        end: Where it ends.
        counts: Rows by stretch: number n goes from n times `step` to n + 1 times that.
        step: The length of a stretch, in seconds.
    """
    length = step * _SECOND
    found: list[Stretch] = []
    for number in sorted(counts):
        first, last = max(start, number * length), min(end, (number + 1) * length)
        if counts[number] > 0 and first < last:
            found.append(Stretch(first, last, counts[number]))
    return found


def crowded_ranges(
    stretches: Iterable[Stretch], target: int, longest: int
) -> list[tuple[int, int]]:
    """Return ranges that cover the stretches with more rows than `target`.

    One is no longer than `longest`, or a single stretch.
    """
    found: list[tuple[int, int]] = []
    for first, last, rows in stretches:
        if rows <= target:
            continue
        if found and last - found[-1][0] <= longest:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def refined(stretches: Iterable[Stretch], finer: Sequence[Stretch], target: int) -> list[Stretch]:
    """Replace the stretches with more rows than `target` by finer ones."""
    found: list[Stretch] = []
    at = 0
    for stretch in stretches:
        if stretch.rows <= target:
            found.append(stretch)
            continue
        while at < len(finer) and finer[at].first < stretch.first:
            at += 1
        while at < len(finer) and finer[at].first < stretch.last:
            found.append(finer[at])
            at += 1
    return found
