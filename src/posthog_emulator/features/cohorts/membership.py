"""Dynamic cohorts: who is in them, found as the server finds it, some time after a change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from posthog_emulator.features.query.filters import bound
from posthog_emulator.features.query.properties import Values, property_tests, written
from posthog_emulator.features.query.runner import QuerySession, run_hogql
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import EmulatorState, fill_path

__all__ = ["ProjectCohorts", "is_behavioral", "is_dynamic", "project_cohorts", "recalculate"]

_COHORTS: Final = "/api/projects/{}/cohorts/"
_MAX_AGE: Final = timedelta(days=1)
"""How long members are good for."""
_MAX_MEMBERS: Final = 100_000_000
_COUNT_OPERATORS: Final = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<", "exact": "=", "eq": "="}
_BEHAVIORAL_FIELDS: Final = frozenset(
    {"type", "key", "value", "event_type", "time_value", "time_interval", "explicit_datetime",
     "operator", "operator_value", "event_filters", "negation", "bytecode", "bytecode_error",
     "conditionHash"}
)  # fmt: skip
_INTERVAL_UNITS: Final = {
    "minute": "M",
    "hour": "h",
    "day": "d",
    "week": "w",
    "month": "m",
    "year": "y",
}


@dataclass(slots=True)
class ProjectCohorts:
    """What is known of the cohorts of one project."""

    names: dict[int, str] = field(default_factory=dict[int, str])
    """By number."""
    errors: dict[int, str] = field(default_factory=dict[int, str])
    """Why a cohort's members cannot be found."""


@dataclass(frozen=True, slots=True)
class _Calculation:
    definition: str
    calculated_at: datetime
    error: str | None = None


def is_dynamic(row: StoredObject) -> bool:
    """Whether a cohort's members are found, not named."""
    return not row.data.get("is_static")


def project_cohorts(state: EmulatorState, team: str) -> ProjectCohorts:
    """The cohorts of a project, with what is known of them by now."""
    found = _membership_cache(state)
    known = ProjectCohorts()
    for row in _cohort_rows(state, team):
        number = int(row.key)
        known.names[number] = str(row.data.get("name"))
        held = found.get((team, number))
        if held is not None and held.error is not None:
            known.errors[number] = held.error
    return known


def recalculate(
    state: EmulatorState,
    team: str,
    *,
    force: bool = False,
    rows: Iterable[StoredObject] | None = None,
) -> None:
    """Find the members of the cohorts that were changed, or found long ago.

    Args:
        state: The emulator's state.
        team: The project.
        all: Whether to find those of the others as well.
        only: The cohorts that are of interest, with those that they depend on; by default all.
    """
    bucket = state.store.collection(fill_path(_COHORTS, [team]))
    found, now = _membership_cache(state), state.settings.clock().astimezone(UTC)
    under_way: list[int] = []

    def find(number: int) -> None:
        row = bucket.rows.get(str(number))
        if row is None or row.deleted or not is_dynamic(row) or number in done:
            return
        if number in under_way:
            raise invalid(f"Cohort {number} depends on itself.")
        rule, held = _definition(row), found.get((team, number))
        fresh = held is not None and timedelta(0) <= now - held.calculated_at < _MAX_AGE
        if held is not None and fresh and held.definition == rule and not force:
            done.add(number)
            return
        under_way.append(number)
        try:
            problem = _calculate(state, team, row, find)
        finally:
            under_way.pop()
        done.add(number)
        found[team, number] = _Calculation(rule, now, problem)

    done = set[int]()
    for row in _cohort_rows(state, team) if rows is None else rows:
        if row.key.isdigit():
            find(int(row.key))


def _cohort_rows(state: EmulatorState, team: str) -> list[StoredObject]:
    bucket = state.store.collection(fill_path(_COHORTS, [team]))
    return [row for row in bucket if row.key.isdigit() and not row.deleted]


def _membership_cache(state: EmulatorState) -> dict[tuple[str, int], _Calculation]:
    notes: dict[tuple[str, int], _Calculation] = state.extensions.setdefault("cohorts", {})
    return notes


def _definition(row: StoredObject) -> str:
    parts = [row.data.get(name) for name in ("filters", "groups", "query")]
    return json.dumps(parts, sort_keys=True, default=str)


def _calculate(
    state: EmulatorState, team: str, row: StoredObject, recalculate_other: Callable[[int], None]
) -> str | None:
    """Find a cohort's members, those of cohorts it depends on first; gives what went wrong."""
    number, now = int(row.key), state.settings.clock().astimezone(UTC)
    problem: str | None = None
    uuids = list[str]()
    try:
        for other in _referenced_cohorts(row.data.get("filters")):
            recalculate_other(other)
        uuids = _query_members(state, team, row, now)
    except ApiError as error:
        problem = f"{row.data.get('name') or number}: {error.detail}"
    state.events.write(
        "DELETE FROM cohort_people WHERE team_id = ? AND cohort_id = ?", [int(team), number]
    )
    state.events.write(
        "INSERT INTO cohort_people SELECT ?, ?, unnest(?::UUID[])", [int(team), number, uuids]
    )
    row.data["is_calculating"] = False
    if problem is None:
        row.data["count"] = len(uuids)
        row.data["last_calculation"] = now.isoformat().replace("+00:00", "Z")
        row.data["errors_calculating"] = 0
    else:
        row.data["errors_calculating"] = int(row.data.get("errors_calculating") or 0) + 1
        if "last_error_message" in row.data:
            row.data["last_error_message"] = problem
    return problem


