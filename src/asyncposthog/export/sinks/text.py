"""Sink for JSONL and CSV: one file, plain or gzipped."""

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
    commit,
    create,
    partial_name,
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

from .base import SafePoint

__all__ = ["TextSink"]

_MEMBER_ROWS: Final = 20_000
"""Rows of one gzip member. Fixed, so that the bytes do not depend on how the rows arrived."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """The rows of a batch, encoded."""

    content: bytes
    rows: int
    checksum: int
    columns: tuple[str, ...]
    batch: Batch | None
    """The rows themselves, if they are compressed: a gzip member may have to end inside of the
    batch."""


class TextSink:
    """Writer of lines to a file, which has another name until it is complete."""

    def __init__(
        self, path: Path, format: Literal["jsonl", "csv"], *, overwrite: bool = False
    ) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            path: The file. A name that ends in `.gz` compresses it.
            format: The format of a line.
            overwrite: Whether an existing file is replaced.
        """
        self._path = path
        self._overwrite = overwrite
        self._partial = partial_name(path)
        self._format: Literal["jsonl", "csv"] = format
        self._gzip = path.suffix.lower() == ".gz"
        self._file: FileIO | None = None
        self._columns: tuple[str, ...] | None = None
        self._offset = 0
        self._digest = sha256()
        self._committed = False
        self.target = path
        self.is_folder = False
        self.replaces = overwrite
        self.state_validator = text_state
        self.rows = 0
        self.checksum = 0
        self._pending: list[Batch] = []
        self._pending_rows = 0

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format and the path."""
        return {"format": self._format, "path": str(self._path.absolute())}

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        if state is None:
            self._check_target_free("is not an interrupted export")
            return
        if not self._overwrite and not self._partial.exists() and self._path.exists():
            # An earlier run gave the file its final name, and was killed before it recorded that.
            # `commit` compares the size.
            return
        self._check_target_free("was created while the export was interrupted")
        size = self._partial.stat().st_size if self._partial.exists() else -1
        if size < state["offset"]:
            raise ExportError(
                f"{self._partial} is not what the checkpoint says was written: it has "
                f"{max(size, 0):,} bytes of {state['offset']:,}.",
                suggestion="Remove the checkpoint to start again.",
            )

    def _check_target_free(self, reason: str) -> None:
        if self._overwrite and not self._path.is_dir():
            return
        if os.path.lexists(self._path):
            suggestion = "Remove it, choose another name, or replace it with overwrite=True."
            if self._path.is_dir():
                suggestion = "Remove it, or choose another name."
            raise FileExistsError(f"{self._path} already exists and {reason}. {suggestion}")

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Open the file, and cut it back to what was on disk at the safe point."""
        with translate_os_errors(self._path):
            if state is None:
                self._file = create(self._partial)
                return
            self._file = reopen(self._partial)
            self._file.truncate(state["offset"])
            # Reads the whole file, but only once per resumed run. From here on the digest is
            # updated.
            self._digest = file_digest(self._file, "sha256")
        if self._digest.hexdigest() != state["sha256"]:
            raise ExportError(
                f"{self._partial} is not what the checkpoint says was written: its bytes changed.",
                suggestion="Remove the checkpoint to start again.",
            )
        self._offset = state["offset"]
        self.rows, self.checksum = state["rows"], state["sum"]
        self._columns = None if state["columns"] is None else tuple(state["columns"])

    def prepare(self, batch: Batch) -> EncodedBatch:
        """Encode rows as lines. Compressed ones are encoded later, when a gzip member is full."""
        if self._gzip:
            return EncodedBatch(b"", 0, 0, batch.columns, batch)
        checksum = key_sum(batch.keys)
        return EncodedBatch(self._encode(batch), len(batch), checksum, batch.columns, None)

    def _encode(self, batch: Batch) -> bytes:
        return json_lines(batch) if self._format == "jsonl" else csv_lines(batch)

    def write(self, batch: PreparedBatch[EncodedBatch], *, durable: bool) -> SafePoint | None:
        """Append lines."""
        encoded, position = batch.content, batch.position
        with translate_os_errors(self._path):
            self._write_header(encoded.columns)
            if encoded.batch is not None:
                position = self._buffer(encoded.batch)
            self._append(encoded.content, encoded.rows, encoded.checksum)
            if not durable or position is None:
                return None
            assert self._file is not None
            os.fsync(self._file.fileno())
        return SafePoint(position, self._state())

    def _write_header(self, columns: tuple[str, ...]) -> None:
        if self._columns is None:
            self._columns = columns
            if self._format == "csv":
                header = csv_header(columns)
                self._append(compress(header, mtime=0) if self._gzip else header, 0, 0)
        elif columns != self._columns:
            raise ExportError(
                f"The columns changed from {', '.join(self._columns)} to {', '.join(columns)}.",
                suggestion="Export fixed columns, with columns=.",
            )

    def _buffer(self, batch: Batch) -> Any:
        """Buffer rows, and compress whenever there are enough for a gzip member.

        Returns:
            The position after the last complete member; None if no member was completed.
        """
        position = None
        while self._pending_rows + len(batch) >= _MEMBER_ROWS:
            missing_rows = _MEMBER_ROWS - self._pending_rows
            position = batch.position(missing_rows)
            self._pending.append(batch.slice(0, missing_rows))
            self._compress_member()
            batch = batch.slice(missing_rows, len(batch))
        if len(batch):
            self._pending.append(batch)
            self._pending_rows += len(batch)
        return position

    def _compress_member(self) -> None:
        pending, self._pending, self._pending_rows = self._pending, [], 0
        # mtime=0: a timestamp in the header would make the bytes of a resumed export differ.
        content = b"".join(map(self._encode, pending))
        checksum = sum(key_sum(batch.keys) for batch in pending)
        self._append(compress(content, 6, mtime=0), sum(map(len, pending)), checksum)

    def _append(self, content: bytes, rows: int, checksum: int) -> None:
        file = self._file
        assert file is not None
        try:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
        except OSError:
            # After a partial write, such as on a full disk, the file must not end inside a line.
            with contextlib.suppress(OSError):
                file.truncate(self._offset)
                file.seek(self._offset)
            raise
        self._offset += len(content)
        self._digest.update(content)
        self.rows += rows
        self.checksum = (self.checksum + checksum) & MASK

    def _state(self) -> dict[str, Any]:
        return {
            "offset": self._offset,
            "sha256": self._digest.hexdigest(),
            "rows": self.rows,
            "sum": self.checksum,
            "columns": self._columns,
        }

    def finish(self) -> Mapping[str, Any]:
        """Write what is buffered, and sync the file."""
        with translate_os_errors(self._path):
            if self._pending:
                self._compress_member()
            assert self._file is not None
            os.fsync(self._file.fileno())
            self._file.close()
        return self._state()

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the file its final name."""
        has_partial = self._partial.exists()
        if has_partial:
            self._check_target_free("was created while the export ran")
        elif not self._path.exists():
            raise ExportError(
                f"{self._path} is gone, although the checkpoint says it is complete.",
                suggestion="Remove the checkpoint to export it again.",
            )
        path = self._partial if has_partial else self._path
        with translate_os_errors(path):
            size = path.stat().st_size
            reason = ""
            if size != state["offset"]:
                reason = f"it has {size:,} bytes of {state['offset']:,}"
            elif verify and sha256_of(path) != state["sha256"]:
                reason = "its bytes changed"
        if reason:
            raise ExportError(
                f"{path} is not what the checkpoint says was written: {reason}.",
                suggestion="Remove it and the checkpoint to export it again.",
            )
        if has_partial:
            with translate_os_errors(self._path):
                commit(self._partial, self._path)
            self._committed = True
        return (
            FileReport(
                path=str(self._path),
                rows=state["rows"],
                bytes=size,
                sha256=state["sha256"],
            ),
        )

    def close(self, *, keep: bool) -> None:
        """Close the file, and remove it if no later run can resume."""
        if self._file is not None:
            self._file.close()
            if not keep:
                self._partial.unlink(missing_ok=True)
                if self._committed and not self._overwrite:
                    self._path.unlink(missing_ok=True)
