"""What the emulator's state has to say about flags: the flags, and whom they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.state import PROJECTS, EmulatorState, fill_path

from .conditions import EvaluationError
from .evaluator import Evaluator, Subject

if TYPE_CHECKING:
    from posthog_emulator.event_store.persons import Person

__all__ = [
    "COHORTS",
    "FLAGS",
    "cohorts_by_id",
    "create_evaluator",
    "create_subject",
    "group_types",
    "persist_hash_key_overrides",
    "project_flags",
    "project_id_for_token",
]

FLAGS = "/api/projects/{}/feature_flags/"
COHORTS = "/api/projects/{}/cohorts/"
_MEMBERS = "/api/projects/{}/cohorts/{}/persons/"
_OVERRIDES = "/flags/{}/before/"
"""Where the state keeps who somebody was before, by distinct id and flag."""


def project_id_for_token(state: EmulatorState, token: str) -> int | None:
    """The project with a token; None: there is none."""
    for row in state.store.collection(PROJECTS):
        if not row.deleted and row.data.get("api_token") == token:
            return int(row.data["id"])
    return None


def project_flags(state: EmulatorState, project_id: int) -> list[dict[str, Any]]:
    """The flags of a project that are not deleted."""
    return [
        row.data
        for row in state.store.collection(fill_path(FLAGS, [str(project_id)]))
        if not row.deleted and not row.data.get("deleted")
    ]


def cohorts_by_id(state: EmulatorState, project_id: int) -> dict[str, dict[str, Any]]:
    """The cohorts of a project that are not deleted, by id."""
    return {
        str(row.data["id"]): row.data
        for row in state.store.collection(fill_path(COHORTS, [str(project_id)]))
        if not row.deleted
    }


def group_types(state: EmulatorState, project_id: int) -> dict[int, str]:
    """The names of a project's group types, by index."""
    types = state.events.project(project_id).groups.types
    return {index: name for name, index in types.items()}


def create_evaluator(
    state: EmulatorState, subject: Subject, flags: Iterable[Mapping[str, Any]]
) -> Evaluator:
    """What evaluates flags at this moment."""
    return Evaluator(flags, subject, state.settings.clock())


def create_subject(
    state: EmulatorState, project_id: int, request_body: Mapping[str, Any]
) -> Subject:
    """Who a request is about: what is known of them, and what the request says over it.

    Args:
        state: The emulator's state.
        project_id: The project.
        asked: `distinct_id`, and perhaps `person_properties`, `groups`, `group_properties`,
            `device_id` and `$anon_distinct_id`, as in a request for flags.
    """
    distinct_id = str(request_body["distinct_id"])
    person = state.events.project(project_id).persons.find(distinct_id)
    stored = {} if person is None else person.properties
    given = as_object(request_body.get("person_properties"))
    device = (
        request_body.get("device_id") or request_body.get("$device_id") or given.get("$device_id")
    )
    before = request_body.get("$anon_distinct_id")
    return Subject(
        distinct_id,
        {"distinct_id": distinct_id, **stored, **given},
        _groups(state, project_id, request_body),
        None if device is None else str(device),
        None if before is None else str(before),
        _persisted_overrides(state, project_id, person),
        _cohort_test(state, project_id, None if person is None else person.uuid),
    )


def persist_hash_key_overrides(
    state: EmulatorState, project_id: int, request_body: Mapping[str, Any]
) -> None:
    """Keep who a known person was before, for flags with experience continuity, once for each.

    Args:
        state: The emulator's state.
        project_id: The project.
        asked: A request for flags, as for `subject_of`.
    """
    distinct_id, before = str(request_body["distinct_id"]), request_body.get("$anon_distinct_id")
    person = state.events.project(project_id).persons.find(distinct_id)
    if before is None or person is None:
        return
    known = _persisted_overrides(state, project_id, person)
    fresh = {
        str(flag["key"]): str(before)
        for flag in project_flags(state, project_id)
        if flag.get("ensure_experience_continuity")
        and flag.get("active", True)
        and flag["key"] not in known
    }
    if fresh:
        held = state.store.singletons.setdefault(_OVERRIDES.format(project_id), {})
        held[distinct_id] = {**held.get(distinct_id, {}), **fresh}


def _persisted_overrides(
    state: EmulatorState, project_id: int, person: Person | None
) -> dict[str, str]:
    held: Mapping[str, dict[str, str]] = state.store.singletons.get(
        _OVERRIDES.format(project_id), {}
    )
    found: dict[str, str] = {}
    for one in person.distinct_ids if person is not None and held else ():
        found = {**held.get(one, {}), **found}
    return found


def _groups(
    state: EmulatorState, project_id: int, request_body: Mapping[str, Any]
) -> dict[int, tuple[str, Mapping[str, Any]]]:
    known = state.events.project(project_id).groups
    given = as_object(request_body.get("group_properties"))
    found: dict[int, tuple[str, Mapping[str, Any]]] = {}
    for name, value in as_object(request_body.get("groups")).items():
        index, key = known.types.get(name), str(value)
        if index is None or not key:
            continue
        group = known.find(index, key)
        stored = {} if group is None else group.properties
        found[index] = (key, {"$group_key": key, **stored, **as_object(given.get(name))})
    return found


def _cohort_test(
    state: EmulatorState, project_id: int, person: str | None
) -> Callable[[str], bool | Mapping[str, Any]]:
    cohorts = cohorts_by_id(state, project_id)

    def belongs(cohort_id: str) -> bool | Mapping[str, Any]:
        cohort = cohorts.get(cohort_id)
        if cohort is None:
            raise EvaluationError(f"There is no cohort {cohort_id}")
        rule = as_object(cohort.get("filters")).get("properties")
        if not cohort.get("is_static"):
            from posthog_emulator.features.cohorts import membership as found_by

            if is_object(rule) and not found_by.is_behavioral(cohort["filters"]):
                return rule
            found_by.recalculate(state, str(project_id))
            problem = found_by.project_cohorts(state, str(project_id)).errors.get(int(cohort_id))
            if problem is not None:
                raise EvaluationError(f"The members of the cohort are not known. {problem}")
        if person is None:
            return False
        listed = state.store.collection(fill_path(_MEMBERS, [str(project_id), cohort_id]))
        if any(person in (row.data.get("uuid"), row.data.get("id")) for row in listed):
            return True
        found = state.events.read(
            "SELECT 1 FROM cohort_people WHERE team_id = ? AND cohort_id = ? AND person_id = ?",
            [project_id, int(cohort_id), person],
        )
        return bool(found)

    return belongs
