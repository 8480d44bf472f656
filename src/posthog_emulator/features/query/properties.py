"""Translate property filters of insights, queries and cohorts to HogQL conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object, is_array, is_object

__all__ = ["Values", "property_tests", "written"]


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
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


_SCOPES: Final[Mapping[str, Mapping[str, str]]] = {
    "events": {
        "event": "properties",
        "feature": "properties",
        "person": "person.properties",
        "session": "session",
        "group": "group",
    },
    "sessions": {"session": ""},
    "groups": {"group": "properties"},
    "persons": {"person": "properties"},
}
"""The expression for the properties of each filter type, by table."""
_PERSONS: Final[Mapping[str, str]] = {"events": "person_id", "persons": "id"}
_OPERATORS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_KNOWN: Final = frozenset(
    {"key", "type", "value", "operator", "label", "group_type_index", "cohort_name", "negation",
     "bytecode", "bytecode_error", "conditionHash"}
)  # fmt: skip


def property_tests(given: Any, values: Values, table: str = "events") -> list[str]:
    """Translate property filters to HogQL conditions, to be joined by AND.

    Args:
        given: A list of filters, or a group of filters.
        values: The values of the query; those of the filters are added.
        table: The filtered table: `events`, `sessions`, `groups` or `persons`.

    Raises:
        ApiError: 400, a filter is not supported.
    """
    if given is None:
        return []
    if is_object(given):
        return [] if not given else [_one(given, values, table)]
    return [_one(as_object(one), values, table) for one in (given if is_array(given) else [])]


def _one(given: Mapping[str, Any], values: Values, table: str) -> str:
    if "values" not in given or "key" in given:
        return _test(given, values, table)
    kind = given.get("type") or "AND"
    if kind not in {"AND", "OR"} or given.keys() - {"type", "values"}:
        raise _refused(f"a group of filters with {sorted(given)} of type {kind}")
    tests = property_tests(given["values"], values, table)
    return f"({f' {kind} '.join(tests)})" if tests else "true"


def _test(given: Mapping[str, Any], values: Values, table: str) -> str:
    for name in sorted(given.keys() - _KNOWN):
        if given[name] is not None:
            raise _refused(f"`{name}` of a filter")
    kind = str(given.get("type") or "event")
    if kind == "hogql":
        return _expression(str(given.get("key")))
    if kind == "cohort":
        return _in_cohort(given, table)
    field = _field(given, kind, values, table)
    test = _compared(field, given, values)
    return f"(NOT {test})" if given.get("negation") else test


def _expression(text: str) -> str:
    """Parse a user's expression.

    Raises:
        ApiError: 400, the text is not exactly one expression.
    """
    from posthog_emulator.hogql.pieces import expression
    from posthog_emulator.hogql.problems import HogQLError

    try:
        return expression(text).inner
    except HogQLError as error:
        raise invalid(error.detail) from None


def _in_cohort(given: Mapping[str, Any], table: str) -> str:
    operator, value = given.get("operator") or "in", given.get("value")
    person = _PERSONS.get(table)
    if person is None or operator not in {"in", "not_in"} or given.get("key", "id") != "id":
        raise _refused(f"a filter of {table} on a cohort with the operator {operator}")
    if not str(value).isdigit():
        raise invalid(f"{value!r} is not the id of a cohort.")
    negate = (operator == "not_in") is not bool(given.get("negation"))
    return f"{person} {'NOT ' if negate else ''}IN COHORT {value}"


def _field(given: Mapping[str, Any], kind: str, values: Values, table: str) -> str:
    scope = _SCOPES[table].get(kind)
    if scope is None:
        raise _refused(f"a filter of {table} of type {kind}")
    key = str(given.get("key"))
    if kind == "session":
        from posthog_emulator.hogql.values import identifier

        return f"{scope}{'.' if scope else ''}{identifier(key)}"
    if scope == "group":
        index = given.get("group_type_index")
        if index not in range(5):
            raise invalid("A filter of type group needs a group_type_index from 0 to 4.")
        scope = f"group_{index}.properties"
    return f"{scope}[{values.add(key)}]"


def _compared(field: str, given: Mapping[str, Any], values: Values) -> str:
    operator, value = str(given.get("operator") or "exact"), given.get("value")
    options: list[Any] = value if is_array(value) else [value]
    if operator in {"is_set", "is_not_set"}:
        return f"{field} IS {'NOT ' if operator == 'is_set' else ''}NULL"
    if operator in {"exact", "is_not"}:
        # Properties have the types of their definitions, filters any JSON: both become text.
        tests = [f"toString({field}) = {values.add(_text(option))}" for option in options]
        test = f"({' OR '.join(tests) or 'false'})"
        return test if operator == "exact" else f"not({test})"
    if operator in {"icontains", "not_icontains"}:
        tests = [f"toString({field}) ILIKE {values.add(f'%{_escaped(o)}%')}" for o in options]
        test = f"({' OR '.join(tests) or 'false'})"
        return test if operator == "icontains" else f"not({test})"
    if operator in {"regex", "not_regex"}:
        # A missing property must not make the negated test NULL.
        test = f"ifNull(match(toString({field}), {values.add(str(value))}), false)"
        return test if operator == "regex" else f"not({test})"
    if operator in _OPERATORS:
        try:
            number = float(str(value))
        except ValueError:
            raise invalid(
                f"{value!r} is not a number to compare {given.get('key')!r} with."
            ) from None
        return f"toFloat({field}) {_OPERATORS[operator]} {values.add(number)}"
    raise _refused(f"the operator {operator} of a filter")


def _text(value: Any) -> str:
    """Return a value as `toString` of a property returns it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _escaped(value: Any) -> str:
    return re.sub(r"([\\%_])", r"\\\1", _text(value))


def _refused(what: str) -> ApiError:
    return invalid(f"The emulator does not compute {what}.")