def _query_members(state: EmulatorState, team: str, row: StoredObject, now: datetime) -> list[str]:
    if row.data.get("query"):
        raise invalid("The emulator does not compute cohorts of a query.")
    rule = as_object(row.data.get("filters")).get("properties")
    if not as_object(rule).get("values"):
        if row.data.get("groups"):
            raise invalid("The emulator does not compute cohorts of groups; give it filters.")
        return []
    values, known = Values(), project_cohorts(state, team)
    test = _condition(as_object(rule), values, now)
    session = QuerySession(
        team_id=int(team),
        now=now,
        store=lambda: state.events,
        cohorts=known.names,
        cohort_errors=known.errors,
        stubs=[],
    )
    sql = f"SELECT id FROM persons WHERE {test} LIMIT {_MAX_MEMBERS}"  # noqa: S608
    found: list[list[str]] = json.loads(
        run_hogql(session, sql, values.known, max_rows=_MAX_MEMBERS).rows
    )
    return [uuid for (uuid,) in found]


def _leaves(rule: Any) -> list[Mapping[str, Any]]:
    given = as_object(rule)
    if "values" not in given or "key" in given:
        return [given] if given else []
    inner: Any = given["values"]
    return [leaf for part in (inner if is_array(inner) else []) for leaf in _leaves(part)]


def _referenced_cohorts(filters: Any) -> list[int]:
    """The cohorts that a cohort's filters speak of."""
    leaves = _leaves(as_object(filters).get("properties"))
    named = [str(leaf.get("value")) for leaf in leaves if leaf.get("type") == "cohort"]
    return [int(value) for value in named if value.isdigit()]


def is_behavioral(filters: Any) -> bool:
    """Whether a cohort's filters are about more than properties of persons, and cohorts."""
    leaves = _leaves(as_object(filters).get("properties"))
    return any(leaf.get("type") not in {"person", "cohort"} for leaf in leaves)


def _condition(rule: Mapping[str, Any], values: Values, now: datetime) -> str:
    if "values" in rule and "key" not in rule:
        kind, inner = rule.get("type") or "AND", rule["values"]
        if kind not in {"AND", "OR"} or not is_array(inner):
            raise invalid(f"The emulator does not compute a group of filters of type {kind}.")
        tests = [_condition(as_object(part), values, now) for part in inner]
        test = f"({f' {kind} '.join(tests)})" if tests else "true"
        return f"(NOT {test})" if rule.get("negation") else test
    if rule.get("type") == "behavioral":
        return _behavioral_condition(rule, values, now)
    return property_tests([rule], values, "persons")[0]


def _behavioral_condition(rule: Mapping[str, Any], values: Values, now: datetime) -> str:
    """The condition that a person did something, perhaps so many times."""
    kind = rule.get("value")
    for name in sorted(rule.keys() - _BEHAVIORAL_FIELDS):
        if rule[name] is not None:
            raise invalid(f"The emulator does not compute `{name}` of behaviour in a cohort.")
    if kind not in {"performed_event", "performed_event_multiple"}:
        raise invalid(f"The emulator does not compute the behaviour {kind!r} of a cohort.")
    if rule.get("event_type") not in {None, "events"}:
        raise invalid(f"The emulator does not compute behaviour of {rule['event_type']}.")
    tests = [
        f"event = {values.add(str(rule.get('key')))}",
        f"timestamp >= {values.add(written(_earliest(rule, now)))}",
        f"timestamp <= {values.add(written(now))}",
        *property_tests(rule.get("event_filters"), values),
    ]
    sql = f"SELECT person_id FROM events WHERE {' AND '.join(tests)} GROUP BY person_id"  # noqa: S608
    if kind == "performed_event_multiple":
        operator, count = rule.get("operator") or "exact", rule.get("operator_value")
        if operator not in _COUNT_OPERATORS or not str(count).isdigit():
            raise invalid(f"The emulator does not compute behaviour {operator} {count!r} times.")
        sql += f" HAVING count() {_COUNT_OPERATORS[operator]} {values.add(int(str(count)))}"
    return f"id {'NOT ' if rule.get('negation') else ''}IN ({sql})"


def _earliest(rule: Mapping[str, Any], now: datetime) -> datetime:
    if rule.get("explicit_datetime"):
        return bound(rule["explicit_datetime"], now)
    unit, count = _INTERVAL_UNITS.get(str(rule.get("time_interval"))), str(rule.get("time_value"))
    if unit is None or not count.isdigit():
        raise invalid("Behaviour in a cohort needs a time_value and a time_interval.")
    return bound(f"-{count}{unit}", now)
