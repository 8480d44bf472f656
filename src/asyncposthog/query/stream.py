"""Keyset pagination: all rows of a query, page by page in the order of a key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Self, TypeAlias, cast

from asyncposthog.errors import PaginationError, QueryTooLargeError
from asyncposthog.types import RequestOptions

from .clickhouse import ColumnType
from .result import QueryResult, Row
from .sql_scan import MAX_LIMIT, scan_sql
from .values import bind

__all__ = ["QueryStream"]

RunQuery: TypeAlias = Callable[..., Awaitable[QueryResult]]
"""Runs one query, as `ph.query(sql, values, …)` does."""

_MIN_PAGE_SIZE: Final = 1000
"""Rows below which a page that is too large for the server is not reduced further."""
_PLAIN_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_FRACTION: Final = re.compile(r"[.,]([0-9]+)")


class QueryStream:
    """The rows of a query: `async for row in stream`, or page by page with `pages()`.

    Each iteration starts at the beginning. Rows are tuples; `dicts()` returns them as dicts.
    """

    def __init__(
        self,
        query: RunQuery,
        sql: str,
        key: str | Sequence[str],
        *,
        values: Mapping[str, object] | None,
        page_size: int,
        name: str | None,
        timeout: float | None,
        options: RequestOptions | None,
    ) -> None:
        """Validate the arguments. Nothing is sent."""
        if not isinstance(cast("object", sql), str):
            raise TypeError(f"stream() takes HogQL as a str, not {type(sql).__name__}")
        if isinstance(page_size, bool) or not isinstance(cast("object", page_size), int):
            raise TypeError(f"page_size must be an int, not {type(page_size).__name__}")
        if not 2 <= page_size <= MAX_LIMIT:
            raise ValueError(f"page_size must be 2 to {MAX_LIMIT:,}, not {page_size}")
        self._query = query
        self._key = _parse_key(key)
        self._sql, self._values = _validate_query(sql, values)
        self._page_size = page_size
        self._settings: dict[str, Any] = {"name": name, "timeout": timeout, "options": options}

    def pages(self) -> Pages:
        """Return the pages, each a `QueryResult`. There is at least one, even without rows."""
        return Pages(
            self._query, self._sql, self._values, self._key, self._page_size, self._settings
        )

    def dicts(self) -> Dicts:
        """Return the rows as dicts by column name."""
        return Dicts(self.pages())

    def __aiter__(self) -> Rows:
        """Iterate over the rows."""
        return Rows(self.pages())

    def __repr__(self) -> str:
        """Return the key."""
        return f"<QueryStream by {', '.join(self._key)}>"


class Rows:
    """An iterator over the rows of pages."""

    def __init__(self, pages: Pages) -> None:
        """Start before the first page."""
        self._pages = pages
        self._rows = iter(cast("list[Row]", []))

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> Row:
        """Return the next row."""
        while True:
            for row in self._rows:
                return row
            self._rows = iter((await self._pages.__anext__()).rows)


class Dicts:
    """An iterator over the rows of pages, as dicts."""

    def __init__(self, pages: Pages) -> None:
        """Start before the first page."""
        self._pages = pages
        self._rows = iter(cast("list[dict[str, Any]]", []))

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next row."""
        while True:
            for row in self._rows:
                return row
            self._rows = iter((await self._pages.__anext__()).dicts())


