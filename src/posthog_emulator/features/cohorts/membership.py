"""Calculate the members of dynamic cohorts, as the server does some time after a change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from posthog_emulator.features.query.filters import bound
from posthog_emulator.features.query.properties import Values, property_tests, written
from posthog_emulator.features.query.runner import ProjectCohorts, QuerySession, run_hogql
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import EmulatorState
from posthog_emulator.timestamps import format_utc

from .collection import cohorts_collection, is_dynamic, live_cohorts

__all__ = ["ProjectCohorts", "is_behavioral", "project_cohorts", "recalculate"]

_MAX_AGE: Final = timedelta(days=1)
"""How long calculated members are used, as on the server."""
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


@dataclass(frozen=True, slots=True)
class _Calculation:
    definition: str
    calculated_at: datetime
    error: str | None = None


def project_cohorts(state: EmulatorState, team: str) -> ProjectCohorts:
    """Return the cohorts of a project with the results so far; calculates nothing."""
    calculations = _membership_cache(state)
    cohorts = ProjectCohorts()
    for row in live_cohorts(state, team):
        if not row.key.isdigit():  # only test fixtures can have such ids; HogQL cannot use them
            continue
        cohort_id = int(row.key)
        cohorts.names[cohort_id] = str(row.data.get("name"))
        if not is_dynamic(row):
            cohorts.static.add(cohort_id)
        last = calculations.get((team, cohort_id))
        if last is not None and last.error is not None:
            cohorts.errors[cohort_id] = last.error
    return cohorts


def recalculate(
    state: EmulatorState,
    team: str,
    *,
    force: bool = False,
    rows: Iterable[StoredObject] | None = None,
) -> None:
    """Recalculate cohorts that have changed or whose members are older than a day.

    Args:
        state: The emulator's state.
        team: The project.
        force: Recalculate up-to-date cohorts as well.
        rows: The cohorts to check, together with those they refer to; all by default.
    """
    collection = cohorts_collection(state, team)
    calculations, now = _membership_cache(state), state.settings.clock().astimezone(UTC)
    done = set[int]()
    in_progress = set[int]()

    def recalculate_one(cohort_id: int) -> None:
        row = collection.rows.get(str(cohort_id))
        if row is None or row.deleted or not is_dynamic(row) or cohort_id in done:
            return
        if cohort_id in in_progress:
            # Raised into the calculation of the cohort that refers to this one, which records it.
            raise invalid(f"Cohort {cohort_id} depends on itself.")
        definition, last = _definition(row), calculations.get((team, cohort_id))
        # The emulator's clock can be set back: members from the future are not up to date.
        fresh = last is not None and timedelta(0) <= now - last.calculated_at < _MAX_AGE
        if last is not None and fresh and last.definition == definition and not force:
            done.add(cohort_id)
            return
        in_progress.add(cohort_id)
        try:
            error = _calculate(state, team, row, recalculate_one)
        finally:
            in_progress.discard(cohort_id)
        done.add(cohort_id)
        calculations[team, cohort_id] = _Calculation(definition, now, error)

    for row in live_cohorts(state, team) if rows is None else rows:
        if row.key.isdigit():
            recalculate_one(int(row.key))


def _membership_cache(state: EmulatorState) -> dict[tuple[str, int], _Calculation]:
    cache: dict[tuple[str, int], _Calculation] = state.extensions.setdefault("cohorts", {})
    return cache


def _definition(row: StoredObject) -> str:
    parts = [row.data.get(name) for name in ("filters", "groups", "query")]
    return json.dumps(parts, sort_keys=True, default=str)


def _calculate(
    state: EmulatorState, team: str, row: StoredObject, recalculate_other: Callable[[int], None]
) -> str | None:
    """Calculate the members of a cohort after those it refers to; return the error, if any."""
    cohort_id, now = int(row.key), state.settings.clock().astimezone(UTC)
    problem: str | None = None
    # After an error the cohort has no members: those of an older definition would be wrong.
    uuids = list[str]()
    try:
        for other in _referenced_cohorts(row.data.get("filters")):
            recalculate_other(other)
        uuids = _query_members(state, team, row, now)
    except ApiError as error:
        problem = f"{row.data.get('name') or cohort_id}: {error.detail}"
    state.events.cohorts.replace_members(int(team), cohort_id, uuids)
    row.data["is_calculating"] = False
    if problem is None:
        row.data["count"] = len(uuids)
        row.data["last_calculation"] = format_utc(now)
        row.data["errors_calculating"] = 0
    else:
        row.data["errors_calculating"] = int(row.data.get("errors_calculating") or 0) + 1
        if "last_error_message" in row.data:
            row.data["last_error_message"] = problem
    return problem


def _query_members(state: EmulatorState, team: str, row: StoredObject, now: datetime) -> list[str]:
    if row.data.get("query"):
        raise invalid("The emulator does not calculate cohorts that are defined by a query.")
    filters = as_object(row.data.get("filters")).get("properties")
    if not as_object(filters).get("values"):
        if row.data.get("groups"):
            raise invalid(
                "The emulator does not calculate cohorts defined by `groups`; use `filters`."
            )
        return []
    values, cohorts = Values(), project_cohorts(state, team)
    test = _condition(as_object(filters), values, now)
    session = QuerySession(
        team_id=int(team),
        now=now,
        store=lambda: state.events,
        cohorts=cohorts,
        stubs=[],
    )
    sql = f"SELECT id FROM persons WHERE {test} LIMIT {_MAX_MEMBERS}"  # noqa: S608
    rows: list[list[str]] = json.loads(
        run_hogql(session, sql, values.known, max_rows=_MAX_MEMBERS).rows
    )
    return [uuid for (uuid,) in rows]


def _leaves(filters: Any) -> list[Mapping[str, Any]]:
    group = as_object(filters)
    if "values" not in group or "key" in group:
        return [group] if group else []
    inner: Any = group["values"]
    return [leaf for part in (inner if is_array(inner) else []) for leaf in _leaves(part)]


def _referenced_cohorts(filters: Any) -> list[int]:
    """Return the ids of the cohorts that a cohort's filters refer to."""
    leaves = _leaves(as_object(filters).get("properties"))
    ids = [str(leaf.get("value")) for leaf in leaves if leaf.get("type") == "cohort"]
    return [int(value) for value in ids if value.isdigit()]


