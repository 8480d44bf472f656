"""Breakdowns of insights by properties, expressions and cohorts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from posthog_emulator.hogql.parse import Node, call, compare, constant, field
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .entities import event_tests, hogql_node
from .properties import Values
from .runner import QuerySession, run_rows
from .unknown_fields import reject_unknown_fields

__all__ = [
    "NULL_VALUE",
    "OTHER_VALUE",
    "Breakdown",
    "cleaned_path",
    "cohort_name",
    "cohort_node",
    "read_breakdown",
]

NULL_VALUE: Final = "$$_posthog_breakdown_null_$$"
OTHER_VALUE: Final = "$$_posthog_breakdown_other_$$"
_LIMIT: Final = 25
_FIELDS: Final = frozenset(
    {"breakdown", "breakdown_type", "breakdowns", "breakdown_limit", "breakdown_group_type_index",
     "breakdown_histogram_bin_count", "breakdown_normalize_url", "breakdown_path_cleaning",
     "breakdown_hide_other_aggregation"}
)  # fmt: skip
_PART_FIELDS: Final = (
    "property",
    "type",
    "group_type_index",
    "histogram_bin_count",
    "normalize_url",
)
_KINDS: Final = "event, person, group, session, hogql, event_metadata and cohort"


@dataclass(frozen=True, slots=True)
class _Property:
    """A property that is broken down by."""

    value: Node
    """Text; NULL for no value."""
    number: Node
    """The value before it becomes text."""
    bins: int | None = None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What an insight is broken down by: properties, or cohorts."""

    properties: Sequence[_Property]
    limit: int
    cohorts: Sequence[int | str] = ()
    """Ids; `all` for all persons."""
    hide_other: bool = False

    @property
    def is_multiple(self) -> bool:
        """Return whether its values are lists."""
        return len(self.properties) > 1

    def nodes(self, session: QuerySession, tests: Sequence[Node]) -> list[Node]:
        """Return the values as nullable text.

        Args:
            session: The session of the query.
            tests: The conditions on the events, whose numbers make the bins of a histogram.
        """
        return [
            part.value if part.bins is None else _histogram(session, part, tests)
            for part in self.properties
        ]

    def value(self, session: QuerySession, tests: Sequence[Node], null: str = NULL_VALUE) -> Node:
        """Return the value of an event: text, or an array of texts for several properties.

        Args:
            session: The session of the query.
            tests: The conditions on the events, whose numbers make the bins of a histogram.
            null: What stands for no value.
        """
        texts = [call("ifNull", node, constant(null)) for node in self.nodes(session, tests)]
        return {"node": "Array", "exprs": texts} if self.is_multiple else texts[0]


def read_breakdown(
    session: QuerySession, query: Mapping[str, Any], limit: int = _LIMIT
) -> Breakdown | None:
    """Return what a query is broken down by; None for nothing.

    Args:
        session: The session of the query.
        query: The query, with its `breakdownFilter`.
        limit: How many values are kept if the query does not say.

    Raises:
        ApiError: 400, the emulator does not support the breakdown.
    """
    settings = as_object(query.get("breakdownFilter"))
    reject_unknown_fields(settings, _FIELDS, "breakdownFilter")
    parts = _parts(settings)
    if not parts:
        return None
    limit = int(settings.get("breakdown_limit") or limit)
    hide = bool(settings.get("breakdown_hide_other_aggregation"))
    cohorts = [part["property"] for part in parts if part.get("type") == "cohort"]
    if cohorts:
        if len(cohorts) != len(parts):
            raise invalid("The emulator does not break down by cohorts and properties together.")
        ids = [cohort if cohort == "all" else _cohort_id(session, cohort) for cohort in cohorts]
        return Breakdown((), limit, ids, hide)
    clean = bool(settings.get("breakdown_path_cleaning"))
    return Breakdown([_property(session, part, clean) for part in parts], limit, (), hide)


