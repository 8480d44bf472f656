"""What a key may ask about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Answer, json_answer
from posthog_emulator.json_types import is_object
from posthog_emulator.operation_handler import OperationHandler, validate_body
from posthog_emulator.rest.handlers import HANDLERS, created, item_answer, schema_answer
from posthog_emulator.state import Call

__all__ = ["OPERATION_HANDLERS"]


def _get_current_key(call: Call) -> Answer:
    schema = call.answer_schema
    if schema is None:
        return schema_answer(call)
    key, world = call.key, call.world
    made = world.shapes.made(schema)
    about = {
        "id": "emulated-key",
        "label": "Emulated key",
        "user_id": world.accounts.account.user_id,
        "scopes": sorted(key.scopes),
        "scoped_teams": None if key.projects is None else sorted(key.projects),
        "scoped_organizations": None if key.organizations is None else sorted(key.organizations),
        "mask_value": f"{key.value[:4]}...{key.value[-4:]}",
    }
    return json_answer(call.operation.result.status, {**made, **about})


def _query_logs(call: Call) -> Answer:
    if not is_object(call.body) or "query" not in call.body:
        raise ApiError(400, body={"error": "No query provided"})
    validate_body(call, call.body)
    return HANDLERS[call.plan.kind](call)


def _create_insight_variable(call: Call) -> Answer:
    call.locate()
    row = created(call)
    plain = re.sub(r"[^a-zA-Z0-9\s_]", "", str(row.data.get("name") or ""))
    row.data["code_name"] = plain.lower().replace(" ", "_")
    return item_answer(call, row)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "personal_api_keys.current": OperationHandler(_get_current_key),
    "logs.query": OperationHandler(_query_logs, validates=False),
    "insight_variables.create": OperationHandler(_create_insight_variable),
}
