"""Operations that do more, or other, than their kind.

To teach the emulator one more, write a handler and enter it here under the operation's id.
"""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.specials import (
    cohorts,
    definitions,
    events,
    exports,
    flags,
    groups,
    insights,
    keys,
    logs,
    persons,
    queries,
    variables,
)
from asyncposthog.emulator.specials.table import Special

__all__ = ["REFUSALS", "SPECIALS", "Special"]

SPECIALS: Mapping[str, Special] = {
    **cohorts.SPECIALS,
    **definitions.SPECIALS,
    **events.SPECIALS,
    **groups.SPECIALS,
    **persons.SPECIALS,
    **logs.SPECIALS,
    **keys.SPECIALS,
    **exports.SPECIALS,
    **queries.SPECIALS,
    **flags.SPECIALS,
    **insights.SPECIALS,
    **variables.SPECIALS,
}
"""By operation id."""

REFUSALS: Mapping[tuple[str, str], str] = persons.REFUSALS
"""Sentences for methods the server refuses with advice, by method and path template."""
