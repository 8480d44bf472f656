"""A folder of Parquet files, by day. Needs pyarrow, which is imported when used.

How the rows are divided into files and row groups depends on the rows alone, never on how they
came, so that an export that was interrupted ends in the same bytes as one that was not.
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
    create,
    make_folder,
    partial_name,
    publish,
    refuse_link,
    reopen,
    sha256_of,
    translate_os_errors,
)
from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import parquet_state
from asyncposthog.export.checksum import MASK, key_sum
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.malloc import give_back
from asyncposthog.export.report import FileReport
from asyncposthog.query.arrow import arrow_table, pyarrow_module

from .base import Mark

__all__ = ["ArrowBatch", "ParquetSink", "release_memory"]

_AT_ONCE: Final = 5_000
"""Rows turned into Arrow at a time: it takes more memory on the way than they do."""


@dataclass(frozen=True, slots=True)
class ArrowBatch:
    """The rows of a batch as Arrow has them."""

    schema: Any
    rows: int
    tables: deque[Any]
    """Some rows each. They are taken out as they are written: nothing keeps them longer."""
    keys: Sequence[str]
    times: Sequence[str]
    position: Callable[[int], Any]
    """Where to go on behind the first n rows."""


class ParquetSink:
    """Writes files of at most so many rows below `date=2026-01-31/`."""

    def __init__(
        self,
        folder: Path,
        *,
        rows_per_file: int,
        rows_per_group: int,
        by_day: bool = True,
        below: Path | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            folder: Made if need be.
            rows_per_file: After so many rows of a day, another file begins.
            rows_per_group: Rows of a row group: what a reader has in memory at a time.
            by_day: Whether each day has a folder and files of its own.
            below: A folder above it below which no link is followed; by default the folder itself.

        Raises:
            ImportError: pyarrow is not installed.
        """
        pyarrow_module("parquet")
        self._folder = folder
        self._file_rows = rows_per_file
        self._group_rows = min(rows_per_group, rows_per_file)
        self._by_day = by_day
        self._below = folder if below is None else below
        self._schema: Any = None
        self._files: list[dict[str, Any]] = []
        self._open: _File | None = None
        self._behind: Any = None
        self._kept = 0
        self.target = folder
        self.is_folder = True
        self.replaces = False
        self.shape = parquet_state
        self.rows = 0
        self.checksum = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """The format, the folder, and how the rows are divided."""
        return {
            "format": "parquet",
            "path": str(self._folder.absolute()),
            "rows_per_file": self._file_rows,
            "rows_per_group": self._group_rows,
        }

    def check(self, state: Mapping[str, Any] | None, ours: bool) -> None:
        """Find out whether it could begin."""
        if self._folder.exists() and not self._folder.is_dir():
            raise FileExistsError(f"{self._folder} is no folder. Remove it, or choose another.")
        found = self.leftovers()
        if state is None:
            if not ours and any(path.suffix == ".parquet" for path in found):
                raise FileExistsError(
                    f"{self._folder} has Parquet files already, and they are not those of an "
                    "export that was interrupted. Remove them, choose another folder, or replace "
                    "them with overwrite=True."
                )
            return
        self.compare(state, contents=True)

    def compare(self, state: Mapping[str, Any], *, contents: bool) -> None:
        """Compare the files with what a state says of them.

        Args:
            state: The state.
            contents: Whether their bytes are compared, not only how many there are.

        Raises:
            ExportError: One differs.
        """
        for file in state["files"]:
            path = self._folder / file["name"]
            size, why = path.stat().st_size if path.exists() else -1, ""
            with translate_os_errors(path):
                if size != file["bytes"]:
                    why = f"it has {max(size, 0):,} bytes of {file['bytes']:,}"
                elif contents and sha256_of(path, self._below) != file["sha256"]:
                    why = "its bytes changed"
            if why:
                raise ExportError(
                    f"{path} is not what the checkpoint says was written: {why}.",
                    suggestion="Remove the checkpoint and the folder to begin anew.",
                )

    def leftovers(self) -> list[Path]:
        """Return the files of exports that are in the folder, complete ones and others."""
        folders = [self._folder, *self._folder.glob("date=*")] if self._folder.is_dir() else []
        found: list[Path] = []
        for folder in folders:
            if folder != self._folder:
                refuse_link(folder)
            for pattern in ("part-*.parquet", ".part-*.partial"):
                found += folder.glob(pattern)
        for path in found:
            refuse_link(path)
        return found

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Make the folder, and remove what was not safe."""
        with translate_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            if state is not None:
                self._files = [dict(file) for file in state["files"]]
                self._kept = len(self._files)
                self.rows, self.checksum = state["rows"], state["sum"]
            known = {file["name"] for file in self._files}
            for path in self.leftovers():
                if path.relative_to(self._folder).as_posix() not in known:
                    path.unlink()
            # Whether it can be written to is found out before anything is asked for.
            probe = partial_name(self._folder / "part-probe")
            create(probe, self._below).close()
            probe.unlink()

    def prepare(self, batch: Batch) -> ArrowBatch:
        """Turn rows into an Arrow table."""
        batch.check_columns()
        starts = range(0, len(batch), _AT_ONCE) or (0,)
        tables = deque(_table(batch.cut(at, at + _AT_ONCE)) for at in starts)
        release_memory()
        # Not the batch itself: as Python has them, the rows are larger than the tables.
        schema = tables[0].schema
        return ArrowBatch(schema, len(batch), tables, batch.keys, batch.times, batch.position)

    def write(self, piece: PreparedBatch[ArrowBatch], *, durable: bool) -> Mark | None:
        """Write rows, and complete the files they fill."""
        block, mark = piece.content, None
        with translate_os_errors(self._folder):
            self._check_schema(block.schema)
            times = block.times if self._by_day else ()
            for day, start, stop in _days(times, block.rows):
                while start < stop:
                    file = self._file_of(day)
                    if file is None:
                        # Another day began: what came before is complete.
                        if self._complete():
                            position = block.position(start) if start else self._behind
                            mark = Mark(position, self._state())
                        file = self._begin_file(day)
                    count = min(stop - start, self._file_rows - file.rows)
                    self._append(file, block, start, start + count)
                    start += count
                    if file.rows == self._file_rows:
                        self._complete()
                        mark = Mark(block.position(start), self._state())
        self._behind = piece.position
        return mark if durable and mark is not None and mark.position is not None else None

    def _check_schema(self, schema: Any) -> None:
        if self._schema is None:
            self._schema = schema
        elif not schema.equals(self._schema):
            raise ExportError(
                f"The types of the columns changed from {self._schema} to {schema}.",
                suggestion="Name the columns to export, with types that stay the same.",
            )

    def _file_of(self, day: str | None) -> _File | None:
        file = self._open
        return file if file is not None and file.day == day else None

    def _begin_file(self, day: str | None) -> _File:
        folder = self._folder if day is None else self._folder / f"date={day}"
        if day is not None:
            make_folder(folder, self._below)
        number = sum(file["day"] == day for file in self._files)
        path = folder / f"part-{number:05d}.parquet"
        self._open = _File(path, self._below, day, self._schema)
        return self._open

    def _append(self, file: _File, block: ArrowBatch, start: int, stop: int) -> None:
        keys = key_sum(block.keys[start:stop])
        left = stop - start
        while left:
            table = block.tables.popleft()
            if table.num_rows > left:
                block.tables.appendleft(table.slice(left))
                table = table.slice(0, left)
            left -= table.num_rows
            file.append(table, self._group_rows)
        file.keys = (file.keys + keys) & MASK

    def _complete(self) -> bool:
        """Close the open file, and give it its name; False where none is open."""
        file = self._open
        if file is None:
            return False
        size, digest = file.complete()
        publish(partial_name(file.path), file.path, self._below)
        self._open = None
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
        self.checksum = (self.checksum + file.keys) & MASK
        return True

    def _state(self) -> dict[str, Any]:
        return {"files": list(self._files), "rows": self.rows, "sum": self.checksum}

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The files that are complete."""
        return self._files

    def finish(self) -> Mapping[str, Any]:
        """Complete the last file. Without rows, one that has the columns and nothing else."""
        with translate_os_errors(self._folder):
            if not self._files and self._open is None and self._schema is not None:
                self._begin_file(None)
            self._complete()
        return self._state()

    def publish(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Report the files; they have their names already."""
        self.compare(state, contents=verify)
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
        """Close the open file, and remove it: without its end it cannot be read."""
        written = {self._folder / file["name"] for file in self._files[self._kept :]}
        if self._open is not None:
            written.add(self._open.path)
            self._open.discard()
            self._open = None
        if not keep:
            for path in written:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in written} - {self._folder}:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()


class _File:
    """One file on its way."""

    def __init__(self, path: Path, below: Path, day: str | None, schema: Any) -> None:
        """Open it under another name."""
        from pyarrow import parquet

        self.path = path
        self.day = day
        self.rows = 0
        self.keys = 0
        self._waiting: list[Any] = []
        self._held = 0
        self._partial = partial_name(path)
        self._below = below
        self._file = BufferedWriter(create(self._partial, below))
        self._writer: Any = parquet.ParquetWriter(  # pyright: ignore[reportUnknownMemberType]
            self._file, schema, compression="zstd"
        )

    def append(self, table: Any, group_rows: int) -> None:
        """Take rows, and write every row group that is full."""
        self.rows += table.num_rows
        self._held += table.num_rows
        self._waiting.append(table)
        del table
        while self._held >= group_rows:
            self._write(group_rows)

    def _write(self, rows: int) -> None:
        whole = pyarrow_module().concat_tables(self._waiting)
        rest = whole.slice(rows)
        self._waiting, self._held = ([rest], rest.num_rows) if rest.num_rows else ([], 0)
        # In one piece: where its pieces end shows in the bytes, and must not.
        group = whole.slice(0, rows).combine_chunks(memory_pool=_pool())
        del whole
        self._writer.write_table(group, row_group_size=rows)
        del group
        release_memory()

    def complete(self) -> tuple[int, str]:
        """Write and sync everything; return size and SHA-256."""
        if self._held:
            self._write(self._held)
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with reopen(self._partial, self._below) as file:
            return os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest()

    def discard(self) -> None:
        """Remove it."""
        with contextlib.suppress(Exception):  # a full disk, for one: it is to go anyway
            self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)


def _table(batch: Batch) -> Any:
    return arrow_table(
        batch.columns,
        batch.types,
        batch.raw_columns,
        uuids=True,
        pool=_pool(),
        alternative="export to JSONL or CSV, which take it as it came",
    )


def _pool() -> Any:
    """Return the pool of memory that gives back what is free; Arrow's usual one keeps it."""
    return pyarrow_module().system_memory_pool()


def release_memory() -> None:
    """Give back the memory that is free."""
    pyarrow_module().default_memory_pool().release_unused()
    give_back()


def _days(times: Sequence[str], rows: int) -> Iterator[tuple[str | None, int, int]]:
    """Yield the days of some rows, in UTC, with the places where they begin and end."""
    if not times:
        yield None, 0, rows
        return
    begin = 0
    for place in range(1, len(times) + 1):
        if place == len(times) or times[place][:10] != times[begin][:10]:
            yield times[begin][:10], begin, place
            begin = place
