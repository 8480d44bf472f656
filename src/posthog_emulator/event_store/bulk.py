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

_FEW: Final = 2000
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
    if len(rows) <= _FEW:
        lists = [[_text(v) for v in c] if isinstance(c[0], bytes) else c for c in lists]
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
            same.append(_text(column[0]))
        else:
            chosen.append(_value(f'"{name}"', kind))
            varied[name] = _packed(arrow, column, kind)
    if not varied:
        varied["row"] = _packed(arrow, list(range(len(rows))), "BIGINT")
    made = arrow.Table.from_arrays(list(varied.values()), names=list(varied))
    connection.register("incoming_rows", made)
    try:
        connection.execute(
            f"INSERT INTO {table} SELECT {', '.join(chosen)} FROM incoming_rows",  # noqa: S608
            same,
        )
    finally:
        connection.unregister("incoming_rows")


_NUMBERS: Final[Mapping[str, tuple[str, str]]] = {
    "BIGINT": ("int64", "q"),
    "BOOLEAN": ("int8", "b"),
    "INTEGER": ("int32", "i"),
    "TIMESTAMP": ("int64", "q"),
}
"""How DuckDB's types travel, in Arrow's words and in those of the module `array`."""


def _packed(arrow: Any, column: list[Any], type: str) -> Any:
    """A column as Arrow has it.

    Arrow's own way from a list looks whether it is one of pandas', and loads that for it: a
    quarter of a second, once a process. The buffers are as fast to fill.
    """
    number = _NUMBERS.get(type)
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


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _raw(type: str) -> str:
    return "BIGINT" if type == "TIMESTAMP" else type


def _value(expression: str, type: str) -> str:
    if type == "TIMESTAMP":
        return f"make_timestamp({expression})"
    return f"{expression}::{type}" if type in {"BOOLEAN", "UUID"} else expression
