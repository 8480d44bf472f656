"""Groups and group types of one project."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from posthog_emulator.clickhouse.engine import Database
from posthog_emulator.clickhouse.inserts import insert

from .tables import COLUMNS, MAX_GROUP_TYPES

__all__ = ["Group", "GroupStore"]


@dataclass(slots=True)
class Group:
    """One group, such as a company."""

    index: int
    """The index of its group type."""
    key: str
    created_at: int
    """Microseconds since 1970."""
    properties: dict[str, Any] = field(default_factory=dict[str, Any])


class GroupStore:
    """All groups and group types of a project, cached in memory and written by `flush`.

    Args:
        team_id: The project.
        database: The database of the event store.
        next_version: Returns a number above all earlier ones.
    """

    def __init__(self, team_id: int, database: Database, next_version: Callable[[], int]) -> None:
        self.team_id = team_id
        self._database = database
        self._next_version = next_version
        self.types: dict[str, int] = {}
        """Index by name of the group type."""
        self._groups: dict[tuple[int, str], Group] = {}
        self._dirty: set[tuple[int, str]] = set()
        self._dirty_types: set[str] = set()
        self._last_update = 0

    def load(self) -> None:
        """Load group types and groups from ClickHouse."""
        types = self._database.rows(
            "SELECT name, type FROM project_types FINAL "
            "WHERE team_id = ? AND scope = 'group_type' AND type != '' ORDER BY type",
            [self.team_id],
        )
        self.types = {name: int(index) for name, index in types}
        rows = self._database.rows(
            "SELECT group_type_index, group_key, toUnixTimestamp64Micro(created_at), "
            "group_properties, toUnixTimestamp64Micro(updated_at) FROM groups FINAL "
            "WHERE team_id = ? ORDER BY created_at, group_type_index, group_key",
            [self.team_id],
        )
        for index, key, created_at, properties, updated_at in rows:
            self._groups[index, key] = Group(index, key, created_at, json.loads(properties))
            self._last_update = max(self._last_update, updated_at)

    def ensure_type(self, name: str) -> int | None:
        """Return the index of a group type, creating the type if it is missing.

        None if the project already has the maximum of five other types.
        """
        index = self.types.get(name)
        if index is None:
            free = set(range(MAX_GROUP_TYPES)) - set(self.types.values())
            if not free:
                return None
            index = min(free)
            self.define_type(name, index)
        return index

    def define_type(self, name: str, index: int) -> None:
        """Assign an index to a group type."""
        # A type that had this index before loses it: an index belongs to one type.
        self._dirty_types |= {other for other, at in self.types.items() if at == index} | {name}
        self.types = {other: at for other, at in self.types.items() if at != index}
        self.types[name] = index

    def __iter__(self) -> Iterator[Group]:
        """Iterate over the groups in order of creation."""
        # A copy: callers iterate without the store's lock.
        return iter(list(self._groups.values()))

    def find(self, index: int, key: str) -> Group | None:
        """Return a group by type index and key; None if it does not exist."""
        return self._groups.get((index, key))

    def put(self, group: Group) -> None:
        """Add a group, or replace the one with the same index and key."""
        self._groups[group.index, group.key] = group
        self._dirty.add((group.index, group.key))

    def identify(
        self, index: int, key: str, properties: Mapping[str, Any], created_at: int
    ) -> Group:
        """Create a group or update its properties, as a `$groupidentify` event does."""
        group = self._groups.get((index, key))
        if group is None:
            group = Group(index, key, created_at)
        group.properties.update(properties)
        self.put(group)
        return group

    def mark_dirty(self, group: Group) -> None:
        """Mark a group as changed, to be written by the next `flush`."""
        self._dirty.add((group.index, group.key))

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes that `flush` has not written yet."""
        return bool(self._dirty_types or self._dirty)

    def flush(self, now: int) -> None:
        """Write changed group types and groups to ClickHouse.

        Args:
            now: The current time, in microseconds since 1970.
        """
        team = self.team_id
        if self._dirty_types:
            # A type without an index is one that lost it.
            types = [
                (team, "group_type", name, str(self.types.get(name, "")), self._next_version())
                for name in sorted(self._dirty_types)
            ]
            insert(self._database, "project_types", COLUMNS["project_types"], types)
            self._dirty_types.clear()
        if not self._dirty:
            return
        # Of several rows of one group the latest counts, so the times must differ, even if the
        # emulator's clock stands still or is set back.
        self._last_update = max(now, self._last_update + 1)
        rows = [
            (
                team, g.index, g.key, g.created_at, self._last_update,
                json.dumps(g.properties, ensure_ascii=False, separators=(",", ":")),
            )
            for g in (self._groups[key] for key in sorted(self._dirty))
        ]  # fmt: skip
        insert(self._database, "groups", COLUMNS["groups"], rows)
        self._dirty.clear()
