"""Calculate the members of dynamic cohorts, as the server does some time after a change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from posthog_emulator.features.query.properties import Values
from posthog_emulator.features.query.runner import QuerySession, run_rows
from posthog_emulator.hogql.context import Action, Cohort
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import PROJECTS, EmulatorState, fill_path
from posthog_emulator.timestamps import format_utc

from .criteria import leaves, members_condition, referenced_cohorts
from .stored_cohorts import cohorts_collection, is_dynamic, live_cohorts

__all__ = ["cohort_error", "is_behavioral", "project_cohorts", "project_session", "recalculate"]

_MAX_AGE: Final = timedelta(days=1)
"""How long calculated members are used, as on the server."""
_MAX_MEMBERS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class _Calculation:
    definition: str
    calculated_at: datetime
    error: str | None = None


def project_cohorts(state: EmulatorState, team: str) -> dict[int, Cohort]:
    """Return the cohorts of a project by id, with the results so far; calculates nothing."""
    calculations = _membership_cache(state)
    versions = state.events.cohorts.versions(int(team))
    cohorts: dict[int, Cohort] = {}
    for row in live_cohorts(state, team):
        if not row.key.isdigit():  # only test fixtures can have such ids; HogQL cannot use them
            continue
        cohort_id = int(row.key)
        last = calculations.get((team, cohort_id))
        cohorts[cohort_id] = Cohort(
            str(row.data.get("name")),
            static=not is_dynamic(row),
            version=versions.get(cohort_id),
            error=None if last is None else last.error,
        )
    return cohorts


def cohort_error(state: EmulatorState, team: str, cohort_id: int) -> str | None:
    """Return why the members of a cohort could not be calculated the last time; None if they could.

    The cohort is not calculated.
    """
    last = _membership_cache(state).get((team, cohort_id))
    return None if last is None else last.error


def _by_importance(actions: list[StoredObject]) -> list[StoredObject]:
    """Return actions with those first that are pinned, then those that were calculated last."""
    latest = sorted(actions, key=lambda row: str(row.data.get("last_calculated_at")), reverse=True)
    return sorted(
        latest,
        key=lambda row: (row.data.get("pinned_at") is None, str(row.data.get("pinned_at"))),
    )


def project_session(state: EmulatorState, team: str) -> QuerySession:
    """Return a session for queries of a project."""

    def rows(path: str) -> list[StoredObject]:
        collection = state.store.collection(fill_path(f"/api/projects/{{}}/{path}/", [team]))
        return [row for row in collection if not row.deleted]

    project = state.store.collection(PROJECTS).find(team)
    settings = {} if project is None else project.data
    return QuerySession(
        team_id=int(team),
        now=state.settings.clock(),
        store=lambda: state.events,
        cohorts=project_cohorts(state, team),
        timezone=str(settings.get("timezone") or "UTC"),
        week_start_day=int(settings.get("week_start_day") or 0),
        actions={
            int(row.key): Action(str(row.data.get("name")), row.data.get("steps") or ())
            for row in _by_importance(rows("actions"))
            if row.key.isdigit()
        },
        group_types={
            index: name for name, index in state.events.project(int(team)).groups.types.items()
        },
        views={
            str(row.data.get("name")): str(as_object(row.data.get("query")).get("query"))
            for row in rows("warehouse_saved_queries")
        },
        test_account_filters=settings.get("test_account_filters"),
        path_cleaning=settings.get("path_cleaning_filters"),
        variables={str(row.data.get("id")): row.data for row in rows("insight_variables")},
    )


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
    error_message: str | None = None
    # After an error the cohort has no members: those of an older definition would be wrong.
    uuids = list[str]()
    try:
        for other in referenced_cohorts(row.data.get("filters")):
            recalculate_other(other)
        uuids = _query_members(state, team, row)
    except ApiError as error:
        error_message = f"{row.data.get('name') or cohort_id}: {error.detail}"
    state.events.cohorts.replace_members(int(team), cohort_id, uuids)
    row.data["is_calculating"] = False
    if error_message is None:
        row.data["count"] = len(uuids)
        row.data["last_calculation"] = format_utc(now)
        row.data["errors_calculating"] = 0
    else:
        row.data["errors_calculating"] = int(row.data.get("errors_calculating") or 0) + 1
        if "last_error_message" in row.data:
            row.data["last_error_message"] = error_message
    return error_message


def _query_members(state: EmulatorState, team: str, row: StoredObject) -> list[str]:
    if row.data.get("query"):
        raise invalid("The emulator does not calculate cohorts that are defined by a query.")
    filters = as_object(row.data.get("filters")).get("properties")
    if not as_object(filters).get("values"):
        if row.data.get("groups"):
            raise invalid(
                "The emulator does not calculate cohorts defined by `groups`; use `filters`."
            )
        return []
    values = Values(project_session(state, team))
    test = members_condition(as_object(filters), values)
    sql = f"SELECT id FROM persons WHERE {test} LIMIT {_MAX_MEMBERS}"  # noqa: S608
    rows = run_rows(values.session, sql, values.by_name, max_rows=_MAX_MEMBERS)
    return [uuid for (uuid,) in rows]


def is_behavioral(filters: Any) -> bool:
    """Return whether a cohort's filters use more than person properties and other cohorts."""
    return any(leaf.get("type") not in {"person", "cohort"} for leaf in leaves(filters))
