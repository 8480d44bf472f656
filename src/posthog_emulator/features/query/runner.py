"""Run HogQL on the event store, in any thread, with a session prepared under the lock."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from posthog_emulator.http.errors import ApiError, invalid

from .result import Result
from .stubs import Stub, stub_result

if TYPE_CHECKING:
    from posthog_emulator.event_store.store import EventStore
    from posthog_emulator.hogql.context import Context
    from posthog_emulator.hogql.translate import Translation

__all__ = ["DeferredQuery", "QuerySession", "check_hogql", "create_context", "run_hogql"]


@dataclass(slots=True)
class QuerySession:
    """What a query needs from the emulator's state."""

    team_id: int
    now: datetime
    store: Callable[[], EventStore]
    cohorts: Mapping[int, str]
    """Names by id."""
    stubs: list[Stub]
    cohort_errors: Mapping[int, str] = field(default_factory=dict[int, str])
    """Error messages by id, of cohorts whose members could not be calculated."""
    allow_offset: bool = False
    max_rows_scanned: int | None = None
    max_result_bytes: int | None = None
    log: Callable[[dict[str, Any]], object] = lambda _: None
    connection: Any = None
    interrupted: bool = False
    test_account_filters: Any = None
    """The project's filters for internal and test accounts."""
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    """Insight variables, by id."""

    def interrupt(self) -> None:
        """Interrupt the running query, and the queries that would follow it."""
        self.interrupted = True
        if self.connection is not None:
            self.connection.interrupt()


class DeferredQuery:
    """A deferred response that runs a query.

    Args:
        session: The session of the query.
        make: Returns status and body.
    """

    def __init__(self, session: QuerySession, make: Callable[[], tuple[int, bytes]]) -> None:
        self._session = session
        self._make = make

    def run(self) -> tuple[int, bytes]:
        """Run the query, and return status and body."""
        return self._make()

    def interrupt(self) -> None:
        """Interrupt the query; `run` raises soon."""
        self._session.interrupt()


def run_hogql(
    session: QuerySession,
    sql: str,
    values: Mapping[str, Any],
    *,
    max_rows: int | None = None,
    allow_offset: bool = False,
    **options: Any,
) -> Result:
    """Run a HogQL query, or answer it with a stub.

    Args:
        session: The session to run it in.
        sql: The query.
        values: The values of its placeholders.
        max_rows: The maximum LIMIT; larger values are capped. The server's maximum by default.
        allow_offset: Whether OFFSET is allowed, whatever the settings say.
        options: `filter`, `date_range` and `variable` of `hogql.context.Context`.

    Raises:
        ApiError: The query is rejected or fails.
    """
    from posthog_emulator.hogql.problems import HogQLError
    from posthog_emulator.hogql.translate import MOST_ROWS

    started_at = perf_counter()
    # The latest stub that matches wins, so that a test can override a fixture's stub.
    stub = next(
        (candidate for candidate in reversed(session.stubs) if candidate.matches(sql)), None
    )
    try:
        if stub is not None:
            result = stub_result(stub, sql, values)
        else:
            result = _run(
                session,
                sql,
                {"values": values, **options},
                max_rows=max_rows or MOST_ROWS,
                allow_offset=allow_offset or session.allow_offset,
            )
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None
    session.log({"query": sql, "seconds": perf_counter() - started_at, "rows": result.count})
    if session.max_result_bytes is not None and len(result.rows) > session.max_result_bytes:
        raise ApiError(513)
    return result


def create_context(session: QuerySession, options: Mapping[str, Any]) -> Context:
    """Return the context for the translation of a query."""
    from posthog_emulator.hogql.context import Context

    return Context(
        team_id=session.team_id,
        now=session.now.astimezone(UTC),
        property_types=session.store().property_types(session.team_id),
        cohorts=session.cohorts,
        cohort_problems=session.cohort_errors,
        **options,
    )


def check_hogql(session: QuerySession, sql: str, **options: Any) -> None:
    """Translate a query without running it.

    Args:
        session: The session it would run in.
        sql: The query.
        options: Fields of `hogql.context.Context` that do not come from the session.

    Raises:
        HogQLError: The query is rejected.
    """
    from posthog_emulator.hogql.translate import translate

    translate(sql, create_context(session, options), offset=session.allow_offset)


