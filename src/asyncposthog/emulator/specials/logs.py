"""The logs query, whose errors are in a form of their own."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.guards import is_object
from asyncposthog.emulator.objects.handlers import HANDLERS
from asyncposthog.emulator.specials.table import Special, check
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer
from asyncposthog.emulator.web.problems import Problem

__all__ = ["SPECIALS"]


def _query(call: Call) -> Answer:
    if not is_object(call.body) or "query" not in call.body:
        raise Problem(400, body={"error": "No query provided"})
    check(call, call.body)
    return HANDLERS[call.plan.kind](call)


SPECIALS: Mapping[str, Special] = {"logs.query": Special(_query, validates=False)}
