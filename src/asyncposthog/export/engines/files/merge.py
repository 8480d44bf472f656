"""Sort the rows of Parquet files in the order of an export, and merge the sorted files.

Needs pyarrow. One file is in memory while it is sorted, and a chunk of every file while they are
merged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import commit, partial_name, translate_os_errors
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.query_page import checkpoint_position
from asyncposthog.export.source import RowKey
from asyncposthog.export.timestamps import parse_clickhouse
from asyncposthog.query.clickhouse import column_types

from .plan import FILE_COLUMNS

__all__ = ["MergedFiles", "count_rows", "require_pyarrow", "sort_file"]

_CHUNK_ROWS: Final = 1024
"""Rows of each file that are in memory while files are merged."""
_TIME_COLUMN, _KEY_COLUMN = "timestamp", "uuid"


def _module(name: str = "") -> Any:
    """Return a module of pyarrow as Any: its type information is incomplete."""
    return import_module(f"pyarrow{name}")


def require_pyarrow() -> None:
    """Check that pyarrow is installed.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        _module()
    except ImportError as error:
        message = "engine='files' reads Parquet: pip install 'asyncposthog[parquet]'"
        raise ImportError(message) from error


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file.

    Raises:
        ExportError: It is not a Parquet file. It is removed.
    """
    pa = _module()
    parquet = _module(".parquet")

    try:
        return parquet.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        path.unlink(missing_ok=True)
        raise ExportError(
            f"A downloaded file is not a Parquet file: {error}.",
            suggestion="Run the export again; the file is fetched again.",
        ) from error


def sort_file(source: Path, target: Path, *, start: int, end: int, columns: Sequence[str]) -> int:
    """Write the rows of a file that belong to an export to another file, sorted.

    Args:
        source: A Parquet file.
        target: The Arrow file to write; it gets its final name when it is complete.
        start: The start of the range, in microseconds since 1970.
        end: The end of the range, exclusive.
        columns: The columns to keep.

    Returns:
        The number of rows written.

    Raises:
        ExportError: The source lacks a column, or the target cannot be written.
    """
    pa = _module()
    pc = _module(".compute")
    ipc = _module(".ipc")
    parquet = _module(".parquet")

    selected = list(dict.fromkeys((*columns, _TIME_COLUMN, _KEY_COLUMN)))
    available = parquet.read_schema(source).names
    missing = [name for name in selected if name not in available]
    if missing:
        raise ExportError(
            f"The downloaded files have no column {missing[0]!r}, only {', '.join(available)}.",
            suggestion="Export other columns, or use engine='query'.",
        )
    timestamp_type = pa.timestamp("us", "UTC")
    table = parquet.read_table(source, columns=selected)
    times = table[_TIME_COLUMN].cast(timestamp_type)
    in_range = pc.and_(
        pc.greater_equal(times, pa.scalar(start, timestamp_type)),
        pc.less(times, pa.scalar(end, timestamp_type)),
    )
    index = table.column_names.index(_TIME_COLUMN)
    table = table.set_column(index, _TIME_COLUMN, times).filter(in_range)
    table = table.sort_by([(_TIME_COLUMN, "ascending"), (_KEY_COLUMN, "ascending")])
    partial_path = partial_name(target)
    with translate_os_errors(target):
        with partial_path.open("wb") as file:
            options = ipc.IpcWriteOptions(compression="zstd")
            with ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=_CHUNK_ROWS)
            file.flush()
            os.fsync(file.fileno())
        commit(partial_path, target)
    return table.num_rows


@dataclass(slots=True)
class _SortedFile:
    """A sorted file, read chunk by chunk."""

    reader: Any
    after: tuple[int, str] | None
    next_chunk: int = 0
    table: Any = None
    first: tuple[int, str] = (0, "")
    last: tuple[int, str] = (0, "")

    def load_next(self) -> bool:
        """Read chunks until one has rows to export; return whether there is one."""
        while self.table is None or self.table.num_rows == 0:
            if self.next_chunk >= self.reader.num_record_batches:
                return False
            pa = _module()

            self.table = pa.Table.from_batches([self.reader.get_batch(self.next_chunk)])
            self.next_chunk += 1
            if self.after is not None:
                self.table = _rows_after(self.table, self.after)
        self.first, self.last = _key(self.table, 0), _key(self.table, -1)
        return True

    @property
    def ended(self) -> bool:
        """Whether what is in memory is the last of it."""
        return self.next_chunk >= self.reader.num_record_batches


class MergedFiles:
    """Rows of all files of an export, sorted, each once."""

    def __init__(
        self, paths: Sequence[Path], columns: Sequence[str], json: frozenset[str], after: Any
    ) -> None:
        """Open the files.

        Args:
            paths: Files that `sort_file` wrote.
            columns: The columns to return.
            json: Those that hold JSON as text.
            after: The position of the last processed row; None: from the beginning.
        """
        pa = _module()
        ipc = _module(".ipc")

        self._columns = tuple(columns)
        self._json = json
        self._files = [pa.memory_map(str(path)) for path in paths]
        after_key = None if after is None else (parse_clickhouse(after["time"]), after["key"] or "")
        opened: list[_SortedFile] = [
            _SortedFile(ipc.open_file(file), after_key) for file in self._files
        ]
        self._sorted_files: list[_SortedFile] = [
            sorted_file for sorted_file in opened if sorted_file.load_next()
        ]
        self._last: tuple[int, str] | None = None
        self._resumed = after is not None
        self.duplicates = 0
        """Rows that several files had."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of about `size` rows; without rows, one that has only the columns."""
        pending: list[Any] = []
        row_count, is_empty = 0, not self._resumed
        for table in self._tables():
            pending.append(table)
            row_count += table.num_rows
            if row_count >= size:
                yield self._batch(pending)
                pending, row_count, is_empty = [], 0, False
        if row_count or is_empty:
            yield self._batch(pending)

    def close(self) -> None:
        """Close the files."""
        self._sorted_files.clear()
        for file in self._files:
            file.close()

    def _tables(self) -> Iterator[Any]:
        pa = _module()

        while self._sorted_files:
            # All rows up to this key are in memory: the rest of each file has later ones.
            bound = min(sorted_file.last for sorted_file in self._sorted_files)
            parts: list[Any] = []
            for sorted_file in self._sorted_files:
                if sorted_file.first <= bound:
                    part, sorted_file.table = _split_at(
                        sorted_file.table, bound, take_all=sorted_file.last <= bound
                    )
                    parts.append(part)
            self._sorted_files = [
                sorted_file for sorted_file in self._sorted_files if sorted_file.load_next()
            ]
            table = parts[0]
            if len(parts) > 1:
                table = pa.concat_tables(parts).sort_by(
                    [(_TIME_COLUMN, "ascending"), (_KEY_COLUMN, "ascending")]
                )
            yield self._drop_duplicates(table)

    def _drop_duplicates(self, table: Any) -> Any:
        """Return the rows of a table that were not returned before."""
        keys = table[_KEY_COLUMN].to_pylist()
        if len(set(keys)) == len(keys) and (self._last is None or self._last[1] != keys[0]):
            self._last = _key(table, -1)
            return table
        keep: list[bool] = []
        times = table[_TIME_COLUMN].cast("int64").to_pylist()
        for row in zip(times, keys, strict=True):
            keep.append(row != self._last)
            self._last = row
        pa = _module()

        self.duplicates += keep.count(False)
        return table.filter(pa.array(keep))

    def _batch(self, tables: list[Any]) -> Batch:
        pa = _module()

        times, keys = list[str](), list[str]()
        values: list[list[Any]] = [[] for _ in self._columns]
        if tables:
            table = pa.concat_tables(tables)
            times, keys = (
                _clickhouse_text(table[_TIME_COLUMN]).to_pylist(),
                table[_KEY_COLUMN].to_pylist(),
            )
            values = [_json_values(table[name]) for name in self._columns]

        def position(count: int) -> Any:
            if not count:
                return None
            return checkpoint_position(RowKey(parse_clickhouse(times[count - 1]), keys[count - 1]))

        return Batch(
            columns=self._columns,
            types=column_types([FILE_COLUMNS[name] for name in self._columns], len(self._columns)),
            raw_columns=values,
            json=frozenset(i for i, name in enumerate(self._columns) if name in self._json),
            keys=keys,
            times=times,
            position=partial(position),
        )


