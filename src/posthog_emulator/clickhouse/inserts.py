"""Insert many rows at once: as JSON if they are few, as Arrow if they are many."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json

from .engine import Database
from .literals import identifier, literal

__all__ = ["MAX_MICROS", "MIN_MICROS", "insert", "insert_columns"]

MIN_MICROS: Final = -2_208_988_800_000_000
"""The earliest time of a `DateTime64`, 1900, in microseconds since 1970."""
MAX_MICROS: Final = 10_413_791_999_999_999
"""The latest time of a `DateTime64`, the end of 2299."""

_MAX_JSON_ROWS: Final = 1000
"""The number of rows up to which JSON is as fast, and does not load pyarrow."""
_EPOCH: Final = datetime(1970, 1, 1)
_ARROW_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "Int64": ("int64", "q"),
    "UInt64": ("uint64", "Q"),
    "Int8": ("int8", "b"),
    "UInt8": ("uint8", "B"),
    "DateTime64": ("timestamp", "q"),
}
"""Arrow type and `array` type code of each type of a fixed width."""


def insert(
    database: Database,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Append rows to a table.

    Args:
        database: The database.
        table: The table.
        columns: The types of its columns, as `insert_columns` takes them.
        rows: Values in the order of the columns.
    """
    if rows:
        insert_columns(database, table, columns, list(zip(*rows, strict=True)))


def insert_columns(
    database: Database,
    table: str,
    columns: Mapping[str, str],
    values: Sequence[Sequence[Any]],
    *,
    apart: bool = False,
) -> None:
    """Append at least one row to a table.

    Args:
        database: The database.
        table: The table.
        columns: The types of its columns, by name: `Int64`, `UInt64`, `Int8`, `UInt8`, `String`,
            `UUID` or `DateTime64`, which has six digits of a fraction.
        values: The values of each column: timestamps as microseconds since 1970, UUIDs as text. A
            text column may consist of UTF-8 `bytes`. A timestamp may be None.
        apart: Insert them in parallel with other statements.
    """
    table, execute = identifier(table), database.execute_apart if apart else database.execute
    if len(values[0]) <= _MAX_JSON_ROWS:
        execute(_json_insert(table, columns, values))
        return
    # Through a file: ClickHouse takes an empty line as the end of data that follows a statement.
    # In JSON there is none.
    with database.insert_file() as path:
        names = ", ".join(map(identifier, _write_arrow(path, columns, values)))
        source = f"FROM INFILE {literal(str(path))} FORMAT ArrowStream"
        execute(f"INSERT INTO {table} ({names}) {source}".encode())


def _json_insert(table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> bytes:
    printed = [
        [_moment(value) for value in column] if kind == "DateTime64" else column
        for kind, column in zip(columns.values(), values, strict=True)
    ]
    lines = map(to_json, zip(*printed, strict=True))
    names = ", ".join(map(identifier, columns))
    head = f"INSERT INTO {table} ({names}) FORMAT JSONCompactEachRow\n".encode()
    return head + b"\n".join(lines)


def _moment(micros: int | None) -> str | None:
    if micros is None:
        return None
    return (_EPOCH + timedelta(microseconds=_clamp(micros))).isoformat(" ", "microseconds")


def _clamp(micros: int) -> int:
    return min(max(micros, MIN_MICROS), MAX_MICROS)


def _write_arrow(
    path: Path, columns: Mapping[str, str], values: Sequence[Sequence[Any]]
) -> list[str]:
    """Write columns to an Arrow file, and return the names of those that it has."""
    arrow = importlib.import_module("pyarrow")
    arrays: dict[str, Any] = {}
    for (name, kind), column in zip(columns.items(), values, strict=True):
        # Most text columns are empty in a whole batch of events: that is the default of a column.
        if kind == "String" and column.count("") == len(column) and len(columns) > 1:
            continue
        arrays[name] = _arrow_array(arrow, column, kind)
    batch = arrow.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    with (
        arrow.OSFile(str(path), "wb") as sink,
        arrow.ipc.new_stream(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)
    return list(arrays)


def _arrow_array(arrow: Any, column: Sequence[Any], type: str) -> Any:
    """Return a column as an Arrow array."""
    # pyarrow.array(list) checks for pandas objects and imports pandas for that, which takes a
    # quarter of a second once per process. Filling the buffers directly is as fast otherwise.
    fixed = _ARROW_TYPES.get(type)
    if fixed is not None:
        name, code = fixed
        kind = arrow.timestamp("us", "UTC") if name == "timestamp" else getattr(arrow, name)()
        if name == "timestamp":
            if None in column:
                # The buffers below have no validity bitmap.
                clamped = [None if value is None else _clamp(value) for value in column]
                return arrow.array(clamped, type=kind)
            if min(column) < MIN_MICROS or max(column) > MAX_MICROS:
                column = [_clamp(value) for value in column]
        buffers = [arrow.py_buffer(array(code, column))]
        return arrow.Array.from_buffers(kind, len(column), [None, *buffers])
    if isinstance(column[0], str):
        text = "".join(column)
        if not text.isascii():
            column = [piece.encode() for piece in column]
        content = text.encode()
    else:
        content = b"".join(column)
    ends = array("q", accumulate(map(len, column), initial=0))
    buffers = [arrow.py_buffer(ends), arrow.py_buffer(content)]
    return arrow.Array.from_buffers(arrow.large_string(), len(column), [None, *buffers])
