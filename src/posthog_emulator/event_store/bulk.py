"""Rows into DuckDB, many at a time."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from .tables import TABLES

if TYPE_CHECKING:
    import duckdb

__all__ = ["insert"]

_MAX_LIST_ROWS: Final = 2000
"""Up to so many rows DuckDB reads Python's lists as fast as Arrow's are made."""


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Append rows to a table.

    Args:
        connection: Where the table is.
        table: One of `schema.TABLES`.
        rows: Values in the order of its columns; times as microseconds since 1970, UUIDs as text.
            A column of texts may be all `bytes`, in UTF-8.
    """
    if not rows:
        return
    columns = TABLES[table]
    lists = [list(column) for column in zip(*rows, strict=True)]
    if len(rows) <= _MAX_LIST_ROWS:
        lists = [[_decode(v) for v in c] if isinstance(c[0], bytes) else c for c in lists]
        expressions = ", ".join(
            _cast(f"unnest(?::{_parameter_type(kind)}[])", kind) for kind in columns.values()
        )
        connection.execute(f"INSERT INTO {table} SELECT {expressions}", lists)
        return
    arrow = importlib.import_module("pyarrow")
    arrays: dict[str, Any] = {}
    expressions, constants = list[str](), list[Any]()
    for (name, kind), column in zip(columns.items(), lists, strict=True):
        if column.count(column[0]) == len(column):
            # Most texts are empty in most events: a constant costs nothing.
            expressions.append(_cast(f"?::{_parameter_type(kind)}", kind))
            constants.append(_decode(column[0]))
        else:
            expressions.append(_cast(f'"{name}"', kind))
            arrays[name] = _arrow_array(arrow, column, kind)
    if not arrays:
        arrays["row"] = _arrow_array(arrow, list(range(len(rows))), "BIGINT")
    batch = arrow.Table.from_arrays(list(arrays.values()), names=list(arrays))
    connection.register("incoming_rows", batch)
    try:
        connection.execute(
            f"INSERT INTO {table} SELECT {', '.join(expressions)} FROM incoming_rows",  # noqa: S608
            constants,
        )
    finally:
        connection.unregister("incoming_rows")


_ARROW_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "BIGINT": ("int64", "q"),
    "BOOLEAN": ("int8", "b"),
    "INTEGER": ("int32", "i"),
    "TIMESTAMP": ("int64", "q"),
}
"""How DuckDB's types travel, in Arrow's words and in those of the module `array`."""


def _arrow_array(arrow: Any, column: list[Any], type: str) -> Any:
    """A column as Arrow has it.

    Arrow's own way from a list looks whether it is one of pandas', and loads that for it: a
    quarter of a second, once a process. The buffers are as fast to fill.
    """
    number = _ARROW_TYPES.get(type)
    kind, code = ("large_string", "") if number is None else number
    if None in column:
        wide = {"BOOLEAN": "bool_"}.get(type, kind)
        return arrow.array(column, type=getattr(arrow, wide)())
    if number is not None:
        buffers = [arrow.py_buffer(array(code, column))]
    else:
        if isinstance(column[0], str):
            text = "".join(column)
            if not text.isascii():
                column = [piece.encode() for piece in column]
            content = text.encode()
        else:
            content = b"".join(column)
        ends = array("q", accumulate(map(len, column), initial=0))
        buffers = [arrow.py_buffer(ends), arrow.py_buffer(content)]
    return arrow.Array.from_buffers(getattr(arrow, kind)(), len(column), [None, *buffers])


def _decode(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _parameter_type(type: str) -> str:
    return "BIGINT" if type == "TIMESTAMP" else type


def _cast(expression: str, type: str) -> str:
    if type == "TIMESTAMP":
        return f"make_timestamp({expression})"
    return f"{expression}::{type}" if type in {"BOOLEAN", "UUID"} else expression