class Pages:
    """An iterator over pages, which are requested one by one."""

    # Every page but the first repeats the last row of the page before, which is removed. That
    # costs one row, and detects a key that several rows share: a page that began behind the key
    # would silently lose the other rows.

    def __init__(
        self,
        query: RunQuery,
        sql: str,
        values: dict[str, object],
        key: tuple[str, ...],
        page_size: int,
        settings: dict[str, Any],
    ) -> None:
        """Start before the first page."""
        self._query = query
        self._sql = sql
        self._values = values
        self._key = key
        self._page_size = page_size
        self._settings = settings
        self._last: tuple[Any, ...] | None = None
        self._key_types: tuple[ColumnType, ...] = ()
        self._done = False

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> QueryResult:
        """Return the next page.

        Raises:
            PaginationError: The key is NULL, or shared by several rows, or has an inexact type.
            PostHogError: A page could not be requested.
        """
        if self._done:
            raise StopAsyncIteration
        first = self._last is None
        page = await self._fetch_page()
        rows = cast("list[list[Any]]", page.results)
        keys = self._extract_keys(page, rows)
        if keys and keys[0] == self._last:
            keys, rows = keys[1:], rows[1:]
            page.raw["results"] = rows
        self._validate_keys(keys)
        # A short page is not the end: a server or a proxy may return fewer rows than requested.
        # The end is a page without a row behind the last one.
        self._done = not rows
        if keys:
            self._last = keys[-1]
        if not rows and not first:
            raise StopAsyncIteration
        return page

    async def _fetch_page(self) -> QueryResult:
        while True:
            sql, values = self._build_page()
            try:
                return await self._query(sql, values, **self._settings)
            except QueryTooLargeError:
                if self._page_size < 2 * _MIN_PAGE_SIZE:
                    raise
                self._page_size //= 2

    def _build_page(self) -> tuple[str, dict[str, object]]:
        """Return the SQL of the next page and its values."""
        names = [_quote_identifier(name) for name in self._key]
        where, values = "", dict(self._values)
        if self._last is not None:
            bounds = [self._key_placeholder(index, values) for index in range(len(names))]
            nullable = [kind.nullable for kind in self._key_types]
            where = f"WHERE {_keyset_condition(names, bounds, nullable)} "
        order = ", ".join(names)
        # The query is on lines of its own because it may end in a comment.
        tail = f"{where}ORDER BY {order} LIMIT {self._page_size}"
        return f"SELECT * FROM (\n{self._sql}\n) {tail}", values  # noqa: S608

    def _key_placeholder(self, index: int, values: dict[str, object]) -> str:
        """Add a part of the last key to the values, and return its SQL expression."""
        assert self._last is not None
        name = f"_after_{index}"
        while name in self._values:
            name = f"_{name}"
        values[name] = self._last[index]
        return _convert_placeholder(self._key_types[index], f"{{{name}}}")

    def _extract_keys(self, page: QueryResult, rows: list[list[Any]]) -> list[tuple[Any, ...]]:
        missing = [name for name in self._key if page.columns.count(name) != 1]
        if missing:
            raise PaginationError(
                f"The key {missing[0]!r} is not one of the columns: {', '.join(page.columns)}.",
                suggestion="Select it under that name, or pass another key=….",
            )
        positions = [page.columns.index(name) for name in self._key]
        self._key_types = tuple(page.column_types[position] for position in positions)
        for name, kind in zip(self._key, self._key_types, strict=True):
            _validate_key_type(name, kind)
        return [tuple(row[position] for position in positions) for row in rows]

    def _validate_keys(self, keys: list[tuple[Any, ...]]) -> None:
        """Raise if rows would be lost because of the key."""
        if any(None in key for key in keys):
            raise PaginationError(
                f"The key {self._describe_key()} is NULL in some rows, which have no position "
                "in its order.",
                suggestion="Use another key, or exclude these rows: WHERE … IS NOT NULL.",
            )
        previous = [] if self._last is None else [self._last]
        shared = next((a for a, b in pairwise([*previous, *keys]) if a == b), None)
        if shared is not None:
            raise PaginationError(
                f"The key {self._describe_key()} is shared by several rows, "
                f"such as {shared!r:.200}.",
                suggestion="Add a column that distinguishes them: key=('timestamp', 'uuid').",
            )
        for index, value in enumerate(keys[-1] if keys else ()):
            _validate_precision(self._key[index], self._key_types[index], value)

    def _describe_key(self) -> str:
        return self._key[0] if len(self._key) == 1 else f"({', '.join(self._key)})"


def _parse_key(key: object) -> tuple[str, ...]:
    names = (key,) if isinstance(key, str) else key
    if not isinstance(names, list | tuple) or not names:
        raise TypeError(
            "key must be the name of a column, or several: 'uuid', ('timestamp', 'uuid')"
        )
    columns = cast("Sequence[object]", names)
    for name in columns:
        if not isinstance(name, str):
            raise TypeError(f"key: {name!r} is not the name of a column")
        if not name or re.search(r"[`\\\x00-\x1f]", name):
            raise ValueError(f"key: {name!r} cannot be the name of a column")
    if len(set(columns)) < len(columns):
        raise ValueError("key names a column twice")
    return tuple(cast("Sequence[str]", columns))


