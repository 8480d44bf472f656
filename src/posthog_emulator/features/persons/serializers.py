"""Convert events, persons and groups to the objects of the API."""

from __future__ import annotations

import json
from typing import Any

from posthog_emulator.event_store.groups import Group
from posthog_emulator.event_store.persons import Person
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.timestamps import format_micros, format_utc, from_micros

__all__ = ["EVENT_COLUMNS", "event_row", "group_row", "member_row", "person_row"]

EVENT_COLUMNS = (
    "toString(uuid), event, distinct_id, properties, toUnixTimestamp64Micro(timestamp), "
    "elements_chain, _number"
)
"""Columns of the table `events` that `event_row` takes."""
_NAME_PROPERTIES = ("email", "Email", "name", "Name", "username", "Username", "UserName")


def event_row(columns: tuple[Any, ...], person: dict[str, Any] | None = None) -> StoredObject:
    """Return an event, given the values of `EVENT_COLUMNS`."""
    uuid, name, distinct_id, properties, timestamp, elements_chain, number = columns
    data: dict[str, Any] = {
        "id": uuid,
        "distinct_id": distinct_id,
        "properties": json.loads(properties),
        "event": name,
        "timestamp": format_micros(timestamp),
        "person": person,
        "elements": [],
        "elements_chain": elements_chain,
    }
    return StoredObject(uuid, data, number)


def person_row(person: Person) -> StoredObject:
    """Return a person as the persons endpoints have it."""
    data = {
        "id": person.number,
        "name": person.name or _display_name(person),
        "distinct_ids": list(person.distinct_ids),
        "properties": dict(person.properties),
        "created_at": _utc(person.created_at),
        "uuid": person.uuid,
        "last_seen_at": None if person.last_seen_at is None else _utc(person.last_seen_at),
    }
    return StoredObject(str(person.number), data, person.number)


def member_row(person: Person) -> StoredObject:
    """Return a person as the list of a cohort's members has it."""
    data = person_row(person).data
    member_fields: dict[str, Any] = {
        "type": "person",
        "id": person.uuid,
        "is_identified": person.identified,
        "matched_recordings": [],
        "value_at_data_point": None,
    }
    return StoredObject(person.uuid, {**data, **member_fields}, person.number)


def _display_name(person: Person) -> str:
    """Return the name shown for a person without an explicit name."""
    for name in _NAME_PROPERTIES:
        value = person.properties.get(name)
        if value:
            return str(value)
    return person.distinct_ids[0] if person.distinct_ids else ""


def group_row(group: Group, number: int) -> StoredObject:
    """Return a group; `number` is its position in order of creation."""
    data = {
        "group_type_index": group.index,
        "group_key": group.key,
        "group_properties": dict(group.properties),
        "created_at": _utc(group.created_at),
    }
    return StoredObject(f"{group.index}/{group.key}", data, number)


def _utc(value: int) -> str:
    return format_utc(from_micros(value))
