"""FunnelsQuery, limited to ordered steps within one conversion window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from statistics import mean, median
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import query_period
from .properties import Values, written
from .result import Result, encode_json
from .runner import QuerySession
from .trends import INSIGHT, MOST, all_rows, common_tests, events_test, refuse_insight
from .unknown_fields import reject_unknown_fields

__all__ = ["furthest", "run_funnels"]

_UNITS: Final = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_ORDINARY: Final[Mapping[str, Any]] = {
    "funnelVizType": "steps",
    "funnelOrderType": "ordered",
    "exclusions": [],
    "funnelFromStep": None,
    "funnelToStep": None,
}
_KNOWN: Final = frozenset(
    {"kind", "series", "interval", "dateRange", "properties", "breakdownFilter", "funnelsFilter",
     *INSIGHT}
)  # fmt: skip
_SHOWN: Final = frozenset(
    {
        *_ORDINARY, "breakdownAttributionType", "breakdownAttributionValue", "breakdownSorting",
        "funnelStepReference", "funnelWindowInterval", "funnelWindowIntervalUnit", "goalLines",
        "hiddenLegendBreakdowns", "layout", "resultCustomizations", "showTrendLines",
        "showValuesOnSeries", "useUdf", "chartStyle", "legendPosition",
        "showAnnotations", "showLegend",
    }
)  # fmt: skip
"""Fields of a FunnelsFilter that are applied, or that affect only display or breakdowns."""


def run_funnels(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a FunnelsQuery.

    Raises:
        ApiError: 400, the query uses something that is not supported, or has under two steps.
    """
    refuse_insight(query, _KNOWN)
    shown = as_object(query.get("funnelsFilter"))
    reject_unknown_fields(shown, _SHOWN, "FunnelsQuery.funnelsFilter")
    # Other options than the default values are not supported.
    for name, ordinary in _ORDINARY.items():
        if shown.get(name) not in (None, ordinary):
            raise invalid(f"The emulator does not compute funnelsFilter.{name} {shown[name]!r}.")
    if any(as_object(query.get("breakdownFilter")).values()):
        raise invalid("The emulator does not break funnels down.")
    unit = str(shown.get("funnelWindowIntervalUnit") or "day")
    if unit not in _UNITS:
        raise invalid(f"The emulator does not compute funnels within windows of a {unit}.")
    window = _UNITS[unit] * int(shown.get("funnelWindowInterval") or 14)
    series: Any = query.get("series")
    steps = [as_object(node) for node in series] if is_array(series) else []
    if len(steps) < 2:
        raise invalid("A funnel needs at least two steps.")
    reached = [furthest(events, len(steps), window) for events in _people(session, query, steps)]
    results = [_step(step, order, reached) for order, step in enumerate(steps)]
    return Result(
        encode_json(results),
        {"hogql": None, "timings": [], "modifiers": {}, "error": None, "isUdf": True},
        len(results),
    )


def _people(
    session: QuerySession, query: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
) -> Iterable[list[tuple[datetime, list[int]]]]:
    """Yield the events of each person in order, as timestamp and indices of matching steps."""
    values = Values(session)
    period = query_period(session, query)
    start, end = period.start, period.end
    conditions = [_step_test(step, values) for step in steps]
    tests = [
        f"timestamp >= {values.add(written(start))}",
        f"timestamp <= {values.add(written(end))}",
        *common_tests(session, query, values),
        f"({' OR '.join(f'({condition})' for condition in conditions)})",
    ]
    flags = ", ".join(f"if({condition}, 1, 0)" for condition in conditions)
    sql = (
        f"SELECT person_id, timestamp, {flags} FROM events WHERE {' AND '.join(tests)} "  # noqa: S608
        f"ORDER BY person_id, timestamp LIMIT {MOST}"
    )
    rows = all_rows(session, sql, values.by_name)
    # groupby needs the order by person, which the query has.
    for _, events in groupby(rows, key=lambda row: row[0]):
        yield [
            (datetime.fromisoformat(row[1]), [n for n, flag in enumerate(row[2:]) if flag])
            for row in events
        ]


def _step_test(step: Mapping[str, Any], values: Values) -> str:
    if step.get("math") not in {None, "total"}:
        raise invalid(f"The emulator does not compute the math {step['math']!r} of a step.")
    return events_test(step, values)


def furthest(
    events: Iterable[tuple[datetime, list[int]]], steps: int, window: timedelta
) -> list[datetime]:
    """Return the timestamps of the steps that a person completed in their furthest attempt.

    Args:
        events: Timestamps and the steps each event matches, in order.
        steps: The number of steps.
        window: The maximum time from the first step to the last.
    """
    # For each step, the attempt that reached it and started last: it has the most time left.
    attempts: list[list[datetime] | None] = [None] * steps
    best: list[datetime] = []
    for at, matching in events:
        # Later steps first: one event must not complete two steps of the same attempt.
        for step in sorted(matching, reverse=True):
            if step == 0:
                attempts[0] = [at]
            else:
                before = attempts[step - 1]
                if before is None or at - before[0] > window:
                    continue
                attempts[step] = [*before, at]
            reached = attempts[step] or []
            if len(reached) > len(best):
                best = reached
    return best


def _step(step: Mapping[str, Any], order: int, reached: Sequence[list[datetime]]) -> dict[str, Any]:
    times = [
        (moments[order] - moments[order - 1]).total_seconds()
        for moments in reached
        if order and len(moments) > order
    ]
    event = step.get("event")
    return {
        "action_id": event,
        "name": step.get("name") or event or "All events",
        "custom_name": step.get("custom_name"),
        "order": order,
        "people": [],
        "count": sum(len(moments) > order for moments in reached),
        "type": "events",
        "average_conversion_time": mean(times) if times else None,
        "median_conversion_time": median(times) if times else None,
        "converted_people_url": None,
        "dropped_people_url": None,
    }
