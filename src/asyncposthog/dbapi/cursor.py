"""Cursors of the DB-API: run a statement, and fetch its rows as they are read.

A statement with up to 50,000 rows is one query. One with more is read by the export, in pages by
key, so that no row is lost or doubled; it needs columns that can be such a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, cast

import anyio

from asyncposthog.core.background import BackgroundIterator, BackgroundLoop
from asyncposthog.core.resource import get_executor
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.base import ExportStats
from asyncposthog.export.job import get_request
from asyncposthog.export.service import Export
from asyncposthog.export.synchronous import read_all
from asyncposthog.query.clickhouse import ColumnType
from asyncposthog.query.convert import convert_column
from asyncposthog.query.result import QueryResult
from asyncposthog.query.service import QueryService
from asyncposthog.query.sql_scan import MAX_LIMIT

from .errors import InterfaceError, NotSupportedError, OperationalError, translated_errors
from .statements import Statement, prepare_statement

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Cursor", "Key", "Row"]

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = str | tuple[str, str]
"""A unique column, or a time column and a column that distinguishes rows of one time."""
Description: TypeAlias = tuple[str, str, None, None, None, None, bool]

_KEYS: Final[tuple[Key, ...]] = (
    ("timestamp", "uuid"),
    ("$start_timestamp", "session_id"),
    ("created_at", "id"),
    "uuid",
    "session_id",
    "id",
)
"""Columns that identify the rows of PostHog's tables, the best ones first."""


