"""Rows into DuckDB, many at a time."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncposthog.emulator.events.schema import TABLES

if TYPE_CHECKING:
    import duckdb

__all__ = ["insert"]

_FEW = 2000
"""Up to so many rows DuckDB reads Python's lists as fast as Arrow's are made."""


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Append rows to a table.

    Args:
        connection: Where the table is.
        table: One of `schema.TABLES`.
        rows: Values in the order of its columns; times as microseconds since 1970, UUIDs as text.
    """
    if not rows:
        return
    columns = TABLES[table]
    lists = [list(column) for column in zip(*rows, strict=True)]
    if len(rows) <= _FEW:
        chosen = ", ".join(_value(f"unnest(?::{_raw(kind)}[])", kind) for kind in columns.values())
        connection.execute(f"INSERT INTO {table} SELECT {chosen}", lists)
        return
    arrow = importlib.import_module("pyarrow")
    varied: dict[str, Any] = {}
    chosen, same = list[str](), list[Any]()
    for (name, kind), column in zip(columns.items(), lists, strict=True):
        if column.count(column[0]) == len(column):
            # Most texts are empty in most events: a constant costs nothing.
            chosen.append(_value(f"?::{_raw(kind)}", kind))
            same.append(column[0])
        else:
            chosen.append(_value(f'"{name}"', kind))
            varied[name] = arrow.array(column, type=getattr(arrow, _ARROW[kind])())
    connection.register("incoming_rows", arrow.table(varied or {"row": list(range(len(rows)))}))
    try:
        connection.execute(
            f"INSERT INTO {table} SELECT {', '.join(chosen)} FROM incoming_rows",  # noqa: S608
            same,
        )
    finally:
        connection.unregister("incoming_rows")


_ARROW = {
    "INTEGER": "int32",
    "BIGINT": "int64",
    "TIMESTAMP": "int64",
    "BOOLEAN": "bool_",
    "UUID": "string",
    "VARCHAR": "string",
}


def _raw(type: str) -> str:
    return "BIGINT" if type == "TIMESTAMP" else type


def _value(expression: str, type: str) -> str:
    if type == "TIMESTAMP":
        return f"make_timestamp({expression})"
    return f"{expression}::UUID" if type == "UUID" else expression
