"""What queries of web analytics have in common: periods, goals, filters, pages of rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from posthog_emulator.hogql.parse import (
    Expression,
    Node,
    call,
    compare,
    constant,
    field,
    parse_select,
)
from posthog_emulator.hogql.property_filters import all_of, any_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .breakdowns import cleaned_path
from .dates import Period, compared_period, query_period
from .entities import check_insight, event_tests, hogql_node, period_node, read_entity
from .properties import Values, property_node
from .runner import QuerySession, run_hogql

__all__ = ["SAMPLING", "SEEN", "WebQuery", "goal_node", "run_page"]

_FIELDS: Final = (
    "compareFilter", "conversionGoal", "interval", "response", "useSessionsTable",
    "useWebAnalyticsPrecompute",
)  # fmt: skip
_ROWS: Final = 100
_MOST: Final = 50_000
SAMPLING: Final[Mapping[str, int]] = {"numerator": 1, "denominator": 1}
"""The sampling rate of responses: nothing is sampled."""
SEEN: Final[Node] = call("in", field("event"), constant(["$pageview", "$screen"]))
"""The condition that an event is a view."""


class WebQuery:
    """A query of web analytics.

    Args:
        session: The session of the query.
        query: The query.
        allowed: The fields that are supported besides those of all these queries.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """

    def __init__(
        self, session: QuerySession, query: Mapping[str, Any], allowed: Collection[str] = ()
    ) -> None:
        check_insight(query, {*_FIELDS, *allowed})
        self.session, self.query, self.values = session, query, Values(session)
        self._within: dict[tuple[str, Period | None], str] = {}
        self.period = query_period(session, query, "day")
        self.previous = compared_period(session, query, self.period)
        self.goal = goal_node(session, as_object(query.get("conversionGoal")))
        filters: Any = query.get("properties")
        self.properties: list[Any] = (
            [*filters] if is_array(filters) else [filters] if filters else []
        )
        tests = session.test_account_filters
        if query.get("filterTestAccounts") and is_array(tests):
            self.properties += tests

    def within(self, column: str, period: Period | None) -> str:
        """Return the placeholder of the condition that a time is in a period; false without one."""
        key = column, period
        if key not in self._within:
            self._within[key] = self.values.add_node(_within(column, period))
        return self._within[key]

    def pair(self, aggregate: str, argument: str) -> str:
        """Return an aggregate over sessions, by their `started`, now and in the period before.

        Without a comparison, it is over all of them, and there is no value before.
        """
        column = field(argument)
        parts = [call(aggregate, column), constant(None)]
        if self.previous is not None:
            both = (self.period, self.previous)
            parts = [call(f"{aggregate}If", column, _within("started", period)) for period in both]
        # As a tree: the parser is slow on conditions inside of calls inside of calls.
        return self.values.add_node(call("tuple", *parts))

    def where(self, *tests: Node, properties: list[Any] | None = None) -> str:
        """Return conditions on the events of both periods.

        Args:
            tests: Conditions besides the times and the filters.
            properties: Filters in place of those of the query.
        """
        periods = [
            period_node(period) for period in (self.period, self.previous) if period is not None
        ]
        shown = self.properties if properties is None else properties
        return event_tests(self.values, any_of(periods), *tests, property_node(shown, self.session))

    def path(self, text: str) -> str:
        """Return the placeholder of a path, cleaned if the query asks for that."""
        node = hogql_node(text)
        if self.query.get("doPathCleaning"):
            node = cleaned_path(node, self.session.path_cleaning)
        return self.values.add_node(node)

    def order(self) -> tuple[str, str]:
        """Return the field and the direction that rows are sorted by; no field for the default."""
        order_by: Any = self.query.get("orderBy")
        order = [str(item) for item in order_by] if is_array(order_by) else []
        return (order[0] if order else ""), ("ASC" if order[1:2] == ["ASC"] else "DESC")


def _within(column: str, period: Period | None) -> Node:
    if period is None:
        return constant(False)
    second = call("toStartOfSecond", field(column))
    return all_of(
        [
            compare(">=", field(column), constant(period.lower())),
            compare("<=", second, constant(period.upper())),
        ]
    )


def goal_node(session: QuerySession, goal: Mapping[str, Any]) -> Node | None:
    """Return the condition on the events that are conversions; None without a goal."""
    if goal.get("customEventName"):
        return compare("==", field("event"), constant(str(goal["customEventName"])))
    if goal.get("actionId") is None:
        return None
    entity = read_entity(session, {"kind": "ActionsNode", "id": goal["actionId"]})
    if entity.is_deleted:
        raise invalid(f"Action ID {goal['actionId']} does not exist!")
    return entity.condition


def run_page(
    session: QuerySession, sql: str, values: Mapping[str, Any], query: Mapping[str, Any]
) -> tuple[list[list[Any]], dict[str, Any]]:
    """Run a query, and return a page of its rows and the other fields of the response.

    Args:
        session: The session of the query.
        sql: The query, without a LIMIT.
        values: The values of its placeholders.
        query: Its `limit` (100 by default, 50,000 at most) and `offset` are applied.

    Raises:
        ApiError: The query is rejected or fails.
    """
    limit, skipped = query.get("limit"), int(query.get("offset") or 0)
    limit = _ROWS if limit is None else int(limit)
    if limit < 0 or skipped < 0:
        raise invalid("limit and offset must not be negative.")
    limit = min(limit or _ROWS, _MOST)
    # One row more than requested shows whether there are more.
    tree = Expression(parse_select(f"{sql} LIMIT {limit + 1} OFFSET {skipped}"))
    result = run_hogql(session, tree, values, allow_offset=True, max_rows=_MOST + 1)
    rows: list[list[Any]] = json.loads(result.rows)
    head: dict[str, Any] = {
        **{name: result.head[name] for name in ("columns", "types", "hogql")},
        "hasMore": len(rows) > limit, "limit": limit, "offset": skipped,
        "timings": [], "modifiers": {}, "error": None,
    }  # fmt: skip
    return rows[:limit], head
