"""Suggestions for an insight: a bare array, which the registry has no schema of."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer, json_answer

__all__ = ["SPECIALS"]


def _suggestions(call: Call) -> Answer:
    call.fidelity = "schema"
    call.locate()
    return json_answer(call.operation.result.status, [])


SPECIALS: Mapping[str, Special] = {"insights.create_suggestions": Special(_suggestions)}
