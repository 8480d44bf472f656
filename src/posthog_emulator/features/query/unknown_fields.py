"""Reject fields of queries that the emulator does not support."""

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
"""Modifiers that affect how the server computes, but not the result."""


def reject_unknown_fields(fields: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Reject an object with fields that are not `known`, unless they are null, false or empty.

    Raises:
        ApiError: 400, naming the field.
    """
    for name in sorted(fields.keys() - set(known)):
        if fields[name] not in (None, False, "", [], {}):
            raise invalid(f"The emulator does not compute `{name}` of {what}.")
