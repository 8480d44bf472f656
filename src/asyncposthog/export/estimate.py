"""From the numbers of rows in equal stretches of time to windows of about a page each. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Final

from .windows import Window

__all__ = ["bucket_seconds", "even_windows", "fitted_windows"]

_SECOND: Final = 1_000_000
_STEPS: Final = (60, 300, 900, 3600, 6 * 3600, 86400)
_BUCKETS: Final = 10_000
_LONGEST: Final = 7 * 86400 * _SECOND
"""The longest window of an unknown number of rows."""


def bucket_seconds(start: int, end: int) -> int:
    """Return how long the stretches should be that rows are counted in, for a range."""
    seconds = (end - start) / _SECOND
    return next((step for step in _STEPS if seconds / step <= _BUCKETS), _STEPS[-1])


def even_windows(start: int, end: int, pieces: int) -> list[Window]:
    """Cut a range of which nothing is known into equal windows."""
    pieces = max(1, min(max(pieces, -(-(end - start) // _LONGEST)), end - start))
    cuts = [start + (end - start) * i // pieces for i in range(pieces + 1)]
    return [Window(a, b) for a, b in itertools.pairwise(cuts)]


def fitted_windows(
    start: int, end: int, counts: Mapping[int, int], step: int, target: int
) -> list[Window]:
    """Cut a range into windows that hold at most `target` rows, by what was counted.

    Args:
        start: Where the range begins, in microseconds.
        end: Where it ends.
        counts: Rows by stretch: number n goes from n times `step` to n + 1 times that.
        step: The length of a stretch, in seconds.
        target: How many rows a window should hold.
    """
    windows: list[Window] = []
    begin, held = start, 0.0
    for first, last, rows in _stretches(start, end, counts, step):
        if held + rows > target and first > begin:
            windows.append(Window(begin, first, rows=held))
            begin, held = first, 0.0
        if rows <= target:
            held += rows
            continue
        pieces = min(math.ceil(rows / target), last - first)
        cuts = [first + (last - first) * i // pieces for i in range(pieces + 1)]
        windows += [Window(a, b, rows=rows / pieces) for a, b in itertools.pairwise(cuts)]
        begin = last
    if begin < end:
        windows.append(Window(begin, end, rows=held))
    return windows


def _stretches(
    start: int, end: int, counts: Mapping[int, int], step: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the stretches that hold rows, cut to the range, in order."""
    length = step * _SECOND
    for number in sorted(counts):
        first, last = max(start, number * length), min(end, (number + 1) * length)
        if counts[number] > 0 and first < last:
            yield first, last, counts[number]
