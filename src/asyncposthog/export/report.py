"""What an export tells while it runs, and when it has ended."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FileReport", "Progress", "Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an export is. Given to `on_progress` after every piece."""

    rows: int
    """Rows handed on, those of earlier runs included."""
    expected: int | None
    """Rows that were counted beforehand; None: they were not."""
    windows: int
    """Windows that were read."""
    windows_total: int
    """Those, and the ones that remain as far as is known."""
    requests: int
    """Requests that were sent."""
    waits: int
    """Waits so far: before a repeat, or for a rate limit."""
    elapsed: float
    """Seconds since this run began."""
    rows_before: int = 0
    """Rows that earlier runs had handed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of an export."""

    path: str
    rows: int
    bytes: int
    sha256: str
    """Of the file's bytes, in hexadecimal: what `sha256sum` prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an export did. Numbers include earlier runs that it went on from."""

    rows: int
    """Rows that were written or handed on."""
    windows: int
    """Windows that were read."""
    splits: int
    """Windows that were cut because they were too much for the server."""
    requests: int
    """Requests that were sent, repeats included."""
    retries: int
    """Those of them that were repeats."""
    waits: int
    """Waits before a repeat, and for a rate limit where it took 50 ms or more."""
    waited: float
    """Seconds of these waits, added up over requests that wait side by side."""
    duplicates: int
    """Rows left out because they were there already."""
    received: int
    """Bytes of the answers."""
    written: int
    """Bytes of the files."""
    duration: float
    """Seconds, of this run alone."""
    checksum: str
    """Of the keys of all rows, whatever their order: exports of the same rows agree."""
    files: tuple[FileReport, ...] = ()
    resumed: bool = False
    """Whether an earlier run had been interrupted, and this one went on from it."""
    late: int = 0
    """Rows beyond those that were counted beforehand: they arrived between counting and reading."""
    deleted: int = 0
    """Rows that were counted beforehand and were gone when they were read: deleted, or merged.

    A second count confirmed it: where one does not, the export fails.
    """
    notes: tuple[str, ...] = ()
    """What is worth knowing about how it went."""
