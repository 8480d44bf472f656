"""Fields of queries that the emulator does not know the meaning of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from posthog_emulator.http.errors import invalid

__all__ = ["IGNORED_MODIFIERS", "reject_unknown_fields"]

IGNORED_MODIFIERS: Final = frozenset(
    {
        "convertToProjectTimezone", "debug", "formatCsvAllowDoubleQuotes", "inCohortVia",
        "materializationMode", "optimizeJoinedFilters", "optimizeProjections",
        "personsArgMaxVersion", "propertyGroupsMode", "sessionTableVersion", "timings",
        "useMaterializedViews", "usePresortedEventsTable",
    }
)  # fmt: skip
"""Modifiers that say how the server computes, not what."""


def reject_unknown_fields(fields: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Refuse an object that says more than is understood; null, false and empty say nothing.

    Raises:
        Problem: 400, it names the field.
    """
    for name in sorted(fields.keys() - set(known)):
        if fields[name] not in (None, False, "", [], {}):
            raise invalid(f"The emulator does not compute `{name}` of {what}.")
