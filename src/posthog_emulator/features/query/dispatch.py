"""Dispatch queries by kind."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object

from .filters import Filters
from .metadata import run_metadata
from .result import Result
from .runner import QuerySession, run_hogql
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["INSIGHT_KINDS", "SUPPORTED_KINDS", "compute", "unwrap_query"]

INSIGHT_KINDS: Final = (
    "TrendsQuery",
    "FunnelsQuery",
    "FunnelCorrelationQuery",
    "RetentionQuery",
    "PathsQuery",
    "StickinessQuery",
    "LifecycleQuery",
)
"""Kinds of `insights.INSIGHTS`, which is imported when the first insight is computed."""
_POINT_KINDS: Final = (
    "InsightActorsQuery",
    "FunnelsActorsQuery",
    "FunnelCorrelationActorsQuery",
    "StickinessActorsQuery",
)
"""Kinds that name a data point of an insight."""
_TAXONOMY_KINDS: Final = (
    "TeamTaxonomyQuery",
    "EventTaxonomyQuery",
    "ActorsPropertyTaxonomyQuery",
)
SUPPORTED_KINDS: Final = (
    "HogQLQuery",
    "EventsQuery",
    "HogQLMetadata",
    *INSIGHT_KINDS,
    "ActorsQuery",
    "GroupsQuery",
    *_POINT_KINDS,
    "WebOverviewQuery",
    "ErrorTrackingQuery",
    *_TAXONOMY_KINDS,
    "ExperimentExposureQuery",
    "DatabaseSchemaQuery",
)
"""Kinds that the emulator computes; of a visualization, its source is computed."""
_WRAPPER_KINDS: Final = frozenset({"DataVisualizationNode", "DataTableNode", "InsightVizNode"})


def unwrap_query(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query inside a visualization, or the query itself.

    Raises:
        ApiError: 400, the emulator does not compute queries of this kind.
    """
    inner = dict(query)
    for _ in range(3):
        if inner.get("kind") not in _WRAPPER_KINDS:
            break
        inner = as_object(inner.get("source"))
    if inner.get("kind") not in SUPPORTED_KINDS:
        raise invalid(
            f"The emulator does not support queries of kind {inner.get('kind')!r}. "
            f"It supports {', '.join(SUPPORTED_KINDS)}, and visualizations of them."
        )
    return inner


def compute(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Run a query of any supported kind.

    Raises:
        ApiError: The query is rejected or fails.
    """
    match query["kind"]:
        case "EventsQuery":
            from .events_query import run_events

            return run_events(session, query)
        case "HogQLMetadata":
            return run_metadata(session, query, _placeholder_options(session, query))
        case kind if kind in INSIGHT_KINDS:
            from .insights import INSIGHTS

            return INSIGHTS[kind](session, query)
        case "ActorsQuery" | "GroupsQuery" as kind:
            from .actors import run_actors, run_groups

            return (run_actors if kind == "ActorsQuery" else run_groups)(session, query)
        case "WebOverviewQuery":
            from .web_overview import run_web_overview

            return run_web_overview(session, query)
        case "ErrorTrackingQuery":
            from .error_tracking import run_error_tracking

            return run_error_tracking(session, query)
        case "ExperimentExposureQuery":
            from .experiment_exposures import run_experiment_exposures

            return run_experiment_exposures(session, query)
        case "DatabaseSchemaQuery":
            from .database_schema import run_database_schema

            return run_database_schema(session, query)
        case kind if kind in _TAXONOMY_KINDS:
            from .taxonomy import run_taxonomy

            return run_taxonomy(session, query)
        case kind if kind in _POINT_KINDS:
            from .actors import run_point

            return run_point(session, query)
        case _:
            return _compute_hogql(session, query)


_SUPPORTED_FIELDS: Final = frozenset({
    "kind", "query", "values", "variables", "filters", "name", "tags", "version", "modifiers",
})  # fmt: skip
"""Fields of a HogQLQuery that are applied, or that do not affect the response."""


def _compute_hogql(session: QuerySession, query: Mapping[str, Any]) -> Result:
    sql = query.get("query")
    if not isinstance(sql, str):
        raise ApiError(400, code="required", detail="This field is required.", attr="query__query")
    reject_unknown_fields(query, _SUPPORTED_FIELDS, "HogQLQuery")
    reject_unknown_fields(
        as_object(query.get("modifiers")), IGNORED_MODIFIERS, "HogQLQuery.modifiers"
    )
    options = _placeholder_options(session, query)
    return run_hogql(session, sql, as_object(query.get("values")), **options)


def _placeholder_options(session: QuerySession, query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the translation options that come from a query's filters and variables."""
    filters = Filters(session, as_object(query.get("filters")))
    variables = as_object(query.get("variables"))

    def variable(name: str) -> Any:
        return _variable(session, variables, name)

    return {
        "filters": filters.condition,
        "date_range": filters.date_range,
        "variable": variable,
    }


def _variable(session: QuerySession, variables: Mapping[str, Any], name: str) -> Any:
    """Return the value of a variable of the query.

    Raises:
        HogQLError: The query or the project has no variable of that name.
    """
    sent_variables = [as_object(variable) for variable in variables.values()]
    variable = next(
        (variable for variable in sent_variables if variable.get("code_name") == name), None
    )
    if variable is None:
        near = get_close_matches(
            name, [str(variable.get("code_name")) for variable in sent_variables], n=3
        )
        hint = f". Did you mean: {', '.join(near)}?" if near else ""
        raise HogQLError(f"Variable {name} is missing from query{hint}")
    saved = session.variables.get(str(variable.get("variableId")))
    if saved is None or saved.get("code_name") != name:
        raise HogQLError(
            f"Variable {name} does not exist: the project has no insight variable of that "
            "variableId and code_name."
        )
    if variable.get("isNull"):
        return None
    return saved.get("default_value") if variable.get("value") is None else variable["value"]
