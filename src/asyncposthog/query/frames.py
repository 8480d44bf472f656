"""Convert results to Arrow, Polars and pandas tables, importing each library when needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from .arrow import arrow_table, pyarrow_module
from .clickhouse import ColumnType

__all__ = ["to_arrow", "to_pandas", "to_polars"]


def to_arrow(
    names: Sequence[str],
    kinds: Sequence[ColumnType],
    columns: Sequence[Sequence[Any]],
    extra: str = "arrow",
    *,
    uuids: bool = False,
) -> Any:
    """Return a `pyarrow.Table`.

    Args:
        names: The column names.
        kinds: The column types.
        columns: The JSON values of each column.
        extra: The extra that the error names if pyarrow is not installed.
        uuids: Whether UUIDs have Arrow's UUID type instead of text.

    Raises:
        DecodeError: A value does not match the type of its column.
        ImportError: pyarrow is not installed.
    """
    pyarrow_module(extra)
    return arrow_table(names, kinds, columns, uuids=uuids, alternative="use .rows")


def to_polars(
    names: Sequence[str], kinds: Sequence[ColumnType], columns: Sequence[Sequence[Any]]
) -> Any:
    """Return a `polars.DataFrame`."""
    try:
        import polars
    except ImportError:
        raise ImportError("This needs polars: pip install 'asyncposthog[polars]'.") from None
    return cast("Any", polars).from_arrow(to_arrow(names, kinds, columns, "polars"))


def to_pandas(
    names: Sequence[str], kinds: Sequence[ColumnType], columns: Sequence[Sequence[Any]]
) -> Any:
    """Return a `pandas.DataFrame`."""
    # Nullable integers and booleans get pandas' nullable dtypes: numpy has none, so pandas would
    # convert such integers to floats, and round large ones.
    try:
        import pandas
    except ImportError:
        raise ImportError("This needs pandas: pip install 'asyncposthog[pandas]'.") from None
    table = to_arrow(names, kinds, columns, "pandas")
    nullable = {
        pyarrow_type: getattr(pandas, f"{name}Dtype")()
        for name, pyarrow_type in _nullable_dtypes().items()
    }
    series = {
        name: column.to_pandas(types_mapper=nullable.get if kind.nullable else None)
        for name, kind, column in zip(names, kinds, table.columns, strict=True)
    }
    return pandas.DataFrame(series)


def _nullable_dtypes() -> dict[str, Any]:
    pa = pyarrow_module("pandas")
    widths = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    return {**{name: getattr(pa, name.lower())() for name in widths}, "Boolean": pa.bool_()}
