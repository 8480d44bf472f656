"""What a sink is to the job that feeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import Shape
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.report import FileReport

__all__ = ["Mark", "Sink"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment up to which everything is safe: an export can go on from here."""

    position: Any
    """Of the last row that is safe."""
    state: Mapping[str, Any]
    """What the sink has to know to go on, as JSON data."""


class Sink(Protocol[T]):
    """Takes prepared pieces in order. All but `prepare` may block: they run in a worker thread."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is written where, as JSON data: a checkpoint is good for no other."""
        ...

    @property
    def target(self) -> Path | None:
        """The file or folder that is written, which is locked meanwhile; None: there is none."""
        ...

    @property
    def is_folder(self) -> bool:
        """Whether the target is a folder."""
        ...

    @property
    def replaces(self) -> bool:
        """Whether output that exists already is replaced."""
        ...

    @property
    def shape(self) -> Shape:
        """What a state looks like."""
        ...

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        ...

    @property
    def checksum(self) -> int:
        """The checksum of their keys."""
        ...

    def check(self, state: Mapping[str, Any] | None, ours: bool) -> None:
        """Find out whether it could begin, and change nothing.

        Args:
            state: Of the mark to go on from; None: from the beginning.
            ours: Whether output that is there already is that of an earlier run.

        Raises:
            FileExistsError: The output exists already.
            ExportError: It cannot be written, or is not what was left behind, to the byte.
        """
        ...

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Open what is to be written, cut back to what was safe.

        Raises:
            ExportError: It cannot be written.
        """
        ...

    def prepare(self, batch: Batch) -> T:
        """Turn rows into what is written. Called from several threads."""
        ...

    def write(self, piece: PreparedBatch[T], *, durable: bool) -> Mark | None:
        """Write a piece.

        Args:
            piece: The next one.
            durable: Whether a checkpoint is kept, so that what is written has to be synced.

        Returns:
            Up to where everything is safe, where that has changed.
        """
        ...

    def finish(self) -> Mapping[str, Any]:
        """Write what is left, and sync it. The output has not its name yet.

        Returns:
            The last state.
        """
        ...

    def publish(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the output its name, also where an earlier run did but could not say so.

        Args:
            state: The last one.
            verify: Whether files are compared with their checksums first: an earlier run has
                written them.

        Raises:
            FileExistsError: Another output has appeared.
            ExportError: It is not what was written, or cannot get its name.
        """
        ...

    def close(self, *, keep: bool) -> None:
        """Close what is open, after a failure.

        Args:
            keep: Whether the export may go on later, from a checkpoint. If not, everything that
                this run has written is removed, also what has its name already.
        """
        ...
