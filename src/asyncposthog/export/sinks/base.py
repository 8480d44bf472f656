"""Interface between an export and the sink that it writes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import Validator
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.report import FileReport

__all__ = ["RecordingSink", "SafePoint", "Sink"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SafePoint:
    """State from which an export can resume, because everything before it is on disk."""

    position: Any
    """Position of the last row that is on disk."""
    state: Mapping[str, Any]
    """State of the sink, as JSON data."""


class Sink(Protocol[T]):
    """Writer of prepared batches, in order.

    Methods other than `prepare` may block, because they run in a worker thread.
    """

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What is written where, as JSON data, to compare with that of a checkpoint."""
        ...

    @property
    def target(self) -> Path | None:
        """File or folder that is written and locked meanwhile; None: there is none."""
        ...

    @property
    def is_folder(self) -> bool:
        """Whether the target is a folder."""
        ...

    @property
    def replaces(self) -> bool:
        """Whether existing output is replaced."""
        ...

    @property
    def state_validator(self) -> Validator:
        """Validator of the state in a checkpoint."""
        ...

    @property
    def rows(self) -> int:
        """Rows written so far."""
        ...

    @property
    def checksum(self) -> int:
        """Checksum of their keys."""
        ...

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin. Nothing is changed.

        Args:
            state: The state to resume from; None: from the beginning.
            owns_output: Whether existing output is that of an earlier run of the same export.

        Raises:
            FileExistsError: The output exists.
            ExportError: It cannot be written, or differs from what an earlier run wrote.
        """
        ...

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Open the output, and cut it back to what was on disk at the safe point.

        Raises:
            ExportError: It cannot be written.
        """
        ...

    def prepare(self, batch: Batch) -> T:
        """Convert rows to what is written. Called from several threads."""
        ...

    def write(self, batch: PreparedBatch[T], *, durable: bool) -> SafePoint | None:
        """Write a batch.

        Args:
            batch: The next batch.
            durable: Whether there is a checkpoint, so that data has to be synced to disk.

        Returns:
            The new safe point, if there is one.
        """
        ...

    def finish(self) -> Mapping[str, Any]:
        """Write what is buffered, and sync it. The output does not have its final name yet.

        Returns:
            The final state.
        """
        ...

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the output its final name. Succeeds if an earlier run did so without recording it.

        Args:
            state: The final state.
            verify: Whether to compare the files with their checksums first, because an earlier run
                wrote them.

        Raises:
            FileExistsError: Other output has been created in the meantime.
            ExportError: The output is not what was written, or cannot get its final name.
        """
        ...

    def close(self, *, keep: bool) -> None:
        """Close everything after an error.

        Args:
            keep: Whether a later run can resume from a checkpoint. If not, everything that this run
                wrote is removed, including files that have their final name.
        """
        ...


@runtime_checkable
class RecordingSink(Protocol):
    """Sink whose output itself records how far an export has come, with every commit.

    What an interrupted run has committed stays, because another run continues after it.
    """

    def recover(self, identity: str) -> SafePoint | None:
        """Return the safe point that the output records; None: it has no commit of this export.

        Args:
            identity: Identifies the export: its rows, its time range and its target.

        Returns:
            The safe point, whose position is None if the export is complete.

        Raises:
            ExportError: The output cannot be read.
        """
        ...
