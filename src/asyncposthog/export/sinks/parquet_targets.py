"""One Parquet file, and a folder of Parquet files that replaces an older one.

Both are a `ParquetSink` on a hidden folder beside or below the target, whose files get their place
once the export is complete. A run that was interrupted finds them there.
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
    create,
    make_folder,
    move,
    partial_name,
    publish,
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

from .base import Mark
from .parquet import ArrowBatch, ParquetSink, release_memory

__all__ = ["ParquetFileSink", "ParquetReplacementSink"]

_PART_ROWS: Final = 100_000
"""Rows of the parts that one file is made of: after an interruption, at most so many come again."""


class _HiddenSink:
    """What the two have in common: rows go to files in a hidden folder."""

    def __init__(self, target: Path, hidden: Path, sink: ParquetSink) -> None:
        self.target = target
        self.shape = sink.shape
        self._hidden = hidden
        self._sink = sink
        self._opened = False
        """Whether what has the names of hidden files is this export's."""

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return self._sink.rows

    @property
    def checksum(self) -> int:
        """The checksum of their keys."""
        return self._sink.checksum

    def prepare(self, batch: Batch) -> ArrowBatch:
        """Turn rows into an Arrow table."""
        return self._sink.prepare(batch)

    def _check_hidden(self) -> None:
        """Refuse a hidden folder that is not one of ours."""
        try:
            found = self._hidden.lstat()
        except FileNotFoundError:
            return
        foreign = hasattr(os, "getuid") and found.st_uid != os.getuid()
        if foreign or not stat.S_ISDIR(found.st_mode):
            raise ExportError(
                f"{self._hidden} is in the way: the export keeps its files there, and it is not "
                "a folder of this user.",
                suggestion="Remove it, or choose another target.",
            )

    def _open_hidden(self, *, fresh: bool) -> None:
        """Make the hidden folder, an empty one unless an earlier run is resumed."""
        self._check_hidden()
        if fresh and self._hidden.exists():
            shutil.rmtree(self._hidden)
        self._hidden.mkdir(mode=0o700, exist_ok=True)
        self._check_hidden()  # another program may have put a link there in between
        self._opened = True

    def _drop_hidden(self) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)


