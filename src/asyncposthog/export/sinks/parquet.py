"""Sink for a folder of Parquet files by day. Needs pyarrow, which is imported on use.

How rows are divided into files and row groups depends on the rows alone, not on how they arrived.
A resumed export therefore produces the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from io import BufferedWriter
from pathlib import Path
from typing import Any, Final

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import (
    commit,
    create,
    make_folder,
    partial_name,
    reject_symlink,
    reopen,
    sha256_of,
    translate_os_errors,
)
from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import parquet_state
from asyncposthog.export.checksum import MASK, key_sum
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.malloc import trim_heap
from asyncposthog.export.report import FileReport
from asyncposthog.query.arrow import arrow_table, pyarrow_module

from .base import SafePoint

__all__ = ["ArrowBatch", "ParquetSink", "release_memory"]

_CONVERT_ROWS: Final = 5_000
"""Rows converted to Arrow at a time: the conversion temporarily needs more memory than its
result."""


@dataclass(frozen=True, slots=True)
class ArrowBatch:
    """The rows of a batch as Arrow tables."""

    schema: Any
    rows: int
    tables: deque[Any]
    """Tables of some rows each. They are removed as they are written, which frees their memory."""
    keys: Sequence[str]
    times: Sequence[str]
    position: Callable[[int], Any]
    """Returns the position after the first n rows."""


class ParquetSink:
    """Writer of files of a maximum number of rows in folders such as `date=2026-01-31/`."""

    def __init__(
        self,
        folder: Path,
        *,
        rows_per_file: int,
        rows_per_group: int,
        by_day: bool = True,
        root: Path | None = None,
    ) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            folder: The folder, which is created if missing.
            rows_per_file: The number of rows of a day after which another file starts.
            rows_per_group: The number of rows of a row group, which a reader has in memory at a
                time.
            by_day: Whether each day has a folder and files of its own.
            root: A folder above it below which links are not followed; by default the folder
                itself.

        Raises:
            ImportError: pyarrow is not installed.
        """
        pyarrow_module("parquet")
        self._folder = folder
        self._rows_per_file = rows_per_file
        self._rows_per_group = min(rows_per_group, rows_per_file)
        self._by_day = by_day
        self._root = folder if root is None else root
        self._schema: Any = None
        self._files: list[dict[str, Any]] = []
        self._open_file: _OpenFile | None = None
        self._last_position: Any = None
        self._resumed_files = 0
        self.target = folder
        self.is_folder = True
        self.replaces = False
        self.state_validator = parquet_state
        self.rows = 0
        self.checksum = 0

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format, the folder, and how the rows are divided."""
        return {
            "format": "parquet",
            "path": str(self._folder.absolute()),
            "rows_per_file": self._rows_per_file,
            "rows_per_group": self._rows_per_group,
        }

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        if self._folder.exists() and not self._folder.is_dir():
            raise FileExistsError(f"{self._folder} is not a folder. Remove it, or choose another.")
        existing = self.existing_files()
        if state is None:
            if not owns_output and any(path.suffix == ".parquet" for path in existing):
                raise FileExistsError(
                    f"{self._folder} already has Parquet files, and they are not those of an "
                    "interrupted export. Remove them, choose another folder, or replace them with "
                    "overwrite=True."
                )
            return
        self.verify_files(state, checksums=True)

    def verify_files(self, state: Mapping[str, Any], *, checksums: bool) -> None:
        """Compare the files with a state.

        Args:
            state: The state.
            checksums: Whether to compare checksums, and not only sizes.

        Raises:
            ExportError: A file differs.
        """
        for file in state["files"]:
            path = self._folder / file["name"]
            size, reason = path.stat().st_size if path.exists() else -1, ""
            with translate_os_errors(path):
                if size != file["bytes"]:
                    reason = f"it has {max(size, 0):,} bytes of {file['bytes']:,}"
                elif checksums and sha256_of(path, self._root) != file["sha256"]:
                    reason = "its bytes changed"
            if reason:
                raise ExportError(
                    f"{path} is not what the checkpoint says was written: {reason}.",
                    suggestion="Remove the checkpoint and the folder to start again.",
                )

    def existing_files(self) -> list[Path]:
        """Return the files of exports that are in the folder, complete or partial."""
        folders = [self._folder, *self._folder.glob("date=*")] if self._folder.is_dir() else []
        existing: list[Path] = []
        for folder in folders:
            if folder != self._folder:
                reject_symlink(folder)
            for pattern in ("part-*.parquet", ".part-*.partial"):
                existing += folder.glob(pattern)
        for path in existing:
            reject_symlink(path)
        return existing

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Create the folder, and remove what was not on disk at the safe point."""
        with translate_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            if state is not None:
                self._files = [dict(file) for file in state["files"]]
                self._resumed_files = len(self._files)
                self.rows, self.checksum = state["rows"], state["sum"]
            committed = {file["name"] for file in self._files}
            for path in self.existing_files():
                if path.relative_to(self._folder).as_posix() not in committed:
                    path.unlink()
            # Finds out whether the folder is writable before any query is sent.
            probe = partial_name(self._folder / "part-probe")
            create(probe, self._root).close()
            probe.unlink()

    def prepare(self, batch: Batch) -> ArrowBatch:
        """Convert rows to Arrow tables."""
        batch.check_columns()
        starts = range(0, len(batch), _CONVERT_ROWS) or (0,)
        tables = deque(
            _to_arrow_table(batch.slice(start, start + _CONVERT_ROWS)) for start in starts
        )
        release_memory()
        # Without a reference to the batch: as Python objects, rows are larger than in Arrow.
        schema = tables[0].schema
        return ArrowBatch(schema, len(batch), tables, batch.keys, batch.times, batch.position)

    def write(self, batch: PreparedBatch[ArrowBatch], *, durable: bool) -> SafePoint | None:
        """Write rows, and complete the files that they fill."""
        arrow_batch, safe_point = batch.content, None
        with translate_os_errors(self._folder):
            self._check_schema(arrow_batch.schema)
            times = arrow_batch.times if self._by_day else ()
            for day, start, stop in _days(times, arrow_batch.rows):
                while start < stop:
                    file = self._open_file_of(day)
                    if file is None:
                        # Another day starts, so the file of the previous one is complete.
                        if self._complete():
                            position = arrow_batch.position(start) if start else self._last_position
                            safe_point = SafePoint(position, self._state())
                        file = self._begin_file(day)
                    count = min(stop - start, self._rows_per_file - file.rows)
                    self._append(file, arrow_batch, start, start + count)
                    start += count
                    if file.rows == self._rows_per_file:
                        self._complete()
                        safe_point = SafePoint(arrow_batch.position(start), self._state())
        self._last_position = batch.position
        return (
            safe_point
            if durable and safe_point is not None and safe_point.position is not None
            else None
        )

    def _check_schema(self, schema: Any) -> None:
        if self._schema is None:
            self._schema = schema
        elif not schema.equals(self._schema):
            raise ExportError(
                f"The types of the columns changed from {self._schema} to {schema}.",
                suggestion="Export columns whose types stay the same, with columns=.",
            )

    def _open_file_of(self, day: str | None) -> _OpenFile | None:
        file = self._open_file
        return file if file is not None and file.day == day else None

    def _begin_file(self, day: str | None) -> _OpenFile:
        folder = self._folder if day is None else self._folder / f"date={day}"
        if day is not None:
            make_folder(folder, self._root)
        number = sum(file["day"] == day for file in self._files)
        path = folder / f"part-{number:05d}.parquet"
        self._open_file = _OpenFile(path, self._root, day, self._schema)
        return self._open_file

    def _append(self, file: _OpenFile, arrow_batch: ArrowBatch, start: int, stop: int) -> None:
        checksum = key_sum(arrow_batch.keys[start:stop])
        remaining = stop - start
        while remaining:
            table = arrow_batch.tables.popleft()
            if table.num_rows > remaining:
                arrow_batch.tables.appendleft(table.slice(remaining))
                table = table.slice(0, remaining)
            remaining -= table.num_rows
            file.append(table, self._rows_per_group)
        file.checksum = (file.checksum + checksum) & MASK

    def _complete(self) -> bool:
        """Close the open file and give it its final name; return False if none is open."""
        file = self._open_file
        if file is None:
            return False
        size, digest = file.complete()
        commit(partial_name(file.path), file.path, self._root)
        self._open_file = None
        self._files.append(
            {
                "name": file.path.relative_to(self._folder).as_posix(),
                "day": file.day,
                "rows": file.rows,
                "bytes": size,
                "sha256": digest,
            }
        )
        self.rows += file.rows
        self.checksum = (self.checksum + file.checksum) & MASK
        return True

    def _state(self) -> dict[str, Any]:
        return {"files": list(self._files), "rows": self.rows, "sum": self.checksum}

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The files that are complete."""
        return self._files

    def finish(self) -> Mapping[str, Any]:
        """Complete the last file. Without rows, write one that has only the columns."""
        with translate_os_errors(self._folder):
            if not self._files and self._open_file is None and self._schema is not None:
                self._begin_file(None)
            self._complete()
        return self._state()

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Report the files, which have their final names."""
        self.verify_files(state, checksums=verify)
        return tuple(
            FileReport(
                path=str(self._folder / file["name"]),
                rows=file["rows"],
                bytes=file["bytes"],
                sha256=file["sha256"],
            )
            for file in state["files"]
        )

    def close(self, *, keep: bool) -> None:
        """Close and remove the open file, which cannot be read without its footer."""
        written = {self._folder / file["name"] for file in self._files[self._resumed_files :]}
        if self._open_file is not None:
            written.add(self._open_file.path)
            self._open_file.discard()
            self._open_file = None
        if not keep:
            for path in written:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in written} - {self._folder}:
                with contextlib.suppress(OSError):  # the folder is not empty
                    folder.rmdir()


