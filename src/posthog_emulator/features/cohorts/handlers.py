"""Cohort endpoints: static members, and recalculation of dynamic cohorts."""

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

from .lifecycle import cohort_uses
from .stored_cohorts import cohorts_collection, is_dynamic

if TYPE_CHECKING:
    from posthog_emulator.features.events.collections import CohortMembers

__all__ = ["OPERATION_HANDLERS", "recalculate_all"]


def _create(call: ApiCall) -> Response:
    call.resolve_parents()
    row = create_object(call)
    uuids: Any = as_object(call.body).get("_create_static_person_ids")
    if uuids and not is_dynamic(row):
        _add_members(call, row, uuids)
    return _changed_cohort_response(call, row)


def _changed_cohort_response(call: ApiCall, row: StoredObject) -> Response:
    """Respond with a changed cohort, a dynamic one still marked as being calculated."""
    # The server calculates in the background; here the next read calculates the members.
    if is_dynamic(row) and not row.deleted:
        row.data["is_calculating"] = True
    return object_response(call, row)


def _update(call: ApiCall) -> Response:
    before = _definition(call.get_object())
    response = DEFAULT_HANDLERS["update" if call.request.method == "PATCH" else "replace"](call)
    row = call.get_object()
    return response if _definition(row) == before else _changed_cohort_response(call, row)


def _definition(row: StoredObject) -> list[Any]:
    return [copy.deepcopy(row.data.get(name)) for name in ("filters", "groups", "query")]


def _recalculate(call: ApiCall, rows: tuple[StoredObject, ...] | None = None) -> None:
    # Imported here because it loads the query engine, which creating static cohorts does not need.
    from .membership import recalculate

    recalculate(call.state, call.path_values[0], rows=rows)


def _get(call: ApiCall) -> Response:
    row = call.get_object()
    if is_dynamic(row):
        _recalculate(call, (row,))
    return object_response(call, row)


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    _recalculate(call)
    return DEFAULT_HANDLERS["list"](call)


def _persons(call: ApiCall) -> Response:
    from .membership import cohort_error

    call.resolve_parents()
    _recalculate(call)
    cohort_id = str(call.path_values[1])
    is_number = cohort_id.isdigit()
    error = cohort_error(call.state, call.path_values[0], int(cohort_id)) if is_number else None
    if error is not None:
        raise invalid(f"The members of the cohort could not be calculated. {error}")
    return DEFAULT_HANDLERS["list"](call)


def _add_persons(call: ApiCall) -> Response:
    row = _static_cohort(call)
    uuids: Any = as_object(call.body).get("person_ids")
    if not is_array(uuids) or not uuids:
        raise invalid("person_ids is required", "person_ids", "required")
    _add_members(call, row, uuids)
    return json_response(200, {"success": True})


def _remove_person(call: ApiCall) -> Response:
    row = _static_cohort(call)
    uuid = as_object(call.body).get("person_id")
    if not isinstance(uuid, str) or not matches_format("uuid", uuid):
        raise invalid("person_id is required", "person_id", "required")
    members = _members(call, row)
    if members.find(uuid) is None:
        raise not_found("Person not found.")
    members.discard(uuid)
    row.data["count"] = sum(1 for _ in members)
    return json_response(200, {"success": True})


def _static_cohort(call: ApiCall) -> StoredObject:
    call.resolve_parents(1)
    row = cohorts_collection(call.state, call.path_values[0]).find(call.path_values[1])
    if row is None or row.deleted:
        raise not_found()
    if is_dynamic(row):
        raise invalid("Cannot change the persons of a cohort that is not static.")
    return row


def _add_members(call: ApiCall, row: StoredObject, person_ids: list[Any]) -> None:
    from posthog_emulator.features.persons.repository import PersonRepository

    # As on the server, ids that are malformed or belong to no person are ignored.
    uuids = [str(value).lower() for value in person_ids if matches_format("uuid", str(value))]
    persons = PersonRepository(call.state.events, int(call.path_values[0])).find_by_uuids(uuids)
    members = _members(call, row)
    members.add([person.uuid for person in persons])
    row.data["count"] = sum(1 for _ in members)


def _members(call: ApiCall, row: StoredObject) -> CohortMembers:
    from posthog_emulator.features.events.collections import CohortMembers

    return CohortMembers(call.state.events, int(call.path_values[0]), int(row.key))


def _used_in(call: ApiCall) -> Response:
    call.resolve_parents()
    uses = cohort_uses(call.state, call.project, call.parents[1])
    return json_response(call.operation.result.status, uses)


def recalculate_all(state: EmulatorState) -> None:
    """Recalculate the members of all dynamic cohorts."""
    for project in state.store.collection(PROJECTS):
        # The query engine is loaded only if there is something to calculate.
        if any(is_dynamic(row) for row in cohorts_collection(state, project.key)):
            from .membership import recalculate

            recalculate(state, project.key, force=True)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "cohorts.create": OperationHandler(_create),
    "cohorts.update": OperationHandler(_update),
    "cohorts.replace": OperationHandler(_update),
    "cohorts.get": OperationHandler(_get),
    "cohorts.list": OperationHandler(_list),
    "cohorts.used_in": OperationHandler(_used_in),
    "cohorts.persons": OperationHandler(_persons),
    "cohorts.add_persons": OperationHandler(_add_persons),
    "cohorts.remove_person": OperationHandler(_remove_person),
}
