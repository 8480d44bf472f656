"""The result of a query: rows, columns and conversions."""

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
"""Maximum of columns in `repr`."""

T = TypeVar("T")
Row = tuple[Any, ...]


class TruncatedResultWarning(UserWarning):
    """The server truncated a result at a number of rows that the query did not ask for."""


class QueryResult(Sequence[Row]):
    """A table: columns, their ClickHouse types, and rows, which are tuples.

    Values are converted when `rows` is first used: times to datetimes with a time zone; UUIDs,
    decimals, arrays and maps to their Python types. `results` is the unconverted JSON.

    A query whose result is not a table, such as a TrendsQuery, has only `results`.
    """

    def __init__(
        self, raw: dict[str, Any], *, query_id: str | None = None, truncated_at: int | None = None
    ) -> None:
        """Wrap a response.

        Args:
            raw: The response as JSON data.
            query_id: The id under which the query ran.
            truncated_at: The number of rows at which the server truncated it; None: it is complete.
        """
        self.raw: Final = raw
        """The whole response as JSON data."""
        self.query_id: Final = query_id
        """The id under which it ran, for `ph.query.get_log(id)`; None if it is unknown."""
        self.truncated: Final = truncated_at is not None
        """Whether the server truncated it at a number of rows that the query did not ask for."""

    @property
    def results(self) -> Any:
        """The result as unconverted JSON data."""
        return self.raw.get("results")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        names = self.raw.get("columns")
        if isinstance(names, list):
            return tuple(_column_name(name) for name in cast("list[object]", names))
        width = len(self._raw_rows[0]) if self._raw_rows else 0
        return tuple(str(i + 1) for i in range(width))

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The ClickHouse types of the columns: `DateTime64(6, 'UTC')`."""
        return tuple(str(kind) for kind in self.column_types)

    @cached_property
    def column_types(self) -> tuple[ColumnType, ...]:
        """The ClickHouse types of the columns, parsed."""
        return column_types(self.raw.get("types"), len(self.columns))

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in the order of the response.

        Raises:
            TypeError: The result is not a table.
        """
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
        """The rows as unconverted JSON data."""
        results = cast("object", self.results)
        if isinstance(results, list):
            rows = cast("list[Any]", results)
            if all(isinstance(row, list) for row in rows):
                return rows
        kind = type(cast("object", results)).__name__
        raise TypeError(
            f"this result is not a table of rows but a {kind}: use .results, or models()"
        )

    def _columns(self, lists: list[list[Any]]) -> list[Sequence[Any]]:
        """Return the columns as unconverted JSON data."""
        if not lists:
            return [() for _ in self.columns]
        try:
            columns = list(zip(*lists, strict=True))
            if len(columns) == len(self.columns):
                return cast("list[Sequence[Any]]", columns)
        except ValueError:
            pass
        raise TypeError("rows and columns do not match: use .results")

    def _convert(self, name: str, kind: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
        unconverted: list[Any] = []
        converted = convert_column(kind, values, unconverted.append)
        if unconverted:
            warnings.warn(
                f"column {name}: {len(unconverted)} values are not of type {kind}, such as "
                f"{unconverted[0]!r:.100}; they are left unconverted",
                SchemaDrift,
                # This method, `rows`, `cached_property`, and then the caller.
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
        """Return a row, or a list of rows."""
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
        """Return the rows as dicts by column name.

        Raises:
            ValueError: Two columns have the same name.
        """
        names = self._require_unique_columns()
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def _require_unique_columns(self) -> tuple[str, ...]:
        names = self.columns
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two columns are named {repeated!r}: rename one with AS")
        return names

    def models(self, model: type[T]) -> list[T]:
        """Return the rows as instances of a pydantic model, a dataclass or a TypedDict.

        If the result is not a table, each item of `results` becomes an instance.

        Raises:
            pydantic.ValidationError: A row does not match the model.
        """
        from pydantic import TypeAdapter

        try:
            rows: Any = self.dicts()
        except TypeError:
            rows = self.results
        reader: TypeAdapter[list[T]] = TypeAdapter(list[model])  # pyright: ignore[reportInvalidTypeForm]
        return reader.validate_python(rows)

    def scalar(self) -> Any:
        """Return the value of a result with one row and one column.

        Raises:
            ValueError: The result has another size.
        """
        if len(self) != 1 or len(self.columns) != 1:
            raise ValueError(
                f"scalar() is for one row and one column; this has {len(self)} rows and "
                f"{len(self.columns)} columns"
            )
        return self.rows[0][0]

    def to_arrow(self, *, uuids: bool = False) -> pyarrow.Table:  # pyright: ignore[reportUnknownMemberType, reportUnknownParameterType]
        """Return a `pyarrow.Table` with types that follow those of ClickHouse. Extra: `arrow`.

        Args:
            uuids: Whether UUIDs have Arrow's UUID type instead of text.

        Raises:
            DecodeError: A value is not of its column's type.
            ImportError: The extra is not installed.
        """
        from .frames import to_arrow

        return to_arrow(self.columns, self.column_types, self._columns(self._raw_rows), uuids=uuids)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the rows as a stream of the Arrow PyCapsule interface; see `to_arrow`.

        `pyarrow.table(result)` and DuckDB's `FROM result` use it.

        Args:
            requested_schema: A capsule with the schema that the caller prefers.

        Raises:
            DecodeError: A value is not of its column's type.
            TypeError: The result is not a table.
            ImportError: pyarrow is not installed.
        """
        table = cast("Any", self.to_arrow())  # pyright: ignore[reportUnknownMemberType]
        return table.__arrow_c_stream__(requested_schema)

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
        """Return a `pandas.DataFrame`; nullable columns stay exact. Extra: `pandas`.

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
        """Whether the server has more rows; None unless the query has no LIMIT."""
        return self._field("hasMore", bool)

    @property
    def limit(self) -> int | None:
        """The limit that the server applied; None unless the query has no LIMIT."""
        return self._field("limit", int)

    @property
    def is_cached(self) -> bool:
        """Whether the result comes from PostHog's cache."""
        return self._field("is_cached", bool) or False

    @property
    def last_refresh(self) -> datetime | None:
        """When the result was computed; None if the response does not say."""
        return _parse_timestamp(self.raw.get("last_refresh"))

    @property
    def next_refresh(self) -> datetime | None:
        """When the server allows to recompute it; None if the response does not say."""
        return _parse_timestamp(self.raw.get("next_allowed_client_refresh"))

    @property
    def hogql(self) -> str | None:
        """The HogQL that ran, as formatted by the server."""
        return self._field("hogql", str)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that the server spent, by step."""
        timings = self.raw.get("timings")
        entries = cast("list[object]", timings) if isinstance(timings, list) else []
        pairs = [cast("Mapping[str, Any]", e) for e in entries if isinstance(e, Mapping)]
        return {str(p["k"]): p["t"] for p in pairs if "k" in p and "t" in p}

    def _field(self, name: str, kind: type[T]) -> T | None:
        value = self.raw.get(name)
        return value if isinstance(value, kind) else None

    def __repr__(self) -> str:
        """Return the size and the columns."""
        try:
            count = len(self)
        except TypeError:
            return f"<QueryResult of {type(self.results).__name__}>"
        pairs = zip(self.columns[:_REPR_COLUMNS], self.types, strict=False)
        columns = ", ".join(shorten(f"{name} {kind}", 100) for name, kind in pairs)
        more = len(self.columns) - _REPR_COLUMNS
        rest = f", … {more} more" if more > 0 else ""
        note = ", truncated" if self.truncated else ""
        return f"<QueryResult {count} rows{note}: {columns}{rest}>"

    def _repr_html_(self) -> str:
        """Return the first rows as an HTML table, for notebooks."""
        from asyncposthog.pagination.html_table import MAX_ROWS, html_table  # For notebooks only.

        try:
            count, rows = len(self), self._raw_rows[:MAX_ROWS]
        except TypeError:
            return html_table(repr(self)[1:-1], (), (), total=0)
        note = ", truncated" if self.truncated else ""
        return html_table(f"QueryResult: {count:,} rows{note}", self.columns, rows, total=count)


def _column_name(name: object) -> str:
    # Some query runners of the server return (name, type) pairs.
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
    """Warn about a truncated result, at the line that awaits the calling method."""
    if not result.truncated:
        return
    rows = len(result)
    if rows < MAX_LIMIT:
        message = (
            f"the result was truncated at {rows:,} rows: without a LIMIT, PostHog returns 100. Add "
            "one, or read all rows with ph.query.stream()"
        )
    else:
        message = (
            f"the result was truncated at {rows:,} rows, PostHog's maximum for one query: read all "
            "rows with ph.query.stream()"
        )
    warnings.warn(message, TruncatedResultWarning, stacklevel=3)
