"""Persons of one project as the API reads and changes them, under the event store's lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from posthog_emulator.event_store.persons import Person
from posthog_emulator.event_store.store import EventStore

__all__ = ["PersonRepository"]


class PersonRepository:
    """The persons of a project, for everything but ingestion.

    Args:
        store: The event store.
        team_id: The project.
    """

    def __init__(self, store: EventStore, team_id: int) -> None:
        self._store = store
        self._team_id = team_id
        self._persons = store.project(team_id).persons

    def find(self, identifier: str) -> Person | None:
        """Return the person with a number or a UUID; None if there is none."""
        with self._store.lock:
            if identifier.isascii() and identifier.isdigit():
                return self._persons.find_by_number(int(identifier))
            persons = self._persons.find_by_uuids([identifier.lower()])
            return persons[0] if persons else None

    def find_by_distinct_ids(self, distinct_ids: Iterable[str]) -> list[Person]:
        """Return the persons with any of these distinct ids, without duplicates."""
        with self._store.lock:
            persons = [self._persons.find(distinct_id) for distinct_id in distinct_ids]
        return list({person.uuid: person for person in persons if person is not None}.values())

    def find_by_uuids(self, uuids: Iterable[str]) -> list[Person]:
        """Return persons by UUID, in the same order; unknown UUIDs are left out."""
        with self._store.lock:
            return self._persons.find_by_uuids(uuids)

    def put(self, person: Person) -> None:
        """Add a person that no event created."""
        with self._store.lock:
            self._persons.add(person)
            self._store.project(self._team_id).property_types.record("person", person.properties)

    def update_properties(
        self, uuid: str, properties: Mapping[str, Any], unset: Sequence[str] = ()
    ) -> None:
        """Set and unset properties of a person; do nothing if it has been deleted."""
        with self._store.lock:
            for person in self._persons.find_by_uuids([uuid]):
                # The API has no `set_once`.
                self._persons.update_properties(person, properties, None, unset)
                self._store.project(self._team_id).property_types.record("person", properties)

    def remove(self, person: Person, *, delete_events: bool, keep_person: bool) -> None:
        """Delete the person's events, the person, or both."""
        if delete_events:
            self._store.write(
                "DELETE FROM events WHERE team_id = ? AND (person_id = ?::UUID "
                "OR distinct_id IN (SELECT unnest(?::VARCHAR[])))",
                [self._team_id, person.uuid, person.distinct_ids],
            )
        if not keep_person:
            with self._store.lock:
                self._persons.remove(person)

    def split(self, person: Person, keep_ids: list[str]) -> None:
        """Split all distinct ids but `keep_ids` off a person, each with its events."""
        with self._store.lock:
            created = self._persons.split(person, keep_ids)
            self._store.write(
                "UPDATE events SET person_id = m.new FROM "
                "(SELECT unnest(?::VARCHAR[]) AS own, unnest(?::UUID[]) AS new) m "
                "WHERE events.team_id = ? AND events.distinct_id = m.own",
                [
                    [new_person.distinct_ids[0] for new_person in created],
                    [new_person.uuid for new_person in created],
                    self._team_id,
                ],
            )

    def list_page(
        self, conditions: Sequence[str], values: Sequence[Any], limit: int | None, offset: int
    ) -> list[Person]:
        """Return a page of persons, the newest first.

        Args:
            conditions: SQL conditions on `p` (persons) and `r` (person_records), joined by AND.
            values: Their parameters, in order.
            limit: The maximum number of persons; None for all.
            offset: The number of persons to skip.
        """
        where = " AND ".join(["p.team_id = ?", *conditions])
        rows = self._store.read(
            "SELECT p.id::VARCHAR FROM persons p JOIN person_records r ON r.id = p.id "  # noqa: S608
            f"WHERE {where} ORDER BY p.created_at DESC, r.number DESC LIMIT ? OFFSET ?",
            [self._team_id, *values, limit, offset],
        )
        return self.find_by_uuids(uuid for (uuid,) in rows)

    def count(self, conditions: Sequence[str], values: Sequence[Any]) -> int:
        """Return the number of persons that meet conditions, given as for `list_page`."""
        where = " AND ".join(["p.team_id = ?", *conditions])
        rows = self._store.read(
            "SELECT count(*) FROM persons p JOIN person_records r ON r.id = p.id "  # noqa: S608
            f"WHERE {where}",
            [self._team_id, *values],
        )
        return rows[0][0]

    def list_all(self) -> list[Person]:
        """Return all persons, in order of creation."""
        rows = self._store.read(
            "SELECT id::VARCHAR FROM person_records WHERE team_id = ? ORDER BY number",
            [self._team_id],
        )
        return self.find_by_uuids(uuid for (uuid,) in rows)
