"""The result of a query."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from asyncposthog.errors import SchemaDrift, shorten

from .clickhouse import ColumnType, column_types
from .convert import convert_column
from .sql_scan import MAX_LIMIT

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["QueryResult", "TruncatedResultWarning", "warn_if_truncated"]

_REPR_COLUMNS: Final = 20
"""Columns that `repr` names."""

T = TypeVar("T")
Row = tuple[Any, ...]


class TruncatedResultWarning(UserWarning):
    """The server cut a result, and the query did not ask for that."""


class QueryResult(Sequence[Row]):
    """A table: columns, their ClickHouse types, and rows, which are tuples.

    Values are converted when `rows` is first used: times become datetimes with a zone, UUIDs,
    decimals, arrays and maps what Python has for them. `results` is the JSON that came.

    A query that gives no table (a TrendsQuery, for example) has its answer in `results` alone.
    """

    def __init__(
        self, raw: dict[str, Any], *, query_id: str | None = None, truncated_at: int | None = None
    ) -> None:
        """Keep an answer.

        Args:
            raw: The answer as JSON data.
            query_id: The id the query ran under.
            cut_at: The number of rows at which the server cut it.
        """
        self.raw: Final = raw
        """The whole answer as JSON data."""
        self.query_id: Final = query_id
        """The id it ran under: for `ph.query.log(id)`. None: it is not known."""
        self.truncated: Final = truncated_at is not None
        """Whether the server cut it at a number of rows that the query did not ask for."""

    @property
    def results(self) -> Any:
        """The result as it came, in JSON data."""
        return self.raw.get("results")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        given = self.raw.get("columns")
        if isinstance(given, list):
            return tuple(_column_name(name) for name in cast("list[object]", given))
        width = len(self._raw_rows[0]) if self._raw_rows else 0
        return tuple(str(i + 1) for i in range(width))

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The ClickHouse types of the columns: `DateTime64(6, 'UTC')`."""
        return tuple(str(kind) for kind in self.column_types)

    @cached_property
    def column_types(self) -> tuple[ColumnType, ...]:
        """The types, read."""
        return column_types(self.raw.get("types"), len(self.columns))

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in the order they came."""
        lists = self._raw_rows
        if not lists:
            return []
        converted: list[Sequence[Any]] = []
        table = zip(self.columns, self.column_types, self._columns(lists), strict=True)
        for name, kind, values in table:
            converted.append(self._convert(name, kind, values))
        return list(zip(*converted, strict=True)) if converted else [() for _ in lists]

    @cached_property
    def _raw_rows(self) -> list[list[Any]]:
        """Return the rows as they came."""
        results = cast("object", self.results)
        if isinstance(results, list):
            rows = cast("list[Any]", results)
            if all(isinstance(row, list) for row in rows):
                return rows
        kind = type(cast("object", results)).__name__
        raise TypeError(
            f"this result is no table of rows (it is a {kind}): use .results, or models()"
        )

    def _columns(self, lists: list[list[Any]]) -> list[Sequence[Any]]:
        """Return the columns as they came."""
        if not lists:
            return [() for _ in self.columns]
        try:
            found = list(zip(*lists, strict=True))
            if len(found) == len(self.columns):
                return cast("list[Sequence[Any]]", found)
        except ValueError:
            pass
        raise TypeError("rows and columns do not match: use .results")

    def _convert(self, name: str, kind: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
        unconverted: list[Any] = []
        converted = convert_column(kind, values, unconverted.append)
        if unconverted:
            warnings.warn(
                f"column {name}: {len(unconverted)} values are no {kind}, {unconverted[0]!r:.100} for one; "
                "they are as they came",
                SchemaDrift,
                stacklevel=4,
            )
        return converted

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._raw_rows)

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows."""
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Return a row, or several."""
        return self.rows[index]

    def column(self, name: str) -> list[Any]:
        """Return the values of a column.

        Raises:
            KeyError: There is no such column, or more than one.
        """
        if self.columns.count(name) != 1:
            raise KeyError(f"{name!r} names {self.columns.count(name)} of {list(self.columns)}")
        position = self.columns.index(name)
        return [row[position] for row in self.rows]

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, by the names of the columns.

        Raises:
            ValueError: Two columns have the same name.
        """
        names = self._require_unique_columns()
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def _require_unique_columns(self) -> tuple[str, ...]:
        names = self.columns
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two columns are named {twice!r}: tell them apart with AS")
        return names

    def models(self, model: type[T]) -> list[T]:
        """Return the rows as instances of a pydantic model, a dataclass or a TypedDict.

        Of a result that is no table, each item of `results` becomes one.

        Raises:
            pydantic.ValidationError: A row does not fit.
        """
        from pydantic import TypeAdapter

        try:
            rows: Any = self.dicts()
        except TypeError:
            rows = self.results
        reader: TypeAdapter[list[T]] = TypeAdapter(list[model])  # pyright: ignore[reportInvalidTypeForm]
        return reader.validate_python(rows)

    def scalar(self) -> Any:
        """Return the one value of a result with one row and one column.

        Raises:
            ValueError: It has more, or none.
        """
        if len(self) != 1 or len(self.columns) != 1:
            raise ValueError(
                f"scalar() is for one row and one column; this has {len(self)} rows and "
                f"{len(self.columns)} columns"
            )
        return self.rows[0][0]

    def to_arrow(self, *, uuids: bool = False) -> pyarrow.Table:  # pyright: ignore[reportUnknownMemberType, reportUnknownParameterType]
        """Return a `pyarrow.Table`, its types made from ClickHouse's. Extra: `arrow`.

        Args:
            uuids: Whether columns of UUIDs have Arrow's own type, rather than being text.

        Raises:
            DecodeError: A value is not of its column's type.
            ImportError: The extra is not installed.
        """
        from .frames import to_arrow

        return to_arrow(self.columns, self.column_types, self._columns(self._raw_rows), uuids=uuids)

    def to_polars(self) -> polars.DataFrame:
        """Return a `polars.DataFrame`. Extra: `polars`.

        Raises:
            DecodeError: A value is not of its column's type.
            ValueError: Two columns have the same name.
            ImportError: The extra is not installed.
        """
        from .frames import to_polars

        return to_polars(
            self._require_unique_columns(), self.column_types, self._columns(self._raw_rows)
        )

    def to_pandas(self) -> pandas.DataFrame:
        """Return a `pandas.DataFrame`; what may be NULL stays exact. Extra: `pandas`.

        Raises:
            DecodeError: A value is not of its column's type.
            ValueError: Two columns have the same name.
            ImportError: The extra is not installed.
        """
        from .frames import to_pandas

        return to_pandas(
            self._require_unique_columns(), self.column_types, self._columns(self._raw_rows)
        )

    @property
    def has_more(self) -> bool | None:
        """Whether the server has more rows; it tells only of queries without a LIMIT."""
        return self._field("hasMore", bool)

    @property
    def limit(self) -> int | None:
        """The limit the server applied; told only of queries without a LIMIT."""
        return self._field("limit", int)

    @property
    def is_cached(self) -> bool:
        """Whether it comes from PostHog's cache."""
        return self._field("is_cached", bool) or False

    @property
    def last_refresh(self) -> datetime | None:
        """When it was computed, if the server says so."""
        return _parse_timestamp(self.raw.get("last_refresh"))

    @property
    def next_refresh(self) -> datetime | None:
        """From when on the server would compute it anew on request, if it says so."""
        return _parse_timestamp(self.raw.get("next_allowed_client_refresh"))

    @property
    def hogql(self) -> str | None:
        """The HogQL that ran, as the server writes it."""
        return self._field("hogql", str)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds the server spent, by step."""
        given = self.raw.get("timings")
        entries = cast("list[object]", given) if isinstance(given, list) else []
        pairs = [cast("Mapping[str, Any]", e) for e in entries if isinstance(e, Mapping)]
        return {str(p["k"]): p["t"] for p in pairs if "k" in p and "t" in p}

    def _field(self, name: str, kind: type[T]) -> T | None:
        value = self.raw.get(name)
        return value if isinstance(value, kind) else None

    def __repr__(self) -> str:
        """Show the size and the columns."""
        try:
            count = len(self)
        except TypeError:
            return f"<QueryResult of {type(self.results).__name__}>"
        named = zip(self.columns[:_REPR_COLUMNS], self.types, strict=False)
        columns = ", ".join(shorten(f"{name} {kind}", 100) for name, kind in named)
        more = len(self.columns) - _REPR_COLUMNS
        rest = f", … {more} more" if more > 0 else ""
        cut = ", truncated" if self.truncated else ""
        return f"<QueryResult {count} rows{cut}: {columns}{rest}>"

    def _repr_html_(self) -> str:
        """Show the first rows as a table, in a notebook."""
        from asyncposthog.pagination.html_table import (
            MAX_ROWS,  # only notebooks use it
            html_table,  # only notebooks use it
        )

        try:
            count, rows = len(self), self._raw_rows[:MAX_ROWS]
        except TypeError:
            return html_table(repr(self)[1:-1], (), (), total=0)
        cut = ", truncated" if self.truncated else ""
        return html_table(f"QueryResult: {count:,} rows{cut}", self.columns, rows, total=count)


def _column_name(name: object) -> str:
    # Some runners give (name, type) pairs.
    pair = cast("list[object]", name) if isinstance(name, list) else []
    return str(pair[0]) if pair else str(cast("object", name))


def _parse_timestamp(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def warn_if_truncated(result: QueryResult) -> None:
    """Warn whoever awaits our caller of a result that the server cut."""
    if not result.truncated:
        return
    rows = len(result)
    if rows < MAX_LIMIT:
        cut = (
            f"the result was cut at {rows:,} rows: without a LIMIT, PostHog gives 100. Give one, "
            "or read everything with ph.query.stream()"
        )
    else:
        cut = (
            f"the result was cut at {rows:,} rows, the most that PostHog gives for one query: "
            "read everything with ph.query.stream()"
        )
    warnings.warn(cut, TruncatedResultWarning, stacklevel=3)
