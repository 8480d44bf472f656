"""Persons: made by events, changed eventually, deleted by the presence of a flag."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from asyncposthog.emulator.filters import chosen
from asyncposthog.emulator.formats import fits
from asyncposthog.emulator.guards import as_object, is_array, is_object
from asyncposthog.emulator.handlers import item_answer
from asyncposthog.emulator.messages import Answer, json_answer, text_answer
from asyncposthog.emulator.paging import paged
from asyncposthog.emulator.problems import Problem, invalid
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.store import Row
from asyncposthog.emulator.world import Call, World

__all__ = ["REFUSALS", "SPECIALS", "settle"]

_NOTE = "persons"
_MOST = 1000

REFUSALS: Mapping[tuple[str, str], str] = {
    ("POST", "/api/projects/{}/persons/"): (
        "Creating persons via this API is not allowed. Persons are created by events: "
        "capture one with $set properties."
    ),
}


@dataclass(slots=True)
class _Pending:
    """A change that was accepted and cannot be seen yet."""

    row: Row
    set: dict[str, Any] = field(default_factory=dict[str, Any])
    unset: tuple[str, ...] = ()
    reads: int = 0
    """How many more reads of persons are not to see it."""


def _pending(world: World) -> list[_Pending]:
    return world.notes.setdefault(_NOTE, [])


def settle(world: World) -> None:
    """Let every accepted change be seen."""
    for change in _pending(world):
        _apply(change)
    world.notes[_NOTE] = []


def _apply(change: _Pending) -> None:
    held: dict[str, Any] = change.row.data.get("properties") or {}
    merged = {**held, **change.set}
    change.row.data["properties"] = {k: v for k, v in merged.items() if k not in change.unset}


def _tick(world: World) -> None:
    """Count one read: changes that have waited long enough are seen from now on."""
    waiting: list[_Pending] = []
    for change in _pending(world):
        if change.reads <= 0:
            _apply(change)
        else:
            change.reads -= 1
            waiting.append(change)
    world.notes[_NOTE] = waiting


def _accept(call: Call, row: Row, set: dict[str, Any], unset: tuple[str, ...] = ()) -> None:
    _pending(call.world).append(_Pending(row, set, unset, call.world.settings.person_lag))


def _missing(attr: str) -> NoReturn:
    # The view hands code and message to the exception in the wrong order.
    sentence = "This field is required."
    raise Problem(400, code=sentence, detail="required", attr=attr)


def _person(call: Call) -> Row:
    named = call.values[1]
    if not named.isdigit() and not fits("uuid", named):
        raise invalid(
            f"The ID provided does not look like a personID. If you are using a distinct_id, "
            f"please use /persons?distinct_id={named} instead."
        )
    call.locate(1)
    bucket = call.world.store.bucket(f"/api/projects/{call.values[0]}/persons/")
    row = bucket.find(named)
    if row is None:
        raise Problem(404)
    return row


def _get(call: Call) -> Answer:
    _tick(call.world)
    return item_answer(call, _person(call))


def _list(call: Call) -> Answer:
    _tick(call.world)
    call.locate()
    rows = chosen(call)
    for name, test in (("distinct_id", _has_distinct_id), ("email", _has_email)):
        value = call.request.value(name)
        if value is not None:
            rows = [row for row in rows if test(row, value)]
    for condition in _conditions(call):
        rows = [row for row in rows if _holds(row, condition)]
    rows.sort(key=lambda row: (str(row.data.get("created_at")), row.sequence), reverse=True)
    return _csv(call, rows) if call.request.value("format") == "csv" else paged(call, rows)


def _has_distinct_id(row: Row, value: str) -> bool:
    return value in row.data.get("distinct_ids", ())


def _has_email(row: Row, value: str) -> bool:
    return _properties(row).get("email") == value


def _properties(row: Row) -> Mapping[str, Any]:
    held: Any = row.data.get("properties")
    return as_object(held)


def _conditions(call: Call) -> list[dict[str, Any]]:
    text = "".join(call.request.values("properties")[-1:])
    if not text:
        return []
    try:
        given = json.loads(text)
    except ValueError:
        raise invalid("Properties are unparsable!", "properties") from None
    conditions: list[Any] = given if is_array(given) else [given]
    if not all(is_object(c) and "key" in c for c in conditions):
        raise invalid("Properties are unparsable!", "properties")
    return conditions


def _holds(row: Row, condition: Mapping[str, Any]) -> bool:
    held = _properties(row).get(condition["key"])
    wanted = condition.get("value")
    several = wanted if is_array(wanted) else [wanted]
    match condition.get("operator", "exact"):
        case "exact":
            return held is not None and str(held) in [str(value) for value in several]
        case "is_not":
            return str(held) not in [str(value) for value in several]
        case "icontains":
            return held is not None and str(wanted).casefold() in str(held).casefold()
        case "is_set":
            return condition["key"] in _properties(row)
        case "is_not_set":
            return condition["key"] not in _properties(row)
        case operator:
            raise invalid(f"The emulator cannot filter by '{operator}'.", "properties")


def _csv(call: Call, rows: list[Row]) -> Answer:
    names = list(dict.fromkeys(name for row in rows for name in row.data))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for row in rows:
        values = [row.data.get(name) for name in names]
        writer.writerow([v if isinstance(v, str) else json.dumps(v) for v in values])
    return text_answer(call.operation.result.status, out.getvalue(), "text/csv")


def _body(call: Call) -> dict[str, Any]:
    return as_object(call.body)


def _update(call: Call) -> Answer:
    row = _person(call)
    properties = _body(call).get("properties")
    if not is_object(properties):
        _missing("properties")
    _accept(call, row, properties)
    return Answer(202)


def _update_property(call: Call) -> Answer:
    row = _person(call)
    body = _body(call)
    for name in ("value", "key"):
        if body.get(name) is None:
            _missing(name)
    _accept(call, row, {str(body["key"]): body["value"]})
    return Answer(202)


def _delete_property(call: Call) -> Answer:
    row = _person(call)
    name = _body(call).get("$unset")
    if not isinstance(name, str):
        _missing("$unset")
    _accept(call, row, {}, (name,))
    return json_answer(201, {"success": True})


def _delete(call: Call) -> Answer:
    row = _person(call)
    flags = {name for name, _ in call.request.query}
    _remove(
        call,
        row,
        events="delete_events" in flags,
        keep="keep_person" in flags,
    )
    return Answer(202)


def _remove(call: Call, row: Row, *, events: bool, keep: bool) -> None:
    store, project = call.world.store, call.values[0]
    if events:
        bucket = store.bucket(f"/api/projects/{project}/events/")
        owned = set(row.data.get("distinct_ids", ()))
        for event in [e for e in bucket if e.data.get("distinct_id") in owned]:
            del bucket.rows[event.key]
    if not keep:
        store.bucket(f"/api/projects/{project}/persons/").rows.pop(row.key, None)


def _delete_events(call: Call) -> Answer:
    _remove(call, _person(call), events=True, keep=True)
    return Answer(202)


def _bulk_delete(call: Call) -> Answer:
    call.locate()
    body = _body(call)
    ids: list[str] = body.get("ids") or []
    distinct_ids: list[str] = body.get("distinct_ids") or []
    if ids and distinct_ids:
        raise invalid("You can only provide ids or distinct_ids, not both.")
    if not ids and not distinct_ids:
        raise invalid("You need to specify either distinct_ids or ids")
    if len(ids) + len(distinct_ids) > _MOST:
        raise invalid(f"You can only pass {_MOST} ids in one call")
    bucket = call.world.store.bucket(f"/api/projects/{call.values[0]}/persons/")
    found = [
        row
        for row in bucket
        if row.data.get("uuid") in ids or set(row.data.get("distinct_ids", ())) & set(distinct_ids)
    ]
    # Python truth, as on the server: the string "false" is true.
    keep, events = bool(body.get("keep_person")), bool(body.get("delete_events"))
    for row in found:
        _remove(call, row, events=events, keep=keep)
    answer: dict[str, Any] = {
        "persons_found": len(found),
        "persons_deleted": 0 if keep else len(found),
        "events_queued_for_deletion": events,
        "recordings_queued_for_deletion": bool(body.get("delete_recordings")),
        "deletion_errors": [],
    }
    return json_answer(202, answer)


def _split(call: Call) -> Answer:
    row = _person(call)
    body = _body(call)
    moved, main = body.get("distinct_ids_to_split"), body.get("main_distinct_id")
    if moved and main:
        raise invalid("Give either main_distinct_id or distinct_ids_to_split, not both.")
    held = list[str](row.data.get("distinct_ids", ()))
    kept = [main] if main in held else [one for one in held if one not in (moved or held[1:])]
    world, address = call.world, f"/api/projects/{call.values[0]}/persons/"
    collection = world.plans.collections["/api/projects/{}/persons/"]
    for one in held:
        if one not in kept:
            fresh: dict[str, Any] = {"distinct_ids": [one], "name": one, "properties": {}}
            world.insert(collection, address, fresh, call.project_id)
    row.data["distinct_ids"] = kept
    return json_answer(201, {"success": True})


SPECIALS: Mapping[str, Special] = {
    "persons.list": Special(_list),
    "persons.get": Special(_get),
    "persons.update": Special(_update, validates=False),
    "persons.replace": Special(_update, validates=False),
    "persons.update_property": Special(_update_property, validates=False),
    "persons.delete_property": Special(_delete_property, validates=False),
    "persons.delete": Special(_delete),
    "persons.delete_events": Special(_delete_events),
    "persons.bulk_delete": Special(_bulk_delete),
    "persons.split": Special(_split),
}
