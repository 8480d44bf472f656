"""Persons of one project: created by events, merged by `$identify` and aliases.

DuckDB has all of them. Recently used ones are cached in memory; `flush` writes changed ones back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from . import bulk

if TYPE_CHECKING:
    import duckdb

__all__ = ["Person", "PersonStore", "person_uuid"]

_NAMESPACE: Final = uuid.UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
_MAX_CACHED: Final = 50_000
"""Number of persons kept in memory."""
_HOUR: Final = 3_600_000_000

_SELECT = """
SELECT r.number, p.id::VARCHAR, epoch_us(p.created_at), p.properties, p.is_identified, p.version,
       r.name, epoch_us(r.last_seen_at),
       (SELECT list(d.distinct_id ORDER BY d.rowid) FROM person_distinct_ids d
        WHERE d.person_id = p.id)
FROM persons p JOIN person_records r ON r.id = p.id
WHERE p.team_id = ? AND """


def person_uuid(team_id: int, distinct_id: str) -> str:
    """Return the UUID of the person that an event with this distinct id creates.

    It is a version 5 UUID with PostHog's own namespace, so that it can be computed before the
    person exists: personless events carry it as `person_id`.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{team_id}:{distinct_id}"))


@dataclass(slots=True)
class Person:
    """One person. Timestamps are microseconds since 1970."""

    number: int
    uuid: str
    created_at: int
    distinct_ids: list[str] = field(default_factory=list[str])
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    identified: bool = False
    version: int = 0
    name: str | None = None
    """An explicit name; by default the API derives one from the properties."""
    last_seen_at: int | None = None
    is_persisted: bool = False
    """Whether DuckDB has the person, possibly in an older state."""
    distinct_ids_dirty: bool = True
    """Whether its distinct ids have to be written again."""


