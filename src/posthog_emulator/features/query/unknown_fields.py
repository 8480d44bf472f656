"""Reject fields of queries that the emulator does not support."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

__all__ = ["IGNORED_MODIFIERS", "check_query", "reject_unknown_fields"]

IGNORED_MODIFIERS: Final = frozenset(
    {
        "convertToProjectTimezone", "debug", "formatCsvAllowDoubleQuotes", "inCohortVia",
        "materializationMode", "optimizeJoinedFilters", "optimizeProjections",
        "personsArgMaxVersion", "propertyGroupsMode", "sessionTableVersion", "timings",
        "useMaterializedViews", "usePresortedEventsTable",
    }
)  # fmt: skip
"""Modifiers that affect how the server computes, but not the result."""


def reject_unknown_fields(fields: Mapping[str, Any], allowed: Collection[str], what: str) -> None:
    """Reject an object with fields that are not `allowed`, unless they are null, false or empty.

    Raises:
        ApiError: 400, naming the field.
    """
    for name in sorted(fields.keys() - set(allowed)):
        if fields[name] not in (None, False, "", [], {}):
            raise invalid(f"The emulator does not compute `{name}` of {what}.")


def check_query(query: Mapping[str, Any], *allowed: str) -> None:
    """Reject a query with fields that are not supported.

    Args:
        query: The query.
        *allowed: The fields that are, besides those of all queries.

    Raises:
        ApiError: 400, naming the field.
    """
    kind = str(query.get("kind"))
    reject_unknown_fields(
        query, {*allowed, "kind", "modifiers", "tags", "version", "response"}, kind
    )
    reject_unknown_fields(as_object(query.get("modifiers")), IGNORED_MODIFIERS, f"{kind}.modifiers")
