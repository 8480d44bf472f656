"""Property definitions: of events unless something else is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from posthog_emulator.event_store.ingest import NewDefinition
from posthog_emulator.event_store.store import EVENTS_FILE, EventStore
from posthog_emulator.http.messages import Response
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.filters import select_rows
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall
from posthog_emulator.timestamps import format_micros

if TYPE_CHECKING:
    from posthog_emulator.objects.store import StoredObject
    from posthog_emulator.state import EmulatorState

__all__ = ["OPERATION_HANDLERS", "PERSONS", "open_event_store", "property_scope"]


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    scope = call.request.query_value("type") or "event"
    named = {name for value in call.query("properties") for name in value.split(",") if name}
    project = int(call.path_values[0])
    rows = [
        row
        for row in select_rows(call)
        if property_scope(project, row) == scope and (not named or row.data["name"] in named)
    ]
    return paginate(call, rows)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "property_definitions.list": OperationHandler(_list)
}


PERSONS = "/api/projects/{}/persons/"
_SCOPES = {"event_property": "event", "person_property": "person", "group_property": "group"}


def open_event_store(state: EmulatorState) -> EventStore:
    """The event store of an emulator."""
    settings = state.settings
    store = EventStore(
        None if state.directory is None else state.directory / EVENTS_FILE,
        clock=lambda: settings.clock(),
        next_person_number=lambda: state.next_id(PERSONS),
        on_definition=lambda discovery: _record_definition(state, discovery),
        seed=settings.seed,
        max_recent=state.history_size,
    )
    numbers = state.store.last_ids
    numbers[PERSONS] = max(numbers[PERSONS], store.last_person_number)
    return store


def property_scope(team_id: int, row: StoredObject) -> str:
    """Whose property a definition is of: `event`, `person` or `group`."""
    name = row.data.get("name")
    for kind, scope in _SCOPES.items():
        if row.key == _definition_id(team_id, kind, str(name)):
            return scope
    return "event"


def _definition_id(team_id: int, kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{team_id}/{kind}/{name}"))


def _record_definition(state: EmulatorState, found: NewDefinition) -> None:
    """Enter something new into the listing where the API shows it."""
    name, fields = _definition_fields(found)
    collection = state.plans.collections.get(f"/api/projects/{{}}/{name}/")
    if collection is None:
        return
    address = f"/api/projects/{found.team_id}/{name}/"
    index = found.kind == "group_type"
    key = (
        str(found.group_type_index)
        if index
        else _definition_id(found.team_id, found.kind, found.name)
    )
    row = state.store.collection(address).rows.get(key)
    if row is not None:
        row.data.update(fields)
        return
    own = {} if index else {"id": key}
    if found.kind == "event":
        own["created_at"] = format_micros(found.seen_at)
    state.insert(collection, address, {**fields, **own}, found.team_id)


def _definition_fields(found: NewDefinition) -> tuple[str, dict[str, Any]]:
    if found.kind == "event":
        return "event_definitions", {
            "name": found.name,
            "last_seen_at": format_micros(found.seen_at),
        }
    if found.kind == "group_type":
        return "groups_types", {
            "group_type": found.name,
            "group_type_index": found.group_type_index,
        }
    return "property_definitions", {
        "name": found.name,
        "property_type": found.property_type,
        "is_numerical": found.property_type == "Numeric",
    }
