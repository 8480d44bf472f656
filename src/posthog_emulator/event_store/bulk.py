"""Insert many rows into DuckDB at once."""

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
"""Number of rows up to which passing Python lists is as fast as building Arrow arrays."""


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Append rows to a table.

    Args:
        connection: The database with the table.
        table: A key of `tables.TABLES`.
        rows: Values in the order of the table's columns; timestamps as microseconds since 1970,
            UUIDs as text. A text column may consist of UTF-8 `bytes` only.
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
            # Most text columns are empty in a whole batch of events: one bound parameter is
            # cheaper than an array of equal values.
            expressions.append(_cast(f"?::{_parameter_type(kind)}", kind))
            constants.append(_decode(column[0]))
        else:
            expressions.append(_cast(f'"{name}"', kind))
            arrays[name] = _arrow_array(arrow, column, kind)
    if not arrays:
        # If every column is constant, the SELECT still needs a source with the right row count.
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
"""Arrow type and `array` type code of each fixed-width DuckDB type."""


def _arrow_array(arrow: Any, column: list[Any], type: str) -> Any:
    """Return a column as an Arrow array."""
    # pyarrow.array(list) checks for pandas objects and imports pandas for that, which takes a
    # quarter of a second once per process. Filling the buffers directly is as fast otherwise.
    number = _ARROW_TYPES.get(type)
    kind, code = ("large_string", "") if number is None else number
    if None in column:
        # The buffers below have no validity bitmap, so columns with nulls take the slow way.
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
