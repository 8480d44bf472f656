"""Saved insights: their results, computed and kept as those of any query."""

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
    """`GET insights/{id}/?refresh=`: the insight, with its result where there is one."""
    row = call.get_object()
    plain = object_response(call, row)
    query = as_object(row.data.get("query"))
    asked = call.request.query_value("refresh") or "force_cache"
    mode = "force_blocking" if asked.lower() in _TRUE_VALUES else asked
    mode = "force_cache" if mode.lower() in {"false", "0"} else mode
    if mode not in _MODES:
        raise invalid(f'"{asked}" is not a valid choice.', "refresh", "invalid_choice")
    if not query:
        return plain
    if mode == "force_cache":
        # Here it does not compute, other than for queries.
        try:
            plan = QueryRequest(call, query, "blocking")
        except Exception as error:
            if getattr(error, "status", None) == 400:
                return plain
            raise
        found, job = plan.lookup()[0], None
    else:
        plan = QueryRequest(call, query, mode)
        found, job = plan.lookup()
    if job is not None:
        job.insight_id = int(row.key) if row.key.isdigit() else None
        status = new_status_body(job)
        return _insight_response(
            plain, found, {**status, "is_cached": found is not None}, cached=True
        )
    if found is not None or mode == "force_cache":
        return _insight_response(plain, found, {}, cached=True)

    def make() -> tuple[int, bytes]:
        answer = _insight_response(plain, plan.compute(), {}, cached=False)
        return answer.status, answer.content

    return Response(plain.status, headers=plain.headers, deferred=DeferredQuery(plan.session, make))


def _insight_response(
    plain: Response, found: CachedResult | None, more: dict[str, Any], *, cached: bool
) -> Response:
    """The insight with a result in it."""
    body = json.loads(plain.content)
    fields: dict[str, Any] = {"result": None}
    if found is not None:
        fields = {**found.cache_fields(cached=cached), "result": json.loads(found.result.rows)}
        fields |= {
            name: found.result.head[name] for name in _RESULT_FIELDS if name in found.result.head
        }
    fields |= more
    body |= {name: value for name, value in fields.items() if name in body}
    return Response(plain.status, encode_json(body), headers=plain.headers)


def _suggestions(call: ApiCall) -> Response:
    call.fidelity = "schema"
    call.resolve_parents()
    return json_response(call.operation.result.status, [])


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "insights.create_suggestions": OperationHandler(_suggestions)
}
