"""Persons of one project: created by events, merged by `$identify` and aliases.

ClickHouse has all of them. Recently used ones are cached in memory; `flush` writes changed ones
back. Events keep the person that they had on arrival: when their distinct id gets another person,
`person_distinct_id_overrides` gets a row.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from posthog_emulator.clickhouse.engine import Database
from posthog_emulator.clickhouse.inserts import insert

from .tables import COLUMNS

__all__ = ["Person", "PersonStore", "person_uuid"]

_NAMESPACE: Final = uuid.UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
_MAX_CACHED: Final = 50_000
"""Number of persons kept in memory."""

_SELECT: Final = """
SELECT r.number, toString(p.id), toUnixTimestamp64Micro(p.created_at), p.properties,
       p.is_identified, p.version, r.name, toUnixTimestamp64Micro(r.last_seen_at), d.ids
FROM (
    SELECT * FROM person FINAL WHERE team_id = {team} AND id IN {ids} AND is_deleted = 0
) AS p
INNER JOIN (
    SELECT * FROM person_record FINAL WHERE team_id = {team} AND id IN {ids} AND is_deleted = 0
) AS r ON r.id = p.id
LEFT JOIN (
    SELECT person_id, arrayMap(x -> x.2, arraySort(groupArray((version, distinct_id)))) AS ids
    FROM person_distinct_id2 FINAL
    WHERE team_id = {team} AND person_id IN {ids} AND is_deleted = 0 GROUP BY person_id
) AS d ON d.person_id = p.id
"""
_BY_UUIDS: Final = "?"
_BY_DISTINCT_IDS: Final = (
    "(SELECT person_id FROM person_distinct_id2 FINAL "
    "WHERE team_id = {team} AND distinct_id IN ? AND is_deleted = 0)"
)
_BY_NUMBER: Final = (
    "(SELECT id FROM person_record FINAL WHERE team_id = {team} AND number = ? AND is_deleted = 0)"
)


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
    persisted_version: int = -1
    """The version that ClickHouse has; -1 if it does not have the person."""
    distinct_ids_dirty: bool = True
    """Whether its distinct ids have to be written again."""


class PersonStore:
    """The persons of a project.

    Args:
        team_id: The project.
        database: The database of the event store.
        next_number: Returns the number (integer id) of the next person.
        next_version: Returns a number above all earlier ones.
        has_persisted: Whether ClickHouse may have persons that are not cached.
    """

    def __init__(
        self,
        team_id: int,
        database: Database,
        next_number: Callable[[], int],
        next_version: Callable[[], int],
        *,
        has_persisted: bool,
    ) -> None:
        self.team_id = team_id
        self._database = database
        self._next_number = next_number
        self._next_version = next_version
        self.has_persisted = has_persisted
        self._cache: dict[str, Person] = {}
        self._by_distinct_id: dict[str, Person] = {}
        self.cached: Callable[[str], Person | None] = self._by_distinct_id.get
        """Returns the person with a distinct id without a query; call `preload` first."""
        self._dirty: dict[str, Person] = {}
        self._deleted: dict[str, Person] = {}
        """Persons that were deleted or merged since the last flush, if ClickHouse has them."""
        self._removed_ids: set[str] = set()
        """Distinct ids that have lost their person since the last flush."""
        self._tombstones: dict[str, int] = {}
        """The last version of each deleted person, which one with its UUID has to exceed."""
        self.moved: dict[str, Person] = {}
        """The new person of each distinct id that got another one since the last flush."""
        self._overridden: set[str] = set()
        """The distinct ids in `person_distinct_id_overrides`."""
        self._anonymous_ids: dict[str, str] = {}
        if has_persisted:
            self._load_deleted()

    def _load_deleted(self) -> None:
        deleted = self._database.rows(
            "SELECT toString(id), version FROM person FINAL WHERE team_id = ? AND is_deleted = 1",
            [self.team_id],
        )
        self._tombstones = dict(deleted)
        overridden = self._database.rows(
            "SELECT DISTINCT distinct_id FROM person_distinct_id_overrides WHERE team_id = ?",
            [self.team_id],
        )
        self._overridden = {distinct_id for (distinct_id,) in overridden}

    @property
    def has_overrides(self) -> bool:
        """Whether events of the project have another person than their row says."""
        return bool(self._overridden)

    def preload(self, distinct_ids: Iterable[str]) -> None:
        """Load the persons of these distinct ids in one query, for the `find` calls that follow."""
        if not self.has_persisted:
            return
        missing = [
            distinct_id for distinct_id in distinct_ids if distinct_id not in self._by_distinct_id
        ]
        if missing:
            self._load(_BY_DISTINCT_IDS, missing)

    def find(self, distinct_id: str) -> Person | None:
        """Return the person with a distinct id; None if there is none."""
        person = self._by_distinct_id.get(distinct_id)
        if person is None and self.has_persisted:
            self.preload((distinct_id,))
            person = self._by_distinct_id.get(distinct_id)
        return person

    def find_by_uuids(self, uuids: Iterable[str]) -> list[Person]:
        """Return persons by UUID, in the same order; unknown UUIDs are left out."""
        requested = list(uuids)
        missing = [key for key in requested if key not in self._cache]
        if missing and self.has_persisted:
            self._load(_BY_UUIDS, missing)
        return [self._cache[key] for key in requested if key in self._cache]

    def find_by_number(self, number: int) -> Person | None:
        """Return the person with a number; None if there is none."""
        for person in self._cache.values():
            if person.number == number:
                return person
        if self.has_persisted:
            loaded = self._load(_BY_NUMBER, number)
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
        key = person_uuid(self.team_id, distinct_id)
        person = Person(self._next_number(), key, at, [distinct_id])
        self._by_distinct_id[distinct_id] = person
        self._put(person)
        return person

    def add(self, person: Person) -> Person:
        """Add a person; other persons lose the distinct ids that it has."""
        for distinct_id in person.distinct_ids:
            other = self.find(distinct_id)
            if other is not None and other is not person:
                other.distinct_ids.remove(distinct_id)
                other.distinct_ids_dirty = True
                self.mark_dirty(other)
            self._by_distinct_id[distinct_id] = person
        for replaced in self.find_by_uuids([person.uuid]):
            person.version = max(person.version, replaced.version + 1)
        self._put(person)
        return person

    def _put(self, person: Person) -> None:
        deleted = self._tombstones.get(person.uuid)
        if deleted is not None:
            person.version = max(person.version, deleted + 1)
        self._cache[person.uuid] = self._dirty[person.uuid] = person

    def mark_dirty(self, person: Person) -> None:
        """Mark a person as changed, to be written by the next `flush`."""
        person.version += 1
        self._dirty[person.uuid] = person

    def mark_seen(self, person: Person, at: int) -> None:
        """Set `last_seen_at`."""
        person.last_seen_at = at
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
        self.moved[distinct_id] = person
        self.mark_dirty(person)

    def _merge_into(self, target: Person, other: Person) -> None:
        target.properties = {**other.properties, **target.properties}
        target.created_at = min(target.created_at, other.created_at)
        target.version = max(target.version, other.version)
        for distinct_id in other.distinct_ids:
            self._by_distinct_id[distinct_id] = self.moved[distinct_id] = target
        target.distinct_ids += other.distinct_ids
        target.distinct_ids_dirty = True
        self._drop(other)
        self.mark_dirty(target)

    def remove(self, person: Person) -> None:
        """Delete a person; its events remain."""
        for distinct_id in person.distinct_ids:
            self._by_distinct_id.pop(distinct_id, None)
            self._removed_ids.add(distinct_id)
        self._drop(person)

    def _drop(self, person: Person) -> None:
        self._cache.pop(person.uuid, None)
        self._dirty.pop(person.uuid, None)
        if person.persisted_version >= 0:
            self._deleted[person.uuid] = person
            self._tombstones[person.uuid] = max(person.version, person.persisted_version) + 1

    def split(self, person: Person, keep_ids: list[str]) -> list[Person]:
        """Split distinct ids off a person; each becomes a person of its own.

        The events of these distinct ids become events of the new persons.

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
            self._by_distinct_id[distinct_id] = self.moved[distinct_id] = new_person
            self._put(new_person)
            created.append(new_person)
        return created

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes that `flush` has not written yet."""
        return bool(self._dirty or self._deleted or self._removed_ids or self.moved)

    def flush(self) -> None:
        """Write changed persons to ClickHouse. The events must have been inserted before."""
        changed = list(self._dirty.values())
        self._write_persons(changed)
        self._write_distinct_ids([person for person in changed if person.distinct_ids_dirty])
        self._write_overrides()
        gone = [key for key in self._deleted if key not in self._cache]
        for table in ("cohortpeople", "person_static_cohort") if gone else ():
            self._database.execute(
                f"DELETE FROM {table} WHERE team_id = ? AND person_id IN ?",  # noqa: S608
                [self.team_id, gone],
            )
        for person in changed:
            person.persisted_version, person.distinct_ids_dirty = person.version, False
        self._dirty.clear()
        self._deleted.clear()
        self._removed_ids.clear()
        self.moved.clear()
        # Everything at once instead of the least recently used: only here nothing is dirty.
        if len(self._cache) > _MAX_CACHED:
            self.evict_all()

    def evict_all(self) -> None:
        """Drop all cached persons. Call `flush()` first."""
        self._cache.clear()
        self._by_distinct_id.clear()
        self._anonymous_ids.clear()
        self.has_persisted = True

    def _write_persons(self, changed: list[Person]) -> None:
        team = self.team_id
        persons: list[tuple[Any, ...]] = [
            (team, p.uuid, p.created_at, _dump_json(p.properties), int(p.identified), 0, p.version)
            for p in changed
            if p.version != p.persisted_version
        ]
        records: list[tuple[Any, ...]] = [
            (team, p.uuid, p.number, p.name or "", p.last_seen_at, 0, self._next_version())
            for p in changed
        ]
        for key, person in self._deleted.items():
            version = self._tombstones[key]
            persons.append((team, key, person.created_at, "{}", int(person.identified), 1, version))
            # One with the same UUID may have been created since: its record is the later one.
            if key not in self._cache:
                number = person.number
                records.append((team, key, number, "", None, 1, self._next_version()))
        insert(self._database, "person", COLUMNS["person"], persons)
        insert(self._database, "person_record", COLUMNS["person_record"], records)

    def _write_distinct_ids(self, changed: list[Person]) -> None:
        # All of a person's ids, whose versions give their order.
        rows: list[tuple[Any, ...]] = [
            (self.team_id, distinct_id, person.uuid, 0, self._next_version())
            for person in changed
            for distinct_id in person.distinct_ids
        ]
        nobody = str(uuid.UUID(int=0))
        rows += [
            (self.team_id, distinct_id, nobody, 1, self._next_version())
            for distinct_id in sorted(self._removed_ids)
            if distinct_id not in self._by_distinct_id
        ]
        insert(self._database, "person_distinct_id2", COLUMNS["person_distinct_id2"], rows)

    def _write_overrides(self) -> None:
        """Write the new person of events whose distinct id got another one."""
        if not self.moved:
            return
        # Most distinct ids get their person before their first event: without events of another
        # person no row is needed, and queries need not look for it.
        found = self._database.rows(
            "SELECT distinct_id, groupUniqArray(toString(person_id)) FROM events "
            "WHERE team_id = ? AND distinct_id IN ? GROUP BY distinct_id",
            [self.team_id, list(self.moved)],
        )
        rows: list[tuple[Any, ...]] = []
        for distinct_id, persons in found:
            key = self.moved[distinct_id].uuid
            if persons != [key] or distinct_id in self._overridden:
                rows.append((self.team_id, distinct_id, key, 0, self._next_version()))
                self._overridden.add(distinct_id)
        table = "person_distinct_id_overrides"
        insert(self._database, table, COLUMNS[table], rows)

    def _load(self, ids: str, value: Any) -> list[Person]:
        """Load persons.

        Args:
            ids: The SQL of a set of UUIDs with one placeholder.
            value: Its value.
        """
        sql = _SELECT.replace("{ids}", ids).replace("{team}", str(int(self.team_id)))
        rows = self._database.rows(sql, [value] * sql.count("?"))
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
            distinct_ids,
        ) in rows:
            if key in self._deleted:  # ClickHouse has it until the next flush
                continue
            person = self._cache.get(key)
            if person is None:
                person = Person(
                    number, key, created_at, distinct_ids, json.loads(properties),
                    bool(identified), version, name or None, last_seen_at or None,
                    persisted_version=version, distinct_ids_dirty=False,
                )  # fmt: skip
                self._cache[key] = person
                # Since the last flush a distinct id may have moved: memory is right.
                for distinct_id in distinct_ids:
                    if distinct_id not in self._removed_ids:
                        self._by_distinct_id.setdefault(distinct_id, person)
            loaded.append(person)
        return loaded


def _dump_json(properties: dict[str, Any]) -> str:
    return json.dumps(properties, ensure_ascii=False, separators=(",", ":"))
