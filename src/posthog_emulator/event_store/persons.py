"""The persons of one project: made by events, merged by `$identify` and aliases.

DuckDB holds them all. Those that were touched are also here, and those that changed are written
back by `flush`.
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
"""Persons kept in memory; DuckDB has them all."""
_HOUR: Final = 3_600_000_000

_SELECT = """
SELECT r.number, p.id::VARCHAR, epoch_us(p.created_at), p.properties, p.is_identified, p.version,
       r.name, epoch_us(r.last_seen_at),
       (SELECT list(d.distinct_id ORDER BY d.rowid) FROM person_distinct_ids d
        WHERE d.person_id = p.id)
FROM persons p JOIN person_records r ON r.id = p.id
WHERE p.team_id = ? AND """


def person_uuid(team_id: int, distinct_id: str) -> str:
    """The UUID of the person an event with this distinct id makes."""
    return str(uuid.uuid5(_NAMESPACE, f"{team_id}:{distinct_id}"))


@dataclass(slots=True)
class Person:
    """One person. Times are microseconds since 1970."""

    number: int
    uuid: str
    created_at: int
    distinct_ids: list[str] = field(default_factory=list[str])
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    identified: bool = False
    version: int = 0
    name: str | None = None
    """A name of its own; otherwise it is called by its properties."""
    last_seen_at: int | None = None
    is_persisted: bool = False
    """Whether DuckDB has it, in some state."""
    distinct_ids_dirty: bool = True
    """Whether its distinct ids are to be written anew."""


class PersonStore:
    """The persons of a project.

    Args:
        team_id: The project.
        connection: Where they are kept.
        number: Gives the next person's number.
        asleep: Whether DuckDB may have some already.
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
        """Fetch at once whoever of these is not here yet, so that `find` need not ask for each."""
        if not self.has_persisted:
            return
        missing = [one for one in distinct_ids if one not in self._by_distinct_id]
        if missing:
            self._load(
                "p.id IN (SELECT person_id FROM person_distinct_ids WHERE team_id = ? "
                "AND distinct_id IN (SELECT unnest(?::VARCHAR[])))",
                [self.team_id, missing],
            )

    def find(self, distinct_id: str) -> Person | None:
        """The person with a distinct id."""
        found = self._by_distinct_id.get(distinct_id)
        if found is None and self.has_persisted:
            self.preload((distinct_id,))
            found = self._by_distinct_id.get(distinct_id)
        return found

    def cached(self, distinct_id: str) -> Person | None:
        """The person with a distinct id that was woken."""
        return self._by_distinct_id.get(distinct_id)

    def find_by_uuids(self, uuids: Iterable[str]) -> list[Person]:
        """Persons by UUID, in the same order; unknown ones are left out."""
        wanted = list(uuids)
        missing = [one for one in wanted if one not in self._cache]
        if missing and self.has_persisted:
            self._load("p.id IN (SELECT unnest(?::UUID[]))", [missing])
        return [self._cache[one] for one in wanted if one in self._cache]

    def find_by_number(self, number: int) -> Person | None:
        """The person with a number."""
        for person in self._cache.values():
            if person.number == number:
                return person
        if self.has_persisted:
            loaded = self._load("r.number = ?", [number])
            return loaded[0] if loaded else None
        return None

    def person_id(self, distinct_id: str) -> str:
        """The id of the person with a distinct id, or else of nobody."""
        found = self.find(distinct_id)
        return found.uuid if found is not None else self.anonymous_person_id(distinct_id)

    def anonymous_person_id(self, distinct_id: str) -> str:
        """The person id of events that make no person."""
        known = self._anonymous_ids.get(distinct_id)
        if known is None:
            if len(self._anonymous_ids) >= _MAX_CACHED:  # they can be computed again
                self._anonymous_ids.clear()
            known = self._anonymous_ids[distinct_id] = person_uuid(self.team_id, distinct_id)
        return known

    def create(self, distinct_id: str, at: int) -> Person:
        """A new person."""
        return self.add(
            Person(self._next_number(), person_uuid(self.team_id, distinct_id), at, [distinct_id])
        )

    def add(self, person: Person) -> Person:
        """Take in a person made elsewhere; whoever had one of its distinct ids loses it."""
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
        """Note that a person has changed."""
        person.version += 1
        self._dirty[person.uuid] = person

    def mark_seen(self, person: Person, at: int) -> None:
        """Note that a person did something; kept by the hour."""
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
        """Change a person's properties, as `$set`, `$set_once` and `$unset` do."""
        held = person.properties
        changes = {
            name: value
            for name, value in set.items()
            if name not in held or held[name] != value or type(held[name]) is not type(value)
        }
        if set_once:
            for name, value in set_once.items():
                if name not in held and name not in changes:
                    changes[name] = value
        dropped = [name for name in unset if name in held or name in changes]
        if not changes and not dropped:
            return
        held.update(changes)
        for name in dropped:
            held.pop(name, None)
        self.mark_dirty(person)

    def merge(self, other_id: str, into_id: str, at: int, *, force: bool = False) -> Person:
        """Make two distinct ids one person's, as `$identify` and aliases do.

        Args:
            other_id: The anonymous one, or the alias.
            into_id: The one whose person stays, and whose properties win.
            at: When.
            force: Merge even somebody who was identified before.

        Returns:
            The person of `into_id`. Somebody identified before is left alone.
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
        """Delete a person; its events stay."""
        for distinct_id in person.distinct_ids:
            self._by_distinct_id.pop(distinct_id, None)
        self._drop(person)

    def _drop(self, person: Person) -> None:
        self._cache.pop(person.uuid, None)
        self._dirty.pop(person.uuid, None)
        if person.is_persisted:
            self._deleted.add(person.uuid)

    def split(self, person: Person, keep_ids: list[str]) -> list[Person]:
        """Leave a person some of its distinct ids, and make a person of each of the others.

        Their events go with them once the store has moved those; see `EventStore.split`.
        """
        moved = [one for one in person.distinct_ids if one not in keep_ids]
        person.distinct_ids = [one for one in person.distinct_ids if one in keep_ids]
        person.distinct_ids_dirty = True
        self.mark_dirty(person)
        made: list[Person] = []
        for distinct_id in moved:
            fresh = person_uuid(self.team_id, distinct_id)
            if fresh == person.uuid:
                fresh = person_uuid(self.team_id, f"{distinct_id}/split")
            born = Person(self._next_number(), fresh, person.created_at, [distinct_id])
            self._by_distinct_id[distinct_id] = born
            self._cache[fresh] = self._dirty[fresh] = born
            made.append(born)
        return made

    @property
    def is_dirty(self) -> bool:
        """Whether DuckDB is behind."""
        return bool(self._dirty or self._deleted or self._merged_ids)

    def flush(self) -> None:
        """Write to DuckDB what has changed; the events themselves are there already."""
        changed = list(self._dirty.values())
        rekeyed = [person for person in changed if person.distinct_ids_dirty]
        stale = [*(person.uuid for person in changed if person.is_persisted), *self._deleted]
        self._delete("persons", "id", stale)
        self._delete("person_records", "id", stale)
        lost = [*(person.uuid for person in rekeyed if person.is_persisted), *self._deleted]
        self._delete("person_distinct_ids", "person_id", lost)
        self._delete("cohort_people", "person_id", [*self._deleted])
        self._write(changed, rekeyed)
        self._reassign_events()
        for person in changed:
            person.is_persisted, person.distinct_ids_dirty = True, False
        self._dirty.clear()
        self._deleted.clear()
        if len(self._cache) > _MAX_CACHED:
            self.evict_all()

    def evict_all(self) -> None:
        """Let go of everybody; nothing may be pending."""
        self._cache.clear()
        self._by_distinct_id.clear()
        self._anonymous_ids.clear()
        self.has_persisted = True

    def _write(self, changed: list[Person], rekeyed: list[Person]) -> None:
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
            [(team, one, p.uuid) for p in rekeyed for one in p.distinct_ids],
        )

    def _reassign_events(self) -> None:
        """Give the events of merged persons to those they were merged into."""
        if not self._merged_ids:
            return
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
        for number, key, created_at, properties, identified, version, name, seen, ids in rows:
            if key in self._deleted:
                continue
            person = self._cache.get(key)
            if person is None:
                person = Person(
                    number, key, created_at, ids or [], json.loads(properties), identified,
                    version, name, seen, is_persisted=True, distinct_ids_dirty=False,
                )  # fmt: skip
                self._cache[key] = person
                for one in person.distinct_ids:
                    self._by_distinct_id.setdefault(one, person)
            loaded.append(person)
        return loaded


def _dump_json(properties: dict[str, Any]) -> str:
    return json.dumps(properties, ensure_ascii=False, separators=(",", ":"))
