"""Rows of a recipe as Arrow, Polars and pandas tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints
from uuid import UUID

from asyncposthog.query.clickhouse import ColumnType, column_types

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["column_names", "json_value", "to_arrow", "to_pandas", "to_polars"]

_CLICKHOUSE: Final[dict[type, str]] = {
    str: "String",
    int: "Int64",
    float: "Float64",
    bool: "Bool",
    datetime: "DateTime64(6, 'UTC')",
    date: "Date32",
    UUID: "UUID",
}
"""The types of query results, so that tables of recipes are converted as those are."""


def column_names(row: type) -> tuple[str, ...]:
    """Return the names of the fields of a row."""
    return tuple(field.name for field in dataclasses.fields(row))


@cache
def _column_types(row: type) -> tuple[ColumnType, ...]:
    hints = get_type_hints(row)
    return column_types([_clickhouse(hints[name]) for name in column_names(row)], len(hints))


def _clickhouse(hint: Any) -> str:
    kinds = get_args(hint) or (hint,)
    plain = next(kind for kind in kinds if kind is not NoneType)
    return f"Nullable({_CLICKHOUSE[plain]})" if NoneType in kinds else _CLICKHOUSE[plain]


def json_value(value: object) -> Any:
    """Return a value of a row as JSON data."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _columns(row: type, rows: Sequence[Any]) -> list[list[Any]]:
    return [[json_value(getattr(item, name)) for item in rows] for name in column_names(row)]


def to_arrow(row: type, rows: Sequence[Any]) -> pyarrow.Table:  # pyright: ignore[reportUnknownMemberType, reportUnknownParameterType]
    """Return a `pyarrow.Table`; ImportError if `asyncposthog[arrow]` is not installed."""
    from asyncposthog.query import frames

    return frames.to_arrow(column_names(row), _column_types(row), _columns(row, rows))


def to_polars(row: type, rows: Sequence[Any]) -> polars.DataFrame:
    """Return a `polars.DataFrame`; ImportError if `asyncposthog[polars]` is not installed."""
    from asyncposthog.query import frames

    return frames.to_polars(column_names(row), _column_types(row), _columns(row, rows))


def to_pandas(row: type, rows: Sequence[Any]) -> pandas.DataFrame:
    """Return a `pandas.DataFrame`; ImportError if `asyncposthog[pandas]` is not installed."""
    from asyncposthog.query import frames

    return frames.to_pandas(column_names(row), _column_types(row), _columns(row, rows))
