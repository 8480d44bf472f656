"""Demo feature flags, cohorts, insights and a dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["create_demo_objects"]

_FLAGS: Sequence[dict[str, Any]] = (
    {
        "key": "new-onboarding",
        "name": "The shorter onboarding",
        "filters": {
            "groups": [{"properties": [], "rollout_percentage": 100}],
            "multivariate": {
                "variants": [
                    {"key": "control", "rollout_percentage": 50},
                    {"key": "test", "rollout_percentage": 50},
                ]
            },
        },
    },
    {
        "key": "assistant",
        "name": "The writing assistant",
        "filters": {"groups": [{"properties": [], "rollout_percentage": 60}]},
    },
    {
        "key": "team-reports",
        "name": "Reports for paying users",
        "filters": {
            "groups": [
                {
                    "properties": [
                        {"key": "plan", "type": "person", "value": ["team"], "operator": "exact"}
                    ],
                    "rollout_percentage": 100,
                }
            ]
        },
    },
)


def _person_filter(key: str, value: Any, operator: str = "exact") -> dict[str, Any]:
    condition = {"key": key, "type": "person", "value": value, "operator": operator}
    return {"properties": {"type": "OR", "values": [{"type": "AND", "values": [condition]}]}}


_COHORTS: Sequence[dict[str, Any]] = (
    {"name": "Paying", "filters": _person_filter("plan", "team")},
    {"name": "On a phone", "filters": _person_filter("$device_type", "Mobile")},
)


def _trend(event: str, math: str) -> dict[str, Any]:
    return {
        "kind": "TrendsQuery",
        "interval": "day",
        "dateRange": {"date_from": "-30d"},
        "series": [{"kind": "EventsNode", "event": event, "math": math}],
    }


_STEPS = ("signup started", "signed up", "project created", "purchase completed")
_INSIGHTS: Mapping[str, dict[str, Any]] = {
    "Visitors a day": _trend("$pageview", "dau"),
    "Sign-ups a day": _trend("signed up", "total"),
    "Uses of the assistant": _trend("assistant used", "total"),
    "From visit to purchase": {
        "kind": "FunnelsQuery",
        "dateRange": {"date_from": "-90d"},
        "series": [{"kind": "EventsNode", "event": step} for step in _STEPS],
    },
    "Income by week": {
        "kind": "HogQLQuery",
        "query": (
            "SELECT toStartOfWeek(timestamp) AS week, sum(properties.amount) AS income "
            "FROM events WHERE event = 'purchase completed' GROUP BY week ORDER BY week"
        ),
    },
}


def create_demo_objects(add: Callable[..., dict[str, Any]], project_id: int | None = None) -> None:
    """Create the flags, cohorts, insights and the dashboard of the demo.

    Args:
        add: `Emulator.add`.
        project_id: The project; the account's by default.
    """
    for fields in _FLAGS:
        add("feature_flags", {**fields, "active": True}, project_id=project_id)
    for fields in _COHORTS:
        add("cohorts", {**fields, "is_static": False}, project_id=project_id)
    dashboard = add("dashboards", {"name": "Paperboat"}, project_id=project_id)
    for name, query in _INSIGHTS.items():
        add(
            "insights",
            {"name": name, "query": query, "saved": True, "dashboards": [dashboard["id"]]},
            project_id=project_id,
        )
