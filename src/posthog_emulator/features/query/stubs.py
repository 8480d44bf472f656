"""Stubs: fixed rows for queries that the emulator cannot translate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, cast
from uuid import UUID

from posthog_emulator.timestamps import format_utc

from .result import Result, encode_json

__all__ = ["Pattern", "Rows", "Stub", "stub_result"]

Rows: TypeAlias = "Iterable[Sequence[Any] | Mapping[str, Any]]"
Pattern: TypeAlias = "str | re.Pattern[str] | Callable[[str], bool]"
_WHITESPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Stub:
    """Fixed rows for all queries that match a pattern."""

    pattern: Pattern
    rows: Rows | Callable[[str, Mapping[str, Any]], Rows]
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None

    def matches(self, sql: str) -> bool:
        """Return whether a query matches the pattern, up to differences in whitespace."""
        if not isinstance(self.pattern, str | re.Pattern):
            return self.pattern(sql)
        # A string is tried as plain text first: most queries have parentheses and stars, which
        # would have to be escaped in a regular expression.
        flat = _WHITESPACE.sub(" ", sql).strip()
        if isinstance(self.pattern, re.Pattern):
            return self.pattern.search(sql) is not None or self.pattern.search(flat) is not None
        if _WHITESPACE.sub(" ", self.pattern).strip() in flat:
            return True
        try:
            return re.search(self.pattern, flat) is not None
        except re.error:
            return False


def stub_result(stub: Stub, sql: str, values: Mapping[str, Any]) -> Result:
    """Return the rows of a stub as the result of a query.

    Raises:
        ValueError: The rows differ in length, or do not fit the columns or types.
    """
    stub_rows = stub.rows(sql, values) if callable(stub.rows) else stub.rows
    rows = list(stub_rows)
    first = rows[0] if rows else ()
    columns = stub.columns
    if columns is None and isinstance(first, Mapping):
        columns = tuple(str(name) for name in first)
    values_by_row: list[list[Any]] = []
    for row in rows:
        values_of = list(row.values()) if isinstance(row, Mapping) else list(row)
        if isinstance(row, Mapping) and columns is not None:
            values_of = [row.get(name) for name in columns]
        values_by_row.append(values_of)
    width = len(columns) if columns is not None else len(values_by_row[0]) if values_by_row else 0
    names = columns or tuple(f"column_{number}" for number in range(1, width + 1))
    if any(len(row) != width for row in values_by_row) or (stub.types and len(stub.types) != width):
        raise ValueError(f"rows, columns and types of stub_query must have one length, as {width}")
    types = stub.types or tuple(
        _guess_type([row[n] for row in values_by_row]) for n in range(width)
    )
    head = {
        "columns": list(names),
        "types": [list(pair) for pair in zip(names, types, strict=True)],
        "hasMore": None,
        "limit": None,
        "offset": None,
    }
    plain = [[_to_json(value) for value in row] for row in values_by_row]
    return Result(encode_json(plain), head, len(plain))


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_utc(value) if value.utcoffset() == timedelta(0) else value.isoformat()
    if isinstance(value, date | UUID | Decimal):
        return str(value)
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in cast("list[Any]", value)]
    return value


_TYPES: tuple[tuple[type[Any], str], ...] = (
    (bool, "Bool"), (int, "Int64"), (float, "Float64"), (datetime, "DateTime64(6, 'UTC')"),
    (date, "Date"), (UUID, "UUID"),
)  # fmt: skip


def _guess_type(values: list[Any]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "Nullable(Nothing)"
    # By the first value: the values of a column have one type in ClickHouse.
    name = next((text for kind, text in _TYPES if isinstance(present[0], kind)), "String")
    return name if len(present) == len(values) else f"Nullable({name})"
