"""What the persons API does to the persons of one project, each under the store's lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from posthog_emulator.event_store.persons import Person
from posthog_emulator.event_store.store import EventStore

__all__ = ["PersonRepository"]


class PersonRepository:
    """The persons of a project, for whoever is not an event.

    Args:
        store: The event store.
        team_id: The project.
    """

    def __init__(self, store: EventStore, team_id: int) -> None:
        self._store = store
        self._team_id = team_id
        self._persons = store.project(team_id).persons

    def find(self, identifier: str) -> Person | None:
        """The person with a number or a UUID."""
        with self._store.lock:
            if identifier.isascii() and identifier.isdigit():
                return self._persons.find_by_number(int(identifier))
            found = self._persons.find_by_uuids([identifier.lower()])
            return found[0] if found else None

    def find_by_distinct_ids(self, distinct_ids: Iterable[str]) -> list[Person]:
        """Whoever has one of these distinct ids, each once."""
        with self._store.lock:
            found = [self._persons.find(one) for one in distinct_ids]
        return list({person.uuid: person for person in found if person is not None}.values())

    def find_by_uuids(self, uuids: Iterable[str]) -> list[Person]:
        """Persons by UUID, in the same order."""
        with self._store.lock:
            return self._persons.find_by_uuids(uuids)

    def put(self, person: Person) -> None:
        """Take in somebody who did not come by an event."""
        with self._store.lock:
            self._persons.add(person)
            self._store.project(self._team_id).property_types.record("person", person.properties)

    def update_properties(
        self, uuid: str, properties: Mapping[str, Any], unset: Sequence[str] = ()
    ) -> None:
        """Set and unset properties of a person, who may have gone in the meantime."""
        with self._store.lock:
            for person in self._persons.find_by_uuids([uuid]):
                self._persons.update_properties(person, properties, None, unset)
                self._store.project(self._team_id).property_types.record("person", properties)

    def remove(self, person: Person, *, delete_events: bool, keep_person: bool) -> None:
        """Delete a person, or its events, or both."""
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
        """Leave a person some of its distinct ids; each other becomes somebody, with its events."""
        with self._store.lock:
            made = self._persons.split(person, keep_ids)
            self._store.write(
                "UPDATE events SET person_id = m.new FROM "
                "(SELECT unnest(?::VARCHAR[]) AS own, unnest(?::UUID[]) AS new) m "
                "WHERE events.team_id = ? AND events.distinct_id = m.own",
                [[one.distinct_ids[0] for one in made], [one.uuid for one in made], self._team_id],
            )

    def list_page(
        self, conditions: Sequence[str], values: Sequence[Any], limit: int | None, offset: int
    ) -> list[Person]:
        """A page of persons, the latest made first.

        Args:
            conditions: SQL about `p` (persons) and `r` (person_records), all to hold.
            values: For its placeholders, in order.
            limit: How many at most; None for all.
            offset: How many to pass over.
        """
        where = " AND ".join(["p.team_id = ?", *conditions])
        rows = self._store.read(
            "SELECT p.id::VARCHAR FROM persons p JOIN person_records r ON r.id = p.id "  # noqa: S608
            f"WHERE {where} ORDER BY p.created_at DESC, r.number DESC LIMIT ? OFFSET ?",
            [self._team_id, *values, limit, offset],
        )
        return self.find_by_uuids(uuid for (uuid,) in rows)

    def count(self, conditions: Sequence[str], values: Sequence[Any]) -> int:
        """How many persons meet conditions, given as for `listed`."""
        where = " AND ".join(["p.team_id = ?", *conditions])
        rows = self._store.read(
            "SELECT count(*) FROM persons p JOIN person_records r ON r.id = p.id "  # noqa: S608
            f"WHERE {where}",
            [self._team_id, *values],
        )
        return rows[0][0]

    def list_all(self) -> list[Person]:
        """All of them, in the order they were made."""
        rows = self._store.read(
            "SELECT id::VARCHAR FROM person_records WHERE team_id = ? ORDER BY number",
            [self._team_id],
        )
        return self.find_by_uuids(uuid for (uuid,) in rows)
