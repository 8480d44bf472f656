"""WebOverviewQuery: visitors, views and sessions of a site, or the conversions on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.parse import Node, call, compare, constant, field
from posthog_emulator.hogql.property_filters import any_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .dates import Period, compared_period, query_period
from .entities import check_insight, common_node, event_tests, period_node, read_entity
from .insight_results import insight_result
from .properties import Values
from .result import Result
from .runner import QuerySession, run_rows

__all__ = ["run_web_overview"]

_FIELDS: Final = (
    "compareFilter", "conversionGoal", "interval", "response", "useSessionsTable",
    "useWebAnalyticsPrecompute",
)  # fmt: skip
_ITEMS: Final = (
    ("visitors", "unit", "uniqIf(person, {when})"),
    ("views", "unit", "sumIf(views, {when})"),
    ("sessions", "unit", "uniqIf(visit, {when})"),
    ("session duration", "duration_s", "avgIf(duration, {when})"),
    ("bounce rate", "percentage", "avgIf(bounce, {when}) * 100"),
)
_GOAL_ITEMS: Final = (
    ("visitors", "unit", "uniqIf(person, {when})"),
    ("total conversions", "unit", "sumIf(conversions, {when})"),
    ("unique conversions", "unit", "uniqIf(person, {when} AND conversions > 0)"),
    (
        "conversion rate", "percentage",
        "uniqIf(person, {when} AND conversions > 0) / nullIf(uniqIf(person, {when}), 0) * 100",
    ),
)  # fmt: skip


def run_web_overview(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebOverviewQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_insight(query, _FIELDS)
    period = query_period(session, query)
    previous = compared_period(session, query, period)
    goal = _goal(session, as_object(query.get("conversionGoal")))
    items = _ITEMS if goal is None else _GOAL_ITEMS
    values = Values(session)
    rows: list[list[Any]] = []
    sessions = _sessions(session, query, [period, previous] if previous else [period], goal, values)
    for one in (period, previous):
        if one is None:
            rows.append([None] * len(items))
            continue
        # The start of a session decides which period it counts for.
        when = (
            f"(started >= {values.add(one.lower())} AND "
            f"toStartOfSecond(started) <= {values.add(one.upper())})"
        )
        shown = ", ".join(sql.format(when=when) for _, _, sql in items)
        rows += run_rows(session, f"SELECT {shown} FROM ({sessions})", values.by_name)  # noqa: S608
    return insight_result(
        [
            {
                "key": key, "kind": kind, "isIncreaseBad": key == "bounce rate",
                "value": value, "previous": before, "changeFromPreviousPct": _change(value, before),
            }
            for (key, kind, _), value, before in zip(items, *rows, strict=True)
        ],
        period,
        previous,
        samplingRate={"numerator": 1, "denominator": 1},
        dateFrom=period.start.isoformat(),
        dateTo=period.end.isoformat(),
    )  # fmt: skip


def _change(value: float | None, before: float | None) -> int | None:
    return round(100 * (value - before) / before) if before and value is not None else None


def _goal(session: QuerySession, given: Mapping[str, Any]) -> Node | None:
    """Return the condition on the events that are conversions; None without a goal."""
    if given.get("customEventName"):
        return compare("==", field("event"), constant(str(given["customEventName"])))
    if given.get("actionId") is None:
        return None
    entity = read_entity(session, {"kind": "ActionsNode", "id": given["actionId"]})
    if entity.is_deleted:
        raise invalid(f"Action ID {given['actionId']} does not exist!")
    return entity.condition


def _sessions(
    session: QuerySession,
    query: Mapping[str, Any],
    periods: list[Period],
    goal: Node | None,
    values: Values,
) -> str:
    """Return the query of the sessions with events in one of the periods."""
    seen = call("in", field("event"), constant(["$pageview", "$screen"]))
    counted = seen if goal is None else any_of([seen, goal])
    tests = [
        counted,
        any_of([period_node(one) for one in periods]),
        common_node(session, query),
        call("notEmpty", call("ifNull", call("toString", field("$session_id")), constant(""))),
    ]
    converted = values.add_node(constant(False) if goal is None else goal)
    return (
        "SELECT $session_id AS visit, any(person_id) AS person, "  # noqa: S608
        f"countIf({values.add_node(seen)}) AS views, countIf({converted}) AS conversions, "
        "min(session.$start_timestamp) AS started, any(session.$session_duration) AS duration, "
        f"any(session.$is_bounce) AS bounce FROM events WHERE {event_tests(values, *tests)} "
        "GROUP BY visit"
    )
