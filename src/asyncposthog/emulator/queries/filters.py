"""Ranges of time and filters on properties, as insights have them, made into HogQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncposthog.emulator.guards import as_object, is_array, is_object
from asyncposthog.emulator.queries.run import Session
from asyncposthog.emulator.web.problems import Problem, invalid

__all__ = ["Values", "moment", "placeholders", "property_tests", "time_range", "written"]

_RELATIVE = re.compile(r"-(\d{1,4})([hdwmqy])(Start|End)?\Z")
_STARTS = {"mStart": "month", "yStart": "year", "dStart": "day"}


class Values:
    """Constants of a query that is being written, each under a name of its own."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """The placeholder for a constant."""
        name = f"v{len(self.known)}"
        self.known[name] = value
        return f"{{{name}}}"


def written(value: datetime) -> str:
    """A moment as a constant of HogQL."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def moment(given: Any, now: datetime, *, end: bool = False) -> datetime:
    """A moment: ISO 8601, or relative to now, as `-7d`, `-24h` or `mStart`.

    Args:
        given: How it is written.
        now: The moment it is relative to.
        end: Whether a day stands for its end.

    Raises:
        Problem: 400, it is none of these.
    """
    text = str(given)
    found = _RELATIVE.match(text)
    if found is not None:
        return _relative(int(found[1]), found[2], now)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in _STARTS:
        return midnight.replace(
            day=1 if text != "dStart" else now.day, month=1 if text == "yStart" else now.month
        )
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"{text!r} is no date the emulator reads.") from None
    read = read if read.tzinfo else read.replace(tzinfo=UTC)
    if end and len(text) == 10:
        return read + timedelta(days=1) - timedelta(microseconds=1)
    return read


def _relative(count: int, unit: str, now: datetime) -> datetime:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "h":
        return (now - timedelta(hours=count)).replace(minute=0, second=0, microsecond=0)
    if unit in "dw":
        return midnight - timedelta(days=count * (7 if unit == "w" else 1))
    months = count * {"m": 1, "q": 3, "y": 12}[unit]
    total = midnight.year * 12 + midnight.month - 1 - months
    year, month = divmod(total, 12)
    for day in range(midnight.day, 27, -1):
        try:
            return midnight.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return midnight.replace(year=year, month=month + 1, day=min(midnight.day, 28))


def time_range(session: Session, given: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """From when to when an insight looks; the last seven days by default.

    Raises:
        Problem: 400, a bound cannot be read.
    """
    now = session.now.astimezone(UTC)
    start = moment(given.get("date_from") or "-7d", now)
    until = given.get("date_to")
    if until:
        return start, moment(until, now, end=True)
    return start, now.replace(hour=23, minute=59, second=59, microsecond=999999)


_SCOPES = {"event": "properties", "person": "person.properties", "feature": "properties"}
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "exact": "=", "is_not": "!="}


def property_tests(given: Any, values: Values) -> list[str]:
    """Filters on properties as conditions of HogQL.

    Raises:
        Problem: 400, a filter is of a kind that is not computed.
    """
    if given is None:
        return []
    if is_object(given):
        if given.get("type") not in {"AND", None}:
            raise _refused(f"a group of filters of type {given.get('type')}")
        return property_tests(given.get("values"), values)
    tests: list[str] = []
    for one in given if is_array(given) else []:
        if is_object(one) and "values" in one and "key" not in one:
            tests += property_tests(one, values)
        else:
            tests.append(_property_test(as_object(one), values))
    return tests


def _property_test(given: Mapping[str, Any], values: Values) -> str:
    kind = given.get("type") or "event"
    if kind == "hogql":
        return f"({given.get('key')})"
    if kind == "cohort":
        raise _refused("a filter on a cohort")
    if kind not in _SCOPES:
        raise _refused(f"a filter of type {kind}")
    field = f"{_SCOPES[kind]}[{values.add(str(given.get('key')))}]"
    operator, value = str(given.get("operator") or "exact"), given.get("value")
    options: list[Any] = value if is_array(value) else [value]
    if operator in {"is_set", "is_not_set"}:
        return f"{field} IS {'NOT ' if operator == 'is_set' else ''}NULL"
    if operator in {"exact", "is_not"}:
        tests = [f"toString({field}) = {values.add(_text(option))}" for option in options]
        test = f"({' OR '.join(tests) or 'false'})"
        return test if operator == "exact" else f"not({test})"
    if operator in {"icontains", "not_icontains"}:
        tests = [f"toString({field}) ILIKE {values.add(f'%{_escaped(o)}%')}" for o in options]
        test = f"({' OR '.join(tests)})"
        return test if operator == "icontains" else f"not({test})"
    if operator in {"regex", "not_regex"}:
        test = f"ifNull(match(toString({field}), {values.add(str(value))}), false)"
        return test if operator == "regex" else f"not({test})"
    if operator in _OPERATORS:
        try:
            number = float(str(value))
        except ValueError:
            raise invalid(f"{value!r} is no number to compare {given.get('key')!r} with.") from None
        return f"toFloat({field}) {_OPERATORS[operator]} {values.add(number)}"
    raise _refused(f"the operator {operator} of a filter")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _escaped(value: Any) -> str:
    return re.sub(r"([\\%_])", r"\\\1", _text(value))


def _refused(what: str) -> Problem:
    return invalid(f"The emulator does not compute {what} in an insight.")


def placeholders(session: Session, filters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What `{filters}` stands for in a query, and its constants."""
    values = Values()
    tests = property_tests(filters.get("properties"), values)
    span = as_object(filters.get("dateRange"))
    if span:
        start, end = time_range(session, span)
        if span.get("date_from"):
            tests.append(f"timestamp >= {values.add(written(start))}")
        if span.get("date_to"):
            tests.append(f"timestamp <= {values.add(written(end))}")
    named = {f"filters_{name}": value for name, value in values.known.items()}
    text = re.sub(r"\{(v\d+)\}", r"{filters_\1}", " AND ".join(tests))
    return text or "true", named
