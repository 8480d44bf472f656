"""Sinks for a single Parquet file, and for a folder that replaces the one of an earlier export.

Both use a `ParquetSink` on a hidden staging folder beside or below the target. Its files get their
final place when the export is complete. A run that resumes finds them in the staging folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from hashlib import file_digest
from importlib import import_module
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any, Final

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import (
    commit,
    create,
    make_folder,
    move,
    partial_name,
    remove,
    reopen,
    sha256_of,
    sync_folder,
    translate_os_errors,
)
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.report import FileReport
from asyncposthog.query.arrow import pyarrow_module

from .base import SafePoint
from .parquet import ArrowBatch, ParquetSink, release_memory

__all__ = ["ParquetFileSink", "ParquetReplacementSink"]

_PART_ROWS: Final = 100_000
"""Rows of the parts that one file is made of: a resumed run requests at most this many again."""


class _StagedSink:
    """Base of both sinks: rows are written to files in a hidden staging folder."""

    def __init__(self, target: Path, staging: Path, sink: ParquetSink) -> None:
        self.target = target
        self.state_validator = sink.state_validator
        self._staging = staging
        self._sink = sink
        self._opened = False
        """Whether files with the names of staged files belong to this export."""

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._sink.rows

    @property
    def checksum(self) -> int:
        """Checksum of their keys."""
        return self._sink.checksum

    def prepare(self, batch: Batch) -> ArrowBatch:
        """Convert rows to Arrow tables."""
        return self._sink.prepare(batch)

    def _check_staging(self) -> None:
        """Check that the staging folder, if it exists, is a folder of this user."""
        try:
            status = self._staging.lstat()
        except FileNotFoundError:
            return
        other_user = hasattr(os, "getuid") and status.st_uid != os.getuid()
        if other_user or not stat.S_ISDIR(status.st_mode):
            raise ExportError(
                f"Cannot use {self._staging} for the files of the export: it is not a folder of "
                "this user.",
                suggestion="Remove it, or choose another target.",
            )

    def _open_staging(self, *, is_new: bool) -> None:
        """Create the staging folder, and empty it unless an earlier run is resumed."""
        self._check_staging()
        if is_new and self._staging.exists():
            shutil.rmtree(self._staging)
        self._staging.mkdir(mode=0o700, exist_ok=True)
        # Again: another program may have put a link there between the check and mkdir.
        self._check_staging()
        self._opened = True

    def _remove_staging(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)


class ParquetFileSink(_StagedSink):
    """Writer of one file.

    A Parquet file cannot be continued after its writing was interrupted. Therefore rows are written
    to parts of a fixed size in `.NAME.parts/`, which are complete files. From the second part on,
    their row groups are copied to `.NAME.partial`; a resumed run builds that file again from the
    parts. The bytes of the file depend on the rows alone.
    """

    is_folder = False

    def __init__(self, path: Path, *, rows_per_group: int, overwrite: bool) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            path: The file.
            rows_per_group: The number of rows of a row group, which a reader has in memory at a
                time.
            overwrite: Whether an existing file is replaced.

        Raises:
            ImportError: pyarrow is not installed.
        """
        # A multiple of the row group, so that no group is cut where a part ends.
        part_rows = max(1, _PART_ROWS // rows_per_group) * rows_per_group
        staging = path.with_name(f".{path.name}.parts")
        sink = ParquetSink(
            staging,
            rows_per_file=part_rows,
            rows_per_group=rows_per_group,
            by_day=False,
            root=staging.parent,
        )
        super().__init__(path, staging, sink)
        self._rows_per_group = rows_per_group
        self._overwrite = overwrite
        self.replaces = overwrite
        self._partial = partial_name(path)
        self._merged_file: _MergedFile | None = None
        self._committed = False

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format, the path, and how the rows are divided."""
        return {
            "format": "parquet file",
            "path": str(self.target.absolute()),
            "rows_per_group": self._rows_per_group,
        }

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        self._check_target_free(
            "is not an interrupted export"
            if state is None
            else "was created while the export was interrupted"
        )
        self._check_staging()
        if state is not None:
            self._sink.check(state, owns_output)

    def _check_target_free(self, reason: str) -> None:
        if self.target.is_dir():
            raise FileExistsError(
                f"{self.target} is a folder. Add a slash to write files into it, or choose another "
                "name for one file."
            )
        if os.path.lexists(self.target) and not self._overwrite:
            raise FileExistsError(
                f"{self.target} already exists and {reason}. Remove it, choose another name, or "
                "replace it with overwrite=True."
            )

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Open the parts, and cut them back to what was on disk at the safe point."""
        with translate_os_errors(self.target):
            remove(self._partial)
            self._open_staging(is_new=state is None)
        self._sink.begin(state)

    def write(self, batch: PreparedBatch[ArrowBatch], *, durable: bool) -> SafePoint | None:
        """Write rows, and complete the parts that they fill."""
        safe_point = self._sink.write(batch, durable=durable)
        self._copy_parts()
        return safe_point

    def _copy_parts(self) -> None:
        """Copy the complete parts to the file, unless there is only one."""
        parts = self._sink.files
        if len(parts) < 2:
            return
        with translate_os_errors(self.target):
            if self._merged_file is None:
                self._merged_file = _MergedFile(self._partial)
            for part in parts[self._merged_file.parts :]:
                self._merged_file.append(self._staging / part["name"], self.target.parent)

    def finish(self) -> Mapping[str, Any]:
        """Complete the last part, and the file."""
        state = dict(self._sink.finish())
        self._copy_parts()
        if self._merged_file is not None:
            with translate_os_errors(self.target):
                size, digest = self._merged_file.complete()
            # The state lists the file in place of its first part: a validator requires that name.
            first = {**state["files"][0], "rows": state["rows"], "bytes": size, "sha256": digest}
            state["files"] = [first]
        return state

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the file its final name."""
        if not state["files"]:
            raise ExportError(f"{self.target} was not written: the server sent no columns.")
        entry = state["files"][0]
        part, size = self._staging / entry["name"], entry["bytes"]
        with translate_os_errors(self.target):
            self._check_staging()
            if verify:
                self._verify_checksums(entry)
            # An earlier run may have stopped after any of these steps. A file of another size is
            # that of another export.
            if _size(self._partial) == size:
                self._remove_staging()  # the parts were copied
            elif _size(part) == size:
                part.replace(self._partial)
            if _size(self._partial) == size:
                self._check_target_free("was created while the export ran")
                commit(self._partial, self.target)
                self._committed = True
            with contextlib.suppress(OSError):  # it does not exist, or belongs to another export
                self._staging.rmdir()
        status = _size(self.target)
        if status < 0:
            raise ExportError(
                f"{self.target} is gone, although the checkpoint says it is complete.",
                suggestion="Remove the checkpoint to export it again.",
            )
        if status != size:
            raise ExportError(
                f"{self.target} is not what the checkpoint says was written: it has {status:,} "
                f"bytes of {size:,}.",
                suggestion="Remove it and the checkpoint to export it again.",
            )
        return (
            FileReport(
                path=str(self.target), rows=entry["rows"], bytes=size, sha256=entry["sha256"]
            ),
        )

    def _verify_checksums(self, entry: Mapping[str, Any]) -> None:
        """Compare the file with its checksum, under whichever name an earlier run left it."""
        for path in (self._partial, self._staging / entry["name"], self.target):
            if _size(path) == entry["bytes"]:
                if sha256_of(path, self.target.parent) != entry["sha256"]:
                    raise ExportError(
                        f"{path} is not what the checkpoint says was written: its bytes changed.",
                        suggestion="Remove it and the checkpoint to export it again.",
                    )
                return

    def close(self, *, keep: bool) -> None:
        """Close everything, and remove what no later run can use."""
        if self._merged_file is not None:
            self._merged_file.close()
        self._sink.close(keep=True)
        if not keep and self._opened:
            self._remove_staging()
            self._partial.unlink(missing_ok=True)
            if self._committed and not self._overwrite:
                self.target.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the size of a regular file in bytes; -1 if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


class _MergedFile:
    """A Parquet file made of the row groups of others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = BufferedWriter(create(path))
        self._writer: Any = None
        self.parts = 0

    def append(self, part: Path, root: Path) -> None:
        """Copy the row groups of a file, one in memory at a time.

        Args:
            part: The file.
            root: A folder above it below which links are not followed.
        """
        parquet: Any = import_module("pyarrow.parquet")
        pool = pyarrow_module().system_memory_pool()
        with BufferedReader(reopen(part, root)) as file:
            reader = parquet.ParquetFile(file)
            if self._writer is None:
                self._writer = parquet.ParquetWriter(
                    self._file, reader.schema_arrow, compression="zstd"
                )
            for number in range(reader.num_row_groups):
                # As a single chunk: chunk boundaries show in the bytes of the file, which must
                # depend on the rows alone.
                group = reader.read_row_group(number).combine_chunks(memory_pool=pool)
                self._writer.write_table(group, row_group_size=group.num_rows)
                del group
                release_memory()
        self.parts += 1

    def complete(self) -> tuple[int, str]:
        """Write and sync everything; return the size and the SHA-256."""
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with reopen(self._path) as file:
            return os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest()

    def close(self) -> None:
        """Close the file as it is."""
        if self._writer is not None:
            with contextlib.suppress(Exception):  # such as a full disk; the file is written again
                self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()


class ParquetReplacementSink(_StagedSink):
    """Writer of a folder of Parquet files that replaces the one of an earlier export.

    The files are staged in `FOLDER/.new/`, which readers of Parquet folders ignore. When all are
    complete, each is moved to its place, and the remaining files of the earlier export are removed.
    """

    is_folder = True
    replaces = True

    def __init__(self, folder: Path, *, rows_per_file: int, rows_per_group: int) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            folder: The folder, which is created if missing.
            rows_per_file: The number of rows of a day after which another file starts.
            rows_per_group: The number of rows of a row group, which a reader has in memory at a
                time.

        Raises:
            ImportError: pyarrow is not installed.
        """
        staging = folder / ".new"
        sink = ParquetSink(
            staging, rows_per_file=rows_per_file, rows_per_group=rows_per_group, root=folder
        )
        super().__init__(folder, staging, sink)
        # A second sink on the target itself finds the files of earlier exports, and reports.
        self._target_sink = ParquetSink(
            folder, rows_per_file=rows_per_file, rows_per_group=rows_per_group
        )

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format, the folder, and how the rows are divided."""
        return {**self._target_sink.fingerprint, "overwrite": True}

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        self._target_sink.check(None, owns_output=True)
        self._check_staging()
        if state is not None:
            self._sink.check(state, owns_output)

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Create the folders, and remove what was not on disk at the safe point."""
        with translate_os_errors(self.target):
            self.target.mkdir(parents=True, exist_ok=True)
            self._open_staging(is_new=state is None)
        self._sink.begin(state)

    def write(self, batch: PreparedBatch[ArrowBatch], *, durable: bool) -> SafePoint | None:
        """Write rows, and complete the files that they fill."""
        return self._sink.write(batch, durable=durable)

    def finish(self) -> Mapping[str, Any]:
        """Complete the last file."""
        return self._sink.finish()

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Move the files to their places, and remove those of the earlier export."""
        names = {file["name"] for file in state["files"]}
        with translate_os_errors(self.target):
            # Without a staging folder, an earlier run has completed all of this.
            if self._staging.exists():
                self._check_staging()
                if verify:
                    self._verify_checksums(state["files"])
                for name in sorted(names):
                    source, destination = self._staging / name, self.target / name
                    if source.exists():
                        if destination.parent != self.target:
                            make_folder(destination.parent)
                        move(source, destination, self.target)
                for path in self._target_sink.existing_files():
                    if path.relative_to(self.target).as_posix() not in names:
                        path.unlink()
                        if path.parent != self.target:
                            with contextlib.suppress(OSError):  # the folder is not empty
                                path.parent.rmdir()
                sync_folder(self.target)
                self._remove_staging()
                verify = False
        return self._target_sink.commit(state, verify=verify)

    def _verify_checksums(self, files: Sequence[Mapping[str, Any]]) -> None:
        """Compare all files with their checksums, before the first of them replaces another."""
        source = [file for file in files if (self._staging / file["name"]).exists()]
        self._sink.verify_files({"files": source}, checksums=True)
        committed = [file for file in files if file not in source]
        self._target_sink.verify_files({"files": committed}, checksums=True)

    def close(self, *, keep: bool) -> None:
        """Close everything, and remove what no later run can use."""
        self._sink.close(keep=True)
        if not keep and self._opened:
            self._remove_staging()
            with contextlib.suppress(OSError):  # it existed before, and is not empty
                self.target.rmdir()
