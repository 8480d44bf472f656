"""CalendarHeatmapQuery: events or persons by the day of the week and the hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.property_filters import all_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .dates import query_period
from .entities import check_insight, common_node, event_tests, period_node, read_entity
from .insight_results import insight_result
from .properties import Values
from .result import Result
from .runner import QuerySession, run_rows
from .unknown_fields import reject_unknown_fields
from .web_query import goal_node

__all__ = ["run_calendar_heatmap"]

_FIELDS: Final = ("series", "calendarHeatmapFilter", "conversionGoal", "interval", "response")


def run_calendar_heatmap(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a CalendarHeatmapQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_insight(query, _FIELDS)
    options = as_object(query.get("calendarHeatmapFilter"))
    reject_unknown_fields(options, ("bucketBySessionStart",), "calendarHeatmapFilter")
    if not query["series"]:
        raise invalid("A calendar heatmap has a series.")
    entity = read_entity(session, as_object(query["series"][0]))
    if entity.is_deleted:
        raise invalid(f"Action ID {entity.id} does not exist!")
    goal = goal_node(session, as_object(query.get("conversionGoal")))
    condition = entity.condition
    if goal is not None and entity.type == "events":
        # The goal takes the place of the event, not of the filters of the series.
        condition = all_of(
            [goal, common_node(session, {"properties": entity.node.get("properties")})]
        )
    period, values = query_period(session, query, "day"), Values(session)
    tests = [condition, common_node(session, query)]
    unique = entity.math == "dau"
    if unique and options.get("bucketBySessionStart"):
        low, high = values.add(period.lower()), values.add(period.upper())
        source = (
            "(SELECT any(person_id) AS visitor, min(timestamp) AS at FROM events "  # noqa: S608
            f"WHERE {event_tests(values, *tests)} GROUP BY $session_id) "
            f"WHERE at >= {low} AND at <= {high}"
        )
    else:
        source = (
            "(SELECT person_id AS visitor, timestamp AS at FROM events "  # noqa: S608
            f"WHERE {event_tests(values, period_node(period), *tests)})"
        )
    # Each event counts in its cell, its row and its column, and in the whole: 0 is none of a week.
    rows = run_rows(
        session,
        f"SELECT arrayJoin([(toDayOfWeek(at), toHour(at)), (toDayOfWeek(at), -1), "  # noqa: S608
        f"(0, toHour(at)), (0, -1)]) AS cell, {'uniq(visitor)' if unique else 'count()'} "
        f"FROM {source} GROUP BY cell ORDER BY cell",
        values.by_name,
    )
    cells = {(day, hour): count for (day, hour), count in rows}
    heatmap = {
        "data": [
            {"row": day, "column": hour, "value": count}
            for (day, hour), count in cells.items()
            if day and hour >= 0
        ],
        "rowAggregations": [
            {"row": day, "value": count} for (day, hour), count in cells.items() if day and hour < 0
        ],
        "columnAggregations": [
            {"column": hour, "value": count}
            for (day, hour), count in cells.items()
            if not day and hour >= 0
        ],
        "allAggregations": cells.get((0, -1), 0),
    }
    return insight_result(heatmap, period)