class ParquetFileSink(_HiddenSink):
    """Writes one file.

    A Parquet file cannot be continued once its writing was interrupted. So rows go to parts of a
    fixed size in `.NAME.parts/`, which are complete files. From the second part on, their row
    groups are copied to `.NAME.partial`, which is built again from the parts by a run that goes on
    after an interruption. The file depends on the rows alone.
    """

    is_folder = False

    def __init__(self, path: Path, *, rows_per_group: int, overwrite: bool) -> None:
        """Open nothing yet.

        Args:
            path: The file.
            rows_per_group: Rows of a row group: what a reader has in memory at a time.
            overwrite: Whether a file that has the name is replaced.

        Raises:
            ImportError: pyarrow is not installed.
        """
        # A multiple, so that the parts do not show in the row groups.
        part_rows = max(1, _PART_ROWS // rows_per_group) * rows_per_group
        hidden = path.with_name(f".{path.name}.parts")
        sink = ParquetSink(
            hidden,
            rows_per_file=part_rows,
            rows_per_group=rows_per_group,
            by_day=False,
            below=hidden.parent,
        )
        super().__init__(path, hidden, sink)
        self._group_rows = rows_per_group
        self._overwrite = overwrite
        self.replaces = overwrite
        self._partial = partial_name(path)
        self._merged: _Merged | None = None
        self._published = False

    @property
    def identity(self) -> Mapping[str, Any]:
        """The format, the file, and how the rows are divided."""
        return {
            "format": "parquet file",
            "path": str(self.target.absolute()),
            "rows_per_group": self._group_rows,
        }

    def check(self, state: Mapping[str, Any] | None, ours: bool) -> None:
        """Find out whether it could begin."""
        self._check_free(
            "is no export that was interrupted"
            if state is None
            else "was made while the export was interrupted"
        )
        self._check_hidden()
        if state is not None:
            self._sink.check(state, ours)

    def _check_free(self, why: str) -> None:
        if self.target.is_dir():
            raise FileExistsError(
                f"{self.target} is a folder. For files inside of it, add a slash to the name; for "
                "one file, choose another name."
            )
        if os.path.lexists(self.target) and not self._overwrite:
            raise FileExistsError(
                f"{self.target} exists already, and {why}. Remove it, choose another name, or "
                "replace it with overwrite=True."
            )

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Open the parts, cut back to what was safe."""
        with translate_os_errors(self.target):
            remove(self._partial)
            self._open_hidden(fresh=state is None)
        self._sink.begin(state)

    def write(self, piece: PreparedBatch[ArrowBatch], *, durable: bool) -> Mark | None:
        """Write rows, and complete the parts they fill."""
        mark = self._sink.write(piece, durable=durable)
        self._copy_parts()
        return mark

    def _copy_parts(self) -> None:
        """Copy the parts that are complete, unless one is all there is."""
        parts = self._sink.files
        if len(parts) < 2:
            return
        with translate_os_errors(self.target):
            if self._merged is None:
                self._merged = _Merged(self._partial)
            for part in parts[self._merged.parts :]:
                self._merged.append(self._hidden / part["name"], self.target.parent)

    def finish(self) -> Mapping[str, Any]:
        """Complete the last part, and the file."""
        state = dict(self._sink.finish())
        self._copy_parts()
        if self._merged is not None:
            with translate_os_errors(self.target):
                size, digest = self._merged.complete()
            # The file has the place of its first part, whose name the state needs.
            first = {**state["files"][0], "rows": state["rows"], "bytes": size, "sha256": digest}
            state["files"] = [first]
        return state

    def publish(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the file its name."""
        if not state["files"]:
            raise ExportError(f"{self.target} was not written: the server sent no columns.")
        entry = state["files"][0]
        part, size = self._hidden / entry["name"], entry["bytes"]
        with translate_os_errors(self.target):
            self._check_hidden()
            if verify:
                self._compare(entry)
            # A file of another size is that of another export.
            if _size(self._partial) == size:
                self._drop_hidden()  # its parts are copied
            elif _size(part) == size:
                part.replace(self._partial)
            if _size(self._partial) == size:
                self._check_free("was made while the export ran")
                publish(self._partial, self.target)
                self._published = True
            with contextlib.suppress(OSError):  # it is not there, or belongs to another export
                self._hidden.rmdir()
        found = _size(self.target)
        if found < 0:
            raise ExportError(
                f"{self.target} is gone, which the checkpoint says is complete.",
                suggestion="Remove the checkpoint to export it again.",
            )
        if found != size:
            raise ExportError(
                f"{self.target} is not what the checkpoint says was written: it has {found:,} "
                f"bytes of {size:,}.",
                suggestion="Remove it and the checkpoint to export it again.",
            )
        return (
            FileReport(
                path=str(self.target), rows=entry["rows"], bytes=size, sha256=entry["sha256"]
            ),
        )

    def _compare(self, entry: Mapping[str, Any]) -> None:
        """Compare the file with its checksum, by whatever name an earlier run has left it."""
        for path in (self._partial, self._hidden / entry["name"], self.target):
            if _size(path) == entry["bytes"]:
                if sha256_of(path, self.target.parent) != entry["sha256"]:
                    raise ExportError(
                        f"{path} is not what the checkpoint says was written: its bytes changed.",
                        suggestion="Remove it and the checkpoint to export it again.",
                    )
                return

    def close(self, *, keep: bool) -> None:
        """Close what is open; remove what no later run can use."""
        if self._merged is not None:
            self._merged.close()
        self._sink.close(keep=True)
        if not keep and self._opened:
            self._drop_hidden()
            self._partial.unlink(missing_ok=True)
            if self._published and not self._overwrite:
                self.target.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the bytes of a file; -1 where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


class _Merged:
    """A Parquet file made of the row groups of others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = BufferedWriter(create(path))
        self._writer: Any = None
        self.parts = 0

    def append(self, part: Path, below: Path) -> None:
        """Copy the row groups of a file, one in memory at a time.

        Args:
            part: The file.
            below: A folder above it below which no link is followed.
        """
        parquet: Any = import_module("pyarrow.parquet")
        pool = pyarrow_module().system_memory_pool()
        with BufferedReader(reopen(part, below)) as file:
            reader = parquet.ParquetFile(file)
            if self._writer is None:
                self._writer = parquet.ParquetWriter(
                    self._file, reader.schema_arrow, compression="zstd"
                )
            for number in range(reader.num_row_groups):
                # In one piece: where its pieces end shows in the bytes, and must not.
                group = reader.read_row_group(number).combine_chunks(memory_pool=pool)
                self._writer.write_table(group, row_group_size=group.num_rows)
                del group
                release_memory()
        self.parts += 1

    def complete(self) -> tuple[int, str]:
        """Write and sync everything; return size and SHA-256."""
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with reopen(self._path) as file:
            return os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest()

    def close(self) -> None:
        """Close the file as it is."""
        if self._writer is not None:
            with contextlib.suppress(Exception):  # a full disk, for one: it is written again
                self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()


class ParquetReplacementSink(_HiddenSink):
    """Writes a folder of Parquet files that replaces the one of an earlier export.

    The files wait in `FOLDER/.new/`, which readers of Parquet folders ignore. When all are there,
    each is renamed to its place, and those of the earlier export that are left are removed.
    """

    is_folder = True
    replaces = True

    def __init__(self, folder: Path, *, rows_per_file: int, rows_per_group: int) -> None:
        """Open nothing yet.

        Args:
            folder: Made if need be.
            rows_per_file: After so many rows of a day, another file begins.
            rows_per_group: Rows of a row group: what a reader has in memory at a time.

        Raises:
            ImportError: pyarrow is not installed.
        """
        hidden = folder / ".new"
        sink = ParquetSink(
            hidden, rows_per_file=rows_per_file, rows_per_group=rows_per_group, below=folder
        )
        super().__init__(folder, hidden, sink)
        # Its own view of the folder, to find the files of earlier exports.
        self._old = ParquetSink(folder, rows_per_file=rows_per_file, rows_per_group=rows_per_group)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The format, the folder, and how the rows are divided."""
        return {**self._old.identity, "overwrite": True}

    def check(self, state: Mapping[str, Any] | None, ours: bool) -> None:
        """Find out whether it could begin."""
        self._old.check(None, ours=True)
        self._check_hidden()
        if state is not None:
            self._sink.check(state, ours)

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Make the folders, and remove what was not safe."""
        with translate_os_errors(self.target):
            self.target.mkdir(parents=True, exist_ok=True)
            self._open_hidden(fresh=state is None)
        self._sink.begin(state)

    def write(self, piece: PreparedBatch[ArrowBatch], *, durable: bool) -> Mark | None:
        """Write rows, and complete the files they fill."""
        return self._sink.write(piece, durable=durable)

    def finish(self) -> Mapping[str, Any]:
        """Complete the last file."""
        return self._sink.finish()

    def publish(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Move the files to their places, and remove those of the earlier export."""
        names = {file["name"] for file in state["files"]}
        with translate_os_errors(self.target):
            # Where the hidden folder is gone, an earlier run has done all of this.
            if self._hidden.exists():
                self._check_hidden()
                if verify:
                    self._compare(state["files"])
                for name in sorted(names):
                    waiting, place = self._hidden / name, self.target / name
                    if waiting.exists():
                        if place.parent != self.target:
                            make_folder(place.parent)
                        move(waiting, place, self.target)
                for path in self._old.leftovers():
                    if path.relative_to(self.target).as_posix() not in names:
                        path.unlink()
                        if path.parent != self.target:
                            with contextlib.suppress(OSError):  # it is not empty
                                path.parent.rmdir()
                sync_folder(self.target)
                self._drop_hidden()
                verify = False
        return self._old.publish(state, verify=verify)

    def _compare(self, files: Sequence[Mapping[str, Any]]) -> None:
        """Compare the files with their checksums, before the first of them replaces another."""
        waiting = [file for file in files if (self._hidden / file["name"]).exists()]
        self._sink.compare({"files": waiting}, contents=True)
        moved = [file for file in files if file not in waiting]
        self._old.compare({"files": moved}, contents=True)

    def close(self, *, keep: bool) -> None:
        """Close what is open; remove what no later run can use."""
        self._sink.close(keep=True)
        if not keep and self._opened:
            self._drop_hidden()
            with contextlib.suppress(OSError):  # it may have been there before, and not be empty
                self.target.rmdir()
