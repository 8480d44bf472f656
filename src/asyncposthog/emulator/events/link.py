"""What ties the event store to the rest of the emulator's state: definitions of what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncposthog.emulator.events.ingest import Discovery
from asyncposthog.emulator.events.moments import iso
from asyncposthog.emulator.events.store import EventStore
from asyncposthog.emulator.saving import EVENTS_FILE

if TYPE_CHECKING:
    from asyncposthog.emulator.store import Row
    from asyncposthog.emulator.world import World

__all__ = ["PERSONS", "event_store", "property_scope"]

PERSONS = "/api/projects/{}/persons/"
_NOTE = "definitions"
_SCOPES = {"event_property": "event", "person_property": "person", "group_property": "group"}


def event_store(world: World) -> EventStore:
    """The event store of an emulator."""
    settings = world.settings
    store = EventStore(
        None if world.folder is None else world.folder / EVENTS_FILE,
        clock=lambda: settings.clock(),
        number=lambda: world.number(PERSONS),
        found=lambda discovery: _note(world, discovery),
        seed=settings.seed,
        keep=world.keep,
    )
    numbers = world.store.numbers
    numbers[PERSONS] = max(numbers[PERSONS], store.numbered)
    return store


def property_scope(world: World, row: Row) -> str:
    """Whose property a definition is of: `event`, `person` or `group`."""
    for (_, kind, _), known in _known(world).items():
        if known is row:
            return _SCOPES.get(kind, "event")
    return "event"


def _known(world: World) -> dict[tuple[int, str, str], Row]:
    return world.notes.setdefault(_NOTE, {})


def _note(world: World, found: Discovery) -> None:
    """Enter something new into the listing where the API shows it."""
    name, fields = _entry(found)
    collection = world.plans.collections.get(f"/api/projects/{{}}/{name}/")
    if collection is None:
        return
    known, key = _known(world), (found.team_id, found.kind, found.name)
    bucket = world.store.bucket(f"/api/projects/{found.team_id}/{name}/")
    row = known.get(key)
    if row is not None and bucket.rows.get(row.key) is row:
        row.data.update(fields)
        return
    own = {"created_at": iso(found.at)} if found.kind == "event" else {}
    address = f"/api/projects/{found.team_id}/{name}/"
    known[key] = world.insert(collection, address, {**fields, **own}, found.team_id)


def _entry(found: Discovery) -> tuple[str, dict[str, Any]]:
    if found.kind == "event":
        return "event_definitions", {"name": found.name, "last_seen_at": iso(found.at)}
    if found.kind == "group_type":
        return "groups_types", {"group_type": found.name, "group_type_index": found.index}
    return "property_definitions", {
        "name": found.name,
        "property_type": found.type,
        "is_numerical": found.type == "Numeric",
    }
