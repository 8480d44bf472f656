"""What ties the event store to the rest of the emulator's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncposthog.emulator.events.store import EventStore
from asyncposthog.emulator.saving import EVENTS_FILE

if TYPE_CHECKING:
    from asyncposthog.emulator.world import World

__all__ = ["PERSONS", "event_store"]

PERSONS = "/api/projects/{}/persons/"


def event_store(world: World) -> EventStore:
    """The event store of an emulator."""
    settings = world.settings
    store = EventStore(
        None if world.folder is None else world.folder / EVENTS_FILE,
        clock=lambda: settings.clock(),
        number=lambda: world.number(PERSONS),
        seed=settings.seed,
        keep=world.keep,
    )
    numbers = world.store.numbers
    numbers[PERSONS] = max(numbers[PERSONS], store.numbered)
    return store
