"""Run HogQL on the event store, in any thread, with a session prepared under the lock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.clickhouse.engine import Cancellation
from posthog_emulator.clickhouse.errors import (
    ClickHouseError,
    EngineUnavailableError,
    MemoryLimitError,
    MissingFunctionError,
    QueryCancelledError,
    QueryTimeoutError,
    ScanLimitError,
)
from posthog_emulator.hogql.context import Action, Cohort, Context, SystemTable
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression, parse_select
from posthog_emulator.hogql.translate import (
    DEFAULT_ROWS,
    MAX_ROWS,
    SETTINGS,
    Translation,
    translate,
)
from posthog_emulator.http.errors import ApiError, invalid

from .result import Result
from .stubs import Stub, stub_result

if TYPE_CHECKING:
    from posthog_emulator.clickhouse.json_rows import JsonRows
    from posthog_emulator.event_store.store import EventStore

__all__ = [
    "DeferredQuery",
    "QuerySession",
    "check_hogql",
    "clickhouse_error",
    "create_context",
    "run_hogql",
    "run_rows",
]

_MAX_SECONDS: Final = 60
"""The default limit on the time of a query, as on the server."""
# A detail of this store: the server's columns are plain strings.
_LOW_CARDINALITY: Final = re.compile(r"LowCardinality\((\w+|Nullable\(\w+\))\)")
_INTERNAL_ERROR: Final = "ClickHouse error while executing query."
_USER_ERRORS: Final = frozenset({
    "AGGREGATE_FUNCTION_THROWS", "ARGUMENT_OUT_OF_BOUND", "AMBIGUOUS_COLUMN_NAME",
    "AMBIGUOUS_IDENTIFIER", "BAD_ARGUMENTS", "CANNOT_CONVERT_TYPE", "CANNOT_PARSE_BOOL",
    "CANNOT_PARSE_DATE", "CANNOT_PARSE_DATETIME", "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    "CANNOT_PARSE_NUMBER", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_UUID", "CANNOT_COMPILE_REGEXP",
    "DECIMAL_OVERFLOW", "DUPLICATE_COLUMN", "FUNCTION_CANNOT_HAVE_PARAMETERS",
    "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", "ILLEGAL_AGGREGATION", "ILLEGAL_COLUMN",
    "ILLEGAL_DIVISION", "ILLEGAL_TYPE_OF_ARGUMENT", "INCORRECT_DATA", "INVALID_JOIN_ON_EXPRESSION",
    "INVALID_LIMIT_EXPRESSION", "MULTIPLE_EXPRESSIONS_FOR_ALIAS", "NOT_AN_AGGREGATE",
    "NOT_FOUND_COLUMN_IN_BLOCK", "NO_COMMON_TYPE", "NUMBER_OF_ARGUMENTS_DOESNT_MATCH",
    "NUMBER_OF_COLUMNS_DOESNT_MATCH", "PARAMETER_OUT_OF_BOUND", "SIZES_OF_ARRAYS_DONT_MATCH",
    "SYNTAX_ERROR", "TOO_FEW_ARGUMENTS_FOR_FUNCTION", "TOO_LARGE_ARRAY_SIZE",
    "TOO_LARGE_STRING_SIZE", "TOO_MANY_ARGUMENTS_FOR_FUNCTION", "TYPE_MISMATCH",
    "UNION_ALL_RESULT_STRUCTURES_MISMATCH", "UNKNOWN_AGGREGATE_FUNCTION", "UNKNOWN_FUNCTION",
    "UNKNOWN_IDENTIFIER", "UNSUPPORTED_METHOD", "ZERO_ARRAY_OR_TUPLE_INDEX",
})  # fmt: skip
"""Errors of ClickHouse that a query causes: the server shows them. It hides all others."""


@dataclass(slots=True)
class QuerySession:
    """What a query needs from the emulator's state."""

    team_id: int
    now: datetime
    store: Callable[[], EventStore]
    cohorts: Mapping[int, Cohort] = field(default_factory=dict[int, Cohort])
    """By id."""
    stubs: list[Stub] = field(default_factory=list[Stub])
    timezone: str = "UTC"
    """The time zone of the project."""
    week_start_day: int = 0
    """The first day of a week: 0 for Sunday, 1 for Monday."""
    actions: Mapping[int, Action] = field(default_factory=dict[int, Action])
    """By id."""
    group_types: Mapping[int, str] = field(default_factory=dict[int, str])
    """Names of group types, by index."""
    views: Mapping[str, str] = field(default_factory=dict[str, str])
    """HogQL of saved queries, by name."""
    system_table: Callable[[str], SystemTable | None] = lambda _: None
    """Rows of a table of `system`, by its name."""
    experiments: Mapping[int, Mapping[str, Any]] = field(default_factory=dict[int, Any])
    """Experiments with their flags, by id; only for queries of experiments."""
    allow_offset: bool = False
    max_rows_scanned: int | None = None
    max_result_bytes: int | None = None
    max_seconds: float = _MAX_SECONDS
    """Seconds after which a query is stopped."""
    log: Callable[[dict[str, Any]], object] = lambda _: None
    cancellation: Cancellation = field(default_factory=Cancellation)
    test_account_filters: Any = None
    """The project's filters for internal and test accounts."""
    path_cleaning: Any = None
    """The project's rules that clean paths."""
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    """Insight variables, by id."""
    recordings: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    """The session recordings of the project, for queries that mention them."""

    def interrupt(self) -> None:
        """Cancel the running query, and the queries that would follow it."""
        self.cancellation.cancel()


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
        """Cancel the query; `run` raises soon."""
        self._session.interrupt()


