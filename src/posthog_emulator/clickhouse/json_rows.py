"""Run a query and return its rows as JSON in the format of the API.

ClickHouse writes the JSON, so that no Python object is made for a value. Two kinds of values need
another form than it gives them: timestamps are ISO 8601 with a zone, and a float is never written
like an integer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from .engine import Cancellation, Database
from .literals import identifier, literal
from .types import ColumnType, parse_type

__all__ = ["JsonRows", "describe", "encode_column", "query_json"]

_BEFORE_ROWS: Final = b'\n\t"data":\n\t['
_AFTER_ROWS: Final = b"\n\t],\n"
_BETWEEN_ROWS: Final = b",\n\t\t["
_ROW_COUNT: Final = b'\n\t"rows": '


@dataclass(frozen=True, slots=True)
class JsonRows:
    """The result of a query."""

    names: tuple[str, ...]
    """The names of the columns, as ClickHouse gives them."""
    types: tuple[str, ...]
    """The ClickHouse types of the columns."""
    rows: bytes
    """A JSON array of arrays."""
    count: int
    """The number of rows."""

    def first(self, count: int) -> JsonRows:
        """Return the result with at most so many rows."""
        if self.count <= count:
            return self
        end = len(self.rows)
        # A row more than needed shows whether there are more: few rows are cut, from the end. A
        # line break in a value is escaped, so each one found is between rows.
        for _ in range(self.count - count):
            end = self.rows.rfind(b"\n", 0, end)
        text = self.rows[:end].rstrip(b",") + b"]" if count else b"[]"
        return JsonRows(self.names, self.types, text, count)


def describe(
    database: Database,
    sql: str,
    *,
    settings: Mapping[str, object] | None = None,
    cancellation: Cancellation | None = None,
) -> list[tuple[str, str]]:
    """Return the names and types of a query's columns, without running it.

    Args:
        database: The database.
        sql: One SELECT.
        settings: The settings of ClickHouse.
        cancellation: Cancels it from another thread.

    Raises:
        ClickHouseError: The query is rejected.
    """
    text = database.select(
        f"DESCRIBE ({sql}\n)", "JSONCompact", settings=settings, cancellation=cancellation
    )
    return [(row[0], row[1]) for row in json.loads(text)["data"]]


def query_json(
    database: Database,
    sql: str,
    *,
    settings: Mapping[str, object] | None = None,
    cancellation: Cancellation | None = None,
) -> JsonRows:
    """Run a query and return its rows as JSON.

    NaN and infinity are null, decimals are strings, tuples are arrays, maps are objects, integers
    of any width are numbers. Timestamps have six digits of a fraction if it is not zero, and `Z`
    or the offset of their time zone. Invalid UTF-8 becomes U+FFFD.

    Args:
        database: The database.
        sql: One SELECT, without FORMAT, SETTINGS and INTO OUTFILE.
        settings: The settings of ClickHouse, such as `max_execution_time`.
        cancellation: Cancels the query from another thread.

    Raises:
        ClickHouseError: The query is rejected, fails, reaches a limit or is cancelled.
    """
    columns = describe(database, sql, settings=settings, cancellation=cancellation)
    # Unpredictable, so that no text of a row can be taken for a mark.
    mark = uuid4().hex
    statement = _encoded(sql, columns, mark)
    text = database.select(statement, "JSONCompact", settings=settings, cancellation=cancellation)
    start = text.index(_BEFORE_ROWS) + len(_BEFORE_ROWS)
    # A line break in a value is escaped: these are never part of a row.
    end = text.rindex(_AFTER_ROWS)
    count = int(text[text.index(_ROW_COUNT, end) + len(_ROW_COUNT) :].split(b",", 1)[0])
    while text[start : start + 1].isspace():
        start += 1
    # A result may have many megabytes: one copy.
    rows = b"".join((b"[", memoryview(text)[start:end], b"]")) if count else b"[]"
    if mark in statement:
        rows = rows.replace(f'"{mark}'.encode(), b"").replace(f'{mark}"'.encode(), b"")
    names, types = zip(*columns, strict=True) if columns else ((), ())
    return JsonRows(names, types, rows, count)


def _encoded(sql: str, columns: Sequence[tuple[str, str]], mark: str) -> str:
    """Return the SELECT whose JSON is right."""
    names = [name for name, _ in columns]
    # Invalid UTF-8 in a name was replaced.
    unique = len(set(names)) == len(names) and not any("\ufffd" in name for name in names)
    parts, changed = list[str](), False
    for number, (name, type_name) in enumerate(columns, 1):
        # Other columns can be told apart by their position in a tuple only.
        column = f"q.{identifier(name)}" if unique else f"tupleElement(q.t, {number})"
        expression = encode_column(column, parse_type(type_name), mark)
        changed = changed or expression is not None
        parts.append(f"{expression or column} AS c{number}")
    if not changed:
        return f"({sql}\n)"
    source = f"({sql}\n)" if unique else f"(SELECT tuple(*) AS t FROM ({sql}\n))"  # noqa: S608
    return f"(SELECT {', '.join(parts)} FROM {source} AS q)"  # noqa: S608


def encode_column(sql: str, type: ColumnType, mark: str | None, depth: int = 0) -> str | None:
    """Return the SQL of a value whose JSON is as the API has it; None if it is so already.

    Args:
        sql: The value.
        type: Its type.
        mark: Text that is put around floats, which are to be written without quotes; None leaves
            floats as they are.
        depth: The number of lambdas around it.
    """
    match type.name:
        case "Nullable" | "LowCardinality":
            return encode_column(sql, type.items[0], mark, depth)
        case "Float32" | "Float64" | "BFloat16":
            return None if mark is None else _float(sql, mark)
        case "DateTime" | "DateTime64":
            return _moment(sql, type)
        case "FixedString":
            return f"toStringCutToZero({sql})"
        case "Array":
            item = f"x{depth}"
            encoded = encode_column(item, type.items[0], mark, depth + 1)
            return None if encoded is None else f"arrayMap({item} -> {encoded}, {sql})"
        case "Tuple":
            parts = [f"tupleElement({sql}, {n})" for n in range(1, len(type.items) + 1)]
            encoded = [
                encode_column(part, item, mark, depth)
                for part, item in zip(parts, type.items, strict=True)
            ]
            if not any(encoded):
                return None
            return f"tuple({', '.join(m or p for m, p in zip(encoded, parts, strict=True))})"
        case "Map":
            item = f"x{depth}"
            encoded = [encode_column(item, part_sql, mark, depth + 1) for part_sql in type.items]
            if not any(encoded):
                return None
            parts = [
                part if part_sql is None else f"arrayMap({item} -> {part_sql}, {part})"
                for part, part_sql in zip(
                    (f"mapKeys({sql})", f"mapValues({sql})"), encoded, strict=True
                )
            ]
            # `mapApply` is not in every build.
            return f"mapFromArrays({', '.join(parts)})"
        case _:
            return None


def _float(sql: str, mark: str) -> str:
    text = f"toString({sql})"
    # Without it, 1.0 would be written as 1.
    whole = f"{sql} = trunc({sql}) AND abs({sql}) < 1e21"
    return f"if(isFinite({sql}), concat('{mark}', {text}, if({whole}, '.0', ''), '{mark}'), NULL)"


def _moment(sql: str, type: ColumnType) -> str:
    text = f"toString({sql})"
    if type.name == "DateTime64" and type.arguments[0] != "6":
        text = f"toString(toDateTime64({sql}, 6, {literal(type.zone)}))"
    text = f"replaceOne({text}, ' ', 'T')"
    if type.name == "DateTime64":
        text = f"replaceOne({text}, '.000000', '')"
    if type.zone == "UTC":
        return f"concat({text}, 'Z')"
    offset = f"formatDateTime({sql}, '%z')"
    shown = (
        f"if({offset} = '+0000', 'Z', "
        f"concat(substring({offset}, 1, 3), ':', substring({offset}, 4, 2)))"
    )
    return f"concat({text}, {shown})"
