"""JSONL and CSV: one file, plain or gzipped."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from gzip import compress
from hashlib import file_digest, sha256
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import (
    create,
    partial_name,
    publish,
    reopen,
    sha256_of,
    translate_os_errors,
)
from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import text_state
from asyncposthog.export.checksum import MASK, key_sum
from asyncposthog.export.encode import csv_header, csv_lines, json_lines
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.report import FileReport

from .base import Mark

__all__ = ["TextSink"]

_MEMBER: Final = 20_000
"""Rows of one gzip member. Fixed, so that the bytes do not depend on how the rows came."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """The rows of a batch, written out."""

    content: bytes
    rows: int
    checksum: int
    columns: tuple[str, ...]
    batch: Batch | None
    """Kept where a member may have to end inside of it."""


class TextSink:
    """Writes lines to a file, which has another name until it is complete."""

    def __init__(
        self, path: Path, form: Literal["jsonl", "csv"], *, overwrite: bool = False
    ) -> None:
        """Open nothing yet.

        Args:
            path: The file. With a name that ends in `.gz` it is compressed.
            form: What a line is.
            overwrite: Whether a file that has the name is replaced.
        """
        self._path = path
        self._overwrite = overwrite
        self._partial = partial_name(path)
        self._form: Literal["jsonl", "csv"] = form
        self._gzip = path.suffix.lower() == ".gz"
        self._file: FileIO | None = None
        self._columns: tuple[str, ...] | None = None
        self._offset = 0
        self._digest = sha256()
        self._published = False
        self.target = path
        self.is_folder = False
        self.replaces = overwrite
        self.shape = text_state
        self.rows = 0
        self.checksum = 0
        self._waiting: list[Batch] = []
        self._held = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """The format and the file."""
        return {"format": self._form, "path": str(self._path.absolute())}

    def check(self, state: Mapping[str, Any] | None, ours: bool) -> None:
        """Find out whether it could begin."""
        if state is None:
            self._check_free("is no export that was interrupted")
            return
        if not self._overwrite and not self._partial.exists() and self._path.exists():
            return  # published, but not noted: `publish` looks at its size
        self._check_free("was made while the export was interrupted")
        size = self._partial.stat().st_size if self._partial.exists() else -1
        if size < state["offset"]:
            raise ExportError(
                f"{self._partial} is not what the checkpoint says was written: it has "
                f"{max(size, 0):,} bytes of {state['offset']:,}.",
                suggestion="Remove the checkpoint to begin anew.",
            )

    def _check_free(self, why: str) -> None:
        if self._overwrite and not self._path.is_dir():
            return
        if os.path.lexists(self._path):
            advice = "Remove it, choose another name, or replace it with overwrite=True."
            if self._path.is_dir():
                advice = "Remove it, or choose another name."
            raise FileExistsError(f"{self._path} exists already, and {why}. {advice}")

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Open the file, cut back to what was safe."""
        with translate_os_errors(self._path):
            if state is None:
                self._file = create(self._partial)
                return
            self._file = reopen(self._partial)
            self._file.truncate(state["offset"])
            self._digest = file_digest(self._file, "sha256")
        if self._digest.hexdigest() != state["sha256"]:
            raise ExportError(
                f"{self._partial} is not what the checkpoint says was written: its bytes changed.",
                suggestion="Remove the checkpoint to begin anew.",
            )
        self._offset = state["offset"]
        self.rows, self.checksum = state["rows"], state["sum"]
        self._columns = None if state["columns"] is None else tuple(state["columns"])

    def prepare(self, batch: Batch) -> EncodedBatch:
        """Write rows out as lines."""
        if self._gzip:
            return EncodedBatch(b"", 0, 0, batch.columns, batch)
        keys = key_sum(batch.keys)
        return EncodedBatch(self._encode(batch), len(batch), keys, batch.columns, None)

    def _encode(self, batch: Batch) -> bytes:
        return json_lines(batch) if self._form == "jsonl" else csv_lines(batch)

    def write(self, piece: PreparedBatch[EncodedBatch], *, durable: bool) -> Mark | None:
        """Append lines."""
        lines, position = piece.content, piece.position
        with translate_os_errors(self._path):
            self._write_header(lines.columns)
            if lines.batch is not None:
                position = self._buffer(lines.batch)
            self._append(lines.content, lines.rows, lines.checksum)
            if not durable or position is None:
                return None
            assert self._file is not None
            os.fsync(self._file.fileno())
        return Mark(position, self._state())

    def _write_header(self, columns: tuple[str, ...]) -> None:
        if self._columns is None:
            self._columns = columns
            if self._form == "csv":
                header = csv_header(columns)
                self._append(compress(header, mtime=0) if self._gzip else header, 0, 0)
        elif columns != self._columns:
            raise ExportError(
                f"The columns changed from {', '.join(self._columns)} to {', '.join(columns)}.",
                suggestion="Name the columns to export.",
            )

    def _buffer(self, batch: Batch) -> Any:
        """Take rows, and compress whenever there are enough for a member.

        Returns:
            The position behind the last member; None where there is no new one.
        """
        position = None
        while self._held + len(batch) >= _MEMBER:
            need = _MEMBER - self._held
            position = batch.position(need)
            self._waiting.append(batch.cut(0, need))
            self._compress_member()
            batch = batch.cut(need, len(batch))
        if len(batch):
            self._waiting.append(batch)
            self._held += len(batch)
        return position

    def _compress_member(self) -> None:
        waiting, self._waiting, self._held = self._waiting, [], 0
        content = b"".join(map(self._encode, waiting))
        keys = sum(key_sum(batch.keys) for batch in waiting)
        self._append(compress(content, 6, mtime=0), sum(map(len, waiting)), keys)

    def _append(self, content: bytes, rows: int, keys: int) -> None:
        file = self._file
        assert file is not None
        try:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
        except OSError:
            # Half a line is of no use to anybody.
            with contextlib.suppress(OSError):
                file.truncate(self._offset)
                file.seek(self._offset)
            raise
        self._offset += len(content)
        self._digest.update(content)
        self.rows += rows
        self.checksum = (self.checksum + keys) & MASK

    def _state(self) -> dict[str, Any]:
        return {
            "offset": self._offset,
            "sha256": self._digest.hexdigest(),
            "rows": self.rows,
            "sum": self.checksum,
            "columns": self._columns,
        }

    def finish(self) -> Mapping[str, Any]:
        """Write what waits, and sync the file."""
        with translate_os_errors(self._path):
            if self._waiting:
                self._compress_member()
            assert self._file is not None
            os.fsync(self._file.fileno())
            self._file.close()
        return self._state()

    def publish(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the file its name."""
        ours = self._partial.exists()
        if ours:
            self._check_free("was made while the export ran")
        elif not self._path.exists():
            raise ExportError(
                f"{self._path} is gone, which the checkpoint says is complete.",
                suggestion="Remove the checkpoint to export it again.",
            )
        path = self._partial if ours else self._path
        with translate_os_errors(path):
            size = path.stat().st_size
            why = ""
            if size != state["offset"]:
                why = f"it has {size:,} bytes of {state['offset']:,}"
            elif verify and sha256_of(path) != state["sha256"]:
                why = "its bytes changed"
        if why:
            raise ExportError(
                f"{path} is not what the checkpoint says was written: {why}.",
                suggestion="Remove it and the checkpoint to export it again.",
            )
        if ours:
            with translate_os_errors(self._path):
                publish(self._partial, self._path)
            self._published = True
        return (
            FileReport(
                path=str(self._path),
                rows=state["rows"],
                bytes=size,
                sha256=state["sha256"],
            ),
        )

    def close(self, *, keep: bool) -> None:
        """Close the file; remove it if no other run can go on with it."""
        if self._file is not None:
            self._file.close()
            if not keep:
                self._partial.unlink(missing_ok=True)
                if self._published and not self._overwrite:
                    self._path.unlink(missing_ok=True)
