"""Property filters of insights, queries and cohorts, as values of a query's placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression, Node
from posthog_emulator.hogql.property_filters import property_condition
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import relative_text
from .runner import QuerySession

__all__ = ["Values", "property_node", "property_tests", "written"]


class Values:
    """The values of a query under construction, by the names of their placeholders.

    Args:
        session: The session that the query will run in.
    """

    def __init__(self, session: QuerySession) -> None:
        self.session = session
        self.by_name: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """Add a constant or an expression, and return its placeholder."""
        name = f"v{len(self.by_name)}"
        self.by_name[name] = value
        return f"{{{name}}}"

    def add_node(self, node: Node) -> str:
        """Add a parsed expression, and return its placeholder."""
        return self.add(Expression(node))


def written(value: datetime) -> str:
    """Format a timestamp for HogQL."""
    # With the zone: text without one is a time in the project's time zone.
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%fZ")


_FIELDS: Final = frozenset(
    {"key", "type", "value", "operator", "label", "group_type_index", "cohort_name", "negation",
     "bytecode", "bytecode_error", "conditionHash", "values", "group_key_names"}
)  # fmt: skip


def property_tests(filters: Any, values: Values, table: str = "events") -> list[str]:
    """Return property filters as conditions of HogQL, to be joined by AND.

    Args:
        filters: A list of filters, or a group of filters.
        values: The values of the query; those of the filters are added.
        table: The filtered table: `events`, `sessions`, `groups` or `persons`.

    Raises:
        ApiError: 400, a filter is invalid or not supported.
    """
    return [values.add_node(property_node(filters, values.session, table))] if filters else []


def property_node(filters: Any, session: QuerySession, table: str = "events") -> Node:
    """Return property filters as one condition of HogQL; true if there are none.

    Args:
        filters: A list of filters, or a group of filters.
        session: The session that the query will run in.
        table: The filtered table: `events`, `sessions`, `groups` or `persons`.

    Raises:
        ApiError: 400, a filter is invalid or not supported.
    """
    for entry in filters if is_array(filters) else [filters]:
        _check_fields(as_object(entry))
    types = session.store().property_types(session.team_id) if filters else {}

    def now(text: str) -> str:
        return relative_text(text, session)

    try:
        return property_condition(filters, table, types=types, now=now)
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None


def _check_fields(entry: Mapping[str, Any]) -> None:
    for name in sorted(entry.keys() - _FIELDS):
        if entry[name] is not None:
            raise invalid(f"The emulator does not support `{name}` of a filter.")