def _validate_query(sql: str, values: Mapping[str, object] | None) -> tuple[str, dict[str, object]]:
    """Return the query and its values, ready to be used as a subquery."""
    # For validation only: each page binds again, with the values of its key.
    bind(sql, values)
    scan = scan_sql(sql)
    if "LIMIT" in scan.clauses or "OFFSET" in scan.clauses:
        raise ValueError(
            "stream() adds a LIMIT to each page: remove the LIMIT of the query, and leave the loop "
            "when there are enough rows; or put the query with its LIMIT into a subquery"
        )
    if "ORDER BY" in scan.clauses:
        raise ValueError(
            "stream() returns rows in the order of key=…: remove the query's ORDER BY, and put "
            "its columns at the beginning of the key"
        )
    return sql[: scan.end], dict(values or {})


def _quote_identifier(name: str) -> str:
    return name if _PLAIN_IDENTIFIER.fullmatch(name) else f"`{name}`"


def _validate_key_type(name: str, kind: ColumnType) -> None:
    base = kind.base
    is_simple = base.name in {"String", "FixedString", "UUID", "Date", "Date32"}
    if is_simple or base.name.startswith(("Int", "UInt")):
        return
    if base.name.startswith("Decimal") and base.precision <= 18:
        return  # A Decimal64, which toDecimal() returns.
    if base.name.startswith("DateTime") and base.digits <= 6:
        return
    raise PaginationError(
        f"The key {name!r} is {kind}, whose values cannot be compared exactly.",
        suggestion="Use strings, integers, decimals, UUIDs, dates and times as keys.",
    )


def _validate_precision(name: str, kind: ColumnType, value: Any) -> None:
    """Raise if the server returned a key with fewer digits than its type has."""
    # The next page would begin at the shortened key, and skip or repeat rows around the real one.
    base = kind.base
    if base.name.startswith("Decimal") and base.precision > 15 and isinstance(value, float):
        raise PaginationError(
            f"The key {name!r} is {kind}, and the server returns it as an inexact float.",
            suggestion=f"Convert it to text: toString({name}) AS … in the query and in key=….",
        )
    if not base.name.startswith("DateTime"):
        return
    fraction = _FRACTION.search(value) if isinstance(value, str) else None
    if fraction is None or len(fraction[1]) >= base.digits:
        return
    raise PaginationError(
        f"The key {name!r} is {kind}, and the server returns {value!r}: with fewer digits, rows "
        "in between would be lost.",
        suggestion=f"Convert it to text: toString({name}, 'UTC') AS … in the query and in key=….",
    )


def _convert_placeholder(kind: ColumnType, placeholder: str) -> str:
    """Return SQL that converts a placeholder from JSON to a column type."""
    base = kind.base
    if base.name == "UUID":
        return f"toUUID({placeholder})"
    if base.name in {"Date", "Date32"}:
        return f"toDate({placeholder})"
    if base.name.startswith("DateTime"):
        return f"toDateTime({placeholder})"
    if base.name.startswith("Decimal"):
        return f"toDecimal({placeholder}, {base.digits})"
    return placeholder


def _keyset_condition(names: list[str], bounds: list[str], nullable: list[bool]) -> str:
    """Return a condition for the rows from a key on, including the key itself."""
    # Rows whose key is NULL pass the condition, so that they are detected instead of lost.
    name, bound, may_be_null = names[0], bounds[0], nullable[0]
    null = f" OR isNull({name})" if may_be_null else ""
    if len(names) == 1:
        return f"({name} >= {bound}{null})"
    rest = _keyset_condition(names[1:], bounds[1:], nullable[1:])
    # The first comparison is redundant, but lets ClickHouse skip data before the key.
    prefix = f"{name} >= {bound} AND " if not may_be_null else ""
    return f"({prefix}({name} > {bound} OR ({name} = {bound} AND {rest}){null}))"
