"""Insight variables: the name that queries know them by."""

from __future__ import annotations

import re
from collections.abc import Mapping

from asyncposthog.emulator.objects.handlers import created, item_answer
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer

__all__ = ["SPECIALS"]


def _create(call: Call) -> Answer:
    call.locate()
    row = created(call)
    plain = re.sub(r"[^a-zA-Z0-9\s_]", "", str(row.data.get("name") or ""))
    row.data["code_name"] = plain.lower().replace(" ", "_")
    return item_answer(call, row)


SPECIALS: Mapping[str, Special] = {"insight_variables.create": Special(_create)}
