"""The windows of an export, as data: which to read next, and what follows from an answer. Pure.

A window that came back full goes on behind its last row; what is left of it is cut into as many
pieces as its density promises, unless its rows were counted: then it stays in one piece, so that
what was received can be compared with that. One that was too much for the server is halved.
Neighbours that hold little are read as one. Whatever is cut or merged, the windows cover the
range, once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from .source import Place

__all__ = [
    "Stretch",
    "Window",
    "WindowQueue",
    "WindowSlot",
    "bucket_seconds",
    "counted_stretches",
    "crowded_ranges",
    "even_windows",
    "fitted_windows",
    "halves",
    "merged",
    "refined",
    "remainder",
]

T = TypeVar("T")

_FILL: Final = 0.95
"""How full a page may be expected to be: counts are estimates."""
_PIECES: Final = 64
"""How many windows one may become at a time."""
_LEAST: Final = 100
"""The smallest page."""
_GROWTH: Final = 4096
"""How many neighbours of unknown content are read as one at most."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, from `start` up to but not including `end`, in microseconds."""

    start: int
    end: int
    after: Place | None = None
    """The last row known, where part of the window was read."""
    rows: float | None = None
    """How many rows it is expected to hold; None: nobody knows."""
    limit: int | None = None
    """How many rows to ask for at a time, where fewer than usual are all the server can do."""
    alone: bool = False
    """Whether it stays apart: for one, because it was part of what was too much for the server."""
    counted: int | None = None
    """How many rows were counted between `origin` and `end`; None: they were not."""
    origin: int | None = None
    """Where those rows begin, if not at `start`."""
    received: int | None = 0
    """How many of them were received, up to `after`; None: unknown, an earlier run received them.
    """
    duplicates: int = 0
    """How many of these are the same as the row before."""
    repeated: int = 0
    """How many rows behind `after` were on the last page already, and were left for the next."""


def halves(window: Window) -> tuple[Window, Window] | None:
    """Return the two halves of a window; None if it cannot be divided."""
    start = max(window.start, window.after.time) if window.after else window.start
    middle = (start + window.end) // 2
    if middle <= start:
        return None
    rows = None if window.rows is None else window.rows / 2
    # How the rows counted are divided is not known, nor how many before the middle were received.
    received = 0 if window.after is None else None
    return (
        replace(window, end=middle, rows=rows, alone=True, counted=None, received=received),
        Window(middle, window.end, rows=rows, limit=window.limit, alone=True),
    )


