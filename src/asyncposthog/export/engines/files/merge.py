"""Rows of Parquet files in the order of an export: first each file, then all of them merged.

Needs pyarrow. Memory holds one file while that is put in order, and a little of every file while
they are merged.
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
from asyncposthog.export.atomic_files import partial_name, publish, translate_os_errors
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.query_page import checkpoint_position
from asyncposthog.export.source import Place
from asyncposthog.export.timestamps import parse_clickhouse
from asyncposthog.query.clickhouse import column_types

from .plan import COLUMNS

__all__ = ["MergedFiles", "require_pyarrow", "rows_of", "sort_file"]

_ROWS: Final = 1024
"""How many rows of each file are in memory while files are merged."""
_TIME, _KEY = "timestamp", "uuid"


def _module(name: str = "") -> Any:
    """Return a module of pyarrow, whose types say little."""
    return import_module(f"pyarrow{name}")


def require_pyarrow() -> None:
    """Fail early where what reads the files is missing.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        _module()
    except ImportError as error:
        message = "engine='files' reads Parquet: pip install 'asyncposthog[parquet]'"
        raise ImportError(message) from error


def rows_of(path: Path) -> int:
    """Return how many rows a Parquet file has.

    Raises:
        ExportError: It is none.
    """
    pa = _module()
    parquet = _module(".parquet")

    try:
        return parquet.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        path.unlink(missing_ok=True)
        raise ExportError(
            f"A downloaded file is no Parquet: {error}.",
            suggestion="Run the export again: it is fetched anew.",
        ) from error


def sort_file(source: Path, target: Path, *, start: int, end: int, columns: Sequence[str]) -> int:
    """Write the rows of a file that belong to an export to another, in order.

    Args:
        source: A Parquet file.
        target: The Arrow file to write; it has its name once it is complete.
        start: The first moment, in microseconds.
        end: The first moment that is not exported any more.
        columns: Those to keep.

    Returns:
        How many rows were written.

    Raises:
        ExportError: The file lacks a column, or the other cannot be written.
    """
    pa = _module()
    pc = _module(".compute")
    ipc = _module(".ipc")
    parquet = _module(".parquet")

    wanted = list(dict.fromkeys((*columns, _TIME, _KEY)))
    known = parquet.read_schema(source).names
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ExportError(
            f"The downloaded files have no column {missing[0]!r}; they have {', '.join(known)}.",
            suggestion="Name other columns, or use engine='query'.",
        )
    moment = pa.timestamp("us", "UTC")
    table = parquet.read_table(source, columns=wanted)
    times = table[_TIME].cast(moment)
    inside = pc.and_(
        pc.greater_equal(times, pa.scalar(start, moment)), pc.less(times, pa.scalar(end, moment))
    )
    place = table.column_names.index(_TIME)
    table = table.set_column(place, _TIME, times).filter(inside)
    table = table.sort_by([(_TIME, "ascending"), (_KEY, "ascending")])
    partial_path = partial_name(target)
    with translate_os_errors(target):
        with partial_path.open("wb") as file:
            options = ipc.IpcWriteOptions(compression="zstd")
            with ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=_ROWS)
            file.flush()
            os.fsync(file.fileno())
        publish(partial_path, target)
    return table.num_rows


@dataclass(slots=True)
class _SortedFile:
    """A file whose rows are in order, read a little at a time."""

    reader: Any
    after: tuple[int, str] | None
    number: int = 0
    table: Any = None
    first: tuple[int, str] = (0, "")
    last: tuple[int, str] = (0, "")

    def advance(self) -> bool:
        """Read on until there are rows that are still to come. Returns whether there are any."""
        while self.table is None or self.table.num_rows == 0:
            if self.number >= self.reader.num_record_batches:
                return False
            pa = _module()

            self.table = pa.Table.from_batches([self.reader.get_batch(self.number)])
            self.number += 1
            if self.after is not None:
                self.table = _rows_after(self.table, self.after)
        self.first, self.last = _key(self.table, 0), _key(self.table, -1)
        return True

    @property
    def ended(self) -> bool:
        """Whether what is in memory is the last of it."""
        return self.number >= self.reader.num_record_batches


