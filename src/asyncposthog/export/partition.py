"""Parts of an export, to be run by other processes and on other machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from asyncposthog.core.executor import Executor
from asyncposthog.export.engines.base import ExportStats

from .request import QueryRequest
from .timestamps import to_datetime
from .windows import Window, merge_windows

__all__ = ["ExportPlan", "Partition", "make_plan"]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One part of an export. It can be pickled, and contains no API key."""

    number: int
    """Index of the part in order of time, from 0."""
    total: int
    """Number of parts."""
    rows: int | None
    """Rows that were counted in the part; None: not counted."""
    request: QueryRequest
    """The rows to export."""

    @property
    def start(self) -> datetime:
        """Start of the time range."""
        return to_datetime(self.request.start)

    @property
    def end(self) -> datetime:
        """End of the time range, exclusive."""
        return to_datetime(self.request.end)

    @property
    def requests(self) -> int:
        """Estimated number of queries, including one to count the rows."""
        return 1 + max(1, -(-(self.rows or 0) // self.request.page_size))


@dataclass(frozen=True, slots=True)
class ExportPlan(Sequence[Partition]):
    """Parts of an export. Together they are all of its rows, and no two share a row."""

    partitions: tuple[Partition, ...]

    @property
    def rows(self) -> int | None:
        """Rows that were counted; None: not counted."""
        counts = [p.rows for p in self.partitions if p.rows is not None]
        return sum(counts) if len(counts) == len(self.partitions) else None

    @property
    def requests(self) -> int:
        """Estimated number of queries of the whole export, including one to count the rows."""
        return 1 + sum(partition.requests - 1 for partition in self.partitions)

    @overload
    def __getitem__(self, index: int) -> Partition: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Partition]: ...
    def __getitem__(self, index: int | slice) -> Partition | Sequence[Partition]:
        """Return the part at an index, or the parts of a slice."""
        return self.partitions[index]

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.partitions)

    def __iter__(self) -> Iterator[Partition]:
        """Iterate over the parts."""
        return iter(self.partitions)


async def make_plan(
    executor: Executor, request: QueryRequest, partitions: int | None
) -> ExportPlan:
    """Return the parts of an export.

    Args:
        executor: Performs the calls.
        request: The rows to export.
        partitions: The number of parts, at most; None: about a page of rows each.

    Raises:
        ValueError: The export cannot be divided, or `partitions` is below 1.
        PostHogError: A query failed after all retries.
    """
    if request.source.time is None:
        raise ValueError("an export without a time cannot be divided; give hogql() start and end")
    if partitions is not None and (isinstance(partitions, bool) or partitions < 1):
        raise ValueError(f"partitions must be 1 or more, not {partitions}")
    if request.overlap:
        # Each part would need the delivered keys of the whole export.
        raise ValueError("an export with overlap= cannot be divided: plan it without overlap=")
    now = int(executor.transport.clock.time() * 1_000_000)
    engine = request.make_query_engine(executor, request.resolve_bounds(now))
    windows = await engine.plan(ExportStats())
    groups = _group_windows(windows, partitions or len(windows))
    return ExportPlan(
        tuple(
            Partition(
                number=number,
                total=len(groups),
                rows=None if window.expected_rows is None else round(window.expected_rows),
                request=request.between(window.start, window.end),
            )
            for number, window in enumerate(groups)
        )
    )


def _group_windows(windows: Sequence[Window], count: int) -> list[Window]:
    """Merge adjacent windows into at most `count`, of about the same number of rows each."""
    if len(windows) <= count:
        return list(windows)
    sizes = [1.0 if window.expected_rows is None else window.expected_rows for window in windows]
    total_rows, rows_before, groups = sum(sizes) or 1.0, 0.0, dict[int, list[Window]]()
    for window, size in zip(windows, sizes, strict=True):
        group = min(count - 1, int((rows_before + size / 2) * count / total_rows))
        groups.setdefault(group, []).append(window)
        rows_before += size
    return [merge_windows(group) for group in groups.values()]