def is_behavioral(filters: Any) -> bool:
    """Return whether a cohort's filters use more than person properties and other cohorts."""
    leaves = _leaves(as_object(filters).get("properties"))
    return any(leaf.get("type") not in {"person", "cohort"} for leaf in leaves)


def _condition(filters: Mapping[str, Any], values: Values, now: datetime) -> str:
    if "values" in filters and "key" not in filters:
        kind, inner = filters.get("type") or "AND", filters["values"]
        if kind not in {"AND", "OR"} or not is_array(inner):
            raise invalid(f"The emulator does not support a group of filters of type {kind}.")
        tests = [_condition(as_object(part), values, now) for part in inner]
        test = f"({f' {kind} '.join(tests)})" if tests else "true"
        return f"(NOT {test})" if filters.get("negation") else test
    if filters.get("type") == "behavioral":
        return _behavioral_condition(filters, values, now)
    return property_tests([filters], values, "persons")[0]


def _behavioral_condition(behavior: Mapping[str, Any], values: Values, now: datetime) -> str:
    """Return the HogQL condition for persons who performed an event, optionally n times."""
    kind = behavior.get("value")
    for name in sorted(behavior.keys() - _BEHAVIORAL_FIELDS):
        if behavior[name] is not None:
            raise invalid(
                f"The emulator does not support `{name}` in a behavioral filter of a cohort."
            )
    if kind not in {"performed_event", "performed_event_multiple"}:
        raise invalid(f"The emulator does not support the behavioral filter {kind!r} of a cohort.")
    if behavior.get("event_type") not in {None, "events"}:
        raise invalid(
            f"The emulator does not support behavioral filters on {behavior['event_type']}."
        )
    tests = [
        f"event = {values.add(str(behavior.get('key')))}",
        f"timestamp >= {values.add(written(_earliest(behavior, now)))}",
        f"timestamp <= {values.add(written(now))}",
        *property_tests(behavior.get("event_filters"), values),
    ]
    sql = f"SELECT person_id FROM events WHERE {' AND '.join(tests)} GROUP BY person_id"  # noqa: S608
    if kind == "performed_event_multiple":
        operator, count = behavior.get("operator") or "exact", behavior.get("operator_value")
        if operator not in _COUNT_OPERATORS or not str(count).isdigit():
            raise invalid(
                f"The emulator does not support the count {operator} {count!r} of a behavioral "
                "filter."
            )
        sql += f" HAVING count() {_COUNT_OPERATORS[operator]} {values.add(int(str(count)))}"
    return f"id {'NOT ' if behavior.get('negation') else ''}IN ({sql})"


def _earliest(behavior: Mapping[str, Any], now: datetime) -> datetime:
    if behavior.get("explicit_datetime"):
        return bound(behavior["explicit_datetime"], now)
    unit, count = (
        _INTERVAL_UNITS.get(str(behavior.get("time_interval"))),
        str(behavior.get("time_value")),
    )
    if unit is None or not count.isdigit():
        raise invalid("A behavioral filter of a cohort needs a time_value and a time_interval.")
    return bound(f"-{count}{unit}", now)
