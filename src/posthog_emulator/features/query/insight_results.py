"""Rows that insights are computed from, and the responses and the actors that come of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from posthog_emulator.clickhouse.errors import QueryCancelledError
from posthog_emulator.http.errors import ApiError, invalid

from .dates import Period, resolved
from .entities import Actor
from .properties import Values
from .result import Result, encode_json
from .runner import QuerySession, clickhouse_error, run_rows

__all__ = ["MAX_ROWS", "Actors", "all_rows", "insight_result", "listed_actors"]

MAX_ROWS: Final = 2_000_000
"""Maximum number of rows that an insight is computed from."""


def all_rows(session: QuerySession, sql: str, values: Values) -> Iterator[list[Any]]:
    """Run a query, and return an iterator over its rows, without the usual limit.

    The iterator raises an error once the query is cancelled or takes too long.

    Args:
        session: The session of the query.
        sql: The query, without a LIMIT.
        values: The values of its placeholders.

    Raises:
        ApiError: 400, there are `MAX_ROWS` rows or more; or the query fails.
    """
    rows = run_rows(session, f"{sql} LIMIT {MAX_ROWS}", values.by_name, max_rows=MAX_ROWS)
    if len(rows) >= MAX_ROWS:
        raise invalid(f"The emulator does not compute insights of {MAX_ROWS:,} rows or more.")
    return _interruptible(session, rows)


def _interruptible(session: QuerySession, rows: Sequence[list[Any]]) -> Iterator[list[Any]]:
    deadline = perf_counter() + session.max_seconds
    for row in rows:
        # What is computed of the rows takes longer than the query itself.
        if session.cancellation.is_cancelled:
            raise clickhouse_error(QueryCancelledError(394, "QUERY_WAS_CANCELLED", "Cancelled."))
        if perf_counter() > deadline:
            raise ApiError(504)
        yield row


def insight_result(
    results: Any, period: Period | None = None, previous: Period | None = None, **more: Any
) -> Result:
    """Return the response of an insight.

    Args:
        results: The value of `results`.
        period: The time range of the query.
        previous: The time range that it is compared with.
        more: Other fields of the response.
    """
    head: dict[str, Any] = {"hogql": None, "timings": [], "modifiers": {}, "error": None, **more}
    if period is not None:
        head["resolved_date_range"] = resolved(period)
    if previous is not None:
        head["resolved_compare_date_range"] = resolved(previous)
    return Result(encode_json(results), head, len(results))


@dataclass(frozen=True, slots=True)
class Actors:
    """The actors behind a data point of an insight."""

    sql: str
    """HogQL of rows of `actor_id` and, where they are counted, `event_count`."""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The values of its placeholders."""
    group_type_index: int | None = None
    """The type of the groups; None for persons."""


def listed_actors(session: QuerySession, ids: Iterable[Any], actor: Actor) -> Actors:
    """Return actors that are known by their ids.

    Args:
        session: The session of the query.
        ids: The ids of persons, or the keys of groups.
        actor: What they are.
    """
    values = Values(session)
    ids = sorted({str(actor_id) for actor_id in ids})
    sql = f"SELECT arrayJoin({values.add(ids)}) AS actor_id"
    if not ids:
        sql = "SELECT '' AS actor_id WHERE 1 = 2"
    return Actors(sql, values.by_name, actor.group_type_index)
