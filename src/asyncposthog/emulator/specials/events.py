"""Events as the old API lists them, out of the event store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asyncposthog.emulator.events.conditions import condition, conditions_of
from asyncposthog.emulator.objects.paging import events_asked, paged
from asyncposthog.emulator.objects.store import Row
from asyncposthog.emulator.schemas.formats import fits
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.specials.values import common_values
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.messages import Answer, json_answer
from asyncposthog.emulator.web.problems import Problem, invalid, not_found

if TYPE_CHECKING:
    from asyncposthog.emulator.events.desk import PersonDesk
    from asyncposthog.emulator.events.people import Person

__all__ = ["SPECIALS"]

_AHEAD = timedelta(seconds=5)


def _list(call: Call) -> Answer:
    from asyncposthog.emulator.events.shown import COLUMNS, event_row

    call.locate()
    asked = events_asked(call)
    latest = asked.before or call.world.settings.clock() + _AHEAD
    conditions, values = ["team_id = ?", "timestamp < ?"], [_project(call), _plain(latest)]
    if asked.after is not None:
        conditions, values = [*conditions, "timestamp > ?"], [*values, _plain(asked.after)]
    for sql, given in _filters(call):
        conditions.append(sql)
        values += given
    way = "ASC" if asked.ascending else "DESC"
    rows = call.world.events.read(
        f"SELECT {COLUMNS} FROM events WHERE {' AND '.join(conditions)} "  # noqa: S608
        f"ORDER BY timestamp {way}, rowid {way} LIMIT ? OFFSET ?",
        [*values, asked.limit + 1, asked.offset],
    )
    return paged(call, _with_persons(call, [event_row(columns) for columns in rows]))


def _filters(call: Call) -> list[tuple[str, list[Any]]]:
    request = call.request
    for name in ("select", "where"):
        if request.value(name) is not None:
            raise invalid(f"The emulator cannot list events by '{name}'.", name)
    found: list[tuple[str, list[Any]]] = []
    for name in ("event", "distinct_id"):
        value = request.value(name)
        if value:
            found.append((f"{name} = ?", [value]))
    person = request.value("person_id")
    if person:
        known = _desk(call).find(person) if person.isdigit() or fits("uuid", person) else None
        found.append(("person_id = ?::UUID", [known.uuid]) if known else ("false", []))
    for one in conditions_of(request.value("properties")):
        sql, given = condition("properties", one)
        if one.get("type") == "person":
            sql, given = condition("p.properties", one)
            sql = f"person_id IN (SELECT p.id FROM persons p WHERE {sql})"  # noqa: S608
        found.append((sql, given))
    return found


def _with_persons(call: Call, rows: list[Row]) -> list[Row]:
    """The events with whoever did them, if that was asked for."""
    if (call.request.value("include_person") or "").lower() not in {"true", "1"}:
        return rows
    desk = _desk(call)
    for row in rows:
        distinct_id = row.data["distinct_id"]
        for person in desk.with_distinct_ids([distinct_id]):
            row.data["person"] = _shown(person, distinct_id)
    return rows


def _shown(person: Person, distinct_id: str) -> dict[str, Any]:
    return {
        "is_identified": person.identified,
        "distinct_ids": [distinct_id],
        "properties": dict(person.properties),
    }


def _get(call: Call) -> Answer:
    call.locate(1)
    if not fits("uuid", call.values[1]):
        # Not the envelope: `attr` is missing, and the code is one that others call invalid_input.
        told = {"detail": "Invalid UUID", "code": "invalid", "type": "validation_error"}
        raise Problem(400, body=told)
    row = call.world.store.bucket(f"/api/projects/{call.values[0]}/events/").find(call.values[1])
    if row is None:
        raise not_found()
    distinct_id = row.data["distinct_id"]
    for person in _desk(call).with_distinct_ids([distinct_id]):
        row.data["person"] = _shown(person, distinct_id)
    return json_answer(call.operation.result.status, row.data)


def _values(call: Call) -> Answer:
    call.locate()
    names = call.query("event_name")
    if not names:
        raise invalid("This field is required.", "event_name", "required")
    key = call.request.value("key")
    if not key:
        raise invalid("This field is required.", "key", "required")
    found = common_values(
        call,
        "events",
        key,
        call.request.value("value"),
        ["event IN (SELECT unnest(?::VARCHAR[]))"],
        [names],
    )
    return json_answer(200, {"results": found, "refreshing": False})


def _desk(call: Call) -> PersonDesk:
    from asyncposthog.emulator.events.desk import PersonDesk

    return PersonDesk(call.world.events, _project(call))


def _project(call: Call) -> int:
    return int(call.values[0])


def _plain(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


SPECIALS: Mapping[str, Special] = {
    "events.list": Special(_list),
    "events.get": Special(_get),
    "events.values": Special(_values),
}
