"""Endpoints: saved queries with versions, run with values for their variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.activity import copy_fields
from posthog_emulator.state import ApiCall, Change, EmulatorState, Lifecycle, fill_path

if TYPE_CHECKING:
    from posthog_emulator.features.query.state import CachedResult

__all__ = ["ENDPOINTS", "LIFECYCLE", "OPERATION_HANDLERS"]

ENDPOINTS: Final = "/api/projects/{}/endpoints/"
_VERSIONS: Final = "/endpoints/{}/versions/"
"""Path of the earlier queries by version, by key of the endpoint, in the saved state."""
_UNSUPPORTED: Final = ("filters_override",)


def _created(change: Change) -> None:
    row = change.stored
    row.data |= {"current_version": 1, "versions_count": 1, "version": 1, "last_executed_at": None}
    name = row.data.get("name")
    row.data["endpoint_path"] = f"/api/projects/{change.project}/endpoints/{name}/run"
    if "is_active" not in change.sent:
        row.data["is_active"] = True


def _updated(change: Change) -> None:
    row, before = change.stored, change.before
    version = int(before.get("current_version") or 1)
    if row.data.get("query") != before.get("query"):
        earlier = _earlier_queries(change.state, change.project, row)
        earlier[str(version)] = copy_fields(as_object(before.get("query")))
        version += 1
    row.data |= {"current_version": version, "versions_count": version, "version": version}


LIFECYCLE = Lifecycle("Endpoint", created=_created, updated=_updated)
"""The lifecycle of endpoints."""


def _earlier_queries(state: EmulatorState, project: str, row: StoredObject) -> dict[str, Any]:
    path = fill_path(_VERSIONS, [project])
    return state.store.singletons.setdefault(path, {}).setdefault(row.key, {})


def _run(call: ApiCall) -> Response:
    # Imported here because it loads the query engine.
    from posthog_emulator.features.query.endpoint import QueryRequest
    from posthog_emulator.features.query.runner import DeferredQuery

    call.resolve_parents(2)
    path = fill_path(ENDPOINTS, [call.project])
    row = call.state.store.collection(path).rows.get(call.parents[1])
    if row is None or not row.data.get("is_active", True):
        raise not_found()
    body = as_object(call.body)
    for name in _UNSUPPORTED:
        if body.get(name):
            raise invalid(f"The emulator does not support {name}.", name)
    version, query = _query(call, row, body.get("version"))
    query = with_variables(query, as_object(body.get("variables")))
    fresh = body.get("refresh") in {"force", "direct"}
    request = QueryRequest(call, query, "force_blocking" if fresh else "blocking")
    row.data["last_executed_at"] = call.state.now()
    fields = {
        "name": row.data["name"],
        "endpoint_version": version,
        "execution_id": call.state.uuid(),
    }
    status, limit, offset = call.operation.result.status, body.get("limit"), body.get("offset")

    def make() -> tuple[int, bytes]:
        cached = request.lookup()[0]
        return status, _body(cached or request.compute(), fields, limit, offset or 0)

    return Response(status, deferred=DeferredQuery(request.session, make))


def _query(call: ApiCall, row: StoredObject, version: Any) -> tuple[int, dict[str, Any]]:
    """Return the version to run, and its query."""
    current = int(row.data.get("current_version") or 1)
    if version is None or version == current:
        return current, as_object(row.data.get("query"))
    earlier = _earlier_queries(call.state, call.project, row).get(str(version))
    if earlier is None:
        raise not_found(f"Version {version} not found.")
    return int(version), as_object(earlier)


def with_variables(query: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query with values for its variables.

    Args:
        query: The query; its `variables` have a `code_name` each.
        values: Values by `code_name`.

    Raises:
        ApiError: 400, the query has no such variable.
    """
    result = copy_fields(query)
    variables = as_object(result.get("variables"))
    by_name = {as_object(item).get("code_name"): item for item in variables.values()}
    for name, value in values.items():
        if name not in by_name:
            raise invalid(f"Variable '{name}' not found in query", "variables")
        by_name[name]["value"] = value
    return result


def _body(cached: CachedResult, fields: Mapping[str, Any], limit: int | None, offset: int) -> bytes:
    head = cached.result.head
    rows: Any = json.loads(cached.result.rows)
    body: dict[str, Any] = {**fields, "results": rows}
    if "columns" in head:
        body["columns"] = head["columns"]
    if is_array(rows):
        end = len(rows) if limit is None else offset + limit
        body["results"] = rows[offset:end]
        body["hasMore"] = len(rows) > end or bool(head.get("hasMore"))
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "endpoints.run": OperationHandler(_run),
    "endpoints.run_with_defaults": OperationHandler(_run),
}
