"""The conditions of a dynamic cohort, as HogQL conditions on `persons`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.features.query.dates import bound, local_now
from posthog_emulator.features.query.properties import Values, property_tests, written
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

__all__ = ["leaves", "members_condition", "referenced_cohorts"]

_COUNT_OPERATORS: Final = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<", "exact": "=", "eq": "="}
_FIELDS: Final = frozenset(
    {"type", "key", "value", "event_type", "time_value", "time_interval", "explicit_datetime",
     "explicit_datetime_to", "operator", "operator_value", "event_filters", "negation",
     "seq_event", "seq_event_type", "seq_time_value", "seq_time_interval", "total_periods",
     "min_periods", "bytecode", "bytecode_error", "conditionHash"}
)  # fmt: skip
_UNITS: Final = {"minute": "M", "hour": "h", "day": "d", "week": "w", "month": "m", "year": "y"}
_MAX_PERIODS: Final = 1000
_COHORTS: Final = frozenset({"cohort", "static-cohort", "precalculated-cohort"})


def leaves(filters: Any) -> list[Mapping[str, Any]]:
    """Return the conditions of a cohort's filters, without the groups around them."""
    return _leaves(as_object(filters).get("properties"))


def _leaves(group: Any) -> list[Mapping[str, Any]]:
    group = as_object(group)
    if "values" not in group or "key" in group:
        return [group] if group else []
    inner: Any = group["values"]
    return [leaf for part in (inner if is_array(inner) else []) for leaf in _leaves(part)]


def referenced_cohorts(filters: Any) -> list[int]:
    """Return the ids of the cohorts that a cohort's filters refer to."""
    ids = [str(leaf.get("value")) for leaf in leaves(filters) if leaf.get("type") in _COHORTS]
    return [int(value) for value in ids if value.isdigit()]


def members_condition(filters: Mapping[str, Any], values: Values) -> str:
    """Return the condition on the rows of `persons` that a group of filters stands for.

    Args:
        filters: The group: `{"type": "AND" | "OR", "values": [...]}`, or one condition.
        values: The values of the query; those of the filters are added.

    Raises:
        ApiError: 400, a condition is invalid or not supported.
    """
    if "values" in filters and "key" not in filters:
        kind, inner = filters.get("type") or "AND", filters["values"]
        if kind not in {"AND", "OR"} or not is_array(inner):
            raise invalid(f"The emulator does not support a group of filters of type {kind}.")
        tests = [members_condition(as_object(part), values) for part in inner]
        test = f"({f' {kind} '.join(tests)})" if tests else "true"
        return f"(NOT {test})" if filters.get("negation") else test
    negated = bool(filters.get("negation"))
    if filters.get("type") == "behavioral":
        return f"id {'NOT ' if negated else ''}IN ({_Behavior(filters, values).persons()})"
    (test,) = property_tests([{**filters, "negation": None}], values, "persons")
    return f"(NOT {test})" if negated else test


