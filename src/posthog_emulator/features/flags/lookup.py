"""Read flags, and the persons and groups to evaluate them for, from the emulator's state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from posthog_emulator.features.cohorts.stored_cohorts import is_dynamic, live_cohorts
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.state import EmulatorState, fill_path

from .conditions import EvaluationError
from .evaluator import Evaluator, Subject

if TYPE_CHECKING:
    from posthog_emulator.event_store.persons import Person

__all__ = [
    "FLAGS",
    "create_evaluator",
    "create_subject",
    "group_types",
    "persist_hash_key_overrides",
    "project_flags",
]

FLAGS = "/api/projects/{}/feature_flags/"
_OVERRIDES = "/flags/{}/before/"
"""Path of the persisted hash key overrides, by distinct id and flag key, in the saved state."""


def project_flags(state: EmulatorState, project_id: int) -> list[dict[str, Any]]:
    """Return the flags of a project that are not deleted."""
    return [
        row.data
        for row in state.store.collection(fill_path(FLAGS, [str(project_id)]))
        if not row.deleted and not row.data.get("deleted")
    ]


def group_types(state: EmulatorState, project_id: int) -> dict[int, str]:
    """Return the names of a project's group types, by index."""
    store = state.events_if_available
    types = {} if store is None else store.project(project_id).groups.types
    return {index: name for name, index in types.items()}


def create_evaluator(
    state: EmulatorState, subject: Subject, flags: Iterable[Mapping[str, Any]]
) -> Evaluator:
    """Create an evaluator with the emulator's current time."""
    return Evaluator(flags, subject, state.settings.clock())


def create_subject(
    state: EmulatorState, project_id: int, request_body: Mapping[str, Any]
) -> Subject:
    """Create the subject of a request; its properties override the stored ones.

    Args:
        state: The emulator's state.
        project_id: The project.
        request_body: `distinct_id` and optionally `person_properties`, `groups`,
            `group_properties`, `device_id` and `$anon_distinct_id`, as sent to `/flags`.
    """
    distinct_id = str(request_body["distinct_id"])
    person = _find_person(state, project_id, distinct_id)
    stored = {} if person is None else person.properties
    overrides = as_object(request_body.get("person_properties"))
    device = (
        request_body.get("device_id")
        or request_body.get("$device_id")
        or overrides.get("$device_id")
    )
    anonymous_id = request_body.get("$anon_distinct_id")
    return Subject(
        distinct_id,
        # Conditions can refer to the distinct id like to a property.
        {"distinct_id": distinct_id, **stored, **overrides},
        _groups(state, project_id, request_body),
        None if device is None else str(device),
        None if anonymous_id is None else str(anonymous_id),
        _persisted_overrides(state, project_id, person),
        _cohort_test(state, project_id, None if person is None else person.uuid),
    )


def persist_hash_key_overrides(
    state: EmulatorState, project_id: int, request_body: Mapping[str, Any]
) -> None:
    """Persist the request's `$anon_distinct_id` for each flag with experience continuity.

    Persons keep the variant they had before they were identified. What was persisted before is
    not changed.

    Args:
        state: The emulator's state.
        project_id: The project.
        request_body: As for `create_subject`.
    """
    distinct_id, anonymous_id = (
        str(request_body["distinct_id"]),
        request_body.get("$anon_distinct_id"),
    )
    person = _find_person(state, project_id, distinct_id)
    if anonymous_id is None or person is None:
        return
    persisted = _persisted_overrides(state, project_id, person)
    added = {
        str(flag["key"]): str(anonymous_id)
        for flag in project_flags(state, project_id)
        if flag.get("ensure_experience_continuity")
        and flag.get("active", True)
        and flag["key"] not in persisted
    }
    if added:
        overrides = state.store.singletons.setdefault(_OVERRIDES.format(project_id), {})
        overrides[distinct_id] = {**overrides.get(distinct_id, {}), **added}


def _find_person(state: EmulatorState, project_id: int, distinct_id: str) -> Person | None:
    """Return the person with a distinct id; None if there is none, or no event store."""
    # Flags can be evaluated without events, for the properties of the request alone.
    store = state.events_if_available
    return None if store is None else store.project(project_id).persons.find(distinct_id)


def _persisted_overrides(
    state: EmulatorState, project_id: int, person: Person | None
) -> dict[str, str]:
    overrides: Mapping[str, dict[str, str]] = state.store.singletons.get(
        _OVERRIDES.format(project_id), {}
    )
    merged: dict[str, str] = {}
    # The override of the person's first distinct id wins, as its other ids were merged later.
    for distinct_id in person.distinct_ids if person is not None and overrides else ():
        merged = {**overrides.get(distinct_id, {}), **merged}
    return merged


def _groups(
    state: EmulatorState, project_id: int, request_body: Mapping[str, Any]
) -> dict[int, tuple[str, Mapping[str, Any]]]:
    store = state.events_if_available
    if store is None:
        return {}
    groups = store.project(project_id).groups
    overrides = as_object(request_body.get("group_properties"))
    subject_groups: dict[int, tuple[str, Mapping[str, Any]]] = {}
    for name, value in as_object(request_body.get("groups")).items():
        index, key = groups.types.get(name), str(value)
        if index is None or not key:
            continue
        group = groups.find(index, key)
        stored = {} if group is None else group.properties
        subject_groups[index] = (
            key,
            {"$group_key": key, **stored, **as_object(overrides.get(name))},
        )
    return subject_groups


def _cohort_test(
    state: EmulatorState, project_id: int, person: str | None
) -> Callable[[str], bool | Mapping[str, Any]]:
    cohorts = {str(row.data["id"]): row for row in live_cohorts(state, str(project_id))}

    def in_cohort(cohort_id: str) -> bool | Mapping[str, Any]:
        row = cohorts.get(cohort_id)
        if row is None:
            raise EvaluationError(f"There is no cohort {cohort_id}")
        if is_dynamic(row):
            from posthog_emulator.features.cohorts import membership

            filters = row.data.get("filters")
            properties = as_object(filters).get("properties")
            # Filters on person properties are evaluated for the request, whose properties may
            # override the stored ones; for other cohorts the calculated members count.
            if is_object(properties) and not membership.is_behavioral(filters):
                return properties
            membership.recalculate(state, str(project_id))
            error = membership.cohort_error(state, str(project_id), int(cohort_id))
            if error is not None:
                raise EvaluationError(f"The members of the cohort could not be calculated. {error}")
        if person is None:
            return False
        return state.events.cohorts.is_member(project_id, int(cohort_id), person)

    return in_cohort
