"""Person endpoints.

Changes become visible only after some reads (the emulator's settings say how many): the server
writes them to its ingestion queue. The delete options are query parameters without a value.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, overload

from posthog_emulator.features.events.handlers import most_common_values
from posthog_emulator.features.events.property_filters import (
    contains_sql,
    filter_sql,
    parse_filters,
    property_sql,
)
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.http.messages import Response, json_response, text_response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler, validate_body
from posthog_emulator.rest.handlers import object_response
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.schema.validation import matches_format
from posthog_emulator.state import ApiCall, EmulatorState

if TYPE_CHECKING:
    from posthog_emulator.event_store.persons import Person

    from .repository import PersonRepository

__all__ = ["METHOD_NOT_ALLOWED_DETAILS", "OPERATION_HANDLERS", "apply_pending_changes"]

_STATE_KEY = "persons"
_MAX_BULK_IDS = 1000
_BULK_FLAGS = frozenset({"delete_events", "delete_recordings", "keep_person"})
_BY_DISTINCT_ID = (
    "p.id IN (SELECT person_id FROM person_distinct_id2 FINAL "
    "WHERE team_id = ? AND is_deleted = 0 AND {})"
)

METHOD_NOT_ALLOWED_DETAILS: Mapping[tuple[str, str], str] = {
    ("POST", "/api/projects/{}/persons/"): (
        "Creating persons via this API is not allowed. Persons are created by events: "
        "capture one with $set properties."
    ),
}


@dataclass(slots=True)
class _PendingChange:
    """A change of properties that was accepted and is not visible yet."""

    project_id: int
    uuid: str
    set: dict[str, Any] = field(default_factory=dict[str, Any])
    unset: tuple[str, ...] = ()
    reads_left: int = 0
    """Number of reads of persons that do not show the change yet."""


def _repository(state: EmulatorState, project: int) -> PersonRepository:
    from .repository import PersonRepository

    return PersonRepository(state.events, project)


def _repository_for(call: ApiCall) -> PersonRepository:
    return _repository(call.state, int(call.path_values[0]))


def _pending_changes(state: EmulatorState) -> list[_PendingChange]:
    return state.extensions.setdefault(_STATE_KEY, [])


def apply_pending_changes(state: EmulatorState) -> None:
    """Apply all pending changes."""
    for change in _pending_changes(state):
        _apply(state, change)
    state.extensions[_STATE_KEY] = []


def _apply(state: EmulatorState, change: _PendingChange) -> None:
    _repository(state, change.project_id).update_properties(change.uuid, change.set, change.unset)


def _age_pending_changes(state: EmulatorState) -> None:
    """Count one read of persons, and apply the changes that are due."""
    waiting: list[_PendingChange] = []
    for change in _pending_changes(state):
        if change.reads_left <= 0:
            _apply(state, change)
        else:
            change.reads_left -= 1
            waiting.append(change)
    state.extensions[_STATE_KEY] = waiting


def _queue_change(
    call: ApiCall, person: Person, set: dict[str, Any], unset: tuple[str, ...] = ()
) -> None:
    lag, project = call.state.settings.stale_person_reads, int(call.path_values[0])
    _pending_changes(call.state).append(_PendingChange(project, person.uuid, set, unset, lag))


def _raise_required(attr: str) -> NoReturn:
    # The server passes code and message to the exception in the wrong order, so that the
    # response has them swapped.
    sentence = "This field is required."
    raise ApiError(400, code=sentence, detail="required", attr=attr)


def _requested_person(call: ApiCall) -> Person:
    identifier = call.path_values[1]
    if not identifier.isdigit() and not matches_format("uuid", identifier):
        raise invalid(
            f"The ID provided does not look like a personID. If you are using a distinct_id, "
            f"please use /persons?distinct_id={identifier} instead."
        )
    call.resolve_parents(1)
    person = _repository_for(call).find(identifier)
    if person is None:
        raise ApiError(404)
    return person


def _get(call: ApiCall) -> Response:
    # Before the person is read: the change that becomes due now is visible in this response.
    _age_pending_changes(call.state)
    return object_response(call, _row(_requested_person(call)))


def _row(person: Person) -> StoredObject:
    from .serializers import person_row

    return person_row(person)


def _list(call: ApiCall) -> Response:
    _age_pending_changes(call.state)
    call.resolve_parents()
    conditions, values = _list_conditions(call)
    rows = _PersonRows(_repository_for(call), conditions, values)
    return (
        _csv(call, rows[:]) if call.request.query_value("format") == "csv" else paginate(call, rows)
    )


def _list_conditions(call: ApiCall) -> tuple[list[str], list[Any]]:
    """Return the SQL conditions of a list request and their parameters."""
    filters: list[tuple[str, list[Any]]] = [
        filter_sql("p.properties", item)
        for item in parse_filters(call.request.query_value("properties"))
    ]
    project = int(call.path_values[0])
    distinct_id, email = call.request.query_value("distinct_id"), call.request.query_value("email")
    if distinct_id is not None:
        filters.append((_BY_DISTINCT_ID.format("distinct_id = ?"), [project, distinct_id]))
    if email is not None:
        text, path = property_sql("p.properties", "email")
        filters.append((f"{text} = ?", [*path, email]))
    search = (call.request.query_value("search") or "").strip().lower()
    if search:
        # The search covers the display name, the email address and all distinct ids.
        texts, values = ["r.name"], list[Any]()
        for name in ("email", "name"):
            text, path = property_sql("p.properties", name)
            texts.append(f"ifNull({text}, '')")
            values += path
        joined = ", ' ', ".join(texts)
        by_name = contains_sql(f"concat({joined})")
        by_id = _BY_DISTINCT_ID.format(contains_sql("distinct_id"))
        filters.append((f"({by_name} OR {by_id})", [*values, search, project, search]))
    return [sql for sql, _ in filters], [value for _, values in filters for value in values]


# A sequence instead of a list: pagination takes a slice, and the length only if it shows a count.
class _PersonRows(Sequence[StoredObject]):
    """The persons that match a list request; a slice is fetched with one query."""

    def __init__(
        self, repository: PersonRepository, conditions: list[str], values: list[Any]
    ) -> None:
        self._repository = repository
        self._conditions, self._values = conditions, values

    def __len__(self) -> int:
        return self._repository.count(self._conditions, self._values)

    @overload
    def __getitem__(self, index: int) -> StoredObject: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredObject]: ...
    def __getitem__(self, index: int | slice) -> StoredObject | list[StoredObject]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start: int = index.start or 0
        limit = None if index.stop is None else index.stop - start
        persons = self._repository.list_page(self._conditions, self._values, limit, start)
        return [_row(person) for person in persons]


def _csv(call: ApiCall, rows: Iterable[StoredObject]) -> Response:
    rows = list(rows)
    # The columns are the union of all fields, in order of first appearance.
    names = list(dict.fromkeys(name for row in rows for name in row.data))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for row in rows:
        values = [row.data.get(name) for name in names]
        writer.writerow([v if isinstance(v, str) else json.dumps(v) for v in values])
    return text_response(call.operation.result.status, out.getvalue(), "text/csv")


def _body(call: ApiCall) -> dict[str, Any]:
    return as_object(call.body)


def _update(call: ApiCall) -> Response:
    person = _requested_person(call)
    properties = _body(call).get("properties")
    if not is_object(properties):
        _raise_required("properties")
    _queue_change(call, person, properties)
    return Response(202)


def _update_property(call: ApiCall) -> Response:
    person = _requested_person(call)
    body = _body(call)
    for name in ("value", "key"):
        if body.get(name) is None:
            _raise_required(name)
    _queue_change(call, person, {str(body["key"]): body["value"]})
    return Response(202)


def _delete_property(call: ApiCall) -> Response:
    person = _requested_person(call)
    name = _body(call).get("$unset")
    if not isinstance(name, str):
        _raise_required("$unset")
    _queue_change(call, person, {}, (name,))
    return json_response(201, {"success": True})


def _delete(call: ApiCall) -> Response:
    person = _requested_person(call)
    # The server looks at the presence of the parameters only: `?keep_person=false` keeps too.
    flags = {name for name, _ in call.request.query}
    _repository_for(call).remove(
        person, delete_events="delete_events" in flags, keep_person="keep_person" in flags
    )
    return Response(202)


def _delete_events(call: ApiCall) -> Response:
    _repository_for(call).remove(_requested_person(call), delete_events=True, keep_person=True)
    return Response(202)


def _bulk_delete(call: ApiCall) -> Response:
    call.resolve_parents()
    body = _body(call)
    # The schema says boolean, the server accepts any value for the flags.
    validate_body(call, {name: value for name, value in body.items() if name not in _BULK_FLAGS})
    ids: list[str] = body.get("ids") or []
    distinct_ids: list[str] = body.get("distinct_ids") or []
    if ids and distinct_ids:
        raise invalid("You can only provide ids or distinct_ids, not both.")
    if not ids and not distinct_ids:
        raise invalid("You need to specify either distinct_ids or ids")
    if len(ids) + len(distinct_ids) > _MAX_BULK_IDS:
        raise invalid(f"You can only pass {_MAX_BULK_IDS} ids in one call")
    repository = _repository_for(call)
    persons = (
        repository.find_by_uuids(uuid for uuid in ids if matches_format("uuid", uuid))
        if ids
        else []
    )
    persons += repository.find_by_distinct_ids(distinct_ids)
    # The server uses the truth of the raw JSON value: the string "false" is true.
    keep, events = bool(body.get("keep_person")), bool(body.get("delete_events"))
    for person in persons:
        repository.remove(person, delete_events=events, keep_person=keep)
    result: dict[str, Any] = {
        "persons_found": len(persons),
        "persons_deleted": 0 if keep else len(persons),
        "events_queued_for_deletion": events,
        "recordings_queued_for_deletion": bool(body.get("delete_recordings")),
        "deletion_errors": [],
    }
    return json_response(202, result)


def _split(call: ApiCall) -> Response:
    person = _requested_person(call)
    body = _body(call)
    split_ids, main = body.get("distinct_ids_to_split"), body.get("main_distinct_id")
    if split_ids and main:
        raise invalid("Give either main_distinct_id or distinct_ids_to_split, not both.")
    current = person.distinct_ids
    keep_ids = (
        [main]
        if main in current
        else [
            distinct_id for distinct_id in current if distinct_id not in (split_ids or current[1:])
        ]
    )
    _repository_for(call).split(person, keep_ids)
    return json_response(201, {"success": True})


def _batch(call: ApiCall) -> Response:
    call.resolve_parents()
    repository, body = _repository_for(call), _body(call)
    results: dict[str, Any] = {}
    if call.operation.name == "bulk_get_by_uuids":
        uuids = [str(uuid) for uuid in body.get("uuids") or () if matches_format("uuid", str(uuid))]
        results = {person.uuid: _row(person).data for person in repository.find_by_uuids(uuids)}
    else:
        for distinct_id in body.get("distinct_ids") or ():
            for person in repository.find_by_distinct_ids([str(distinct_id)]):
                results[str(distinct_id)] = _row(person).data
    return json_response(200, {"results": results})


def _values(call: ApiCall) -> Response:
    """Return the most common values of a property."""
    call.resolve_parents()
    key = call.request.query_value("key")
    if not key:
        _raise_required("key")
    values = most_common_values(call, "person", key, call.request.query_value("value"), [], [])
    return json_response(200, {"results": values, "refreshing": False})


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
    "persons.bulk_get_by_distinct_ids": OperationHandler(_batch),
    "persons.bulk_get_by_uuids": OperationHandler(_batch),
    "persons.values": OperationHandler(_values),
}
