"""The kinds of queries that are answered."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object

from .events_query import run_events
from .filters import Filters
from .funnels import run_funnels
from .metadata import run_metadata
from .result import Result
from .runner import QuerySession, run_hogql
from .trends import run_trends
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["SUPPORTED_KINDS", "compute", "unwrap_query"]

SUPPORTED_KINDS: Final = (
    "HogQLQuery",
    "EventsQuery",
    "TrendsQuery",
    "FunnelsQuery",
    "HogQLMetadata",
)
"""What is computed; a visualization is its source."""
_WRAPPER_KINDS: Final = frozenset({"DataVisualizationNode", "DataTableNode", "InsightVizNode"})


def unwrap_query(query: Mapping[str, Any]) -> dict[str, Any]:
    """The query that a visualization shows.

    Raises:
        Problem: 400, it is of a kind that is not computed.
    """
    inner = dict(query)
    for _ in range(3):
        if inner.get("kind") not in _WRAPPER_KINDS:
            break
        inner = as_object(inner.get("source"))
    if inner.get("kind") not in SUPPORTED_KINDS:
        raise invalid(
            f"The emulator does not answer queries of kind {inner.get('kind')!r}. "
            f"It answers {', '.join(SUPPORTED_KINDS)}, and visualizations of them."
        )
    return inner


def compute(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Run a query of any kind that is answered.

    Raises:
        Problem: It is refused, or fails.
    """
    match query["kind"]:
        case "EventsQuery":
            return run_events(session, query)
        case "HogQLMetadata":
            return run_metadata(session, query, _placeholder_options(session, query))
        case "TrendsQuery":
            return run_trends(session, query)
        case "FunnelsQuery":
            return run_funnels(session, query)
        case _:
            return _compute_hogql(session, query)


_SUPPORTED_FIELDS: Final = frozenset({
    "kind", "query", "values", "variables", "filters", "name", "tags", "version", "modifiers",
})  # fmt: skip
"""The fields of a HogQLQuery that are heeded, or change nothing in an answer."""


def _compute_hogql(session: QuerySession, query: Mapping[str, Any]) -> Result:
    sql = query.get("query")
    if not isinstance(sql, str):
        raise ApiError(400, code="required", detail="This field is required.", attr="query__query")
    reject_unknown_fields(query, _SUPPORTED_FIELDS, "HogQLQuery")
    reject_unknown_fields(
        as_object(query.get("modifiers")), IGNORED_MODIFIERS, "HogQLQuery.modifiers"
    )
    given = _placeholder_options(session, query)
    return run_hogql(session, sql, as_object(query.get("values")), **given)


def _placeholder_options(session: QuerySession, query: Mapping[str, Any]) -> dict[str, Any]:
    """What a query's filters and variables make of its placeholders."""
    filters = Filters(session, as_object(query.get("filters")))
    variables = as_object(query.get("variables"))

    def variable(name: str) -> Any:
        return _variable(session, variables, name)

    return {
        "filter": filters.condition,
        "date_range": filters.date_range,
        "variable": variable,
    }


def _variable(session: QuerySession, given: Mapping[str, Any], name: str) -> Any:
    """The value of a variable of the query.

    Raises:
        HogQLError: The query or the project has none of that name.
    """
    from posthog_emulator.hogql.problems import HogQLError

    sent = [as_object(one) for one in given.values()]
    one = next((one for one in sent if one.get("code_name") == name), None)
    if one is None:
        near = get_close_matches(name, [str(one.get("code_name")) for one in sent], n=3)
        hint = f". Did you mean: {', '.join(near)}?" if near else ""
        raise HogQLError(f"Variable {name} is missing from query{hint}")
    saved = session.variables.get(str(one.get("variableId")))
    if saved is None or saved.get("code_name") != name:
        raise HogQLError(
            f"Variable {name} does not exist: the project has no insight variable of that "
            "variableId and code_name."
        )
    if one.get("isNull"):
        return None
    return saved.get("default_value") if one.get("value") is None else one["value"]