def _key(table: Any, row: int) -> tuple[int, str]:
    index = row if row >= 0 else table.num_rows + row
    return table[_TIME_COLUMN][index].value, table[_KEY_COLUMN][index].as_py()


def _rows_after(table: Any, bound: tuple[int, str]) -> Any:
    return table.filter(_up_to_mask(table, bound, invert=True))


def _split_at(table: Any, bound: tuple[int, str], *, take_all: bool) -> tuple[Any, Any]:
    """Return the rows up to a bound, and the others."""
    if take_all:
        return table, None
    pc = _module(".compute")

    count = pc.sum(_up_to_mask(table, bound)).as_py()
    return table.slice(0, count), table.slice(count)


def _up_to_mask(table: Any, bound: tuple[int, str], *, invert: bool = False) -> Any:
    pa = _module()
    pc = _module(".compute")

    time, key = pa.scalar(bound[0], pa.timestamp("us", "UTC")), pa.scalar(bound[1])
    times = table[_TIME_COLUMN]
    mask = pc.or_(
        pc.less(times, time), pc.and_(pc.equal(times, time), pc.less_equal(table[_KEY_COLUMN], key))
    )
    return pc.invert(mask) if invert else mask


def _json_values(column: Any) -> list[Any]:
    """Return the values of a column as they are in the response to a query."""
    pa = _module()
    pc = _module(".compute")

    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    iso = pc.replace_substring(_clickhouse_text(column), pattern=" ", replacement="T")
    short = pc.replace_substring(iso, pattern=".000000", replacement="")
    return pc.binary_join_element_wise(short, "Z", "").to_pylist()


def _clickhouse_text(column: Any) -> Any:
    """Return timestamps in the notation of ClickHouse, in UTC."""
    pa = _module()
    return column.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us")).cast(pa.string())
