"""Count the persons or groups that match a condition of a feature flag."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.features.hogql_rows import query_rows
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.state import ApiCall

from .conditions import EvaluationError, matches

__all__ = ["count_affected"]

_PAGE: Final = 10_000
_PERSONS: Final = (
    "SELECT toString(id) AS key, properties FROM persons WHERE toString(id) > {after} "  # noqa: S608
    f"ORDER BY key LIMIT {_PAGE}"
)
_GROUPS: Final = (
    "SELECT key, properties FROM groups WHERE index = {index} AND key > {after} "  # noqa: S608
    f"ORDER BY key LIMIT {_PAGE}"
)

Test = Callable[[str, Mapping[str, Any]], bool]


def count_affected(
    call: ApiCall, condition: Mapping[str, Any], group_type_index: Any
) -> tuple[int, int]:
    """Return how many persons, or groups of a type, match a condition, and how many there are.

    As on the server, the percentage of the rollout is not considered.

    Args:
        call: The call; its first path parameter is the project.
        condition: A condition set of a flag.
        group_type_index: The index of a group type to count groups; None to count persons.

    Raises:
        ApiError: 400, a filter of the condition is invalid.
    """
    tests = [as_object(item) for item in condition.get("properties") or ()]
    now = call.state.settings.clock().astimezone(UTC)
    affected = total = 0
    try:
        checks = [_test(call, test, group_type_index, now) for test in tests]
        for key, properties in _subjects(call, group_type_index):
            total += 1
            affected += all(check(key, properties) for check in checks)
    except EvaluationError as error:
        raise invalid(str(error), "condition") from None
    return affected, total


def _subjects(call: ApiCall, group_type_index: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    sql, after = (_PERSONS if group_type_index is None else _GROUPS), ""
    while True:
        rows = query_rows(call, sql, {"after": after, "index": group_type_index})
        for key, properties in rows:
            yield key, _parse(properties)
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def _parse(properties: Any) -> Mapping[str, Any]:
    value: Any = json.loads(properties) if isinstance(properties, str) else properties
    return value if is_object(value) else {}


def _test(call: ApiCall, test: Mapping[str, Any], group_type_index: Any, now: datetime) -> Test:
    kind = test.get("type") or "person"
    negated = bool(test.get("negation"))
    if group_type_index is not None:
        own_index = test.get("group_type_index")
        if test.get("key") != "$group_key" and own_index != group_type_index:
            raise invalid("Invalid group type index for feature flag condition.")
        return lambda key, properties: (
            matches(test, {**properties, "$group_key": key}, now) != negated
        )
    if kind == "cohort":
        members = _members(call, test.get("value"))
        outside = (test.get("operator") == "not_in") != negated
        return lambda key, _: (key in members) != outside
    if kind != "person":
        raise invalid(f"The emulator does not count persons by a filter of type '{kind}'.")
    return lambda _, properties: matches(test, properties, now) != negated


def _members(call: ApiCall, cohort_id: Any) -> frozenset[str]:
    members: set[str] = set()
    after, rows = "", list[Sequence[Any]]()
    while not members or len(rows) == _PAGE:
        rows = query_rows(
            call,
            "SELECT DISTINCT toString(person_id) AS key FROM cohort_people "  # noqa: S608
            "WHERE cohort_id = {cohort} AND toString(person_id) > {after} "
            f"ORDER BY key LIMIT {_PAGE}",
            {"cohort": int(cohort_id) if str(cohort_id).isdigit() else -1, "after": after},
        )
        if not rows:
            break
        members.update(row[0] for row in rows)
        after = rows[-1][0]
    return frozenset(members)