def _parts(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a breakdown in the form of `breakdowns`."""
    several = settings.get("breakdowns")
    if is_array(several) and several:
        parts = [as_object(part) for part in several]
        for part in parts:
            reject_unknown_fields(part, _PART_FIELDS, "Breakdown")
        return parts
    breakdown = settings.get("breakdown")
    if breakdown is None or breakdown == []:
        return []
    more = {
        "type": settings.get("breakdown_type") or "event",
        "group_type_index": settings.get("breakdown_group_type_index"),
        "histogram_bin_count": settings.get("breakdown_histogram_bin_count"),
        "normalize_url": settings.get("breakdown_normalize_url"),
    }
    return [
        {"property": part, **more} for part in (breakdown if is_array(breakdown) else [breakdown])
    ]


def _cohort_id(session: QuerySession, value: Any) -> int:
    if not str(value).isdigit() or int(value) not in session.cohorts:
        raise invalid(f"Could not find cohort with ID {value}")
    return int(value)


def cohort_node(cohort: int | str) -> Node:
    """Return the condition that an event is of a person in a cohort."""
    if cohort == "all":
        return constant(True)
    return compare("in cohort", field("person_id"), constant(cohort))


def cohort_name(session: QuerySession, cohort: int | str) -> str:
    """Return the name of a cohort."""
    return "all users" if isinstance(cohort, str) else session.cohorts[cohort].name


def _property(session: QuerySession, part: Mapping[str, Any], clean: bool) -> _Property:
    kind, name = str(part.get("type") or "event"), str(part["property"])
    match kind:
        case "event":
            node = field("properties", name)
        case "person":
            node = field("person", "properties", name)
        case "group":
            node = field(f"group_{int(part.get('group_type_index') or 0)}", "properties", name)
        case "session":
            node = field("session", name)
        case "event_metadata":
            node = field(*name.split("."))
        case "hogql":
            node = hogql_node(name)
        case _:
            raise invalid(f"The emulator breaks down by {_KINDS}, not by {kind} {name!r}.")
    text = call("toString", node)
    if part.get("normalize_url"):
        trimmed = call("replaceRegexpOne", text, constant("[/?#]*$"), constant(""))
        text = call("if", call("empty", trimmed), constant("/"), trimmed)
    if clean:
        text = cleaned_path(text, session.path_cleaning)
    bins = part.get("histogram_bin_count")
    return _Property(call("nullIf", text, constant("")), node, int(bins) if bins else None)


def cleaned_path(text: Node, rules: Any) -> Node:
    """Return a path as rules of path cleaning rewrite it.

    Args:
        text: The path.
        rules: Rules with `regex`, `alias` and perhaps `order`, as the API has them.
    """
    rule_objects = [as_object(rule) for rule in (rules if is_array(rules) else [])]
    for rule in sorted(rule_objects, key=lambda rule: rule.get("order") or 0):
        if rule.get("regex") is not None:
            # A rule may name its groups as `\\1`; a backslash before anything else is text.
            alias = re.sub(r"\\(?!\d)", r"\\\\", str(rule.get("alias") or ""))
            text = call("replaceRegexpAll", text, constant(str(rule["regex"])), constant(alias))
    return text


def _histogram(session: QuerySession, part: _Property, tests: Sequence[Node]) -> Node:
    """Return the bin of a number as text; NULL for no number."""
    values = Values(session)
    number = call("toFloat", part.number)
    added = values.add_node(number)
    sql = f"SELECT min({added}), max({added}) FROM events WHERE {event_tests(values, *tests)}"  # noqa: S608
    low, high = run_rows(session, sql, values.by_name)[0]
    if low is None:
        return constant(None)
    count = part.bins or 1
    width = (high - low) / count
    branches: list[Node] = []
    for place in range(count):
        first, last = low + place * width, low + (place + 1) * width
        if place == count - 1:
            last = high + 0.01
        within: Node = {
            "node": "And",
            "exprs": [
                compare(">=", number, constant(float(first))),
                compare("<", number, constant(float(last))),
            ],
        }
        branches += [within, constant(f"[{float(first)},{float(last)}]")]
    return call("multiIf", *branches, constant(None))