def _run(
    session: QuerySession,
    sql: str,
    options: Mapping[str, Any],
    *,
    max_rows: int,
    allow_offset: bool,
) -> Result:
    from posthog_emulator.hogql.output import row_json
    from posthog_emulator.hogql.translate import DEFAULT_ROWS, translate

    store = session.store()
    translation = translate(
        sql, create_context(session, options), offset=allow_offset, most=max_rows
    )
    columns = translation.query.columns
    row = row_json([kind for _, kind in columns])
    statement = f"SELECT {row} AS j FROM ({translation.query.sql}) AS q"  # noqa: S608
    table = _execute(session, store, statement, translation)
    paged = translation.paged
    # A query without LIMIT reads one row more than it returns, to know whether there are more.
    cut = table.num_rows > DEFAULT_ROWS
    if paged and cut:
        table = table.slice(0, DEFAULT_ROWS)
    head: dict[str, Any] = {
        "columns": [name for name, _ in columns],
        "types": [[name, str(kind)] for name, kind in columns],
        "hasMore": cut if paged else None,
        "limit": DEFAULT_ROWS if paged else None,
        "offset": 0 if paged else None,
        "query": sql,
        "hogql": translation.query.text,
        "clickhouse": None,
        "error": None,
        "timings": [],
        "modifiers": {},
        "metadata": None,
        "explain": None,
    }
    return Result(_join_rows(table), head, table.num_rows)


def _execute(session: QuerySession, store: EventStore, sql: str, translation: Translation) -> Any:
    duckdb = importlib.import_module("duckdb")
    connection = session.connection = store.cursor()
    try:
        if session.interrupted:
            raise ApiError(500, code="error", detail="ClickHouse error while executing query.")
        _check_scan(session, connection, translation)
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise _clickhouse_error(duckdb, error) from None
    finally:
        session.connection = None
        connection.close()


def _check_scan(session: QuerySession, connection: Any, translation: Translation) -> None:
    """Raise an error if the query reads too many events, as the server does by its estimate."""
    max_rows = session.max_rows_scanned
    if max_rows is None:
        return
    rows = sum(connection.execute(scan).fetchall()[0][0] for scan in translation.scans)
    if rows > max_rows:
        seconds = max(11, round(10 * rows / max(max_rows, 1)))
        raise ApiError(
            512,
            detail=f"Estimated query execution time ({seconds} seconds) is too long. "
            "Try reducing its scope by changing the time range.",
        )


def _join_rows(table: Any) -> bytes:
    """Join the JSON texts of the rows to one JSON array."""
    # Arrow keeps the texts of a column one after the other in one buffer. Copying slices of the
    # buffer avoids a Python object for every row.
    pyarrow = importlib.import_module("pyarrow")
    column = table.column(0)
    if not pyarrow.types.is_large_string(column.type):
        column = column.cast(pyarrow.large_string())
    pieces: list[Any] = []
    for chunk in column.chunks:
        if len(chunk):
            offsets: Any = memoryview(chunk.buffers()[1]).cast("q")
            start, end = offsets[chunk.offset], offsets[chunk.offset + len(chunk)]
            pieces.append(memoryview(chunk.buffers()[2])[start:end])
    if pieces:
        pieces[-1] = pieces[-1][:-1]  # the last comma
    return b"".join([b"[", *pieces, b"]"])


_NOT_AN_AGGREGATE = re.compile(r"must appear in the GROUP BY clause")


def _clickhouse_error(duckdb: Any, error: Exception) -> ApiError:
    """Return ClickHouse's error for an error of DuckDB."""
    text = str(error).partition("\n")[0]
    if isinstance(error, duckdb.InterruptException):
        return ApiError(500, code="error", detail="ClickHouse error while executing query.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return ApiError(513)
    if _NOT_AN_AGGREGATE.search(str(error)):
        return invalid(
            "A column is not under aggregate function and not in GROUP BY.",
            None,
            "not_an_aggregate",
        )
    if "Division by zero" in text:
        return invalid("Division by zero", None, "illegal_division")
    if "Sizes of arrays differ" in text:
        return invalid("Arrays have different sizes.", None, "sizes_of_arrays_dont_match")
    if isinstance(error, duckdb.ConversionException):
        return invalid(text, None, "cannot_parse_text")
    return invalid(
        f"The emulator cannot run its translation of this query: {text} "
        "Give its rows yourself with emulator.stub_query()."
    )
