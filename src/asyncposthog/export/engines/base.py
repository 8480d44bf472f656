"""Interface between an export and the engine that reads its rows, and the statistics they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from anyio.abc import TaskGroup

from asyncposthog.export.batch import Batch

__all__ = ["BatchReader", "Engine", "ExportStats", "Prepare", "PreparedBatch"]

T = TypeVar("T")

Prepare: TypeAlias = Callable[[Batch], T]
"""Converts rows to what a sink writes. Called in a worker thread, for one batch at a time."""


@dataclass(frozen=True, slots=True)
class PreparedBatch(Generic[T]):
    """A batch that was converted for a sink."""

    content: T
    rows: int
    position: Any
    """The position after the batch, as JSON data that its engine understands."""


@dataclass(slots=True, kw_only=True)
class ExportStats:
    """Counters of an export. They are stored in the checkpoint, so that they include earlier runs.

    The fields are part of the checkpoint's format: a new one requires a new version of it.
    """

    windows: int = 0
    """Windows that were read."""
    windows_total: int = 0
    """Windows that were read, and those known to remain."""
    splits: int = 0
    """Windows that were split because they were too much for the server."""
    requests: int = 0
    """Requests sent, including retries."""
    retries: int = 0
    """Requests that were retries."""
    waits: int = 0
    """Waits before a retry or for a rate limit."""
    waited_seconds: float = 0.0
    """Duration of these waits in seconds, summed over concurrent requests."""
    bytes_received: int = 0
    """Bytes of response bodies."""
    duplicates_skipped: int = 0
    """Rows left out because an equal one was exported."""
    expected: int | None = None
    """Rows counted before reading; None: not counted."""
    has_cached_files: bool = False
    """Whether downloaded files are kept for another run of the export."""
    late: int = 0
    """Rows received beyond those counted before reading; a second count confirmed them."""
    deleted: int = 0
    """Rows counted before reading and gone when read; a second count confirmed it."""
    notes: list[str] = field(default_factory=list[str])
    """Remarks for the user, for example why an engine was chosen."""


class BatchReader(Protocol[T]):
    """Rows of an export in batches, read on request."""

    async def read(self) -> list[PreparedBatch[T]]:
        """Return the next batches in order; an empty list at the end.

        Raises:
            PostHogError: A request failed after all retries. All batches before it were returned.
        """
        ...

    async def close(self, *, complete: bool) -> None:
        """Release files and locks. A reader without a task group need not be closed.

        Args:
            complete: Whether all batches were processed. If not, downloaded files are kept for
                another run of a resumable export.
        """
        ...


class Engine(Protocol):
    """Source of the rows of an export, in order, after a position."""

    async def open(
        self,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
        tasks: TaskGroup | None = None,
    ) -> BatchReader[T]:
        """Start reading.

        Args:
            position: The position of the last processed batch; None: from the beginning.
            prepare: Called for every batch, in a worker thread.
            stats: Updated while reading.
            tasks: Reads ahead in the background while batches are processed. None: nothing runs
                between calls of `BatchReader.read`.

        Raises:
            PostHogError: A request failed after all retries.
        """
        ...
