"""Insert rows as JSON, which pydantic writes and ClickHouse reads without Python objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from .engine import Database
from .literals import identifier, literal

__all__ = ["MAX_MICROS", "MIN_MICROS", "insert", "insert_columns"]

MIN_MICROS: Final = -2_208_988_800_000_000
"""The earliest time of a `DateTime64`, 1900, in microseconds since 1970."""
MAX_MICROS: Final = 10_413_791_999_999_999
"""The latest time of a `DateTime64`, the end of 2299."""

_MAX_INLINE_ROWS: Final = 1000
"""The number of rows up to which a statement with its data is as fast as one with a file."""


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
    execute = database.execute_apart if apart else database.execute
    data = {
        name: [None if at is None else min(max(at, MIN_MICROS), MAX_MICROS) for at in column]
        if kind == "DateTime64"
        else column
        for (name, kind), column in zip(columns.items(), values, strict=True)
        # Most text columns are empty in a whole batch of events: that is the default of a column.
        if kind != "String" or len(columns) == 1 or column.count("") < len(column)
    }
    statement = f"INSERT INTO {identifier(table)} ({', '.join(map(identifier, data))})"
    text = to_json(list(data.values()))
    if len(values[0]) <= _MAX_INLINE_ROWS:
        execute(f"{statement} FORMAT JSONCompactColumns ".encode() + text)
        return
    with database.insert_file() as path:
        path.write_bytes(text)
        source = f"FROM INFILE {literal(str(path))} FORMAT JSONCompactColumns"
        execute(f"{statement} {source}".encode())
