"""The filters of HogQL queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.hogql.parse import Expression, compare, constant, field
from posthog_emulator.hogql.property_filters import all_of
from posthog_emulator.json_types import as_object

from .dates import bound, local_now
from .properties import property_node
from .runner import QuerySession

__all__ = ["Filters"]

_TIMESTAMPS = {"sessions": "$start_timestamp", "groups": "created_at"}


class Filters:
    """The `filters` of a HogQLQuery, as values of its placeholders.

    Args:
        session: The session of the query.
        filters: The filters.

    Raises:
        ApiError: 400, the format of a bound is not supported.
    """

    def __init__(self, session: QuerySession, filters: Mapping[str, Any]) -> None:
        now, span = local_now(session), as_object(filters.get("dateRange"))
        start, end = span.get("date_from"), span.get("date_to")
        self._session = session
        self._filters = filters
        self.date_range = (
            None if start in (None, "all") else bound(start, now),
            None if end is None else bound(end, now),
        )
        """Inclusive start and exclusive end; None where there is no bound."""

    def condition(self, table: str) -> Expression:
        """Return the condition on the rows of a table.

        Raises:
            ApiError: 400, a filter is not supported.
        """
        tests = [property_node(self._filters.get("properties"), self._session, table)]
        timestamp = field(_TIMESTAMPS.get(table, "timestamp"))
        start, end = self.date_range
        if end is not None:
            tests.append(compare("<", timestamp, constant(end)))
        if start is not None:
            tests.append(compare(">=", timestamp, constant(start)))
        if self._filters.get("filterTestAccounts"):
            tests.append(property_node(self._session.test_account_filters, self._session, table))
        return Expression(all_of(tests))
