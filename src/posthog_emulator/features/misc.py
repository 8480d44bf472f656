"""Operations with a handler but no feature of their own, such as that of the current key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.operation_handler import OperationHandler, validate_body
from posthog_emulator.rest.handlers import (
    DEFAULT_HANDLERS,
    create_object,
    object_response,
    sample_response,
)
from posthog_emulator.state import ApiCall

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


def _create_insight_variable(call: ApiCall) -> Response:
    call.resolve_parents()
    row = create_object(call)
    # The server derives `code_name`, by which queries refer to the variable, from the name.
    plain = re.sub(r"[^a-zA-Z0-9\s_]", "", str(row.data.get("name") or ""))
    row.data["code_name"] = plain.lower().replace(" ", "_")
    return object_response(call, row)


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
    "logs.query": OperationHandler(_query_logs, validates=False),
    "insight_variables.create": OperationHandler(_create_insight_variable),
}
