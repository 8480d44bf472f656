"""Progress of an export while it runs, and its report at the end."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FileReport", "Progress", "Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of an export. Passed to `on_progress` after every batch."""

    rows: int
    """Rows delivered, including those of earlier runs."""
    expected: int | None
    """Rows counted before reading; None: not counted."""
    windows: int
    """Time windows, or pages of a list, that were read."""
    windows_total: int
    """Windows that were read, and those known to remain."""
    requests: int
    """Requests sent."""
    waits: int
    """Waits so far, before a retry or for a rate limit."""
    elapsed: float
    """Seconds since this run started."""
    rows_before: int = 0
    """Rows that earlier runs delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of an export."""

    path: str
    rows: int
    bytes: int
    sha256: str
    """SHA-256 of the file in hexadecimal, as `sha256sum` prints it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Result of an export. Numbers include those of earlier runs that it resumed, unless noted."""

    rows: int
    """Rows written or passed to the callback."""
    windows: int
    """Time windows, or pages of a list, that were read."""
    splits: int
    """Windows that were split because they were too much for the server."""
    requests: int
    """Requests sent, including retries."""
    retries: int
    """Requests that were retries."""
    waits: int
    """Waits before a retry, and for a rate limit if it took 50 ms or more."""
    waited_seconds: float
    """Duration of these waits in seconds, summed over concurrent requests."""
    duplicates_skipped: int
    """Rows left out because an equal one was exported."""
    bytes_received: int
    """Bytes of response bodies."""
    bytes_written: int
    """Bytes of the files."""
    duration: float
    """Seconds that this run took, without earlier ones."""
    checksum: str
    """Checksum of the keys of all rows, independent of their order: equal for exports of the same
    rows."""
    files: tuple[FileReport, ...] = ()
    """The files that were written."""
    resumed: bool = False
    """Whether this run resumed an earlier one that was interrupted."""
    late: int = 0
    """Rows beyond those counted before reading: they arrived between counting and reading."""
    deleted: int = 0
    """Rows counted before reading and gone when read, because they were deleted or merged.

    A second count confirmed it; without that confirmation the export fails."""
    notes: tuple[str, ...] = ()
    """Remarks about the run, for example why an engine was chosen."""
