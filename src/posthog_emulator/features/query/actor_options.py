"""InsightActorsQueryOptions: which data points of an insight have actors to list."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from posthog_emulator.json_types import as_object, is_array

from .breakdowns import NULL_VALUE, OTHER_VALUE, cohort_name, read_breakdown
from .dates import Period, query_period
from .entities import read_entities
from .result import Result, encode_json
from .runner import QuerySession
from .trends import TOTALS, run_trends
from .unknown_fields import reject_unknown_fields

__all__ = ["run_actor_options"]

_LABELS: Final[Mapping[str, str]] = {
    OTHER_VALUE: "Other (i.e. all remaining values)",
    NULL_VALUE: "None (i.e. no value)",
}
_ALL_NUMBERS: Final = '["",""]'
"""The value that stands for all bins of a histogram."""
_STATUSES: Final = ("dormant", "new", "resurrecting", "returning")


def run_actor_options(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an InsightActorsQueryOptions; insights but trends and lifecycles have no options.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    reject_unknown_fields(query, ("kind", "source", "response", "version"), str(query["kind"]))
    insight = as_object(as_object(query["source"]).get("source"))
    names = ("breakdown", "breakdowns", "compare", "interval", "series", "status")
    options: dict[str, Any] = dict.fromkeys(names)
    day: Any = None
    if insight.get("kind") == "TrendsQuery":
        if as_object(insight.get("trendsFilter")).get("display") not in TOTALS:
            day = _days(query_period(session, insight))
        entities = read_entities(session, insight)
        options["series"] = [
            {"label": entity.name, "value": place} for place, entity in enumerate(entities)
        ]
        if as_object(insight.get("compareFilter")).get("compare"):
            options["compare"] = _items(["current", "previous"], str.capitalize)
        options |= _breakdowns(session, insight)
    elif insight.get("kind") == "LifecycleQuery":
        day = _days(query_period(session, insight))
        options["status"] = _items(_STATUSES, str.capitalize)
    return Result(encode_json(day), options, 0, "day")


def _days(period: Period) -> list[dict[str, str]]:
    return [{"label": period.label(at), "value": at.isoformat()} for at in period.buckets()]


def _items(values: Sequence[Any], label: Callable[[Any], str]) -> list[dict[str, Any]]:
    return [{"label": label(value), "value": value} for value in values]


def _breakdowns(session: QuerySession, insight: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the last series is broken down by."""
    breakdown = read_breakdown(session, insight)
    if breakdown is None:
        return {}
    if breakdown.cohorts:
        return {"breakdown": _items(breakdown.cohorts, lambda cohort: cohort_name(session, cohort))}
    shown = {
        name: value
        for name, value in as_object(insight.get("trendsFilter")).items()
        if not name.startswith("formula")
    }
    last = {**insight, "series": insight["series"][-1:], "trendsFilter": shown,
            "compareFilter": None}  # fmt: skip
    values = [item["breakdown_value"] for item in json.loads(run_trends(session, last).rows)]
    several = as_object(insight["breakdownFilter"]).get("breakdowns")
    columns = zip(*values, strict=True) if breakdown.is_multiple else [values]
    options = [
        _options(list(column), bool(part.bins))
        for column, part in zip(columns, breakdown.properties, strict=False)
    ]
    if is_array(several) and several:
        return {"breakdowns": [{"values": labels} for labels in options]}
    return {"breakdown": options[0] if options else []}


def _options(values: list[Any], is_histogram: bool) -> list[dict[str, Any]]:
    if is_histogram:
        rest = [value for value in (OTHER_VALUE, NULL_VALUE) if value in values]
        values = [value for value in values if value not in rest] + [_ALL_NUMBERS, *rest]
    return _items(list(dict.fromkeys(values)), lambda value: _LABELS.get(value, str(value)))