class _OpenFile:
    """A file that is being written."""

    def __init__(self, path: Path, root: Path, day: str | None, schema: Any) -> None:
        """Create the file under its partial name."""
        from pyarrow import parquet

        self.path = path
        self.day = day
        self.rows = 0
        self.checksum = 0
        self._pending: list[Any] = []
        self._pending_rows = 0
        self._partial = partial_name(path)
        self._root = root
        self._file = BufferedWriter(create(self._partial, root))
        self._writer: Any = parquet.ParquetWriter(  # pyright: ignore[reportUnknownMemberType]
            self._file, schema, compression="zstd"
        )

    def append(self, table: Any, rows_per_group: int) -> None:
        """Buffer rows, and write every row group that is full."""
        self.rows += table.num_rows
        self._pending_rows += table.num_rows
        self._pending.append(table)
        del table
        while self._pending_rows >= rows_per_group:
            self._write(rows_per_group)

    def _write(self, rows: int) -> None:
        combined = pyarrow_module().concat_tables(self._pending)
        rest = combined.slice(rows)
        self._pending, self._pending_rows = ([rest], rest.num_rows) if rest.num_rows else ([], 0)
        # As a single chunk: chunk boundaries show in the bytes of the file, which must not depend
        # on how the rows arrived.
        group = combined.slice(0, rows).combine_chunks(memory_pool=_pool())
        del combined
        self._writer.write_table(group, row_group_size=rows)
        del group
        release_memory()

    def complete(self) -> tuple[int, str]:
        """Write and sync everything; return the size and the SHA-256."""
        if self._pending_rows:
            self._write(self._pending_rows)
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with reopen(self._partial, self._root) as file:
            return os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest()

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(Exception):  # such as a full disk; the file is removed anyway
            self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)


def _to_arrow_table(batch: Batch) -> Any:
    return arrow_table(
        batch.columns,
        batch.types,
        batch.raw_columns,
        uuids=True,
        pool=_pool(),
        alternative="export to JSONL or CSV, which take it as it came",
    )


def _pool() -> Any:
    """Return the memory pool that frees memory at once; Arrow's default pool keeps it for reuse."""
    return pyarrow_module().system_memory_pool()


def release_memory() -> None:
    """Return unused memory of Arrow and of the C library to the system."""
    pyarrow_module().default_memory_pool().release_unused()
    trim_heap()


def _days(times: Sequence[str], rows: int) -> Iterator[tuple[str | None, int, int]]:
    """Yield each day of the rows, in UTC, with the indexes at which it starts and ends."""
    if not times:
        yield None, 0, rows
        return
    first = 0
    for index in range(1, len(times) + 1):
        if index == len(times) or times[index][:10] != times[first][:10]:
            yield times[first][:10], first, index
            first = index
