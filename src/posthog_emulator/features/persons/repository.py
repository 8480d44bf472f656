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
            # The person of an event whose distinct id has another one by now is that one.
            self._store.write(
                "DELETE FROM events WHERE team_id = ? AND (distinct_id IN ? "
                "OR (person_id = toUUID(?) AND distinct_id NOT IN (SELECT distinct_id "
                "FROM person_distinct_id_overrides WHERE team_id = ?)))",
                [self._team_id, person.distinct_ids, person.uuid, self._team_id],
            )
        if not keep_person:
            with self._store.lock:
                self._persons.remove(person)

    def split(self, person: Person, keep_ids: list[str]) -> None:
        """Split all distinct ids but `keep_ids` off a person, each with its events."""
        with self._store.lock:
            self._persons.split(person, keep_ids)

    def list_page(
        self, conditions: Sequence[str], values: Sequence[Any], limit: int | None, offset: int
    ) -> list[Person]:
        """Return a page of persons, the newest first.

        Args:
            conditions: SQL conditions on `p` (person) and `r` (person_record), joined by AND.
            values: Their parameters, in order.
            limit: The maximum number of persons; None for all.
            offset: The number of persons to skip.
        """
        page = f"LIMIT {int(offset)}, {2**62 if limit is None else int(limit)}"
        rows = self._store.read(
            f"SELECT toString(p.id) FROM {self._table(conditions)} "  # noqa: S608
            f"ORDER BY p.created_at DESC, r.number DESC {page}",
            values,
        )
        return self.find_by_uuids(uuid for (uuid,) in rows)

    def count(self, conditions: Sequence[str], values: Sequence[Any]) -> int:
        """Return the number of persons that meet conditions, given as for `list_page`."""
        rows = self._store.read(f"SELECT count() FROM {self._table(conditions)}", values)  # noqa: S608
        return rows[0][0]

    def _table(self, conditions: Sequence[str]) -> str:
        live = f"FINAL WHERE team_id = {self._team_id} AND is_deleted = 0"
        return (
            f"(SELECT * FROM person {live}) AS p "  # noqa: S608
            f"INNER JOIN (SELECT * FROM person_record {live}) AS r ON r.id = p.id "
            f"WHERE {' AND '.join(conditions) or '1'}"
        )

    def list_all(self) -> list[Person]:
        """Return all persons, in order of creation."""
        rows = self._store.read(
            "SELECT toString(id) FROM person_record FINAL "
            "WHERE team_id = ? AND is_deleted = 0 ORDER BY number",
            [self._team_id],
        )
        return self.find_by_uuids(uuid for (uuid,) in rows)
