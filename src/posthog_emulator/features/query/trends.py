"""TrendsQuery, and the parts that all insight queries share."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import query_period
from .properties import Values, property_tests, written
from .result import Result, encode_json
from .runner import QuerySession, run_hogql
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = [
    "INSIGHT",
    "MOST",
    "all_rows",
    "common_tests",
    "events_test",
    "refuse_insight",
    "run_trends",
]

INSIGHT: Final = frozenset(
    {"tags", "version", "modifiers", "samplingFactor", "filterTestAccounts", "dataColorTheme"}
)
"""Fields of all insight queries that are applied, or that do not affect the result."""
MOST: Final = 2_000_000
"""Maximum number of rows that an insight is computed from."""


def refuse_insight(query: Mapping[str, Any], known: Collection[str]) -> None:
    """Reject unsupported top-level fields of an insight query.

    Raises:
        ApiError: 400, naming the field.
    """
    reject_unknown_fields(query, known, str(query.get("kind")))
    reject_unknown_fields(
        as_object(query.get("modifiers")), IGNORED_MODIFIERS, f"{query.get('kind')}.modifiers"
    )
    reject_unknown_fields(as_object(query.get("dateRange")), ("date_from", "date_to"), "dateRange")
    if query.get("samplingFactor") not in (None, 1):
        raise invalid("The emulator does not compute insights of samples.")


def common_tests(session: QuerySession, query: Mapping[str, Any], values: Values) -> list[str]:
    """Return the conditions on the events of all series."""
    tests = property_tests(query.get("properties"), values)
    if query.get("filterTestAccounts"):
        tests += property_tests(session.test_account_filters, values)
    return tests


def all_rows(session: QuerySession, sql: str, values: Mapping[str, Any]) -> list[list[Any]]:
    """Return the rows of a query, without the usual limit.

    Raises:
        ApiError: 400, there are `MOST` rows or more.
    """
    rows: list[list[Any]] = json.loads(run_hogql(session, sql, values, max_rows=MOST).rows)
    if len(rows) >= MOST:
        raise invalid(f"The emulator does not compute insights of {MOST:,} events or more.")
    return rows


_UNITS: Final = ("hour", "day", "week", "month")
_KNOWN: Final = frozenset(
    {"kind", "series", "interval", "dateRange", "properties", "breakdownFilter", "compareFilter",
     "trendsFilter", *INSIGHT}
)  # fmt: skip
_NODE: Final = frozenset(
    {"kind", "event", "name", "custom_name", "properties", "fixedProperties", "math",
     "math_property", "math_property_type", "version"}
)  # fmt: skip
_SHOWN: Final = frozenset(
    {
        "aggregationAxisFormat", "aggregationAxisPostfix", "aggregationAxisPrefix",
        "confidenceLevel", "decimalPlaces", "detailedResultsAggregationType", "display",
        "goalLines", "hiddenLegendIndexes", "minDecimalPlaces", "movingAverageIntervals",
        "resultCustomizationBy", "resultCustomizations", "showAlertThresholdLines",
        "showConfidenceIntervals", "showLabelsOnSeries", "showLegend", "showMovingAverage",
        "showMultipleYAxes", "showPercentStackView", "showTrendLines", "showValuesOnSeries",
        "yAxisScaleType", "chartStyle", "legendPosition", "metricChangeDecreaseColor",
        "metricChangeIncreaseColor",
        "metricColorByDirection", "metricLineDecreaseColor", "metricLineIncreaseColor",
        "metricShowChange", "metricSummary", "showAnnotations", "stackBreakdownValues",
        "xAxisLabel", "yAxisLabel", "yAxisMax", "yAxisMin", "yAxisStartAtZero",
    }
)  # fmt: skip
"""Fields of a TrendsFilter that affect only how the result is displayed."""
_DISPLAYS: Final = frozenset(
    {None, "Auto", "ActionsLineGraph", "ActionsBar", "ActionsUnstackedBar", "ActionsStackedBar",
     "ActionsAreaGraph"}
)  # fmt: skip
_COUNTS: Final = {
    "total": "count()",
    "dau": "count(DISTINCT person_id)",
    "unique_session": "count(DISTINCT $session_id)",
}
_PROPERTY: Final = {
    **{name: name for name in ("sum", "avg", "min", "max", "median")},
    **{f"p{level}": f"quantile(0.{level})" for level in (75, 90, 95, 99)},
}
_MOST_BREAKDOWNS: Final = 25
_NO_VALUE: Final = "$$_posthog_breakdown_null_$$"


def events_test(node: Mapping[str, Any], values: Values) -> str:
    """Return the condition on the events of a series or step.

    Raises:
        ApiError: 400, the node is not an EventsNode, or uses something that is not supported.
    """
    if (node.get("kind") or "EventsNode") != "EventsNode":
        raise invalid(f"The emulator computes series of EventsNode only, not of {node['kind']}.")
    reject_unknown_fields(node, _NODE, "EventsNode")
    if node.get("math_property_type") not in {None, "event_properties"}:
        raise invalid(f"The emulator does not compute math of {node['math_property_type']}.")
    tests = property_tests(node.get("properties"), values)
    tests += property_tests(node.get("fixedProperties"), values)
    if node.get("event") is not None:
        tests.insert(0, f"event = {values.add(str(node['event']))}")
    return " AND ".join(tests) or "true"


def run_trends(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TrendsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    refuse_insight(query, _KNOWN)
    unit = str(query.get("interval") or "day")
    if unit not in _UNITS:
        raise invalid(f"The emulator does not compute trends by the {unit}.")
    shown = dict(as_object(query.get("trendsFilter")))
    # A smoothing interval of 1 means no smoothing.
    if shown.get("smoothingIntervals") == 1:
        del shown["smoothingIntervals"]
    reject_unknown_fields(shown, _SHOWN, "TrendsQuery.trendsFilter")
    if shown.get("display") not in _DISPLAYS:
        raise invalid(f"The emulator does not compute the display {shown['display']!r} of trends.")
    if as_object(query.get("compareFilter")).get("compare"):
        raise invalid("The emulator does not compare trends with the period before.")
    period = query_period(session, query)
    start, end = period.start, period.end
    moments = _moments(start, end, unit)
    results: list[dict[str, Any]] = []
    series: Any = query.get("series")
    for order, node in enumerate(series if is_array(series) else []):
        results += _series(session, query, as_object(node), order, unit, moments, (start, end))
    head: dict[str, Any] = {
        "hasMore": False,
        "hogql": None,
        "timings": [],
        "modifiers": {},
        "error": None,
        "resolved_date_range": {"date_from": start.isoformat(), "date_to": end.isoformat()},
    }
    return Result(encode_json(results), head, len(results))


def _moments(start: datetime, end: datetime, unit: str) -> list[datetime]:
    at = start.replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        at = at.replace(hour=0)
    if unit == "week":
        at -= timedelta(days=(at.weekday() + 1) % 7)  # PostHog's weeks begin on Sundays
    if unit == "month":
        at = at.replace(day=1)
    found: list[datetime] = []
    while at <= end:
        # A bound for mistyped ranges, such as hours over centuries.
        if len(found) >= 10_000:
            raise invalid("The time range has more than 10,000 intervals.")
        found.append(at)
        if unit == "month":
            # 32 days after the first of a month is always in the next month.
            at = (at + timedelta(days=32)).replace(day=1)
        else:
            at += {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(7)}[unit]
    return found


def _measure(node: Mapping[str, Any], values: Values) -> str:
    math = str(node.get("math") or "total")
    if math in _COUNTS:
        return _COUNTS[math]
    if math in _PROPERTY and node.get("math_property") == "$session_duration":
        raise invalid("The emulator does not compute the math of $session_duration in a series.")
    if math in _PROPERTY and node.get("math_property"):
        field = f"properties[{values.add(str(node['math_property']))}]"
        return f"ifNull({_PROPERTY[math]}(toFloat({field})), 0)"
    raise invalid(f"The emulator does not compute the math {math!r} of a series.")


_BREAKDOWN: Final = frozenset(
    {"breakdown", "breakdown_type", "breakdowns", "breakdown_limit",
     "breakdown_hide_other_aggregation"}
)  # fmt: skip


def _breakdown(query: Mapping[str, Any], values: Values) -> str | None:
    given = as_object(query.get("breakdownFilter"))
    several: Any = given.get("breakdowns") or []
    if len(several) > 1:
        raise invalid("The emulator breaks trends down by one property only.")
    reject_unknown_fields(
        {name: value for name, value in given.items() if name not in _BREAKDOWN},
        (),
        "TrendsQuery.breakdownFilter",
    )
    one = as_object(several[0]) if several else given
    if several:
        reject_unknown_fields(one, ("property", "type"), "Breakdown")
    name = one.get("property") if several else given.get("breakdown")
    if name is None:
        return None
    kind = str((one.get("type") if several else given.get("breakdown_type")) or "event")
    scope = {"event": "properties", "person": "person.properties"}.get(kind)
    if scope is None or not isinstance(name, str):
        raise invalid(f"The emulator does not break trends down by {kind} {name!r}.")
    return f"ifNull(nullIf(toString({scope}[{values.add(name)}]), ''), '{_NO_VALUE}')"


def _series(
    session: QuerySession,
    query: Mapping[str, Any],
    node: Mapping[str, Any],
    order: int,
    unit: str,
    moments: list[datetime],
    span: tuple[datetime, datetime],
) -> list[dict[str, Any]]:
    values = Values(session)
    tests = [
        f"timestamp >= {values.add(written(span[0]))}",
        f"timestamp <= {values.add(written(span[1]))}",
        events_test(node, values),
        *common_tests(session, query, values),
    ]
    measure, breakdown = _measure(node, values), _breakdown(query, values)
    begin = {
        "hour": "toStartOfHour(timestamp)",
        "day": "toStartOfDay(timestamp)",
        "week": "toStartOfWeek(timestamp)",
        "month": "toStartOfMonth(timestamp)",
    }[unit]
    by = breakdown or "''"
    sql = (
        f"SELECT {begin} AS at, {by} AS part, {measure} AS n FROM events "  # noqa: S608
        f"WHERE {' AND '.join(tests)} GROUP BY at, part ORDER BY at LIMIT {MOST}"
    )
    # Without a breakdown there is one series even if no event matches.
    found: dict[str, dict[str, float]] = {} if breakdown else {"": {}}
    rows = all_rows(session, sql, values.by_name)
    for at, part, count in rows:
        found.setdefault(part, {})[str(at)[: 13 if unit == "hour" else 10]] = count
    shown = [
        _shown(node, order, unit, moments, counts, part if breakdown else None)
        for part, counts in found.items()
    ]
    if breakdown:
        # The largest first, as in the app; ties by value, so that the order is reproducible.
        shown.sort(key=lambda one: (-one["count"], one["breakdown_value"]))
        most = as_object(query.get("breakdownFilter")).get("breakdown_limit") or _MOST_BREAKDOWNS
        if len(shown) > most:
            raise invalid(
                f"The emulator shows at most {most} values of a breakdown, "
                f"and there are {len(shown)}."
            )
    return shown


def _shown(
    node: Mapping[str, Any],
    order: int,
    unit: str,
    moments: list[datetime],
    counts: Mapping[str, float],
    part: str | None,
) -> dict[str, Any]:
    hourly = unit == "hour"
    keys = [at.strftime("%Y-%m-%dT%H" if hourly else "%Y-%m-%d") for at in moments]
    data = [counts.get(key, 0) for key in keys]
    event = node.get("event")
    name = str(node.get("name") or event or "All events")
    made: dict[str, Any] = {
        "action": {
            "id": event,
            "type": "events",
            "order": order,
            "name": name,
            "custom_name": node.get("custom_name"),
            "math": node.get("math"),
            "math_property": node.get("math_property"),
            "properties": node.get("properties") or [],
        },
        "label": name if part is None else part,
        "count": sum(data),
        "data": data,
        "labels": [at.strftime("%-d-%b-%Y %H:%M" if hourly else "%-d-%b-%Y") for at in moments],
        "days": [at.strftime("%Y-%m-%d %H:%M:%S" if hourly else "%Y-%m-%d") for at in moments],
        "order": order,
    }
    if part is not None:
        made["breakdown_value"] = part
    return made