def remainder(window: Window, rest: Window, count: int, target: int) -> list[Window]:
    """Return what is left of a window that was read as far as a row.

    Args:
        window: The window that was read.
        rest: The same behind that row. Where it is not known how many rows it holds, it is divided.
        count: How many rows were received.
        target: How many rows a window should hold.
    """
    last = rest.after
    assert last is not None
    rest = replace(rest, start=max(window.start, last.time))
    took = last.time - window.start
    left = window.end - last.time
    if rest.rows is not None or took <= 0 or left <= 1:
        return [rest]
    expected = count * left / took
    if window.rows is not None:
        # The density of the part that was read may not be that of the rest.
        expected = max(window.rows - count, 1.0)
    pieces = min(max(1, math.ceil(expected / target)), _PIECES, left)
    if pieces == 1:
        return [replace(rest, rows=expected)]
    cuts = [last.time + left * i // pieces for i in range(1, pieces)]
    bounds = [last.time, *cuts, window.end]
    found = [
        Window(begin, end, rows=expected / pieces, limit=window.limit)
        for begin, end in itertools.pairwise(bounds)
    ]
    first = replace(rest, end=cuts[0], rows=expected / pieces, counted=None, received=None)
    return [first, *found[1:]]


def merged(windows: Sequence[Window]) -> Window:
    """Return neighbours as one window."""
    known = [w.rows for w in windows if w.rows is not None]
    rows = sum(known) if len(known) == len(windows) else None
    counts = [w.counted for w in windows if w.counted is not None]
    counted = sum(counts) if len(counts) == len(windows) else None
    return replace(windows[0], end=windows[-1].end, rows=rows, counted=counted)


@dataclass(slots=True, eq=False)
class WindowSlot(Generic[T]):
    """A window's place in the order, and once it was read, what came of it."""

    window: Window
    state: Literal["waiting", "taken", "ready", "gone"] = "waiting"
    result: T | None = None


class WindowQueue(Generic[T]):
    """The windows still to be read, and the results still to be handed on, in order."""

    def __init__(self, windows: Iterable[Window], limit: int) -> None:
        """Begin with windows that follow each other without gap or overlap.

        Args:
            windows: They cover the range.
            limit: How many rows the server gives at most.
        """
        self.limit = limit
        self.splits = 0
        self.done = 0
        """Windows that were read to their end."""
        self.open = 0
        """Windows being read, and results that wait to be handed on."""
        self._tickets: list[WindowSlot[T]] = [WindowSlot(window) for window in windows]
        self._rows_per_micro: float | None = None
        self._grown = 1

    @property
    def total(self) -> int:
        """How many windows there are, those that were read included."""
        return self.done + sum(ticket.state != "ready" for ticket in self._tickets)

    @property
    def target(self) -> int:
        """How many rows a window should hold."""
        return max(1, int(self.limit * _FILL))

    @property
    def finished(self) -> bool:
        """Whether everything was read and handed on."""
        return not self._tickets

    @property
    def first_waits(self) -> bool:
        """Whether the first window in order is not being read, and everything waits for it."""
        return bool(self._tickets) and self._tickets[0].state == "waiting"

    def take(self) -> WindowSlot[T] | None:
        """Return the first window that nobody reads, together with neighbours that hold little."""
        for index, ticket in enumerate(self._tickets):
            if ticket.state == "waiting":
                stop = self._merge_end(index)
                ticket.window = merged([t.window for t in self._tickets[index:stop]])
                del self._tickets[index + 1 : stop]
                ticket.state = "taken"
                self.open += 1
                return ticket
        return None

    def _merge_end(self, index: int) -> int:
        """Return where the neighbours end that fit onto one page with a window."""
        total, unknown, stop = 0.0, 0, index
        for ticket in self._tickets[index : index + _GROWTH]:
            window = ticket.window
            rows = self._expected(window)
            unknown += rows is None
            total += rows or 0.0
            full = total > self.target or unknown > self._grown or window.alone
            if ticket.state != "waiting" or (stop > index and (full or window.after is not None)):
                break
            stop += 1
            if window.alone:
                break
        return stop

    def _expected(self, window: Window) -> float | None:
        if window.rows is not None:
            return window.rows
        return (
            None
            if self._rows_per_micro is None
            else self._rows_per_micro * (window.end - window.start)
        )

    def finish(self, ticket: WindowSlot[T], count: int, result: T) -> None:
        """Note that a window was read to its end, with so many rows."""
        ticket.state, ticket.result = "ready", result
        self.done += 1
        self._learn(ticket.window, count)

    def go_on(self, ticket: WindowSlot[T], rest: Window, count: int, result: T) -> None:
        """Note that so many rows of a window were read, and what there may be more of it."""
        index = self._tickets.index(ticket)
        parts = remainder(ticket.window, rest, count, self.target)
        self._tickets[index + 1 : index + 1] = [WindowSlot(window) for window in parts]
        ticket.state, ticket.result = "ready", result
        if rest.rows == 0:
            self._learn(ticket.window, count)
        else:
            self._grown = 1

    def _learn(self, window: Window, count: int) -> None:
        """Note how many rows a window had, for those of which nothing is known."""
        length = window.end - window.start
        if window.after is None:
            self._rows_per_micro = count / length if length > 0 else None
        if count * 4 < self.target:
            self._grown = min(self._grown * 2, _GROWTH)
        elif count * 2 > self.target:
            self._grown = max(1, self._grown // 2)

    def split(self, ticket: WindowSlot[T]) -> bool:
        """Replace a window that was too much for the server by its halves.

        One that cannot be divided is read in smaller pages; False if they cannot be smaller.
        """
        window = ticket.window
        parts = halves(window)
        if parts is None:
            limit = (window.limit or self.limit) // 2
            if limit < _LEAST:
                return False
            parts = (replace(window, limit=limit),)
        index = self._tickets.index(ticket)
        self._tickets[index : index + 1] = [WindowSlot(window) for window in parts]
        ticket.state = "gone"
        self.open -= 1
        self.splits += 1
        self._grown = 1
        return True

    def give_back(self, ticket: WindowSlot[T]) -> None:
        """Note that a window is not being read after all."""
        ticket.state = "waiting"
        self.open -= 1

    def pop(self, *, ordered: bool = True) -> WindowSlot[T] | None:
        """Return a result to be handed on: the next in order, or any; None if there is none."""
        for index, ticket in enumerate(self._tickets):
            if ticket.state == "ready":
                del self._tickets[index]
                self.open -= 1
                return ticket
            if ordered:
                break
        return None


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
