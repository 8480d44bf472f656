"""Convert arguments of the driver to what PostHog takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, cast

__all__ = ["cohort_filters", "insight_kind", "insight_query", "parse_time"]

_SOURCES: Final = {
    "TRENDS": "TrendsQuery",
    "FUNNELS": "FunnelsQuery",
    "RETENTION": "RetentionQuery",
    "PATHS": "PathsQuery",
    "STICKINESS": "StickinessQuery",
    "LIFECYCLE": "LifecycleQuery",
    "SQL": "HogQLQuery",
}


def parse_time(value: str | date | datetime, *, end: bool = False) -> datetime:
    """Return a time with a time zone. Without one, it is in UTC.

    Args:
        value: A datetime, a date, or ISO 8601 text of either.
        end: Whether a date means the end of that day instead of its start.

    Raises:
        ValueError: The text is neither a date nor a time.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{text[:40]!r} is not a time: write it like 2026-01-31 or 2026-01-31T12:00:00Z"
            ) from None
    if not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC) + timedelta(days=end)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def insight_kind(name: str) -> str:
    """Return the kind of query of an insight type: `FUNNELS` → `FunnelsQuery`.

    Raises:
        ValueError: There is no such type.
    """
    kind = _SOURCES.get(name.strip().upper(), name if name in _SOURCES.values() else None)
    if kind is None:
        raise ValueError(f"{name!r} is no type of insight; use {', '.join(_SOURCES)}")
    return kind


def insight_query(kind: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query of an insight.

    Args:
        kind: The kind of its source, such as `TrendsQuery`.
        filters: A query, or the fields of its source; `events`, `actions`, `date_from` and
            `date_to` of PostHog's older filters become `series` and `dateRange`.
    """
    if "kind" in filters:
        return dict(filters)
    rest = {
        name: value
        for name, value in filters.items()
        if name not in {"events", "actions", "date_from", "date_to", "insight"}
    }
    series = [_series(entity, "EventsNode", "event") for entity in _entities(filters, "events")]
    series += [_series(entity, "ActionsNode", "id") for entity in _entities(filters, "actions")]
    source: dict[str, Any] = {"kind": kind, **rest}
    if series:
        source["series"] = series
    dates = {n: filters[n] for n in ("date_from", "date_to") if filters.get(n) is not None}
    if dates:
        source["dateRange"] = dates
    if kind == "HogQLQuery":
        return {"kind": "DataTableNode", "source": source}
    return {"kind": "InsightVizNode", "source": source}


def _entities(filters: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = cast("Sequence[Any]", filters.get(name) or ())
    entities = [
        dict(cast("Mapping[str, Any]", item)) if isinstance(item, Mapping) else {"id": item}
        for item in items
    ]
    return sorted(entities, key=lambda entity: entity.get("order") or 0)


def _series(entity: Mapping[str, Any], kind: str, field: str) -> dict[str, Any]:
    node: dict[str, Any] = {"kind": kind, field: entity.get("id", entity.get("event"))}
    for name in ("name", "custom_name", "math", "math_property", "properties"):
        if entity.get(name) is not None:
            node[name] = entity[name]
    if field == "event" and node[field] is not None:
        node.setdefault("name", node[field])
    return node


def cohort_filters(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters of a cohort, as groups of conditions.

    Args:
        filters: PostHog's groups of conditions, or one condition, or a list of them. A condition
            with `event_count_operator` and `event_count_value` needs the `key` of the event; it
            counts the last 30 days, or `days`.

    Raises:
        ValueError: A condition that counts events names no event.
    """
    conditions = filters.get("properties", filters)
    if isinstance(conditions, Mapping):
        group = cast("Mapping[str, Any]", conditions)
        if group.get("type") in {"AND", "OR"}:
            return {"properties": dict(group)}
        conditions = [group] if group else []
    values = [_condition(c) for c in cast("Sequence[Mapping[str, Any]]", conditions)]
    return {"properties": {"type": "OR", "values": [{"type": "AND", "values": values}]}}


def _condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    if "event_count_value" not in condition:
        return dict(condition)
    event = condition.get("key", condition.get("event"))
    if event is None:
        raise ValueError("a condition that counts events needs the event as `key`")
    return {
        "type": "behavioral",
        "key": event,
        "event_type": "events",
        "value": "performed_event_multiple",
        "operator": condition.get("event_count_operator", "gte"),
        "operator_value": condition["event_count_value"],
        "time_value": condition.get("days", 30),
        "time_interval": "day",
        "negation": False,
    }
