"""WebOverviewQuery: visitors, views and sessions of a site, or the conversions on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.parse import call, constant, field
from posthog_emulator.hogql.property_filters import any_of

from .insight_results import insight_result
from .result import Result
from .runner import QuerySession, run_rows
from .web_query import SAMPLING, SEEN, WebQuery

__all__ = ["run_web_overview"]

_ITEMS: Final = (
    ("visitors", "unit", "uniqIf(visitor, {when})"),
    ("views", "unit", "sumIf(views, {when})"),
    ("sessions", "unit", "uniqIf(visit, {when})"),
    ("session duration", "duration_s", "avgIf(duration, {when})"),
    ("bounce rate", "percentage", "avgIf(bounce, {when}) * 100"),
)
_GOAL_ITEMS: Final = (
    ("visitors", "unit", "uniqIf(visitor, {when})"),
    ("total conversions", "unit", "sumIf(conversions, {when})"),
    ("unique conversions", "unit", "uniqIf(visitor, {when} AND conversions > 0)"),
    (
        "conversion rate", "percentage",
        "uniqIf(visitor, {when} AND conversions > 0) / nullIf(uniqIf(visitor, {when}), 0) * 100",
    ),
)  # fmt: skip


def run_web_overview(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebOverviewQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    web = WebQuery(session, query)
    items = _ITEMS if web.goal is None else _GOAL_ITEMS
    rows: list[list[Any]] = []
    sessions = _sessions(web)
    for period in (web.period, web.previous):
        if period is None:
            rows.append([None] * len(items))
            continue
        # The start of a session decides which period it counts for.
        shown = ", ".join(sql.format(when=web.within("started", period)) for _, _, sql in items)
        rows += run_rows(session, f"SELECT {shown} FROM ({sessions})", web.values.by_name)  # noqa: S608
    return insight_result(
        [
            {
                "key": key, "kind": kind, "isIncreaseBad": key == "bounce rate",
                "value": value, "previous": before, "changeFromPreviousPct": _change(value, before),
            }
            for (key, kind, _), value, before in zip(items, *rows, strict=True)
        ],
        web.period,
        web.previous,
        samplingRate=SAMPLING,
        dateFrom=web.period.start.isoformat(),
        dateTo=web.period.end.isoformat(),
    )  # fmt: skip


def _change(value: float | None, before: float | None) -> int | None:
    return round(100 * (value - before) / before) if before and value is not None else None


def _sessions(web: WebQuery) -> str:
    """Return the query of the sessions with events in one of the periods."""
    has_id = call("notEmpty", call("ifNull", call("toString", field("$session_id")), constant("")))
    counted = SEEN if web.goal is None else any_of([SEEN, web.goal])
    converted = web.values.add_node(web.goal or constant(False))
    return (
        "SELECT $session_id AS visit, any(person_id) AS visitor, "  # noqa: S608
        f"countIf({web.values.add_node(SEEN)}) AS views, countIf({converted}) AS conversions, "
        "min(session.$start_timestamp) AS started, any(session.$session_duration) AS duration, "
        f"any(session.$is_bounce) AS bounce FROM events WHERE {web.where(counted, has_id)} "
        "GROUP BY visit"
    )
