"""SQL that encodes each row as a JSON array, inside DuckDB, in the format of the API."""

from __future__ import annotations

from collections.abc import Sequence

from .problems import untranslated
from .types import Type

__all__ = ["row_json"]

_BETWEEN = " || ',' || "


def row_json(types: Sequence[Type]) -> str:
    """Return the SQL of a row c0, c1, … as a JSON array followed by a comma.

    NaN and infinity are null; decimals are strings; timestamps are ISO 8601, with six digits of
    a fraction if there is one, and `Z` for UTC.

    Raises:
        HogQLError: A column is of a type that has no JSON.
    """
    # Encoding in DuckDB avoids a Python object for every value, the larger part of the time.
    parts = [_json(f"q.c{n}", kind, 0) for n, kind in enumerate(types)]
    return f"'[' || {_BETWEEN.join(parts)} || '],'"


def _json(sql: str, type: Type, depth: int) -> str:
    """Return the SQL of a value's JSON, which is never NULL."""
    made = _of(sql, type, depth)
    return f"coalesce({made}, 'null')"


def _of(sql: str, type: Type, depth: int) -> str:
    if type.name == "Nothing":
        return "'null'"
    if type.name == "String":
        return f"CAST(to_json({sql}) AS VARCHAR)"
    if type.is_integer or type.name == "Bool":
        return f"CAST({sql} AS VARCHAR)"
    if type.is_float:
        return f"CASE WHEN isfinite({sql}) THEN CAST({sql} AS VARCHAR) END"
    if type.name in {"UUID", "Date", "Decimal"}:
        return f"'\"' || CAST({sql} AS VARCHAR) || '\"'"
    if type.is_moment:
        return _moment(sql, type.zone)
    if type.name == "Array":
        own = f"x{depth}"
        item = _json(own, type.items[0], depth + 1)
        return f"'[' || array_to_string(list_transform({sql}, lambda {own}: {item}), ',') || ']'"
    if type.name == "Tuple":
        parts = [_json(f"({sql}).e{n}", item, depth) for n, item in enumerate(type.items, 1)]
        return f"CASE WHEN {sql} IS NOT NULL THEN '[' || {_BETWEEN.join(parts)} || ']' END"
    raise untranslated(f"a column of type {type}")


def _moment(sql: str, zone: str) -> str:
    if zone == "UTC":
        shown, offset = sql, "'Z'"
    else:
        shown = f"timezone('{zone}', timezone('UTC', {sql}))"
        minutes = f"date_diff('minute', {sql}, {shown})"
        offset = (
            f"(CASE WHEN {minutes} < 0 THEN '-' ELSE '+' END || "
            f"printf('%02d:%02d', abs({minutes}) // 60, abs({minutes}) % 60))"
        )
    second = f"strftime({shown}, '%Y-%m-%dT%H:%M:%S')"
    exact = f"strftime({shown}, '%Y-%m-%dT%H:%M:%S.%f')"
    whole = f"epoch_us({sql}) % 1000000 = 0"
    return f"'\"' || CASE WHEN {whole} THEN {second} ELSE {exact} END || {offset} || '\"'"
