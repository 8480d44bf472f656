"""Property filters of insights, queries and cohorts, as placeholders of HogQL conditions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import is_array, is_object

if TYPE_CHECKING:
    from posthog_emulator.hogql.parse import Node

__all__ = ["Values", "property_node", "property_tests", "written"]


class Values:
    """The values of a query under construction, by the names of their placeholders."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """Add a value, and return its placeholder."""
        name = f"v{len(self.known)}"
        self.known[name] = value
        return f"{{{name}}}"


def written(value: datetime) -> str:
    """Format a timestamp for HogQL."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def property_tests(given: Any, values: Values, table: str = "events") -> list[str]:
    """Translate property filters to HogQL conditions, to be joined by AND.

    Args:
        given: A list of filters, or a group of filters.
        values: The values of the query; those of the filters are added.
        table: The filtered table: `events`, `sessions`, `groups` or `persons`.

    Raises:
        ApiError: 400, a filter is not supported.
    """
    from posthog_emulator.hogql.parse import Expression

    filters: Any = given if is_array(given) else [given] if is_object(given) and given else []
    return [values.add(Expression(property_node(one, table))) for one in filters]


def property_node(
    given: Any, table: str = "events", types: Mapping[tuple[str, str], str] | None = None
) -> Node:
    """Translate property filters to a condition.

    Raises:
        ApiError: 400, a filter is not supported.
    """
    from posthog_emulator.hogql.errors import HogQLError
    from posthog_emulator.hogql.property_filters import property_condition

    try:
        return property_condition(given, table, types=types)
    except HogQLError as error:
        raise invalid(error.detail, None, error.code) from None
