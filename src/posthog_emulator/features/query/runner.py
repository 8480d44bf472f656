"""Run HogQL on the event store, in any thread, with a session prepared under the lock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.clickhouse.engine import Cancellation
from posthog_emulator.clickhouse.errors import (
    ClickHouseError,
    MemoryLimitError,
    MissingFunctionError,
    QueryCancelledError,
    QueryTimeoutError,
)
from posthog_emulator.http.errors import ApiError, invalid

from .result import Result
from .stubs import Stub, stub_result

if TYPE_CHECKING:
    from posthog_emulator.clickhouse.json_rows import JsonRows
    from posthog_emulator.event_store.store import EventStore
    from posthog_emulator.hogql.context import Context
    from posthog_emulator.hogql.translate import Translation

__all__ = [
    "DeferredQuery",
    "ProjectCohorts",
    "QuerySession",
    "check_hogql",
    "create_context",
    "run_hogql",
]


@dataclass(slots=True)
class ProjectCohorts:
    """The cohorts of one project, with the errors of their last calculation."""

    names: dict[int, str] = field(default_factory=dict[int, str])
    """Name by cohort id."""
    errors: dict[int, str] = field(default_factory=dict[int, str])
    """Error message by cohort id, of cohorts whose members could not be calculated."""
    static: set[int] = field(default_factory=set[int])
    """Ids of the cohorts whose members are listed."""


@dataclass(slots=True)
class QuerySession:
    """What a query needs from the emulator's state."""

    team_id: int
    now: datetime
    store: Callable[[], EventStore]
    cohorts: ProjectCohorts
    stubs: list[Stub]
    allow_offset: bool = False
    max_rows_scanned: int | None = None
    max_result_bytes: int | None = None
    log: Callable[[dict[str, Any]], object] = lambda _: None
    cancellation: Cancellation = field(default_factory=Cancellation)
    test_account_filters: Any = None
    """The project's filters for internal and test accounts."""
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    """Insight variables, by id."""
    objects: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The fields of `hogql.context.Context` that come from the project's objects."""

    def interrupt(self) -> None:
        """Interrupt the running query, and the queries that would follow it."""
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
        options: `filters`, `date_range` and `variable` of `hogql.context.Context`.

    Raises:
        ApiError: The query is rejected or fails.
    """
    from posthog_emulator.hogql.errors import HogQLError
    from posthog_emulator.hogql.translate import MAX_ROWS

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
                max_rows=max_rows or MAX_ROWS,
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
    from posthog_emulator.hogql.context import Cohort, Context

    store, team, known = session.store(), session.team_id, session.cohorts
    versions = store.cohorts.versions(team)
    return Context(
        team_id=team,
        now=session.now.astimezone(UTC),
        property_types=store.property_types(team),
        cohorts={
            number: Cohort(
                name, number in known.static, versions.get(number), known.errors.get(number)
            )
            for number, name in known.names.items()
        },
        group_types={index: name for name, index in store.project(team).groups.types.items()},
        has_person_overrides=store.has_overrides(team),
        engine_functions=store.engine_functions(),
        **{**session.objects, **options},
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

    translate(sql, create_context(session, options), allow_offset=session.allow_offset)


def _run(
    session: QuerySession,
    sql: str,
    options: Mapping[str, Any],
    *,
    max_rows: int,
    allow_offset: bool,
) -> Result:
    from posthog_emulator.hogql.translate import DEFAULT_ROWS, translate

    translation = translate(
        sql, create_context(session, options), allow_offset=allow_offset, max_rows=max_rows
    )
    found = _execute(session, sql, translation)
    paged = translation.paged
    # A query without LIMIT reads one row more than it returns, to know whether there are more.
    cut = found.count > DEFAULT_ROWS
    if paged:
        found = found.first(DEFAULT_ROWS)
    head: dict[str, Any] = {
        "columns": list(translation.columns),
        "types": [list(pair) for pair in zip(translation.columns, found.types, strict=True)],
        "hasMore": cut if paged else None,
        "limit": DEFAULT_ROWS if paged else None,
        "offset": 0 if paged else None,
        "query": sql,
        "hogql": translation.hogql,
        "clickhouse": None,
        "error": None,
        "timings": [],
        "modifiers": {},
        "metadata": None,
        "explain": None,
    }
    return Result(found.rows, head, found.count)


def _execute(session: QuerySession, sql: str, translation: Translation) -> JsonRows:
    store = session.store()
    try:
        _check_scan(session, store, translation)
        return store.run_query(
            translation.sql, settings=translation.settings, cancellation=session.cancellation
        )
    except ClickHouseError as error:
        raise _api_error(error, sql) from None


def _check_scan(session: QuerySession, store: EventStore, translation: Translation) -> None:
    """Raise an error if the query reads too many events, as the server does by its estimate."""
    max_rows = session.max_rows_scanned
    if max_rows is None:
        return
    rows = 0
    for scan in translation.scans:
        found = store.run_query(
            scan, settings=translation.settings, cancellation=session.cancellation
        )
        rows += json.loads(found.rows)[0][0]
    if rows > max_rows:
        seconds = max(11, round(10 * rows / max(max_rows, 1)))
        raise ApiError(
            512,
            detail=f"Estimated query execution time ({seconds} seconds) is too long. "
            "Try reducing its scope by changing the time range.",
        )


_INTERNAL: Final = frozenset(
    {"LOGICAL_ERROR", "SYNTAX_ERROR", "UNKNOWN_EXCEPTION", "UNKNOWN_TABLE"}
)
"""Errors that are not the fault of who wrote the query."""


def _api_error(error: ClickHouseError, sql: str) -> ApiError:
    """Return the API's error for an error of ClickHouse."""
    if isinstance(error, QueryCancelledError):
        return ApiError(500, code="error", detail="ClickHouse error while executing query.")
    if isinstance(error, QueryTimeoutError):
        return ApiError(504, code="error", detail="Query has hit the max execution time.")
    if isinstance(error, MemoryLimitError):
        return ApiError(513)
    if isinstance(error, MissingFunctionError) and error.function:
        return invalid(
            f"The installed build of ClickHouse has no function {error.function}. "
            "If it is chdb-core-lite, install chdb-core in its place.",
            None, "unknown_function",
        )  # fmt: skip
    if error.name in _INTERNAL:
        detail = f"ClickHouse error while executing query: {error.message} The query was: {sql}"
        return ApiError(500, code="error", detail=detail)
    return invalid(error.message, None, error.name.lower())
