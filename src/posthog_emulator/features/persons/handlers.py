"""Persons: made by events, changed eventually, deleted by the presence of a flag."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, overload

from posthog_emulator.features.events.handlers import most_common_values
from posthog_emulator.features.events.property_filters import filter_sql, parse_filters
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.http.messages import Answer, json_answer, text_answer
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.objects.store import Row
from posthog_emulator.operation_handler import OperationHandler, validate_body
from posthog_emulator.rest.handlers import item_answer
from posthog_emulator.rest.pagination import paged
from posthog_emulator.schema.validation import fits
from posthog_emulator.state import Call, EmulatorState

if TYPE_CHECKING:
    from posthog_emulator.event_store.persons import Person

    from .repository import PersonRepository

__all__ = ["METHOD_NOT_ALLOWED_DETAILS", "OPERATION_HANDLERS", "apply_pending_changes"]

_STATE_KEY = "persons"
_MAX_BULK_IDS = 1000
_BULK_FLAGS = frozenset({"delete_events", "delete_recordings", "keep_person"})
_FROM_DISTINCT_IDS = "FROM person_distinct_ids WHERE team_id = p.team_id"

METHOD_NOT_ALLOWED_DETAILS: Mapping[tuple[str, str], str] = {
    ("POST", "/api/projects/{}/persons/"): (
        "Creating persons via this API is not allowed. Persons are created by events: "
        "capture one with $set properties."
    ),
}


@dataclass(slots=True)
class _PendingChange:
    """A change that was accepted and cannot be seen yet."""

    project_id: int
    uuid: str
    set: dict[str, Any] = field(default_factory=dict[str, Any])
    unset: tuple[str, ...] = ()
    reads_left: int = 0
    """How many more reads of persons are not to see it."""


def _repository(world: EmulatorState, project: int) -> PersonRepository:
    from .repository import PersonRepository

    return PersonRepository(world.events, project)


def _repository_for(call: Call) -> PersonRepository:
    return _repository(call.world, int(call.values[0]))


def _pending_changes(world: EmulatorState) -> list[_PendingChange]:
    return world.notes.setdefault(_STATE_KEY, [])


def apply_pending_changes(world: EmulatorState) -> None:
    """Let every accepted change be seen."""
    for change in _pending_changes(world):
        _apply(world, change)
    world.notes[_STATE_KEY] = []


def _apply(world: EmulatorState, change: _PendingChange) -> None:
    _repository(world, change.project_id).update_properties(change.uuid, change.set, change.unset)


def _age_pending_changes(world: EmulatorState) -> None:
    """Count one read: changes that have waited long enough are seen from now on."""
    waiting: list[_PendingChange] = []
    for change in _pending_changes(world):
        if change.reads_left <= 0:
            _apply(world, change)
        else:
            change.reads_left -= 1
            waiting.append(change)
    world.notes[_STATE_KEY] = waiting


def _queue_change(
    call: Call, person: Person, set: dict[str, Any], unset: tuple[str, ...] = ()
) -> None:
    lag, project = call.world.settings.person_lag, int(call.values[0])
    _pending_changes(call.world).append(_PendingChange(project, person.uuid, set, unset, lag))


def _raise_required(attr: str) -> NoReturn:
    # The view hands code and message to the exception in the wrong order.
    sentence = "This field is required."
    raise ApiError(400, code=sentence, detail="required", attr=attr)


def _requested_person(call: Call) -> Person:
    named = call.values[1]
    if not named.isdigit() and not fits("uuid", named):
        raise invalid(
            f"The ID provided does not look like a personID. If you are using a distinct_id, "
            f"please use /persons?distinct_id={named} instead."
        )
    call.locate(1)
    found = _repository_for(call).find(named)
    if found is None:
        raise ApiError(404)
    return found


def _get(call: Call) -> Answer:
    _age_pending_changes(call.world)
    return item_answer(call, _row(_requested_person(call)))


def _row(person: Person) -> Row:
    from .serializers import person_row

    return person_row(person)


def _list(call: Call) -> Answer:
    _age_pending_changes(call.world)
    call.locate()
    conditions, values = _list_conditions(call)
    rows = _PersonRows(_repository_for(call), conditions, values)
    return _csv(call, rows[:]) if call.request.value("format") == "csv" else paged(call, rows)


def _list_conditions(call: Call) -> tuple[list[str], list[Any]]:
    """What a list asks for, as SQL and the values of its placeholders."""
    asked: list[tuple[str, list[Any]]] = [
        filter_sql("p.properties", one) for one in parse_filters(call.request.value("properties"))
    ]
    distinct_id, email = call.request.value("distinct_id"), call.request.value("email")
    if distinct_id is not None:
        asked.append(
            (f"p.id IN (SELECT person_id {_FROM_DISTINCT_IDS} AND distinct_id = ?)", [distinct_id])
        )
    if email is not None:
        asked.append(("json_extract_string(p.properties, '/email') = ?", [email]))
    search = (call.request.value("search") or "").strip().lower()
    if search:
        names = "coalesce(r.name, ''), json_extract_string(p.properties, ['/email', '/name'])"
        asked.append(
            (
                f"(contains(lower(concat_ws(' ', {names})), ?) OR p.id IN (SELECT person_id "
                f"{_FROM_DISTINCT_IDS} AND contains(lower(distinct_id), ?)))",
                [search, search],
            )
        )
    return [sql for sql, _ in asked], [value for _, values in asked for value in values]


class _PersonRows(Sequence[Row]):
    """The persons a list asks for, fetched by the page."""

    def __init__(self, desk: PersonRepository, conditions: list[str], values: list[Any]) -> None:
        self._repository = desk
        self._conditions, self._values = conditions, values

    def __len__(self) -> int:
        return self._repository.count(self._conditions, self._values)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start: int = index.start or 0
        limit = None if index.stop is None else index.stop - start
        found = self._repository.list_page(self._conditions, self._values, limit, start)
        return [_row(person) for person in found]


def _csv(call: Call, rows: Iterable[Row]) -> Answer:
    rows = list(rows)
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
    person = _requested_person(call)
    properties = _body(call).get("properties")
    if not is_object(properties):
        _raise_required("properties")
    _queue_change(call, person, properties)
    return Answer(202)


def _update_property(call: Call) -> Answer:
    person = _requested_person(call)
    body = _body(call)
    for name in ("value", "key"):
        if body.get(name) is None:
            _raise_required(name)
    _queue_change(call, person, {str(body["key"]): body["value"]})
    return Answer(202)


def _delete_property(call: Call) -> Answer:
    person = _requested_person(call)
    name = _body(call).get("$unset")
    if not isinstance(name, str):
        _raise_required("$unset")
    _queue_change(call, person, {}, (name,))
    return json_answer(201, {"success": True})


def _delete(call: Call) -> Answer:
    person = _requested_person(call)
    flags = {name for name, _ in call.request.query}
    _repository_for(call).remove(
        person, delete_events="delete_events" in flags, keep_person="keep_person" in flags
    )
    return Answer(202)


def _delete_events(call: Call) -> Answer:
    _repository_for(call).remove(_requested_person(call), delete_events=True, keep_person=True)
    return Answer(202)


def _bulk_delete(call: Call) -> Answer:
    call.locate()
    body = _body(call)
    validate_body(call, {name: value for name, value in body.items() if name not in _BULK_FLAGS})
    ids: list[str] = body.get("ids") or []
    distinct_ids: list[str] = body.get("distinct_ids") or []
    if ids and distinct_ids:
        raise invalid("You can only provide ids or distinct_ids, not both.")
    if not ids and not distinct_ids:
        raise invalid("You need to specify either distinct_ids or ids")
    if len(ids) + len(distinct_ids) > _MAX_BULK_IDS:
        raise invalid(f"You can only pass {_MAX_BULK_IDS} ids in one call")
    desk = _repository_for(call)
    found = desk.find_by_uuids(one for one in ids if fits("uuid", one)) if ids else []
    found += desk.find_by_distinct_ids(distinct_ids)
    # Python truth, as on the server: the string "false" is true.
    keep, events = bool(body.get("keep_person")), bool(body.get("delete_events"))
    for person in found:
        desk.remove(person, delete_events=events, keep_person=keep)
    answer: dict[str, Any] = {
        "persons_found": len(found),
        "persons_deleted": 0 if keep else len(found),
        "events_queued_for_deletion": events,
        "recordings_queued_for_deletion": bool(body.get("delete_recordings")),
        "deletion_errors": [],
    }
    return json_answer(202, answer)


def _split(call: Call) -> Answer:
    person = _requested_person(call)
    body = _body(call)
    moved, main = body.get("distinct_ids_to_split"), body.get("main_distinct_id")
    if moved and main:
        raise invalid("Give either main_distinct_id or distinct_ids_to_split, not both.")
    held = person.distinct_ids
    kept = [main] if main in held else [one for one in held if one not in (moved or held[1:])]
    _repository_for(call).split(person, kept)
    return json_answer(201, {"success": True})


def _batch(call: Call) -> Answer:
    call.locate()
    desk, body = _repository_for(call), _body(call)
    results: dict[str, Any] = {}
    if call.operation.name == "batch_by_uuids":
        uuids = [str(one) for one in body.get("uuids") or () if fits("uuid", str(one))]
        results = {person.uuid: _row(person).data for person in desk.find_by_uuids(uuids)}
    else:
        for distinct_id in body.get("distinct_ids") or ():
            for person in desk.find_by_distinct_ids([str(distinct_id)]):
                results[str(distinct_id)] = _row(person).data
    return json_answer(200, {"results": results})


def _values(call: Call) -> Answer:
    """The commonest values of a property."""
    call.locate()
    key = call.request.value("key")
    if not key:
        _raise_required("key")
    found = most_common_values(call, "persons", key, call.request.value("value"), [], [])
    return json_answer(200, {"results": found, "refreshing": False})


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "persons.list": OperationHandler(_list),
    "persons.get": OperationHandler(_get),
    "persons.update": OperationHandler(_update, validates=False),
    "persons.replace": OperationHandler(_update, validates=False),
    "persons.update_property": OperationHandler(_update_property, validates=False),
    "persons.delete_property": OperationHandler(_delete_property, validates=False),
    "persons.delete": OperationHandler(_delete),
    "persons.delete_events": OperationHandler(_delete_events),
    "persons.bulk_delete": OperationHandler(_bulk_delete, validates=False),
    "persons.split": OperationHandler(_split),
    "persons.batch_by_distinct_ids": OperationHandler(_batch),
    "persons.batch_by_uuids": OperationHandler(_batch),
    "persons.values": OperationHandler(_values),
}
