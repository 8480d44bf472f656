"""What a key may ask about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Answer, json_answer
from posthog_emulator.json_types import is_object
from posthog_emulator.operation_handler import OperationHandler, check
from posthog_emulator.rest.handlers import HANDLERS, created, item_answer, schema_answer
from posthog_emulator.state import Call

__all__ = ["SPECIALS"]


def _current(call: Call) -> Answer:
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


def _query(call: Call) -> Answer:
    if not is_object(call.body) or "query" not in call.body:
        raise ApiError(400, body={"error": "No query provided"})
    check(call, call.body)
    return HANDLERS[call.plan.kind](call)


def _create(call: Call) -> Answer:
    call.locate()
    row = created(call)
    plain = re.sub(r"[^a-zA-Z0-9\s_]", "", str(row.data.get("name") or ""))
    row.data["code_name"] = plain.lower().replace(" ", "_")
    return item_answer(call, row)


SPECIALS: Mapping[str, OperationHandler] = {
    "personal_api_keys.current": OperationHandler(_current),
    "logs.query": OperationHandler(_query, validates=False),
    "insight_variables.create": OperationHandler(_create),
}