def run_hogql(
    session: QuerySession,
    sql: str | Expression,
    values: Mapping[str, Any],
    *,
    max_rows: int = MAX_ROWS,
    allow_offset: bool = False,
    **options: Any,
) -> Result:
    """Run a HogQL query, or answer it with a stub.

    Args:
        session: The session to run it in.
        sql: The query.
        values: The values of its placeholders: constants, or expressions.
        max_rows: The maximum LIMIT; larger values are capped. The server's maximum by default.
        allow_offset: Whether OFFSET is allowed, whatever the settings say.
        options: `filters`, `date_range` and `variable` of `hogql.context.Context`.

    Raises:
        ApiError: The query is rejected or fails.
    """
    started_at = perf_counter()
    # The latest stub that matches wins, so that a test can override a fixture's stub.
    stub = next(
        (s for s in reversed(session.stubs) if isinstance(sql, str) and s.matches(sql)), None
    )
    try:
        if stub is not None and isinstance(sql, str):
            result = stub_result(stub, sql, values)
        else:
            context = create_context(session, {"values": values, **options})
            translation = translate(
                sql, context, allow_offset=allow_offset or session.allow_offset, max_rows=max_rows
            )
            result = _result(sql, translation, _execute(session, translation))
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None
    text = sql if isinstance(sql, str) else str(result.head["hogql"])
    session.log({"query": text, "seconds": perf_counter() - started_at, "rows": result.count})
    if session.max_result_bytes is not None and len(result.rows) > session.max_result_bytes:
        raise ApiError(513)
    return result


def run_rows(
    session: QuerySession,
    sql: str | Expression,
    values: Mapping[str, Any],
    *,
    max_rows: int = MAX_ROWS,
) -> list[list[Any]]:
    """Run a HogQL query of the emulator itself, and return its rows as JSON has their values.

    Stubs do not answer it: they are for the queries of users.

    Args:
        session: The session to run it in.
        sql: The query. OFFSET is allowed.
        values: The values of its placeholders: constants, or expressions.
        max_rows: The maximum LIMIT; larger values are capped.

    Raises:
        ApiError: The query is rejected or fails.
    """
    tree = Expression(parse_select(sql)) if isinstance(sql, str) else sql
    result = run_hogql(session, tree, values, max_rows=max_rows, allow_offset=True)
    rows: list[list[Any]] = json.loads(result.rows)
    return rows


