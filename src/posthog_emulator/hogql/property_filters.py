"""Property filters of insights, queries, cohorts and actions, as conditions of HogQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from .errors import HogQLError
from .parse import Node, call, compare, constant, field, parse_expression
from .selectors import selector_pattern

__all__ = ["all_of", "any_of", "property_condition"]


def all_of(tests: Sequence[Node]) -> Node:
    """Return the conjunction; true for no condition."""
    if not tests:
        return constant(True)
    return tests[0] if len(tests) == 1 else {"node": "And", "exprs": list(tests)}


def any_of(tests: Sequence[Node]) -> Node:
    """Return the disjunction; true for no condition."""
    if not tests:
        return constant(True)
    return tests[0] if len(tests) == 1 else {"node": "Or", "exprs": list(tests)}


def _invalid(message: str) -> HogQLError:
    return HogQLError(message)


def property_condition(filters: Any, table: str = "events", **options: Any) -> Node:
    """Return the condition of property filters.

    Args:
        filters: A filter, a group of filters, or a list of these, as the API has them.
        table: The table whose rows are filtered: `events`, `persons`, `groups` or `sessions`.
        options: `types`, the types of properties by scope and name; `now`, a function that turns
            relative dates such as `-7d` to text.

    Raises:
        HogQLError: A filter is invalid, or not of the table.
    """
    if not filters:
        return constant(True)
    if isinstance(filters, list | tuple):
        items = cast("Sequence[Any]", filters)
        return all_of([property_condition(entry, table, **options) for entry in items])
    entry = cast("Mapping[str, Any]", filters)
    if "values" in entry and "key" not in entry:
        tests = [property_condition(each, table, **options) for each in entry["values"]]
        return (any_of if str(entry.get("type")).upper() == "OR" else all_of)(tests)
    return _Filter(entry, table, **options).condition()


_SCOPES: Final[Mapping[str, frozenset[str]]] = {
    "events": frozenset(
        {"event", "feature", "person", "group", "session", "cohort", "static-cohort",
         "precalculated-cohort", "element", "hogql", "event_metadata", "flag", "recording",
         "log_entry", "data_warehouse", "data_warehouse_person_property", "person_metadata"}
    ),
    "persons": frozenset({"person", "cohort", "static-cohort", "hogql", "person_metadata", "flag"}),
    "groups": frozenset({"group", "hogql", "flag"}),
    "sessions": frozenset({"session", "hogql", "flag"}),
}  # fmt: skip
_PERSON_IDS: Final = {"events": "person_id", "persons": "id"}
_PLAIN: Final = {"gt": ">", "lt": "<", "gte": ">=", "lte": "<=", "min": ">=", "max": "<="}
_SEMVER: Final = {"semver_eq": "==", "semver_neq": "!=", "semver_gt": ">", "semver_gte": ">=",
                  "semver_lt": "<", "semver_lte": "<="}  # fmt: skip
_EXCEPTIONS: Final = (
    "$exception_types", "$exception_values", "$exception_sources", "$exception_functions",
)  # fmt: skip
_NEGATIVE: Final = frozenset({"not_icontains", "not_regex", "is_not"})


class _Filter:
    def __init__(
        self,
        entry: Mapping[str, Any],
        table: str,
        *,
        types: Mapping[tuple[str, str], str] | None = None,
        now: Callable[[str], str] | None = None,
    ) -> None:
        self.entry = entry
        self.table = table
        self.types = types or {}
        self.now: Callable[[str], str] = now or str
        self.kind = str(entry.get("type") or "event")
        self.key = str(entry.get("key"))
        self.operator = str(entry.get("operator") or "exact")

    def condition(self) -> Node:
        """Return the condition."""
        if self.kind not in _SCOPES.get(self.table, _SCOPES["events"]):
            raise _invalid(
                f"The '{self.kind}' property filter does not work in '{self.table}' scope"
            )
        if self.kind == "hogql":
            return parse_expression(self.key)
        if self.kind == "flag":
            return constant(True)
        if "cohort" in self.kind:
            return self._cohort()
        if self.kind == "element":
            return self._element()
        test = self._tests(self._field())
        # Only cohorts negate other filters than those of cohorts.
        return {"node": "Not", "expr": test} if self.entry.get("negation") else test

    def _cohort(self) -> Node:
        negate = self.operator == "not_in" or bool(self.entry.get("negation"))
        value = self.entry.get("value")
        try:
            number = int(cast("Any", value))
        except (TypeError, ValueError):
            raise _invalid(f"{value!r} is not the id of a cohort.") from None
        person = field(_PERSON_IDS.get(self.table, "person_id"))
        return compare("not in cohort" if negate else "in cohort", person, constant(number))

    def _element(self) -> Node:
        value = self.entry.get("value")
        options: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
        if self.key == "selector" or self.key == "tag_name":
            tests: list[Node] = []
            for option in options:
                pattern = (
                    selector_pattern(str(option)) if self.key == "selector"
                    else rf"(^|;){re.escape(str(option))}(\.|$|;|:)"
                )  # fmt: skip
                tests.append(compare("=~", field("elements_chain"), constant(pattern)))
            matches = any_of(tests)
            return {"node": "Not", "expr": matches} if self.operator in _NEGATIVE else matches
        if self.key == "href":
            return self._tests(field("elements_chain_href"))
        if self.key == "text":
            each: Node = {"node": "Lambda", "args": ["text"], "expr": self._tests(field("text"))}
            return call("arrayExists", each, field("elements_chain_texts"))
        raise _invalid(f"The element property {self.key} is not supported.")

    def _field(self) -> Node:
        key, own = self.key, self.table != "events"
        if self.kind in {"event", "feature"}:
            return field("properties", key)
        if self.kind == "person":
            if own:
                return field("properties", key)
            if key == "distinct_id":
                return field("person", "pdi", "distinct_id")
            return field("person", "properties", key)
        if self.kind == "person_metadata":
            return field(key) if own else field("person", key)
        if self.kind == "group":
            if own:
                return field("properties", key)
            index = self.entry.get("group_type_index")
            if index not in range(5):
                raise _invalid("A filter of type group needs a group_type_index from 0 to 4.")
            return field(f"group_{index}", "properties", key)
        if self.kind == "session":
            return field(key) if own else field("session", key)
        if self.kind.startswith("data_warehouse"):
            return field(*key.split("."))
        return field(key)

    def _type(self) -> str | None:
        scope = "event" if self.kind == "feature" else self.kind
        if scope == "group":
            index = self.entry.get("group_type_index")
            return self.types.get((f"group_{index}", self.key), self.types.get((scope, self.key)))
        return self.types.get((scope, self.key))

    def _tests(self, value: Node) -> Node:
        operand = self.entry.get("value")
        if self.kind == "event" and self.key in _EXCEPTIONS:
            matches: Node = {
                "node": "Lambda",
                "args": ["v"],
                "expr": self._each(field("v"), operand),
            }
            items = call("JSONExtract", call("ifnull", value, constant("")),
                         constant("Array(String)"))  # fmt: skip
            return call("arrayExists", matches, items)
        return self._each(value, operand)

    def _each(self, value: Node, operand: Any) -> Node:
        operator = self.operator
        if isinstance(operand, list) and operator not in {"between", "not_between"}:
            options = cast("list[Any]", operand)
            if operator in {"is_set", "is_not_set"} or not options:
                operand = options[0] if options else None
                if not options and operator not in {"is_set", "is_not_set"}:
                    return constant(True)
            elif len(options) == 1:
                operand = options[0]
            elif operator in {"exact", "is_not", "in", "not_in"}:
                op = "in" if operator in {"exact", "in"} else "not in"
                return compare(op, value, constant(tuple(map(self._value, options))))
            elif operator in {"icontains", "not_icontains"}:
                return self._contains(value, options, many=True)
            else:
                tests = [self._compare(value, option) for option in options]
                return (all_of if operator in _NEGATIVE else any_of)(tests)
        return self._compare(value, operand)

    def _value(self, operand: Any) -> Any:
        if operand in ("true", "false") and self._type() == "Boolean":
            return operand == "true"
        return operand

    def _contains(self, value: Node, options: Sequence[Any], *, many: bool) -> Node:
        text = call("toString", value)
        negative = self.operator.startswith("not")
        if many:
            position = call(
                "multiSearchAnyCaseInsensitive",
                text,
                constant([_text(option) for option in options]),
            )
            return compare("==" if negative else ">", position, constant(0))
        pattern = constant(f"%{_text(options[0])}%")
        return compare("not ilike" if negative else "ilike", text, pattern)

    def _compare(self, value: Node, operand: Any) -> Node:
        operator = self.operator
        if operator in {"exact", "is_not", "in", "not_in"}:
            op = "==" if operator in {"exact", "in"} else "!="
            return compare(op, value, constant(self._value(operand)))
        if operator in {"is_set", "is_not_set"}:
            return compare("!=" if operator == "is_set" else "==", value, constant(None))
        if operator in {"icontains", "not_icontains"}:
            return self._contains(value, [operand], many=False)
        if operator in {"icontains_multi", "not_icontains_multi"}:
            return self._contains(value, [operand], many=True)
        if operator in {"regex", "not_regex"}:
            match = call("match", call("toString", value), constant(_text(operand)))
            if operator == "regex":
                return call("ifnull", match, constant(0))
            return call("ifnull", call("not", match), constant(1))
        if operator in _PLAIN:
            return compare(_PLAIN[operator], value, constant(operand))
        if operator in {"between", "not_between"}:
            return self._between(value, operand)
        if operator.startswith("is_date"):
            op = {"is_date_after": ">", "is_date_before": "<"}.get(operator, "==")
            left = call("toDateTime", call("toString", value))
            return compare(op, left, call("toDateTime", constant(self.now(_text(operand)))))
        if operator.startswith("semver_"):
            return self._semver(value, _text(operand))
        raise _invalid(f"The operator {operator} of a property filter is not supported.")

    def _between(self, value: Node, bounds: Any) -> Node:
        name = f"{self.operator} operator"
        if not isinstance(bounds, list) or len(cast("list[Any]", bounds)) != 2:
            raise _invalid(f"{name} requires a two-element array [min, max]")
        try:
            low, high = (float(bound) for bound in cast("list[Any]", bounds))
        except (TypeError, ValueError):
            raise _invalid(f"{name} requires numeric values") from None
        if low > high:
            raise _invalid(f"{name} requires min value to be less than or equal to max value")
        first, last = (constant(bound) for bound in cast("list[Any]", bounds))
        if self.operator == "between":
            return all_of([compare(">=", value, first), compare("<=", value, last)])
        return any_of([compare("<", value, first), compare(">", value, last)])

    def _semver(self, value: Node, text: str) -> Node:
        own = call("sortableSemver", value)
        if self.operator in _SEMVER:
            version = call("sortableSemver", constant(text))
            return compare(_SEMVER[self.operator], own, version)
        lower, upper = _semver_range(self.operator.removeprefix("semver_"), text)
        return all_of(
            [
                compare(">=", own, call("sortableSemver", constant(lower))),
                compare("<", own, call("sortableSemver", constant(upper))),
            ]
        )


def _semver_range(kind: str, text: str) -> tuple[str, str]:
    """Return the lower bound and the exclusive upper bound of `~1.2.3`, `^1.2.3` or `1.2.*`."""
    parts = [part for part in re.split(r"[.]", text.lstrip("~^v ")) if part not in {"*", "x"}]
    try:
        numbers = [int(re.split(r"[-+]", part)[0]) for part in parts[:3]]
    except ValueError:
        raise _invalid(f"{text!r} is no version.") from None
    if not numbers:
        raise _invalid(f"{text!r} is no version.")
    whole = [*numbers, 0, 0][:3]
    if kind == "caret":
        at = next((n for n, part in enumerate(numbers) if part), len(numbers) - 1)
    elif kind == "tilde":
        at = min(1, len(numbers) - 1)
    else:
        at = len(numbers) - 1
    upper = [*whole[:at], whole[at] + 1, 0, 0][:3]
    return ".".join(map(str, whole)), ".".join(map(str, upper))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)
