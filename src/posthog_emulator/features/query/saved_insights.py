"""Saved insights with their results, computed and cached like those of any query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.handlers import object_response
from posthog_emulator.state import ApiCall

from .endpoint import QueryRequest, new_status_body
from .result import encode_json
from .runner import DeferredQuery
from .state import CachedResult

__all__ = ["OPERATION_HANDLERS", "get_insight"]

_MODES: Final = frozenset(
    {"force_cache", "blocking", "async", "lazy_async", "async_except_on_cache_miss",
     "force_blocking", "force_async"}
)  # fmt: skip
_TRUE_VALUES: Final = frozenset({"true", "1"})
_RESULT_FIELDS: Final = ("columns", "types", "hasMore", "hogql", "resolved_date_range", "timezone")


def get_insight(call: ApiCall) -> Response:
    """Respond to `GET insights/{id}/?refresh=` with the insight and, if any, its result."""
    row = call.get_object()
    response = object_response(call, row)
    query = as_object(row.data.get("query"))
    refresh = call.request.query_value("refresh") or "force_cache"
    mode = "force_blocking" if refresh.lower() in _TRUE_VALUES else refresh
    mode = "force_cache" if mode.lower() in {"false", "0"} else mode
    if mode not in _MODES:
        raise invalid(f'"{refresh}" is not a valid choice.', "refresh", "invalid_choice")
    if not query:
        return response
    if mode == "force_cache":
        # For insights, `force_cache` never computes; for queries it means `blocking`.
        try:
            query_request = QueryRequest(call, query, "blocking")
        except Exception as error:
            if getattr(error, "status", None) == 400:
                return response
            raise
        cached, job = query_request.lookup()[0], None
    else:
        query_request = QueryRequest(call, query, mode)
        cached, job = query_request.lookup()
    if job is not None:
        job.insight_id = int(row.key) if row.key.isdigit() else None
        status = new_status_body(job)
        return _insight_response(
            response, cached, {**status, "is_cached": cached is not None}, cached=True
        )
    if cached is not None or mode == "force_cache":
        return _insight_response(response, cached, {}, cached=True)

    def make() -> tuple[int, bytes]:
        computed = _insight_response(response, query_request.compute(), {}, cached=False)
        return computed.status, computed.content

    return Response(
        response.status,
        headers=response.headers,
        deferred=DeferredQuery(query_request.session, make),
    )


def _insight_response(
    response: Response, cached_result: CachedResult | None, extra: dict[str, Any], *, cached: bool
) -> Response:
    """Respond with an insight and its result."""
    body = json.loads(response.content)
    fields: dict[str, Any] = {"result": None}
    if cached_result is not None:
        fields = {
            **cached_result.cache_fields(cached=cached),
            "result": json.loads(cached_result.result.rows),
        }
        fields |= {
            name: cached_result.result.head[name]
            for name in _RESULT_FIELDS
            if name in cached_result.result.head
        }
    # Only fields that the response has by its schema are replaced.
    fields |= extra
    body |= {name: value for name, value in fields.items() if name in body}
    return Response(response.status, encode_json(body), headers=response.headers)


def _suggestions(call: ApiCall) -> Response:
    call.fidelity = "schema"
    call.resolve_parents()
    return json_response(call.operation.result.status, [])


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "insights.suggestions.create": OperationHandler(_suggestions)
}
