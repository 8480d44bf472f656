"""Property definitions: of events unless something else is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.objects.filters import chosen
from asyncposthog.emulator.objects.paging import paged
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer

__all__ = ["SPECIALS"]


def _list(call: Call) -> Answer:
    from asyncposthog.emulator.events.link import property_scope

    call.locate()
    scope = call.request.value("type") or "event"
    named = {name for value in call.query("properties") for name in value.split(",") if name}
    project = int(call.values[0])
    rows = [
        row
        for row in chosen(call)
        if property_scope(project, row) == scope and (not named or row.data["name"] in named)
    ]
    return paged(call, rows)


SPECIALS: Mapping[str, Special] = {"property_definitions.list": Special(_list)}
