"""Static cohorts: whom they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncposthog.emulator.guards import as_object, is_array
from asyncposthog.emulator.objects.handlers import created, item_answer
from asyncposthog.emulator.objects.store import Row
from asyncposthog.emulator.schemas.formats import fits
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer, json_answer
from asyncposthog.emulator.web.problems import invalid, not_found

if TYPE_CHECKING:
    from asyncposthog.emulator.events.windows import Members

__all__ = ["SPECIALS"]


def _create(call: Call) -> Answer:
    call.locate()
    row = created(call)
    wanted: Any = as_object(call.body).get("_create_static_person_ids")
    if row.data.get("is_static") and wanted:
        _admit(call, row, wanted)
    return item_answer(call, row)


def _add(call: Call) -> Answer:
    row = _static(call)
    wanted: Any = as_object(call.body).get("person_ids")
    if not is_array(wanted) or not wanted:
        raise invalid("person_ids is required", "person_ids", "required")
    _admit(call, row, wanted)
    return json_answer(200, {"success": True})


def _remove(call: Call) -> Answer:
    row = _static(call)
    wanted = as_object(call.body).get("person_id")
    if not isinstance(wanted, str) or not fits("uuid", wanted):
        raise invalid("person_id is required", "person_id", "required")
    members = _members(call, row)
    if members.find(wanted) is None:
        raise not_found("Person not found.")
    members.dismiss(wanted)
    row.data["count"] = sum(1 for _ in members)
    return json_answer(200, {"success": True})


def _static(call: Call) -> Row:
    call.locate(1)
    row = call.world.store.bucket(f"/api/projects/{call.values[0]}/cohorts/").find(call.values[1])
    if row is None or row.deleted:
        raise not_found()
    if not row.data.get("is_static"):
        raise invalid("Cannot change the persons of a cohort that is not static.")
    return row


def _admit(call: Call, row: Row, wanted: list[Any]) -> None:
    from asyncposthog.emulator.events.desk import PersonDesk

    uuids = [str(one).lower() for one in wanted if fits("uuid", str(one))]
    known = PersonDesk(call.world.events, int(call.values[0])).with_uuids(uuids)
    members = _members(call, row)
    members.admit([person.uuid for person in known])
    row.data["count"] = sum(1 for _ in members)


def _members(call: Call, row: Row) -> Members:
    from asyncposthog.emulator.events.windows import Members

    return Members(call.world.events, int(call.values[0]), int(row.key))


SPECIALS: Mapping[str, Special] = {
    "cohorts.create": Special(_create),
    "cohorts.add_persons_to_static_cohort": Special(_add),
    "cohorts.remove_person_from_static_cohort": Special(_remove),
}