class PersonStore:
    """The persons of a project.

    Args:
        team_id: The project.
        connection: The database of the event store.
        next_number: Returns the number (integer id) of the next person.
        has_persisted: Whether DuckDB may have persons that are not cached.
    """

    def __init__(
        self,
        team_id: int,
        connection: duckdb.DuckDBPyConnection,
        next_number: Callable[[], int],
        *,
        has_persisted: bool,
    ) -> None:
        self.team_id = team_id
        self._connection = connection
        self._next_number = next_number
        self.has_persisted = has_persisted
        self._cache: dict[str, Person] = {}
        self._by_distinct_id: dict[str, Person] = {}
        self._dirty: dict[str, Person] = {}
        self._deleted: set[str] = set()
        self._merged_ids: list[tuple[str, str]] = []
        self._anonymous_ids: dict[str, str] = {}

    def preload(self, distinct_ids: Iterable[str]) -> None:
        """Load the persons of these distinct ids in one query, for the `find` calls that follow."""
        if not self.has_persisted:
            return
        missing = [
            distinct_id for distinct_id in distinct_ids if distinct_id not in self._by_distinct_id
        ]
        if missing:
            self._load(
                "p.id IN (SELECT person_id FROM person_distinct_ids WHERE team_id = ? "
                "AND distinct_id IN (SELECT unnest(?::VARCHAR[])))",
                [self.team_id, missing],
            )

    def find(self, distinct_id: str) -> Person | None:
        """Return the person with a distinct id; None if there is none."""
        person = self._by_distinct_id.get(distinct_id)
        if person is None and self.has_persisted:
            self.preload((distinct_id,))
            person = self._by_distinct_id.get(distinct_id)
        return person

    def cached(self, distinct_id: str) -> Person | None:
        """Return the person with a distinct id without a query; call `preload` first."""
        return self._by_distinct_id.get(distinct_id)

    def find_by_uuids(self, uuids: Iterable[str]) -> list[Person]:
        """Return persons by UUID, in the same order; unknown UUIDs are left out."""
        requested = list(uuids)
        missing = [key for key in requested if key not in self._cache]
        if missing and self.has_persisted:
            self._load("p.id IN (SELECT unnest(?::UUID[]))", [missing])
        return [self._cache[key] for key in requested if key in self._cache]

    def find_by_number(self, number: int) -> Person | None:
        """Return the person with a number; None if there is none."""
        for person in self._cache.values():
            if person.number == number:
                return person
        if self.has_persisted:
            loaded = self._load("r.number = ?", [number])
            return loaded[0] if loaded else None
        return None

    def person_id(self, distinct_id: str) -> str:
        """Return the `person_id` of events with a distinct id, whether it has a person or not."""
        person = self.find(distinct_id)
        return person.uuid if person is not None else self.anonymous_person_id(distinct_id)

    def anonymous_person_id(self, distinct_id: str) -> str:
        """Return the `person_id` of events that create no person."""
        person_id = self._anonymous_ids.get(distinct_id)
        if person_id is None:
            if len(self._anonymous_ids) >= _MAX_CACHED:  # they can be computed again
                self._anonymous_ids.clear()
            person_id = self._anonymous_ids[distinct_id] = person_uuid(self.team_id, distinct_id)
        return person_id

    def create(self, distinct_id: str, at: int) -> Person:
        """Create a person with one distinct id."""
        return self.add(
            Person(self._next_number(), person_uuid(self.team_id, distinct_id), at, [distinct_id])
        )

    def add(self, person: Person) -> Person:
        """Add a person; other persons lose the distinct ids that it has."""
        for distinct_id in person.distinct_ids:
            other = self.find(distinct_id)
            if other is not None and other is not person:
                other.distinct_ids.remove(distinct_id)
                other.distinct_ids_dirty = True
                self.mark_dirty(other)
            self._by_distinct_id[distinct_id] = person
        self._cache[person.uuid] = self._dirty[person.uuid] = person
        return person

    def mark_dirty(self, person: Person) -> None:
        """Mark a person as changed, to be written by the next `flush`."""
        person.version += 1
        self._dirty[person.uuid] = person

    def mark_seen(self, person: Person, at: int) -> None:
        """Update `last_seen_at`, to the hour."""
        # By the hour, as on the server: otherwise every event would make the person dirty.
        if person.last_seen_at is None or at >= person.last_seen_at + _HOUR:
            person.last_seen_at = at - at % _HOUR
            self._dirty[person.uuid] = person

    def update_properties(
        self,
        person: Person,
        set: Mapping[str, Any],
        set_once: Mapping[str, Any] | None = None,
        unset: Iterable[str] = (),
    ) -> None:
        """Update a person's properties, as `$set`, `$set_once` and `$unset` do."""
        current = person.properties
        # The types are compared too: in Python 1 == True == 1.0, in JSON they differ.
        changes = {
            name: value
            for name, value in set.items()
            if name not in current
            or current[name] != value
            or type(current[name]) is not type(value)
        }
        if set_once:
            for name, value in set_once.items():
                if name not in current and name not in changes:
                    changes[name] = value
        removed = [name for name in unset if name in current or name in changes]
        if not changes and not removed:
            return
        current.update(changes)
        for name in removed:
            current.pop(name, None)
        self.mark_dirty(person)

    def merge(self, other_id: str, into_id: str, at: int, *, force: bool = False) -> Person:
        """Make two distinct ids belong to one person, as `$identify` and aliases do.

        Args:
            other_id: The anonymous distinct id, or the alias.
            into_id: The distinct id whose person remains and whose properties win.
            at: Creation time of a new person, in microseconds since 1970.
            force: Merge the other person even if it is identified (`$merge_dangerously`).

        Returns:
            The person of `into_id`. Without `force`, an identified other person is not merged.
        """
        target, other = self.find(into_id), self.find(other_id)
        if target is None:
            target = other or self.create(into_id, at)
            if other is not None:
                self._add_distinct_id(target, into_id)
            elif other_id != into_id:
                self._add_distinct_id(target, other_id)
        elif other is None:
            self._add_distinct_id(target, other_id)
        elif other is not target and (force or not other.identified):
            self._merge_into(target, other)
        if not target.identified:
            target.identified = True
            self.mark_dirty(target)
        return target

    def _add_distinct_id(self, person: Person, distinct_id: str) -> None:
        person.distinct_ids.append(distinct_id)
        person.distinct_ids_dirty = True
        self._by_distinct_id[distinct_id] = person
        # Earlier personless events of this distinct id become events of the person.
        self._merged_ids.append((self.anonymous_person_id(distinct_id), person.uuid))
        self.mark_dirty(person)

    def _merge_into(self, target: Person, other: Person) -> None:
        target.properties = {**other.properties, **target.properties}
        target.created_at = min(target.created_at, other.created_at)
        target.version = max(target.version, other.version)
        for distinct_id in other.distinct_ids:
            self._by_distinct_id[distinct_id] = target
        target.distinct_ids += other.distinct_ids
        target.distinct_ids_dirty = True
        self._merged_ids.append((other.uuid, target.uuid))
        self._drop(other)
        self.mark_dirty(target)

    def remove(self, person: Person) -> None:
        """Delete a person; its events remain."""
        for distinct_id in person.distinct_ids:
            self._by_distinct_id.pop(distinct_id, None)
        self._drop(person)

    def _drop(self, person: Person) -> None:
        self._cache.pop(person.uuid, None)
        self._dirty.pop(person.uuid, None)
        if person.is_persisted:
            self._deleted.add(person.uuid)

    def split(self, person: Person, keep_ids: list[str]) -> list[Person]:
        """Split distinct ids off a person; each becomes a person of its own.

        The events are not reassigned here; see `PersonRepository.split`.

        Args:
            person: The person to split.
            keep_ids: The distinct ids that remain with the person.

        Returns:
            The new persons.
        """
        split_ids = [
            distinct_id for distinct_id in person.distinct_ids if distinct_id not in keep_ids
        ]
        person.distinct_ids = [
            distinct_id for distinct_id in person.distinct_ids if distinct_id in keep_ids
        ]
        person.distinct_ids_dirty = True
        self.mark_dirty(person)
        created: list[Person] = []
        for distinct_id in split_ids:
            new_uuid = person_uuid(self.team_id, distinct_id)
            # The person that was created from this distinct id has that UUID and keeps it.
            if new_uuid == person.uuid:
                new_uuid = person_uuid(self.team_id, f"{distinct_id}/split")
            new_person = Person(self._next_number(), new_uuid, person.created_at, [distinct_id])
            self._by_distinct_id[distinct_id] = new_person
            self._cache[new_uuid] = self._dirty[new_uuid] = new_person
            created.append(new_person)
        return created

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes that `flush` has not written yet."""
        return bool(self._dirty or self._deleted or self._merged_ids)

    def flush(self) -> None:
        """Write changed persons to DuckDB. The events must have been inserted before."""
        # Changed rows are deleted and inserted again: two bulk statements for any number of
        # persons, where DuckDB would update them one by one.
        changed = list(self._dirty.values())
        with_new_ids = [person for person in changed if person.distinct_ids_dirty]
        replaced = [*(person.uuid for person in changed if person.is_persisted), *self._deleted]
        self._delete("persons", "id", replaced)
        self._delete("person_records", "id", replaced)
        without_ids = [
            *(person.uuid for person in with_new_ids if person.is_persisted),
            *self._deleted,
        ]
        self._delete("person_distinct_ids", "person_id", without_ids)
        self._delete("cohort_people", "person_id", [*self._deleted])
        self._write(changed, with_new_ids)
        self._reassign_events()
        for person in changed:
            person.is_persisted, person.distinct_ids_dirty = True, False
        self._dirty.clear()
        self._deleted.clear()
        # Everything at once instead of the least recently used: only here nothing is dirty.
        if len(self._cache) > _MAX_CACHED:
            self.evict_all()

    def evict_all(self) -> None:
        """Drop all cached persons. Call `flush()` first."""
        self._cache.clear()
        self._by_distinct_id.clear()
        self._anonymous_ids.clear()
        self.has_persisted = True

    def _write(self, changed: list[Person], with_new_ids: list[Person]) -> None:
        team = self.team_id
        bulk.insert(
            self._connection,
            "persons",
            [
                (team, p.uuid, p.created_at, _dump_json(p.properties), p.identified, p.version)
                for p in changed
            ],
        )
        bulk.insert(
            self._connection,
            "person_records",
            [(team, p.uuid, p.number, p.name, p.last_seen_at) for p in changed],
        )
        bulk.insert(
            self._connection,
            "person_distinct_ids",
            [(team, distinct_id, p.uuid) for p in with_new_ids for distinct_id in p.distinct_ids],
        )

    def _reassign_events(self) -> None:
        """Set `person_id` of the events of merged persons to the person they were merged into."""
        if not self._merged_ids:
            return
        # Backwards, so that a chain of merges (a into b, b into c) leads each UUID to its end.
        final: dict[str, str] = {}
        for old, new in reversed(self._merged_ids):
            final[old] = final.get(new, new)
        self._connection.execute(
            "UPDATE events SET person_id = m.new FROM "
            "(SELECT unnest(?::UUID[]) AS old, unnest(?::UUID[]) AS new) m "
            "WHERE events.team_id = ? AND events.person_id = m.old",
            [list(final), list(final.values()), self.team_id],
        )
        self._merged_ids.clear()

    def _delete(self, table: str, column: str, uuids: list[str]) -> None:
        if uuids:
            self._connection.execute(
                f"DELETE FROM {table} WHERE {column} IN (SELECT unnest(?::UUID[]))",  # noqa: S608
                [uuids],
            )

    def _load(self, condition: str, values: list[Any]) -> list[Person]:
        rows = self._connection.execute(_SELECT + condition, [self.team_id, *values]).fetchall()
        loaded: list[Person] = []
        for (
            number,
            key,
            created_at,
            properties,
            identified,
            version,
            name,
            last_seen_at,
            ids,
        ) in rows:
            if key in self._deleted:  # DuckDB has it until the next flush
                continue
            person = self._cache.get(key)
            if person is None:
                person = Person(
                    number, key, created_at, ids or [], json.loads(properties), identified,
                    version, name, last_seen_at, is_persisted=True, distinct_ids_dirty=False,
                )  # fmt: skip
                self._cache[key] = person
                # Since the last flush a distinct id may have moved: memory is right, not DuckDB.
                for distinct_id in person.distinct_ids:
                    self._by_distinct_id.setdefault(distinct_id, person)
            loaded.append(person)
        return loaded


def _dump_json(properties: dict[str, Any]) -> str:
    return json.dumps(properties, ensure_ascii=False, separators=(",", ":"))
