"""Operations with a handler but no feature of their own, such as the current key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler, validate_body
from posthog_emulator.rest.apply_filters import select_rows
from posthog_emulator.rest.handlers import (
    DEFAULT_HANDLERS,
    create_object,
    object_response,
    sample_response,
)
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall, fill_path

__all__ = ["OPERATION_HANDLERS"]


def _get_current_key(call: ApiCall) -> Response:
    schema = call.response_schema
    if schema is None:
        return sample_response(call)
    key, state = call.key, call.state
    sample = state.object_schemas.sample(schema)
    key_data = {
        "id": "emulated-key",
        "label": "Emulated key",
        "user_id": state.accounts.account.user_id,
        "scopes": sorted(key.scopes),
        # The server has empty lists for a key that may be used everywhere.
        "scoped_teams": sorted(key.projects or ()),
        "scoped_organizations": sorted(key.organizations or ()),
        "mask_value": f"{key.value[:4]}...{key.value[-4:]}",
    }
    return json_response(call.operation.result.status, {**sample, **key_data})


def _query_logs(call: ApiCall) -> Response:
    if not is_object(call.body) or "query" not in call.body:
        raise ApiError(400, body={"error": "No query provided"})
    validate_body(call, call.body)
    return DEFAULT_HANDLERS[call.plan.kind](call)


def _count_comments(call: ApiCall) -> Response:
    call.resolve_parents()
    comments = call.state.store.collection(f"/api/projects/{call.project}/comments/")
    filters = {name: call.request.query_value(name) for name in ("scope", "item_id")}
    count = sum(
        not row.deleted
        and all(value in {None, row.data.get(name)} for name, value in filters.items())
        for row in comments
    )
    return json_response(call.operation.result.status, {"count": count})


def _create_insight_variable(call: ApiCall) -> Response:
    call.resolve_parents()
    row = create_object(call)
    # The server derives `code_name`, by which queries refer to the variable, from the name.
    plain = re.sub(r"[^a-zA-Z0-9\s_]", "", str(row.data.get("name") or ""))
    row.data["code_name"] = plain.lower().replace(" ", "_")
    return object_response(call, row)


_TASKS = "/api/projects/{}/tasks/"


def _list_task_summaries(call: ApiCall) -> Response:
    """Return a page of the tasks whose ids are in the body, and of summaries that a test added."""
    call.resolve_parents()
    ids = {str(task_id) for task_id in cast("list[object]", as_object(call.body).get("ids") or [])}
    schema = call.state.object_schemas.get(call.state.plans.collections[_TASKS])
    tasks = call.state.store.collection(fill_path(_TASKS, call.parents))
    rows = select_rows(call) + [
        StoredObject(task.key, schema.serialize(task.data, call.response_schema), task.sequence)
        for task in tasks
        if task.key in ids and not task.deleted
    ]
    return paginate(call, rows)


def _ask_assistant(call: ApiCall) -> Response:
    """Respond with messages of the form of the assistant's; there is no language model here."""
    validate_body(call, call.body)
    call.resolve_parents()
    call.fidelity = "schema"
    answer = {
        "type": "ai/viz",
        "query": as_object(call.body).get("query"),
        "answer": {"kind": "HogQLQuery", "query": "SELECT count() FROM events"},
    }
    messages = [{"type": "ack"}, answer]
    return json_response(200, [{"type": "message", "data": message} for message in messages])


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "max_tools.create_and_query_insight": OperationHandler(_ask_assistant),
    "personal_api_keys.current": OperationHandler(_get_current_key),
    "comments.count": OperationHandler(_count_comments),
    "logs.query": OperationHandler(_query_logs, validates=False),
    "insight_variables.create": OperationHandler(_create_insight_variable),
    "tasks.list_summaries": OperationHandler(_list_task_summaries),
}