class Connection(Protocol):
    """What a cursor needs of its connection."""

    @property
    def loop(self) -> BackgroundLoop:
        """The event loop."""
        ...

    @property
    def query(self) -> QueryService:
        """Runs queries in the event loop."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that a query may take."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """The first page of a statement, and the key by which the others are read."""

    result: QueryResult
    key: Key | None = None
    bounds: tuple[Any, Any] | None = None
    """The first and the last time of its rows, if the key has a time."""


class Cursor:
    """A cursor of PEP 249. `execute` returns it, and it is an iterator over the rows.

    Values have the types of `ph.query`, but UUIDs are text.
    """

    def __init__(self, connection: Connection) -> None:
        """Create a cursor without a statement."""
        self.connection: Final = connection
        self.arraysize = 1
        """Rows that `fetchmany` returns by default."""
        self.key: Key | None = None
        """The key of statements with more than 50,000 rows: the name of a unique column, or those
        of a time column and another one. None: it is found by name."""
        self.description: Sequence[Description] | None = None
        """Names and ClickHouse types of the columns; None: no statement was executed."""
        self.rowcount = -1
        """The number of rows; -1 if it is not known yet."""
        self.lastrowid = None
        self._rows: Iterator[Row] | None = None
        self._pages: BackgroundIterator[list[Row]] | None = None
        self._scope: anyio.CancelScope | None = None
        self._closed = False

    def execute(self, operation: str, parameters: Any = None) -> Self:
        """Execute a SELECT, and wait for its first rows.

        Args:
            operation: HogQL, with `?` for each parameter of a sequence, or `:name` for those of a
                mapping. A `?` or `:name` inside a string or a comment is not a parameter.
            parameters: The values: str, numbers, bool, None, datetime with a time zone, date, UUID,
                Decimal, and lists of these. They are sent beside the statement.

        Raises:
            NotSupportedError: The statement writes, or has a LIMIT above 50,000.
            ProgrammingError: The statement or its parameters are wrong.
            OperationalError: It could not be run, was cancelled with `cancel`, or has more than
                50,000 rows and no key.
            InterfaceError: The cursor or the connection is closed.
        """
        loop = self._open_loop()
        self._discard()
        with translated_errors():
            statement = prepare_statement(operation, parameters)
            opened = loop.run(self._open, statement)
        if opened is None:
            raise OperationalError("the statement was cancelled")
        result = opened.result
        self.description = [
            (name, str(kind), None, None, None, None, kind.nullable)
            for name, kind in zip(result.columns, result.column_types, strict=True)
        ]
        if opened.key is None:
            columns = zip(*result.results, strict=True) if result.results else ()
            self._rows = iter(_tuples(result.column_types, list(columns)))
            self.rowcount = len(result)
            return self
        self._pages = BackgroundIterator(
            loop, partial(self._read_pages, statement, opened), close_loop=False
        )
        self._rows = _chained(self._pages)
        return self

    def executemany(self, operation: str, seq_of_parameters: Sequence[Any]) -> None:
        """Raise an error: nothing can be written.

        Raises:
            NotSupportedError: Always.
        """
        raise NotSupportedError("executemany() is for writing, and this connection only reads")

    def fetchone(self) -> Row | None:
        """Return the next row; None at the end.

        Raises:
            InterfaceError: No statement was executed, or the cursor is closed.
            Error: A page could not be read.
        """
        with translated_errors():
            return next(self._open_rows(), None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return the next rows, `arraysize` by default; fewer at the end.

        Raises:
            InterfaceError: No statement was executed, or the cursor is closed.
            Error: A page could not be read.
        """
        with translated_errors():
            return list(islice(self._open_rows(), self.arraysize if size is None else size))

    def fetchall(self) -> list[Row]:
        """Return all rows that were not fetched yet.

        Raises:
            InterfaceError: No statement was executed, or the cursor is closed.
            Error: A page could not be read.
        """
        with translated_errors():
            return list(self._open_rows())

    def __iter__(self) -> Self:
        """Return the cursor itself."""
        return self

    def __next__(self) -> Row:
        """Return the next row."""
        with translated_errors():
            return next(self._open_rows())

    def cancel(self) -> None:
        """Cancel the statement, here and on the server. For another thread than that of the cursor.

        `execute`, or the method that fetches rows, then raises an error there.
        """
        pages, loop = self._pages, self.connection.loop
        if pages is not None:
            pages.cancel()
        loop.run(self._cancel_scope)

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Do nothing."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Stop reading. The cursor cannot be used any more."""
        self._discard()
        self._closed = True

    def __enter__(self) -> Self:
        """Return the cursor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the cursor."""
        self.close()

    def _open_loop(self) -> BackgroundLoop:
        if self._closed:
            raise InterfaceError("the cursor is closed: open another with connection.cursor()")
        return self.connection.loop

    def _open_rows(self) -> Iterator[Row]:
        self._open_loop()
        if self._rows is None:
            raise InterfaceError("no statement was executed: call execute() first")
        return self._rows

    def _discard(self) -> None:
        """Drop the rows of an earlier statement."""
        pages, self._pages, self._rows = self._pages, None, None
        self.description, self.rowcount = None, -1
        if pages is not None:
            pages.close()

    async def _cancel_scope(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def _open(self, statement: Statement) -> Opened | None:
        """Return the first page; None if the statement was cancelled."""
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                return await self._open_or_raise(statement)
            finally:
                self._scope = None
        return None

    async def _open_or_raise(self, statement: Statement) -> Opened:
        query = self.connection.query
        result = await query(
            statement.first_page, statement.values, name="DB-API", timeout=self.connection.timeout
        )
        if statement.is_limited or len(result) < MAX_LIMIT:
            return Opened(result)
        key = self.key or _find_key(result)
        if statement.is_ordered or key is None:
            raise OperationalError(_too_many_rows(statement))
        if isinstance(key, str):
            return Opened(_without_rows(result), key)
        # The times of the rows divide them into windows that are read concurrently.
        time = f"`{key[0]}`"
        bounds = await query(
            f"SELECT min({time}), max({time}) FROM (\n{statement.sql}\n)",  # noqa: S608
            statement.values,
            timeout=self.connection.timeout,
        )
        return Opened(_without_rows(result), key, (bounds[0][0], bounds[0][1]))

    async def _read_pages(self, statement: Statement, opened: Opened, emit: Any) -> None:
        assert opened.key is not None
        start, end = opened.bounds or (None, None)
        job = Export(get_executor(self.connection.query)).hogql(
            statement.sql,
            key=opened.key,
            start=start,
            end=None if end is None else end + timedelta(microseconds=1),
            values=statement.values,
            ordered=False,
        )
        executor, request = get_request(job)
        await read_all(request, executor, _rows_of_batch, ExportStats(), emit)


def _chained(pages: Iterator[list[Row]]) -> Iterator[Row]:
    for page in pages:
        # Taken from the end, which frees each row once it is returned.
        page.reverse()
        while page:
            yield page.pop()


def _rows_of_batch(batch: Batch) -> list[Row]:
    return _tuples(batch.types, batch.raw_columns)


def _tuples(types: Sequence[ColumnType], columns: Sequence[Sequence[Any]]) -> list[Row]:
    """Return rows of Python values. UUIDs stay text: most readers have no type for them."""
    converted = [
        values if kind.base.name == "UUID" else convert_column(kind, values)
        for kind, values in zip(types, columns, strict=False)
    ]
    return list(zip(*converted, strict=True))


def _find_key(result: QueryResult) -> Key | None:
    """Return columns that identify the rows of a table; None if a result has none."""
    kinds = dict(zip(result.columns, result.column_types, strict=True))

    def usable(name: str, accepts: Callable[[ColumnType], bool]) -> bool:
        # Rows whose key is NULL have no place in its order.
        return name in kinds and not kinds[name].nullable and accepts(kinds[name].base)

    for key in _KEYS:
        time, column = key if isinstance(key, tuple) else (None, key)
        if usable(column, _is_scalar) and (time is None or usable(time, _is_time)):
            return key
    return None


def _is_time(kind: ColumnType) -> bool:
    return kind.name.startswith("DateTime")


def _is_scalar(kind: ColumnType) -> bool:
    return kind.name.startswith(("UUID", "String", "Int", "UInt"))


def _without_rows(result: QueryResult) -> QueryResult:
    """Return a result without its rows, which are read again."""
    raw = cast("dict[str, Any]", {**result.raw, "results": []})
    return QueryResult(raw, query_id=result.query_id)


def _too_many_rows(statement: Statement) -> str:
    start = f"the statement has more than {MAX_LIMIT:,} rows, and PostHog returns no more at a time"
    if statement.is_ordered:
        return f"{start}: remove ORDER BY to read them by a key, or add LIMIT"
    return (
        f"{start}: select a key too (timestamp and uuid of events, id of persons), set cursor.key "
        "to the name of a unique column, or add LIMIT"
    )
