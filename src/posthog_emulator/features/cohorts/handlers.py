"""Cohorts: whom they hold, and when those of dynamic ones are found."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Answer, json_answer
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import Row
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.handlers import HANDLERS, created, item_answer
from posthog_emulator.schema.validation import fits
from posthog_emulator.state import PROJECTS, Call, EmulatorState

if TYPE_CHECKING:
    from posthog_emulator.features.events.collections import CohortMembers

__all__ = ["OPERATION_HANDLERS", "recalculate_all"]


def _create(call: Call) -> Answer:
    call.locate()
    row = created(call)
    wanted: Any = as_object(call.body).get("_create_static_person_ids")
    if row.data.get("is_static") and wanted:
        _add_members(call, row, wanted)
    return _changed_cohort_response(call, row)


def _changed_cohort_response(call: Call, row: Row) -> Answer:
    """Answer with a cohort that was changed; a dynamic one is calculated afterwards."""
    if not row.data.get("is_static") and not row.deleted:
        row.data["is_calculating"] = True
    return item_answer(call, row)


def _update(call: Call) -> Answer:
    before = _definition(call.row())
    answer = HANDLERS["update" if call.request.method == "PATCH" else "replace"](call)
    row = call.row()
    return answer if _definition(row) == before else _changed_cohort_response(call, row)


def _definition(row: Row) -> list[Any]:
    return [copy.deepcopy(row.data.get(name)) for name in ("filters", "groups", "query")]


def _recalculate(call: Call, only: tuple[Row, ...] | None = None) -> None:
    from .membership import recalculate

    recalculate(call.world, call.values[0], rows=only)


def _get(call: Call) -> Answer:
    row = call.row()
    if not row.data.get("is_static"):
        _recalculate(call, (row,))
    return item_answer(call, row)


def _list(call: Call) -> Answer:
    call.locate()
    _recalculate(call)
    return HANDLERS["list"](call)


def _persons(call: Call) -> Answer:
    from .membership import project_cohorts

    call.locate()
    _recalculate(call)
    number = str(call.values[1])
    known = project_cohorts(call.world, call.values[0]).errors
    problem = known.get(int(number)) if number.isdigit() else None
    if problem is not None:
        raise invalid(f"The members of the cohort are not known. {problem}")
    return HANDLERS["list"](call)


def _add_persons(call: Call) -> Answer:
    row = _static_cohort(call)
    wanted: Any = as_object(call.body).get("person_ids")
    if not is_array(wanted) or not wanted:
        raise invalid("person_ids is required", "person_ids", "required")
    _add_members(call, row, wanted)
    return json_answer(200, {"success": True})


def _remove_person(call: Call) -> Answer:
    row = _static_cohort(call)
    wanted = as_object(call.body).get("person_id")
    if not isinstance(wanted, str) or not fits("uuid", wanted):
        raise invalid("person_id is required", "person_id", "required")
    members = _members(call, row)
    if members.find(wanted) is None:
        raise not_found("Person not found.")
    members.discard(wanted)
    row.data["count"] = sum(1 for _ in members)
    return json_answer(200, {"success": True})


def _static_cohort(call: Call) -> Row:
    call.locate(1)
    row = call.world.store.bucket(f"/api/projects/{call.values[0]}/cohorts/").find(call.values[1])
    if row is None or row.deleted:
        raise not_found()
    if not row.data.get("is_static"):
        raise invalid("Cannot change the persons of a cohort that is not static.")
    return row


def _add_members(call: Call, row: Row, wanted: list[Any]) -> None:
    from posthog_emulator.features.persons.repository import PersonRepository

    uuids = [str(one).lower() for one in wanted if fits("uuid", str(one))]
    known = PersonRepository(call.world.events, int(call.values[0])).find_by_uuids(uuids)
    members = _members(call, row)
    members.add([person.uuid for person in known])
    row.data["count"] = sum(1 for _ in members)


def _members(call: Call, row: Row) -> CohortMembers:
    from posthog_emulator.features.events.collections import CohortMembers

    return CohortMembers(call.world.events, int(call.values[0]), int(row.key))


def recalculate_all(world: EmulatorState) -> None:
    """Find the members of every dynamic cohort anew."""
    for project in world.store.bucket(PROJECTS):
        if any(not row.data.get("is_static") for row in world.store.bucket(_path(project.key))):
            from .membership import recalculate

            recalculate(world, project.key, force=True)


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