class MergedFiles:
    """The rows of all files of an export, in order, each once."""

    def __init__(
        self, paths: Sequence[Path], columns: Sequence[str], json: frozenset[str], after: Any
    ) -> None:
        """Open the files.

        Args:
            paths: Files written by `sort_file`.
            columns: The columns to hand on.
            json: Those that hold JSON as text.
            after: The position of the last row that is done.
        """
        pa = _module()
        ipc = _module(".ipc")

        self._columns = tuple(columns)
        self._json = json
        self._files = [pa.memory_map(str(path)) for path in paths]
        behind = None if after is None else (parse_clickhouse(after["time"]), after["key"] or "")
        runs: list[_SortedFile] = [_SortedFile(ipc.open_file(file), behind) for file in self._files]
        self._runs: list[_SortedFile] = [run for run in runs if run.advance()]
        self._last: tuple[int, str] | None = None
        self._resumed = after is not None
        self.duplicates = 0
        """Rows that several files had."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows in batches of about a size; without rows, one that has the columns."""
        waiting: list[Any] = []
        held, empty = 0, not self._resumed
        for table in self._tables():
            waiting.append(table)
            held += table.num_rows
            if held >= size:
                yield self._batch(waiting)
                waiting, held, empty = [], 0, False
        if held or empty:
            yield self._batch(waiting)

    def close(self) -> None:
        """Close the files."""
        self._runs.clear()
        for file in self._files:
            file.close()

    def _tables(self) -> Iterator[Any]:
        pa = _module()

        while self._runs:
            # Up to here everything is in memory: what is not yet read of a file comes later.
            bound = min(run.last for run in self._runs)
            pieces: list[Any] = []
            for run in self._runs:
                if run.first <= bound:
                    piece, run.table = _cut(run.table, bound, whole=run.last <= bound)
                    pieces.append(piece)
            self._runs = [run for run in self._runs if run.advance()]
            table = pieces[0]
            if len(pieces) > 1:
                table = pa.concat_tables(pieces).sort_by(
                    [(_TIME, "ascending"), (_KEY, "ascending")]
                )
            yield self._unique(table)

    def _unique(self, table: Any) -> Any:
        """Leave out rows that were there before."""
        keys = table[_KEY].to_pylist()
        if len(set(keys)) == len(keys) and (self._last is None or self._last[1] != keys[0]):
            self._last = _key(table, -1)
            return table
        kept: list[bool] = []
        times = table[_TIME].cast("int64").to_pylist()
        for row in zip(times, keys, strict=True):
            kept.append(row != self._last)
            self._last = row
        pa = _module()

        self.duplicates += kept.count(False)
        return table.filter(pa.array(kept))

    def _batch(self, tables: list[Any]) -> Batch:
        pa = _module()

        times, keys = list[str](), list[str]()
        values: list[list[Any]] = [[] for _ in self._columns]
        if tables:
            table = pa.concat_tables(tables)
            times, keys = _moments(table[_TIME]).to_pylist(), table[_KEY].to_pylist()
            values = [_as_json(table[name]) for name in self._columns]

        def position(count: int) -> Any:
            if not count:
                return None
            return checkpoint_position(Place(parse_clickhouse(times[count - 1]), keys[count - 1]))

        return Batch(
            columns=self._columns,
            types=column_types([COLUMNS[name] for name in self._columns], len(self._columns)),
            raw_columns=values,
            json=frozenset(i for i, name in enumerate(self._columns) if name in self._json),
            keys=keys,
            times=times,
            position=partial(position),
        )


def _key(table: Any, row: int) -> tuple[int, str]:
    place = row if row >= 0 else table.num_rows + row
    return table[_TIME][place].value, table[_KEY][place].as_py()


def _rows_after(table: Any, bound: tuple[int, str]) -> Any:
    return table.filter(_is_up_to(table, bound, invert=True))


def _cut(table: Any, bound: tuple[int, str], *, whole: bool) -> tuple[Any, Any]:
    """Return the rows up to a bound, and the others."""
    if whole:
        return table, None
    pc = _module(".compute")

    count = pc.sum(_is_up_to(table, bound)).as_py()
    return table.slice(0, count), table.slice(count)


def _is_up_to(table: Any, bound: tuple[int, str], *, invert: bool = False) -> Any:
    pa = _module()
    pc = _module(".compute")

    moment, key = pa.scalar(bound[0], pa.timestamp("us", "UTC")), pa.scalar(bound[1])
    times = table[_TIME]
    found = pc.or_(
        pc.less(times, moment), pc.and_(pc.equal(times, moment), pc.less_equal(table[_KEY], key))
    )
    return pc.invert(found) if invert else found


def _as_json(column: Any) -> list[Any]:
    """Return a column's values as they come in the answer of a query."""
    pa = _module()
    pc = _module(".compute")

    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    iso = pc.replace_substring(_moments(column), pattern=" ", replacement="T")
    short = pc.replace_substring(iso, pattern=".000000", replacement="")
    return pc.binary_join_element_wise(short, "Z", "").to_pylist()


def _moments(column: Any) -> Any:
    """Return moments as ClickHouse writes them in UTC; a cast is far quicker than a format."""
    pa = _module()
    return column.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us")).cast(pa.string())