def create_context(session: QuerySession, options: Mapping[str, Any]) -> Context:
    """Return the context for the translation of a query."""
    store = session.store()
    return Context(
        team_id=session.team_id,
        now=session.now,
        timezone=session.timezone,
        week_start_day=session.week_start_day,
        property_types=store.property_types(session.team_id),
        cohorts=session.cohorts,
        actions=session.actions,
        group_types=session.group_types,
        views=session.views,
        system_table=session.system_table,
        has_person_overrides=store.has_overrides(session.team_id),
        engine_functions=store.engine_functions(),
        **options,
    )


def check_hogql(session: QuerySession, sql: str | Expression, **options: Any) -> None:
    """Translate a query without running it.

    Args:
        session: The session it would run in.
        sql: The query.
        options: Fields of `hogql.context.Context` that do not come from the session.

    Raises:
        HogQLError: The query is rejected.
    """
    translate(sql, create_context(session, options), allow_offset=session.allow_offset)


def _result(sql: str | Expression, translation: Translation, rows: JsonRows) -> Result:
    paged = translation.paged
    # A query without LIMIT reads one row more than it returns, to know whether there are more.
    cut = rows.count > DEFAULT_ROWS
    if paged and cut:
        rows = rows.first(DEFAULT_ROWS)
    columns = list(translation.columns)
    head: dict[str, Any] = {
        "columns": columns,
        "types": [
            [name, _LOW_CARDINALITY.sub(r"\1", kind)]
            for name, kind in zip(columns, rows.types, strict=True)
        ],
        "hasMore": cut if paged else None,
        "limit": DEFAULT_ROWS if paged else None,
        "offset": 0 if paged else None,
        "query": sql if isinstance(sql, str) else translation.hogql,
        "hogql": translation.hogql,
        "clickhouse": None,
        "error": None,
        "timings": [],
        "modifiers": {},
        "metadata": None,
        "explain": None,
    }
    return Result(rows.rows, head, rows.count)


def _execute(session: QuerySession, translation: Translation) -> JsonRows:
    try:
        store = session.store()
        _check_scan(session, store, translation)
        settings = {**translation.settings, "max_execution_time": session.max_seconds}
        return store.run_query(
            translation.sql, settings=settings, cancellation=session.cancellation
        )
    except ClickHouseError as error:
        raise clickhouse_error(error, translation.hogql) from None
    except EngineUnavailableError as error:
        raise ApiError(500, code="error", detail=str(error)) from None


def _check_scan(session: QuerySession, store: EventStore, translation: Translation) -> None:
    """Raise an error if the query reads too many events, as the server does by its estimate."""
    max_rows = session.max_rows_scanned
    if max_rows is None:
        return
    rows = sum(
        json.loads(
            store.run_query(scan, settings=SETTINGS, cancellation=session.cancellation).rows
        )[0][0]
        for scan in translation.scans
    )
    if rows > max_rows:
        raise _too_slow(rows, max_rows)


def _too_slow(rows: int, max_rows: int) -> ApiError:
    seconds = max(11, round(10 * rows / max(max_rows, 1)))
    return ApiError(
        512,
        detail=f"Estimated query execution time ({seconds} seconds) is too long. "
        "Try reducing its scope by changing the time range.",
    )


def clickhouse_error(error: ClickHouseError, query: str = "") -> ApiError:
    """Return the server's error for an error of ClickHouse.

    Args:
        error: The error.
        query: The query that failed, for the message of an error that is not its fault.
    """
    if isinstance(error, QueryCancelledError):
        return ApiError(500, code="error", detail=_INTERNAL_ERROR)
    if isinstance(error, QueryTimeoutError):
        return ApiError(504)
    if isinstance(error, MemoryLimitError):
        return ApiError(513)
    if isinstance(error, ScanLimitError):
        return _too_slow(2, 1)
    if isinstance(error, MissingFunctionError) and error.function:
        return invalid(
            f"The installed ClickHouse has no function {error.function}. The package chdb-core "
            "has more functions than chdb-core-lite: install it in its place.",
            None,
            "unknown_function",
        )
    if error.name in _USER_ERRORS:
        return invalid(error.message, None, error.name.lower())
    detail = f"{_INTERNAL_ERROR} {error.name}: {error.message} The query was: {query}"
    return ApiError(500, code="error", detail=detail)
