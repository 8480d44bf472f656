"""What a key may ask about itself."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.objects.handlers import schema_answer
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer, json_answer

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


SPECIALS: Mapping[str, Special] = {"personal_api_keys.current": Special(_current)}
