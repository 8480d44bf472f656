"""What queries of all insights have in common."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from asyncposthog.emulator.guards import as_object
from asyncposthog.emulator.queries.properties import Values, property_tests
from asyncposthog.emulator.queries.refusals import HARMLESS, refuse_more
from asyncposthog.emulator.queries.run import Session, run_hogql
from asyncposthog.emulator.web.problems import invalid

__all__ = ["INSIGHT", "MOST", "all_rows", "common_tests", "refuse_insight"]

INSIGHT: Final = frozenset(
    {"tags", "version", "modifiers", "samplingFactor", "filterTestAccounts", "dataColorTheme"}
)
"""Fields that are heeded for all insights, or change nothing."""
MOST: Final = 2_000_000
"""Rows beyond which an insight is not computed."""


def refuse_insight(query: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse what is not understood of the outermost fields of an insight's query.

    Raises:
        Problem: 400, it names the field.
    """
    refuse_more(query, known, str(query.get("kind")))
    refuse_more(as_object(query.get("modifiers")), HARMLESS, f"{query.get('kind')}.modifiers")
    refuse_more(as_object(query.get("dateRange")), ("date_from", "date_to"), "dateRange")
    if query.get("samplingFactor") not in (None, 1):
        raise invalid("The emulator does not compute insights of samples.")


def common_tests(session: Session, query: Mapping[str, Any], values: Values) -> list[str]:
    """The conditions on the events of every series."""
    tests = property_tests(query.get("properties"), values)
    if query.get("filterTestAccounts"):
        tests += property_tests(session.test_accounts, values)
    return tests


def all_rows(session: Session, sql: str, values: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of a query, however many.

    Raises:
        Problem: 400, there are too many to compute with.
    """
    rows: list[list[Any]] = json.loads(run_hogql(session, sql, values, most=MOST).rows)
    if len(rows) >= MOST:
        raise invalid(f"The emulator does not compute insights of {MOST:,} events or more.")
    return rows
