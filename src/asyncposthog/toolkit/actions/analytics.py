"""Ready-made tools about insights and queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.driver.values import insight_query
from asyncposthog.toolkit.core_tools import rows
from asyncposthog.toolkit.tools import Tool

from .build import custom_tool, operation_tool, parsed

if TYPE_CHECKING:
    from asyncposthog.toolkit.context import Context

__all__ = ["tools"]


def tools(context: Context) -> list[Tool]:
    """Return the tools."""
    return [
        operation_tool(
            context,
            "create_custom_project_insights",
            "insights.create",
            "Save an insight.",
            {
                "name": "string",
                "description": "string",
                "query": 'object|string {"kind": "InsightVizNode", "source": {"kind": '
                '"TrendsQuery", "series": [{"kind": "EventsNode", "event": "$pageview"}]}}',
                "tags": "array",
                "favorited": "boolean",
                "deleted": "boolean",
                "saved": "boolean Not used: it is saved.",
                "format": "string Not used: JSON.",
                "timezone": "string Not used: a setting of the project.",
            },
            "insights",
            prepare=lambda given: parsed(given, "query"),
            ignored={
                "saved": "saved was not used: the insight is saved.",
                "format": "format was not used: the result is JSON.",
                "timezone": "timezone was not used: it is a setting of the project.",
            },
        ),
        operation_tool(
            context,
            "retrieve_project_trend_insights",
            "insights.list",
            "List saved trend insights, or get one by its short id.",
            {
                "limit": "integer In a page.",
                "offset": "integer To skip.",
                "short_id": "string The short id of one insight.",
                "format": "string Not used: JSON.",
            },
            "insights",
            prepare=lambda given: {"insight": "TRENDS", **given},
            ignored={"format": "format was not used: the result is JSON."},
        ),
        custom_tool(
            context,
            "get_funnel_insights_in_project",
            "Compute a funnel: how many persons pass each step.",
            {
                "events": 'array|string Steps: [{"id": "$pageview", "order": 0}, …].',
                "actions": "array|string Steps that are actions.",
                "date_from": "string A date, or relative: -7d.",
                "date_to": "string",
                "filter_test_accounts": "boolean",
                "funnel_window_interval": "integer How long a person may take.",
                "funnel_window_interval_type": "string day, hour, minute, week or month.",
                "format": "string Not used: JSON.",
            },
            lambda given: _funnel(context, given),
            "insights",
            "analytics",
            scopes=("query:read",),
            resource="query",
        ),
    ]


async def _funnel(context: Context, given: dict[str, Any]) -> Any:
    given = parsed(given, "events", "actions")
    steps = len(cast("list[Any]", given.get("events") or ())) + len(
        cast("list[Any]", given.get("actions") or ())
    )
    if steps < 2:
        raise ArgumentError(
            f"A funnel needs at least 2 steps, not {steps}.",
            field="events",
            expected='[{"id": "$pageview", "order": 0}, {"id": "signup", "order": 1}]',
        )
    window = {
        new: given[old]
        for old, new in (
            ("funnel_window_interval", "funnelWindowInterval"),
            ("funnel_window_interval_type", "funnelWindowIntervalUnit"),
        )
        if given.get(old) is not None
    }
    filters = {name: given[name] for name in ("events", "actions") if given.get(name)}
    filters |= {name: given[name] for name in ("date_from", "date_to") if given.get(name)}
    if given.get("filter_test_accounts") is not None:
        filters["filterTestAccounts"] = given["filter_test_accounts"]
    if window:
        filters["funnelsFilter"] = window
    node = insight_query("FunnelsQuery", filters)["source"]
    result = await context.client.query(node, timeout=context.query_timeout)
    return rows(result)
