"""`ph.insights`: the generated methods, and results of saved insights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, cast

import httpx

from asyncposthog.operation import Operation, Result
from asyncposthog.registry.families import insights as registry
from asyncposthog.resources.insights import Insights
from asyncposthog.types import OMIT, Id, RequestOptions

from .execution import OnProgress, QueryCall, expect_object, new_execution, validate_timeout
from .request import Mode, prepare_node, resolve_refresh, truncated_at
from .result import QueryResult, warn_if_truncated

__all__ = ["InsightsService"]

_INSIGHT: Final = replace(registry.GET, result=Result(kind="json"))


class InsightsService(Insights):
    """Operations on `insights`, and results of saved insights."""

    async def result(
        self,
        id: Id,
        /,
        *,
        max_age: timedelta | float | None = None,
        mode: Mode = "auto",
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
        options: RequestOptions | None = None,
    ) -> QueryResult:
        """Return the result of a saved insight, recomputed if it is too old.

        `GET /api/projects/{project_id}/insights/{id}/`; scope `insight:read`; limits
        `clickhouse_burst` and `clickhouse_sustained`.

        Args:
            id: The insight's number or short id.
            max_age: The maximum age of the result, in seconds or as a timedelta; 0: recompute it.
                None: any age; it is computed only if PostHog has no result.
            mode: How to wait for a result that has to be computed, as for `ph.query`.
            timeout: Seconds for everything, waits included.
            on_progress: Called with the progress of a background computation.
            options: Options of the calls that differ from those of the client.

        Returns:
            The result: `results`, and rows if the insight is a table. `last_refresh` is when it
            was computed. Warns with `TruncatedResultWarning` if the server truncated a table.

        Raises:
            QueryError: The insight's query failed.
            PostHogError: The call failed otherwise.
            TypeError, ValueError: An argument is of the wrong type, or out of range.
        """
        run_mode, _, _ = resolve_refresh("force_blocking", mode)
        seconds = _max_age_seconds(max_age)
        validate_timeout(timeout)
        forced = seconds is not None

        def make_call(query_id: str, in_background: bool) -> QueryCall:
            refresh = "async" if in_background else "blocking"
            query = {"refresh": f"force_{refresh}" if forced else refresh}
            return QueryCall(_INSIGHT, (id,), query, result_field="result")

        execution = new_execution(self, make_call, timeout, on_progress, options)
        if seconds != 0:
            # `force_cache` computes nothing, so the age of what PostHog has can be checked first.
            cached = await execution.request(QueryCall(_INSIGHT, (id,), {"refresh": "force_cache"}))
            result = _insight_result(cached, None)
            if result.results is not None and execution.is_fresh(result.last_refresh, seconds):
                warn_if_truncated(result)
                return result
        result = _insight_result(await execution.run(run_mode), execution.query_id)
        warn_if_truncated(result)
        return result

    def _parse_response(self, operation: Operation, response: httpx.Response, body: Any) -> Any:
        """Return the result of a call made for `ph.raw(ph.insights.result, …)`."""
        return (
            _insight_result(expect_object(operation, response), None)
            if operation is _INSIGHT
            else OMIT
        )


def _insight_result(data: dict[str, Any], query_id: str | None) -> QueryResult:
    if "results" not in data:
        data = {**data, "results": data.get("result")}
    query, results = data.get("query"), data["results"]
    cut = None
    # Only insights whose result is a table have columns.
    if isinstance(query, Mapping) and isinstance(results, list) and data.get("columns"):
        rows = len(cast("list[Any]", results))
        cut = truncated_at(prepare_node(query), rows, data.get("hasMore"))
    return QueryResult(data, query_id=query_id, truncated_at=cut)


def _max_age_seconds(max_age: object) -> float | None:
    if max_age is None:
        return None
    if isinstance(max_age, timedelta):
        max_age = max_age.total_seconds()
    if isinstance(max_age, bool) or not isinstance(max_age, int | float):
        raise TypeError(f"max_age must be seconds or a timedelta, not {type(max_age).__name__}")
    if not max_age >= 0:
        raise ValueError(f"max_age must be 0 or more, not {max_age:g}")
    return max_age
