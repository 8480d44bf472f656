"""Cohorts: whom they hold, and when those of dynamic ones are found."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.handlers import DEFAULT_HANDLERS, create_object, object_response
from posthog_emulator.schema.validation import matches_format
from posthog_emulator.state import PROJECTS, ApiCall, EmulatorState

if TYPE_CHECKING:
    from posthog_emulator.features.events.collections import CohortMembers

__all__ = ["OPERATION_HANDLERS", "recalculate_all"]


def _create(call: ApiCall) -> Response:
    call.resolve_parents()
    row = create_object(call)
    wanted: Any = as_object(call.body).get("_create_static_person_ids")
    if row.data.get("is_static") and wanted:
        _add_members(call, row, wanted)
    return _changed_cohort_response(call, row)


def _changed_cohort_response(call: ApiCall, row: StoredObject) -> Response:
    """Answer with a cohort that was changed; a dynamic one is calculated afterwards."""
    if not row.data.get("is_static") and not row.deleted:
        row.data["is_calculating"] = True
    return object_response(call, row)


def _update(call: ApiCall) -> Response:
    before = _definition(call.get_object())
    answer = DEFAULT_HANDLERS["update" if call.request.method == "PATCH" else "replace"](call)
    row = call.get_object()
    return answer if _definition(row) == before else _changed_cohort_response(call, row)


def _definition(row: StoredObject) -> list[Any]:
    return [copy.deepcopy(row.data.get(name)) for name in ("filters", "groups", "query")]


def _recalculate(call: ApiCall, only: tuple[StoredObject, ...] | None = None) -> None:
    from .membership import recalculate

    recalculate(call.state, call.path_values[0], rows=only)


def _get(call: ApiCall) -> Response:
    row = call.get_object()
    if not row.data.get("is_static"):
        _recalculate(call, (row,))
    return object_response(call, row)


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    _recalculate(call)
    return DEFAULT_HANDLERS["list"](call)


def _persons(call: ApiCall) -> Response:
    from .membership import project_cohorts

    call.resolve_parents()
    _recalculate(call)
    number = str(call.path_values[1])
    known = project_cohorts(call.state, call.path_values[0]).errors
    problem = known.get(int(number)) if number.isdigit() else None
    if problem is not None:
        raise invalid(f"The members of the cohort are not known. {problem}")
    return DEFAULT_HANDLERS["list"](call)


def _add_persons(call: ApiCall) -> Response:
    row = _static_cohort(call)
    wanted: Any = as_object(call.body).get("person_ids")
    if not is_array(wanted) or not wanted:
        raise invalid("person_ids is required", "person_ids", "required")
    _add_members(call, row, wanted)
    return json_response(200, {"success": True})


def _remove_person(call: ApiCall) -> Response:
    row = _static_cohort(call)
    wanted = as_object(call.body).get("person_id")
    if not isinstance(wanted, str) or not matches_format("uuid", wanted):
        raise invalid("person_id is required", "person_id", "required")
    members = _members(call, row)
    if members.find(wanted) is None:
        raise not_found("Person not found.")
    members.discard(wanted)
    row.data["count"] = sum(1 for _ in members)
    return json_response(200, {"success": True})


def _static_cohort(call: ApiCall) -> StoredObject:
    call.resolve_parents(1)
    row = call.state.store.collection(f"/api/projects/{call.path_values[0]}/cohorts/").find(
        call.path_values[1]
    )
    if row is None or row.deleted:
        raise not_found()
    if not row.data.get("is_static"):
        raise invalid("Cannot change the persons of a cohort that is not static.")
    return row


def _add_members(call: ApiCall, row: StoredObject, wanted: list[Any]) -> None:
    from posthog_emulator.features.persons.repository import PersonRepository

    uuids = [str(one).lower() for one in wanted if matches_format("uuid", str(one))]
    known = PersonRepository(call.state.events, int(call.path_values[0])).find_by_uuids(uuids)
    members = _members(call, row)
    members.add([person.uuid for person in known])
    row.data["count"] = sum(1 for _ in members)


def _members(call: ApiCall, row: StoredObject) -> CohortMembers:
    from posthog_emulator.features.events.collections import CohortMembers

    return CohortMembers(call.state.events, int(call.path_values[0]), int(row.key))


def recalculate_all(state: EmulatorState) -> None:
    """Find the members of every dynamic cohort anew."""
    for project in state.store.collection(PROJECTS):
        if any(not row.data.get("is_static") for row in state.store.collection(_path(project.key))):
            from .membership import recalculate

            recalculate(state, project.key, force=True)


def _path(project: str) -> str:
    return f"/api/projects/{project}/cohorts/"


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "cohorts.create": OperationHandler(_create),
    "cohorts.update": OperationHandler(_update),
    "cohorts.replace": OperationHandler(_update),
    "cohorts.get": OperationHandler(_get),
    "cohorts.list": OperationHandler(_list),
    "cohorts.persons": OperationHandler(_persons),
    "cohorts.add_persons_to_static_cohort": OperationHandler(_add_persons),
    "cohorts.remove_person_from_static_cohort": OperationHandler(_remove_person),
}
