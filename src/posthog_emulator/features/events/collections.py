"""Collections whose objects are in the event store: events, persons, cohort members, groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from posthog_emulator.event_store.groups import Group
from posthog_emulator.event_store.persons import Person
from posthog_emulator.event_store.store import EventStore
from posthog_emulator.features.persons.repository import PersonRepository
from posthog_emulator.features.persons.serializers import (
    EVENT_COLUMNS,
    event_row,
    group_row,
    member_row,
    person_row,
)
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.timestamps import parse_micros, to_micros

if TYPE_CHECKING:
    from posthog_emulator.state import EmulatorState

__all__ = ["CohortMembers", "event_collection"]

_PATHS = re.compile(r"/api/projects/(\d+)/(?:cohorts/(\d+)/)?(events|persons|groups)/")


def event_collection(state: EmulatorState, address: str) -> ObjectCollection | None:
    """Return the collection at a path if its objects are in the event store, else None."""
    match = _PATHS.fullmatch(address)
    if match is None:
        return None
    project, cohort, name = match.groups()
    template = f"/api/projects/{{}}/{'cohorts/{}/' if cohort else ''}{name}/"
    # An emulator can be built with fewer operations, without these collections.
    if template not in state.plans.collections:
        return None
    store, team_id = state.events, int(project)
    if cohort is not None:
        return CohortMembers(store, team_id, int(cohort)) if name == "persons" else None
    return _COLLECTIONS[name](store, team_id)


class _StoreCollection(ObjectCollection):
    """A collection that reads and writes the event store."""

    def __init__(self, store: EventStore, team_id: int) -> None:
        super().__init__()
        self.store = store
        self.team_id = team_id

    def timestamp(self, text: Any) -> int:
        """Return a timestamp in microseconds since 1970; the current time for None."""
        if text is None:
            return self.store.now()
        at = parse_micros(text) if isinstance(text, str) else to_micros(text)
        if at is None:
            raise ValueError(f"{text!r} is not an ISO 8601 timestamp")
        return at


class _Events(_StoreCollection):
    def __iter__(self) -> Iterator[StoredObject]:
        rows = self.store.read(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE team_id = ? ORDER BY _number",  # noqa: S608
            [self.team_id],
        )
        return (event_row(columns) for columns in rows)

    def find(self, value: str, key_field: str | None = None) -> StoredObject | None:
        try:
            uuid = str(UUID(value))
        except ValueError:
            return None
        rows = self.store.read(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE team_id = ? AND uuid = toUUID(?) LIMIT 1",  # noqa: S608
            [self.team_id, uuid],
        )
        return event_row(rows[0]) if rows else None

    def put(self, row: StoredObject) -> StoredObject:
        data = row.data
        fields: dict[str, Any] = {
            "event": data.get("event") or "$pageview",
            "distinct_id": data.get("distinct_id"),
            "timestamp": data.get("timestamp"),
            "uuid": data.get("id"),
            "properties": data.get("properties") or {},
        }
        # Through ingestion, so that the event creates its person and definitions as captured
        # events do.
        (uuid,) = self.store.append(self.team_id, [fields])
        stored = self.find(uuid)
        return row if stored is None else stored

    def remove(self, key: str) -> None:
        self.store.write(
            "DELETE FROM events WHERE team_id = ? AND uuid = toUUID(?)", [self.team_id, key]
        )


class _Persons(_StoreCollection):
    @property
    def repository(self) -> PersonRepository:
        return PersonRepository(self.store, self.team_id)

    def __iter__(self) -> Iterator[StoredObject]:
        return (person_row(person) for person in self.repository.list_all())

    def find(self, value: str, key_field: str | None = None) -> StoredObject | None:
        try:
            # Persons have two ids: a number, and a UUID, whose spelling is normalized.
            identifier = value if value.isascii() and value.isdigit() else str(UUID(value))
        except ValueError:
            return None
        person = self.repository.find(identifier)
        return None if person is None else person_row(person)

    def put(self, row: StoredObject) -> StoredObject:
        data = row.data
        last_seen = data.get("last_seen_at")
        person = Person(
            int(data["id"]),
            str(UUID(str(data["uuid"]))),
            self.timestamp(data.get("created_at")),
            [str(distinct_id) for distinct_id in data.get("distinct_ids") or ()],
            dict(as_object(data.get("properties"))),
            identified=bool(data.get("is_identified")),
            name=data.get("name") or None,
            last_seen_at=None if last_seen is None else self.timestamp(last_seen),
        )
        self.repository.put(person)
        return person_row(person)

    def remove(self, key: str) -> None:
        person = self.repository.find(key)
        if person is not None:
            self.repository.remove(person, delete_events=False, keep_person=False)


class CohortMembers(_Persons):
    """The members of a static cohort."""

    def __init__(self, store: EventStore, team_id: int, cohort_id: int) -> None:
        super().__init__(store, team_id)
        self.cohort_id = cohort_id

    def __iter__(self) -> Iterator[StoredObject]:
        self.store.flush()
        uuids = self.store.cohorts.members(self.team_id, self.cohort_id)
        return (member_row(person) for person in self.repository.find_by_uuids(uuids))

    def find(self, value: str, key_field: str | None = None) -> StoredObject | None:
        return next((r for r in self if value in (r.key, r.data["uuid"])), None)

    def put(self, row: StoredObject) -> StoredObject:
        uuid = str(row.data["uuid"])
        persons = self.repository.find_by_uuids([uuid])
        if persons:
            member = member_row(persons[0])
        else:
            # The object of a member has the UUID as its id; a new person also needs a number.
            super().put(
                StoredObject(row.key, {**row.data, "id": self.store.next_person_number()}, 0)
            )
            member = member_row(self.repository.find_by_uuids([uuid])[0])
        self.add([uuid])
        return member

    def remove(self, key: str) -> None:
        row = self.find(key)
        if row is not None:
            self.discard(row.data["uuid"])

    def add(self, uuids: list[str]) -> None:
        """Add persons by UUID; members are not added twice."""
        self.store.cohorts.add_members(self.team_id, self.cohort_id, sorted(uuids))

    def discard(self, uuid: str) -> None:
        """Remove a person by UUID."""
        self.store.cohorts.remove_member(self.team_id, self.cohort_id, uuid)


class _Groups(_StoreCollection):
    def __iter__(self) -> Iterator[StoredObject]:
        with self.store.lock:
            groups = list(self.store.project(self.team_id).groups)
        return (group_row(group, number) for number, group in enumerate(groups, 1))

    def find(self, value: str, key_field: str | None = None) -> StoredObject | None:
        return next((row for row in self if value in (row.key, row.data["group_key"])), None)

    def put(self, row: StoredObject) -> StoredObject:
        data = row.data
        group = Group(
            int(data["group_type_index"]),
            str(data["group_key"]),
            self.timestamp(data.get("created_at")),
            dict(as_object(data.get("group_properties"))),
        )
        with self.store.lock:
            project = self.store.project(self.team_id)
            project.groups.put(group)
            project.property_types.record("group", group.properties)
        return group_row(group, row.sequence)


_COLLECTIONS: dict[str, type[_Events | _Persons | _Groups]] = {
    "events": _Events,
    "persons": _Persons,
    "groups": _Groups,
}
