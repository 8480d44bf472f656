"""Event, property and group type definitions, created by the events that are ingested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from posthog_emulator.event_store.ingest import NewDefinition
from posthog_emulator.event_store.store import EVENTS_DIRECTORY, EventStore
from posthog_emulator.http.messages import Response
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.apply_filters import select_rows
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.rest.row_tests import requested_values
from posthog_emulator.state import ApiCall
from posthog_emulator.timestamps import format_micros

from .hogql_rows import hogql_rows

if TYPE_CHECKING:
    from posthog_emulator.objects.store import StoredObject
    from posthog_emulator.state import EmulatorState

__all__ = ["OPERATION_HANDLERS", "PERSONS", "open_event_store", "property_scope"]


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    # Without `type`, the server lists the definitions of event properties only.
    scope = call.request.query_value("type") or "event"
    names = {name for value in call.query("properties") for name in value.split(",") if name}
    project = int(call.path_values[0])
    rows = [
        row
        for row in select_rows(call)
        if property_scope(project, row) == scope and (not names or row.data["name"] in names)
    ]
    events = requested_values(call, "event_names")
    if not events:
        return paginate(call, rows)
    seen = _properties_of_events(call.state, project, events)
    only = (call.request.query_value("filter_by_event_names") or "").lower() in {"true", "1"}
    return paginate(call, [marked for row in rows if (marked := _mark_seen(row, seen, only))])


def _mark_seen(row: StoredObject, seen: Collection[str], only: bool) -> StoredObject | None:
    """Return a copy of a definition that says whether the events have the property.

    None if they do not have it, and only those that they have are requested.
    """
    is_seen = row.data["name"] in seen
    if only and not is_seen:
        return None
    return replace(row, data={**row.data, "is_seen_on_filtered_events": is_seen})


def _properties_of_events(state: EmulatorState, project: int, events: list[str]) -> set[str]:
    """Return the names of the properties of all events with one of some names."""
    rows = hogql_rows(
        state,
        project,
        "SELECT DISTINCT arrayJoin(mapKeys(JSONExtract(properties, 'Map(String, String)'))) "
        "FROM events WHERE event IN {names} LIMIT 50000",
        {"names": events},
    )
    return {str(name) for (name,) in rows}


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "property_definitions.list": OperationHandler(_list)
}


PERSONS = "/api/projects/{}/persons/"
_SCOPES = {"event_property": "event", "person_property": "person", "group_property": "group"}


def open_event_store(state: EmulatorState) -> EventStore:
    """Open the event store of an emulator."""
    settings = state.settings
    store = EventStore(
        None if state.directory is None else state.directory / EVENTS_DIRECTORY,
        clock=lambda: settings.clock(),
        next_person_number=lambda: state.next_id(PERSONS),
        on_definition=lambda discovery: _record_definition(state, discovery),
        seed=settings.seed,
        max_recent=state.history_size,
    )
    # The database may have persons of an earlier run that the saved state does not count.
    numbers = state.store.last_ids
    numbers[PERSONS] = max(numbers[PERSONS], store.last_person_number)
    return store


def property_scope(team_id: int, row: StoredObject) -> str:
    """Return the scope of a property definition: `event`, `person` or `group`."""
    # The API's object has no field for it, so the id is compared with those of each scope.
    name = row.data.get("name")
    for kind, scope in _SCOPES.items():
        if row.key == _definition_id(team_id, kind, str(name)):
            return scope
    return "event"


def _definition_id(team_id: int, kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{team_id}/{kind}/{name}"))


def _record_definition(state: EmulatorState, definition: NewDefinition) -> None:
    """Create or update the object of a definition in its collection."""
    name, fields = _definition_fields(definition)
    collection = state.plans.collections.get(f"/api/projects/{{}}/{name}/")
    if collection is None:
        return
    address = f"/api/projects/{definition.team_id}/{name}/"
    index = definition.kind == "group_type"
    key = (
        str(definition.group_type_index)
        if index
        else _definition_id(definition.team_id, definition.kind, definition.name)
    )
    row = state.store.collection(address).rows.get(key)
    if row is not None:
        row.data.update(fields)
        return
    extra = {} if index else {"id": key}
    if definition.kind == "event":
        extra["created_at"] = format_micros(definition.seen_at)
    state.insert(collection, address, {**fields, **extra}, definition.team_id)


def _definition_fields(definition: NewDefinition) -> tuple[str, dict[str, Any]]:
    if definition.kind == "event":
        return "event_definitions", {
            "name": definition.name,
            "last_seen_at": format_micros(definition.seen_at),
        }
    if definition.kind == "group_type":
        return "groups_types", {
            "group_type": definition.name,
            "group_type_index": definition.group_type_index,
        }
    return "property_definitions", {
        "name": definition.name,
        "property_type": definition.property_type,
        "is_numerical": definition.property_type == "Numeric",
    }