class _Behavior:
    """A condition on what persons did."""

    def __init__(self, criterion: Mapping[str, Any], values: Values) -> None:
        for name in sorted(criterion.keys() - _FIELDS):
            if criterion[name] is not None:
                raise invalid(
                    f"The emulator does not support `{name}` in a behavioral filter of a cohort."
                )
        self.criterion = criterion
        self.values = values
        self.now = local_now(values.session)

    def persons(self) -> str:
        """Return the query of the ids of the persons who meet it."""
        match self.criterion.get("value"):
            case "performed_event":
                return self._performed(*self._window())
            case "performed_event_multiple":
                return f"{self._performed(*self._window())} HAVING count() {self._count()}"
            case "performed_event_first_time":
                start, end = self._window()
                return (
                    f"{self._ever(end)} HAVING min(timestamp) >= {self.values.add(written(start))}"
                )
            case "performed_event_sequence":
                return self._sequence()
            case "stopped_performing_event":
                start, end = self._window()
                recent = self._before("seq_time")
                return self._except(self._performed(start, end), self._performed(recent, end))
            case "restarted_performing_event":
                return self._restarted()
            case "performed_event_regularly":
                return self._regularly()
            case kind:
                raise invalid(
                    f"The emulator does not support the behavioral filter {kind!r} of a cohort."
                )

    def _event(self, key: str = "key", type: str = "event_type") -> str:
        """Return the condition on the events of the filter."""
        name = self.criterion.get(key)
        kind = self.criterion.get(type) or "events"
        if kind == "actions":
            if not str(name).isdigit():
                raise invalid(f"{name!r} is not the id of an action.")
            return f"matchesAction({int(str(name))})"
        if kind != "events":
            raise invalid(f"The emulator does not support behavioral filters on {kind}.")
        tests = [f"event = {self.values.add(str(name))}"]
        if key == "key":
            tests += property_tests(self.criterion.get("event_filters"), self.values)
        return " AND ".join(tests)

    def _window(self) -> tuple[datetime, datetime]:
        start, end = (
            self.criterion.get("explicit_datetime"),
            self.criterion.get("explicit_datetime_to"),
        )
        until = self.now if end is None else bound(end, self.now)
        return (bound(start, self.now) if start else self._before("time")), until

    def _before(self, prefix: str) -> datetime:
        """Return the time that lies as far before now as a field and its unit say."""
        return bound(f"-{self._number(f'{prefix}_value')}{self._unit(prefix)}", self.now)

    def _number(self, name: str) -> int:
        text = str(self.criterion.get(name))
        if not text.isdigit():
            raise invalid(f"A behavioral filter of a cohort needs a whole number as `{name}`.")
        return int(text)

    def _unit(self, prefix: str) -> str:
        unit = _UNITS.get(str(self.criterion.get(f"{prefix}_interval")))
        if unit is None:
            raise invalid(
                f"A behavioral filter of a cohort needs a `{prefix}_interval`: {', '.join(_UNITS)}."
            )
        return unit

    def _count(self) -> str:
        operator, count = (
            self.criterion.get("operator") or "exact",
            self.criterion.get("operator_value"),
        )
        if operator not in _COUNT_OPERATORS or not str(count).isdigit():
            raise invalid(
                f"The emulator does not support the count {operator} {count!r} of a behavioral "
                "filter."
            )
        return f"{_COUNT_OPERATORS[operator]} {int(str(count))}"

    def _performed(self, start: datetime, end: datetime) -> str:
        after, before = self.values.add(written(start)), self.values.add(written(end))
        return (
            f"SELECT person_id FROM events WHERE {self._event()} "  # noqa: S608
            f"AND timestamp >= {after} AND timestamp <= {before} GROUP BY person_id"
        )

    def _ever(self, end: datetime) -> str:
        return (
            f"SELECT person_id FROM events WHERE {self._event()} "  # noqa: S608
            f"AND timestamp <= {self.values.add(written(end))} GROUP BY person_id"
        )

    def _except(self, persons: str, *others: str) -> str:
        rest = " AND ".join(f"person_id NOT IN ({other})" for other in others)
        return f"SELECT person_id FROM ({persons}) WHERE {rest}"  # noqa: S608

    def _sequence(self) -> str:
        """Return the query of those who did one event and then another within some time."""
        start, end = self._window()
        second = self._event("seq_event", "seq_event_type")
        seconds = (self.now - self._before("seq_time")).total_seconds()
        # One event cannot be both steps; two events at the same time can.
        both = ("key", "event_type"), ("seq_event", "seq_event_type")
        same = (
            len({(str(self.criterion.get(a)), self.criterion.get(b) or "events") for a, b in both})
            == 1
        )
        after, before = self.values.add(written(start)), self.values.add(written(end))
        return (
            "SELECT person_id FROM (SELECT person_id, "  # noqa: S608
            f"groupArrayIf(timestamp, {self._event()}) AS firsts, "
            f"groupArrayIf(timestamp, {second}) AS seconds FROM events "
            f"WHERE timestamp >= {after} AND timestamp <= {before} GROUP BY person_id) "
            "WHERE arrayExists(b -> arrayExists(a -> "
            f"b {'>' if same else '>='} a AND dateDiff('second', a, b) <= {int(seconds)}, firsts), "
            "seconds)"
        )

    def _restarted(self) -> str:
        """Return the query of those who did an event recently, long before, and not between."""
        start, end = self._window()
        recent = self._before("seq_time")
        gap = recent - timedelta(microseconds=1)
        first_timers = (
            f"{self._ever(end)} HAVING min(timestamp) >= {self.values.add(written(recent))}"
        )
        return self._except(self._performed(recent, end), first_timers, self._performed(start, gap))

    def _regularly(self) -> str:
        """Return the query of those who did an event in enough of the periods up to yesterday."""
        total, least = self._number("total_periods"), self._number("min_periods")
        length, unit = self._number("time_value"), self._unit("time")
        if unit == "y":
            length, unit = length * 12, "m"
        if not 0 < total * length <= _MAX_PERIODS:
            raise invalid("A behavioral filter of a cohort has too many periods, or none.")
        end = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        edges = [bound(f"-{number * length}{unit}", end) for number in range(total + 1)]
        marks = [self.values.add(written(edge)) for edge in edges]
        counts = [
            f"if(countIf(timestamp >= {marks[n + 1]} AND timestamp < {marks[n]}) "
            f"{self._count()}, 1, 0)"
            for n in range(total)
        ]
        return (
            f"SELECT person_id FROM events WHERE {self._event()} "  # noqa: S608
            f"AND timestamp >= {marks[-1]} AND timestamp < {marks[0]} "
            f"GROUP BY person_id HAVING {' + '.join(counts)} >= {least}"
        )
