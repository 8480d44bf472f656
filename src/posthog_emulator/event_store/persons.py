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
_AWAKE: Final = 50_000
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
    stored: bool = False
    """Whether DuckDB has it, in some state."""
    rekeyed: bool = True
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
        number: Callable[[], int],
        *,
        asleep: bool,
    ) -> None:
        self.team_id = team_id
        self._connection = connection
        self._number = number
        self.asleep = asleep
        self._cache: dict[str, Person] = {}
        self._by_distinct_id: dict[str, Person] = {}
        self._changed: dict[str, Person] = {}
        self._deleted: set[str] = set()
        self._merged_ids: list[tuple[str, str]] = []
        self._nobody: dict[str, str] = {}

    def wake(self, distinct_ids: Iterable[str]) -> None:
        """Fetch at once whoever of these is not here yet, so that `find` need not ask for each."""
        if not self.asleep:
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
        if found is None and self.asleep:
            self.wake((distinct_id,))
            found = self._by_distinct_id.get(distinct_id)
        return found

    def known(self, distinct_id: str) -> Person | None:
        """The person with a distinct id that was woken."""
        return self._by_distinct_id.get(distinct_id)

    def by_uuid(self, uuids: Iterable[str]) -> list[Person]:
        """Persons by UUID, in the same order; unknown ones are left out."""
        wanted = list(uuids)
        missing = [one for one in wanted if one not in self._cache]
        if missing and self.asleep:
            self._load("p.id IN (SELECT unnest(?::UUID[]))", [missing])
        return [self._cache[one] for one in wanted if one in self._cache]

    def by_number(self, number: int) -> Person | None:
        """The person with a number."""
        for person in self._cache.values():
            if person.number == number:
                return person
        if self.asleep:
            loaded = self._load("r.number = ?", [number])
            return loaded[0] if loaded else None
        return None

    def id_of(self, distinct_id: str) -> str:
        """The id of the person with a distinct id, or else of nobody."""
        found = self.find(distinct_id)
        return found.uuid if found is not None else self.nobody(distinct_id)

    def nobody(self, distinct_id: str) -> str:
        """The person id of events that make no person."""
        known = self._nobody.get(distinct_id)
        if known is None:
            if len(self._nobody) >= _AWAKE:  # they can be computed again
                self._nobody.clear()
            known = self._nobody[distinct_id] = person_uuid(self.team_id, distinct_id)
        return known

    def make(self, distinct_id: str, at: int) -> Person:
        """A new person."""
        return self.add(
            Person(self._number(), person_uuid(self.team_id, distinct_id), at, [distinct_id])
        )

    def add(self, person: Person) -> Person:
        """Take in a person made elsewhere; whoever had one of its distinct ids loses it."""
        for distinct_id in person.distinct_ids:
            other = self.find(distinct_id)
            if other is not None and other is not person:
                other.distinct_ids.remove(distinct_id)
                other.rekeyed = True
                self.touch(other)
            self._by_distinct_id[distinct_id] = person
        self._cache[person.uuid] = self._changed[person.uuid] = person
        return person

    def touch(self, person: Person) -> None:
        """Note that a person has changed."""
        person.version += 1
        self._changed[person.uuid] = person

    def saw(self, person: Person, at: int) -> None:
        """Note that a person did something; kept by the hour."""
        if person.last_seen_at is None or at >= person.last_seen_at + _HOUR:
            person.last_seen_at = at - at % _HOUR
            self._changed[person.uuid] = person

    def change(
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
        self.touch(person)

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
            target = other or self.make(into_id, at)
            if other is not None:
                self._join(target, into_id)
            elif other_id != into_id:
                self._join(target, other_id)
        elif other is None:
            self._join(target, other_id)
        elif other is not target and (force or not other.identified):
            self._merge_into(target, other)
        if not target.identified:
            target.identified = True
            self.touch(target)
        return target

    def _join(self, person: Person, distinct_id: str) -> None:
        person.distinct_ids.append(distinct_id)
        person.rekeyed = True
        self._by_distinct_id[distinct_id] = person
        self._merged_ids.append((self.nobody(distinct_id), person.uuid))
        self.touch(person)

    def _merge_into(self, target: Person, other: Person) -> None:
        target.properties = {**other.properties, **target.properties}
        target.created_at = min(target.created_at, other.created_at)
        target.version = max(target.version, other.version)
        for distinct_id in other.distinct_ids:
            self._by_distinct_id[distinct_id] = target
        target.distinct_ids += other.distinct_ids
        target.rekeyed = True
        self._merged_ids.append((other.uuid, target.uuid))
        self._forget(other)
        self.touch(target)

    def remove(self, person: Person) -> None:
        """Delete a person; its events stay."""
        for distinct_id in person.distinct_ids:
            self._by_distinct_id.pop(distinct_id, None)
        self._forget(person)

    def _forget(self, person: Person) -> None:
        self._cache.pop(person.uuid, None)
        self._changed.pop(person.uuid, None)
        if person.stored:
            self._deleted.add(person.uuid)

    def split(self, person: Person, kept: list[str]) -> list[Person]:
        """Leave a person some of its distinct ids, and make a person of each of the others.

        Their events go with them once the store has moved those; see `EventStore.split`.
        """
        moved = [one for one in person.distinct_ids if one not in kept]
        person.distinct_ids = [one for one in person.distinct_ids if one in kept]
        person.rekeyed = True
        self.touch(person)
        made: list[Person] = []
        for distinct_id in moved:
            fresh = person_uuid(self.team_id, distinct_id)
            if fresh == person.uuid:
                fresh = person_uuid(self.team_id, f"{distinct_id}/split")
            born = Person(self._number(), fresh, person.created_at, [distinct_id])
            self._by_distinct_id[distinct_id] = born
            self._cache[fresh] = self._changed[fresh] = born
            made.append(born)
        return made

    @property
    def pending(self) -> bool:
        """Whether DuckDB is behind."""
        return bool(self._changed or self._deleted or self._merged_ids)

    def flush(self) -> None:
        """Write to DuckDB what has changed; the events themselves are there already."""
        changed = list(self._changed.values())
        rekeyed = [person for person in changed if person.rekeyed]
        stale = [*(person.uuid for person in changed if person.stored), *self._deleted]
        self._delete("persons", "id", stale)
        self._delete("person_records", "id", stale)
        lost = [*(person.uuid for person in rekeyed if person.stored), *self._deleted]
        self._delete("person_distinct_ids", "person_id", lost)
        self._delete("cohort_people", "person_id", [*self._deleted])
        self._write(changed, rekeyed)
        self._move()
        for person in changed:
            person.stored, person.rekeyed = True, False
        self._changed.clear()
        self._deleted.clear()
        if len(self._cache) > _AWAKE:
            self.sleep()

    def sleep(self) -> None:
        """Let go of everybody; nothing may be pending."""
        self._cache.clear()
        self._by_distinct_id.clear()
        self._nobody.clear()
        self.asleep = True

    def _write(self, changed: list[Person], rekeyed: list[Person]) -> None:
        team = self.team_id
        bulk.insert(
            self._connection,
            "persons",
            [
                (team, p.uuid, p.created_at, _text(p.properties), p.identified, p.version)
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

    def _move(self) -> None:
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
                    version, name, seen, stored=True, rekeyed=False,
                )  # fmt: skip
                self._cache[key] = person
                for one in person.distinct_ids:
                    self._by_distinct_id.setdefault(one, person)
            loaded.append(person)
        return loaded


def _text(properties: dict[str, Any]) -> str:
    return json.dumps(properties, ensure_ascii=False, separators=(",", ":"))
