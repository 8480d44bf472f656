"""Tests of rows, from which the filters of lists are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.relative_dates import parse_date
from posthog_emulator.state import ApiCall

__all__ = [
    "RowFilter",
    "RowTest",
    "all_of",
    "any_of",
    "at_least",
    "at_most",
    "at_or_after",
    "at_or_before",
    "by_value",
    "compare_date",
    "contains_text",
    "created_by_me",
    "if_false",
    "if_true",
    "is_set",
    "no_filter",
    "none_of",
    "parse_timestamp",
    "requested_values",
    "values_at",
]

RowTest: TypeAlias = Callable[[StoredObject], bool]
RowFilter: TypeAlias = Callable[[ApiCall, str], RowTest]
"""Returns the test that rows have to pass, given the call and the name of the parameter."""

_TRUE = frozenset({"true", "1"})


def requested_values(call: ApiCall, name: str) -> list[str]:
    """Return the values of a parameter: repeated, joined by commas, or as a JSON list."""
    requested: list[str] = []
    for value in call.query(name):
        if value.startswith("["):
            try:
                requested += map(str, json.loads(value))
            except ValueError:
                raise invalid("Must be a list of JSON.", name) from None
        else:
            requested += [part.strip() for part in value.split(",") if part.strip()]
    return requested


def values_at(row: StoredObject, path: str) -> list[str]:
    """Return the values at a dotted path through objects and lists, as text, without nulls."""
    values: list[Any] = [row.data]
    for name in path.split("."):
        nested = [as_object(value).get(name) for value in values]
        values = [item for value in nested for item in (value if is_array(value) else [value])]
    return [str(value) for value in values if value is not None]


def any_of(*paths: str) -> RowFilter:
    """Return a filter for rows with one of the requested values at one of the paths."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        requested = set(requested_values(call, name))
        return lambda row: (
            not requested.isdisjoint(value for path in paths for value in values_at(row, path))
        )

    return row_filter


def none_of(path: str) -> RowFilter:
    """Return a filter for rows without any of the requested values at a path."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        excluded = set(requested_values(call, name))
        return lambda row: excluded.isdisjoint(values_at(row, path))

    return row_filter


def compare_date(path: str, compare: Callable[[datetime, datetime], bool]) -> RowFilter:
    """Return a filter that compares the date at a path with the requested one."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        text = call.request.query_value(name) or ""
        date = parse_date(text, call.state.settings.clock().astimezone(UTC))
        if date is None:
            raise invalid(f"The emulator cannot parse the date {text!r}.", name)
        bound = date if date.tzinfo else date.replace(tzinfo=UTC)
        return lambda row: any(
            compare(parse_timestamp(value), bound) for value in values_at(row, path)
        )

    return row_filter


def parse_timestamp(text: str) -> datetime:
    """Return the time of an ISO 8601 text, which is in UTC if it has no offset."""
    timestamp = datetime.fromisoformat(text)
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def at_or_after(path: str) -> RowFilter:
    """Return a filter for rows whose date at a path is the requested one, or later."""
    return compare_date(path, lambda value, bound: value >= bound)


def at_or_before(path: str) -> RowFilter:
    """Return a filter for rows whose date at a path is the requested one, or earlier."""
    return compare_date(path, lambda value, bound: value <= bound)


def by_value(test: Callable[[StoredObject, str], bool]) -> RowFilter:
    """Return a filter by a function of the row and the single requested value."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        value = call.request.query_value(name) or ""
        return lambda row: test(row, value)

    return row_filter


def contains_text(*paths: str) -> RowFilter:
    """Return a filter for rows that have the requested text, in any case, at one of the paths."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        text = (call.request.query_value(name) or "").casefold()
        return lambda row: any(
            text in value.casefold() for path in paths for value in values_at(row, path)
        )

    return row_filter


def _compare_number(path: str, compare: Callable[[float, float], bool]) -> RowFilter:
    def row_filter(call: ApiCall, name: str) -> RowTest:
        try:
            bound = float(call.request.query_value(name) or "")
        except ValueError:
            raise invalid("A valid number is required.", name) from None
        return lambda row: any(compare(float(value), bound) for value in values_at(row, path))

    return row_filter


def at_least(path: str) -> RowFilter:
    """Return a filter for rows whose number at a path is the requested one, or greater."""
    return _compare_number(path, lambda value, bound: value >= bound)


def at_most(path: str) -> RowFilter:
    """Return a filter for rows whose number at a path is the requested one, or less."""
    return _compare_number(path, lambda value, bound: value <= bound)


def is_set(path: str) -> RowFilter:
    """Return a filter for rows that have a value at a path, or, if it is false, that have none.

    Empty text and empty lists are no values.
    """
    return by_value(lambda row, value: any(values_at(row, path)) is (value.lower() in _TRUE))


def all_of(path: str) -> RowFilter:
    """Return a filter for rows with all of the requested values at a path."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        requested = set(requested_values(call, name))
        return lambda row: requested <= {*values_at(row, path)}

    return row_filter


def if_false(test: RowTest) -> RowFilter:
    """Return a filter that applies only if the parameter is not true."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        enabled = (call.request.query_value(name) or "").lower() in _TRUE
        return (lambda _: True) if enabled else test

    return row_filter


def if_true(test: RowTest) -> RowFilter:
    """Return a filter that applies only if the parameter is true."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        enabled = (call.request.query_value(name) or "").lower() in _TRUE
        return test if enabled else lambda _: True

    return row_filter


def created_by_me(call: ApiCall, _: str) -> RowTest:
    """Return the test for rows that the account's user has created."""
    user_id = str(call.state.accounts.account.user_id)
    return lambda row: user_id in values_at(row, "created_by.id")


def no_filter(_: ApiCall, __: str) -> RowTest:
    """Accept all rows: the parameter selects no rows, or the handler of the list evaluates it."""
    return lambda _: True
