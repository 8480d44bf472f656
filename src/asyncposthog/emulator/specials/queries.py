"""Queries and what they are saved as, which are really computed."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer

__all__ = ["SPECIALS"]


def _create(call: Call) -> Answer:
    from asyncposthog.emulator.queries import endpoint

    return endpoint.create(call)


def _status(call: Call) -> Answer:
    from asyncposthog.emulator.queries import endpoint

    return endpoint.status(call)


def _cancel(call: Call) -> Answer:
    from asyncposthog.emulator.queries import endpoint

    return endpoint.cancel(call)


def _log(call: Call) -> Answer:
    from asyncposthog.emulator.queries import endpoint

    return endpoint.log(call)


def _insight(call: Call) -> Answer:
    from asyncposthog.emulator.queries import insights

    return insights.get(call)


SPECIALS: Mapping[str, Special] = {
    "query.create": Special(_create, validates=False),
    "query.create_for_kind": Special(_create, validates=False),
    "query.get": Special(_status),
    "query.cancel": Special(_cancel),
    "query.log": Special(_log),
    "insights.get": Special(_insight),
}
