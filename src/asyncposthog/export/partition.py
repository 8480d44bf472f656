"""Parts of an export, to be run by other processes and on other machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from asyncposthog.core.executor import Executor
from asyncposthog.export.engines.base import Tally

from .request import QueryRequest
from .timestamps import to_datetime
from .windows import Window, merged

__all__ = ["ExportPlan", "Partition", "make_plan"]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A part of an export. It can be pickled, and holds no key."""

    number: int
    """Counted from 0, in the order of time."""
    of: int
    """How many there are."""
    rows: int | None
    """How many rows were counted in it; None: they were not."""
    request: QueryRequest
    """What to export."""

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return to_datetime(self.request.start)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return to_datetime(self.request.end)

    @property
    def requests(self) -> int:
        """How many queries it takes, about."""
        return 1 + max(1, -(-(self.rows or 0) // self.request.page_size))


@dataclass(frozen=True, slots=True)
class ExportPlan(Sequence[Partition]):
    """The parts of an export. Together they are all of it, and no two share a row."""

    partitions: tuple[Partition, ...]

    @property
    def rows(self) -> int | None:
        """How many rows were counted; None: they were not."""
        counts = [p.rows for p in self.partitions if p.rows is not None]
        return sum(counts) if len(counts) == len(self.partitions) else None

    @property
    def requests(self) -> int:
        """How many queries the export takes in one piece, about, with one to count the rows."""
        return 1 + sum(partition.requests - 1 for partition in self.partitions)

    @overload
    def __getitem__(self, index: int) -> Partition: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Partition]: ...
    def __getitem__(self, index: int | slice) -> Partition | Sequence[Partition]:
        """Return a part, or some."""
        return self.partitions[index]

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self.partitions)

    def __iter__(self) -> Iterator[Partition]:
        """Go through the parts."""
        return iter(self.partitions)


async def make_plan(
    executor: Executor, request: QueryRequest, partitions: int | None
) -> ExportPlan:
    """Divide an export.

    Raises:
        TypeError, ValueError: It cannot be divided, or not into so many parts.
    """
    if request.source.time is None:
        raise ValueError("an export without a time cannot be divided; give hogql() start and end")
    if partitions is not None and (isinstance(partitions, bool) or partitions < 1):
        raise ValueError(f"partitions must be 1 or more, not {partitions}")
    if request.overlap:
        raise ValueError("an export with overlap= cannot be divided: plan it without")
    now = int(executor.transport.clock.time() * 1_000_000)
    engine = request.query_engine(executor, request.settled(now))
    windows = await engine.plan(Tally())
    groups = _groups(windows, partitions or len(windows))
    return ExportPlan(
        tuple(
            Partition(
                number=number,
                of=len(groups),
                rows=None if window.rows is None else round(window.rows),
                request=request.between(window.start, window.end),
            )
            for number, window in enumerate(groups)
        )
    )


def _groups(windows: Sequence[Window], count: int) -> list[Window]:
    """Return at most `count` windows made of neighbours, of about as many rows each."""
    if len(windows) <= count:
        return list(windows)
    sizes = [1.0 if window.rows is None else window.rows for window in windows]
    whole, held, groups = sum(sizes) or 1.0, 0.0, dict[int, list[Window]]()
    for window, size in zip(windows, sizes, strict=True):
        place = min(count - 1, int((held + size / 2) * count / whole))
        groups.setdefault(place, []).append(window)
        held += size
    return [merged(group) for group in groups.values()]
