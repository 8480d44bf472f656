"""The kinds of queries that are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asyncposthog.emulator.guards import as_object, is_object
from asyncposthog.emulator.queries.filters import placeholders
from asyncposthog.emulator.queries.funnels import run_funnels
from asyncposthog.emulator.queries.result import Result
from asyncposthog.emulator.queries.run import Session, run_hogql
from asyncposthog.emulator.queries.trends import run_trends
from asyncposthog.emulator.web.problems import Problem, invalid

__all__ = ["KINDS", "compute", "inner_query"]

KINDS: Final = ("HogQLQuery", "TrendsQuery", "FunnelsQuery")
"""What is computed; a visualization is its source."""
_SHELLS: Final = frozenset({"DataVisualizationNode", "DataTableNode", "InsightVizNode"})


def inner_query(query: Mapping[str, Any]) -> dict[str, Any]:
    """The query that a visualization shows.

    Raises:
        Problem: 400, it is of a kind that is not computed.
    """
    inner = dict(query)
    for _ in range(3):
        if inner.get("kind") not in _SHELLS:
            break
        inner = as_object(inner.get("source"))
    if inner.get("kind") not in KINDS:
        raise invalid(
            f"The emulator does not answer queries of kind {inner.get('kind')!r}. "
            f"It answers {', '.join(KINDS)}, and visualizations of them."
        )
    return inner


def compute(session: Session, query: Mapping[str, Any]) -> Result:
    """Run a query of any kind that is answered.

    Raises:
        Problem: It is refused, or fails.
    """
    match query["kind"]:
        case "TrendsQuery":
            return run_trends(session, query)
        case "FunnelsQuery":
            return run_funnels(session, query)
        case _:
            return _hogql(session, query)


def _hogql(session: Session, query: Mapping[str, Any]) -> Result:
    sql, values = query.get("query"), dict(as_object(query.get("values")))
    if not isinstance(sql, str):
        raise Problem(400, code="required", detail="This field is required.", attr="query__query")
    variables = as_object(query.get("variables"))
    if variables:
        values["variables"] = {
            str(one.get("code_name")): None if one.get("isNull") else one.get("value")
            for one in variables.values()
            if is_object(one)
        }
    filters = as_object(query.get("filters"))
    if "{filters}" in sql:
        test, more = placeholders(session, filters)
        sql = sql.replace("{filters}", f"({test})")
        values.update(more)
    return run_hogql(session, sql, values)
