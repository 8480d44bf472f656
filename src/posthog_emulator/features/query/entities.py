"""Series of insights: which events, actions or groups of them they count, and whose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from posthog_emulator.hogql.actions import action_condition
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import (
    Expression,
    Node,
    call,
    compare,
    constant,
    field,
    parse_expression,
)
from posthog_emulator.hogql.property_filters import all_of, any_of
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import Period
from .properties import Values, property_node
from .runner import QuerySession
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = [
    "INSIGHT_FIELDS",
    "Actor",
    "Entity",
    "actor_of",
    "check_insight",
    "common_node",
    "event_tests",
    "hogql_node",
    "period_node",
    "read_entities",
    "read_entity",
]

INSIGHT_FIELDS: Final = frozenset(
    {"kind", "tags", "version", "modifiers", "samplingFactor", "filterTestAccounts",
     "dataColorTheme", "dateRange", "properties"}
)  # fmt: skip
"""Fields of all insight queries that are applied, or that do not affect the result."""
_NODE: Final = frozenset(
    {"kind", "event", "id", "nodes", "operator", "name", "custom_name", "properties",
     "fixedProperties", "math", "math_property", "math_property_type", "math_hogql",
     "math_group_type_index", "version"}
)  # fmt: skip


def check_insight(query: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Reject fields of an insight query that are not supported.

    Args:
        query: The query.
        allowed: The fields that are, besides `INSIGHT_FIELDS`.

    Raises:
        ApiError: 400, naming the field.
    """
    kind = str(query.get("kind"))
    reject_unknown_fields(query, {*allowed, *INSIGHT_FIELDS}, kind)
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, f"{kind}.modifiers")
    if query.get("samplingFactor") not in (None, 1):
        raise invalid("The emulator does not compute insights of samples.")


def hogql_node(text: Any) -> Node:
    """Parse an expression of a query.

    Raises:
        ApiError: 400, it is no HogQL.
    """
    try:
        return parse_expression(str(text))
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None


def common_node(session: QuerySession, query: Mapping[str, Any]) -> Node:
    """Return the condition that an insight's filters set on the events of all series."""
    tests = [property_node(query.get("properties"), session)]
    if query.get("filterTestAccounts"):
        tests.append(property_node(session.test_account_filters, session))
    return all_of([test for test in tests if test.get("value") is not True])


def period_node(period: Period) -> Node:
    """Return the condition that an event is in a time range."""
    return all_of(
        [
            compare(">=", field("timestamp"), constant(period.lower())),
            compare("<=", field("timestamp"), constant(period.upper())),
        ]
    )


@dataclass(frozen=True, slots=True)
class Entity:
    """A series: the events that it counts, and what of them."""

    node: Mapping[str, Any]
    """As the query has it."""
    order: int
    id: Any
    """The name of the event (None for all), or the id of the action."""
    type: str
    """`events`, `actions` or `groups`."""
    name: str
    condition: Node
    base: Node
    """The condition without the filters by properties."""
    is_deleted: bool = False
    """Whether it is of an action that does not exist."""

    @property
    def math(self) -> str:
        """Return what is counted."""
        return str(self.node.get("math") or "total")

    def action(self) -> dict[str, Any]:
        """Return the series as the items of results have it."""
        return {
            "id": self.id,
            "type": self.type,
            "order": self.order,
            "name": self.name,
            **{
                name: self.node.get(name)
                for name in ("custom_name", "math", "math_property", "math_hogql",
                             "math_group_type_index")
            },
            "properties": self.node.get("properties") or [],
        }  # fmt: skip


def read_entities(
    session: QuerySession, query: Mapping[str, Any], allowed: Collection[str] = ()
) -> list[Entity]:
    """Return the series of a query.

    Args:
        session: The session of the query.
        query: The query.
        allowed: Fields of its nodes that are supported besides those of all insights.

    Raises:
        ApiError: 400, a node is not supported.
    """
    series: Any = query.get("series")
    nodes: Sequence[Any] = series if is_array(series) else []
    return [
        read_entity(session, as_object(node), order, allowed) for order, node in enumerate(nodes)
    ]


def read_entity(
    session: QuerySession, node: Mapping[str, Any], order: int = 0, allowed: Collection[str] = ()
) -> Entity:
    """Return a series of events, of an action, or of several of these.

    Args:
        session: The session of the query.
        node: An EventsNode, ActionsNode or GroupNode.
        order: Its place in the query.
        allowed: Its fields that are supported besides those of all insights.

    Raises:
        ApiError: 400, the node is of another kind, or uses something that is not supported.
    """
    kind = str(node.get("kind") or "EventsNode")
    if kind not in {"EventsNode", "ActionsNode", "GroupNode"}:
        raise invalid(
            f"The emulator computes series of EventsNode, ActionsNode and GroupNode, not of {kind}."
        )
    reject_unknown_fields(node, {*_NODE, *allowed}, kind)
    tests = [
        property_node(node.get(name), session)
        for name in ("properties", "fixedProperties")
        if node.get(name)
    ]
    deleted = False
    if kind == "EventsNode":
        event = node.get("event")
        key, sort, name = event, "events", str(event or "All events")
        base = constant(True)
        if event is not None:
            base = compare("==", field("event"), constant(str(event)))
    elif kind == "ActionsNode":
        key, sort = int(node["id"]), "actions"
        action = session.actions.get(key)
        deleted = action is None
        name = str(node.get("name")) if action is None else action.name
        base = compare("==", constant(1), constant(2))
        if action is not None:
            base = _action(action)
    else:
        parts = [read_entity(session, as_object(part)) for part in node["nodes"]]
        key, sort = None, "groups"
        name = str(node.get("name") or ", ".join(part.name for part in parts))
        join = any_of if node.get("operator") == "OR" else all_of
        base = join([part.condition for part in parts])
    condition = all_of([base, *tests]) if tests else base
    return Entity(node, order, key, sort, name, condition, base, deleted)


def _action(action: Any) -> Node:
    try:
        return action_condition(action)
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None


@dataclass(frozen=True, slots=True)
class Actor:
    """Whom an insight counts."""

    node: Node
    tests: Sequence[Node] = ()
    """Conditions for events to have an actor."""
    group_type_index: int | None = None
    """None for persons, and for what an expression says."""


def actor_of(group_type_index: Any = None, hogql: Any = None) -> Actor:
    """Return whom an insight counts: persons, groups of a type, or the values of an expression.

    Raises:
        ApiError: 400, the expression is no HogQL.
    """
    if hogql:
        node = call("toString", hogql_node(hogql))
        return Actor(node, [compare("!=", call("ifNull", node, constant("")), constant(""))])
    if group_type_index is None:
        return Actor(field("person_id"))
    group = field(f"$group_{int(group_type_index)}")
    return Actor(group, [compare("!=", group, constant(""))], int(group_type_index))


def event_tests(values: Values, *nodes: Node) -> str:
    """Return conditions as one text of HogQL.

    Args:
        values: The values of the query; those of the conditions are added.
        nodes: The conditions.
    """
    # Conditions on the time stay at the top, where the engine uses them to skip data.
    flat = [part for node in nodes for part in (node["exprs"] if node["node"] == "And" else [node])]
    return " AND ".join(values.add(Expression(node)) for node in flat) or "true"
