"""Groups and group types of one project."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import bulk
from .tables import MAX_GROUP_TYPES

if TYPE_CHECKING:
    import duckdb

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
        connection: The database of the event store.
    """

    def __init__(self, team_id: int, connection: duckdb.DuckDBPyConnection) -> None:
        self.team_id = team_id
        self._connection = connection
        self.types: dict[str, int] = {}
        """Index by name of the group type."""
        self._groups: dict[tuple[int, str], Group] = {}
        self._dirty: set[tuple[int, str]] = set()
        self._types_dirty = False
        self.load()

    def load(self) -> None:
        """Load group types and groups from DuckDB."""
        read = self._connection.execute
        types = "SELECT group_type, group_type_index FROM group_types WHERE team_id = ? ORDER BY 2"
        self.types = dict(read(types, [self.team_id]).fetchall())
        rows = read(
            "SELECT group_type_index, group_key, epoch_us(created_at), properties FROM groups "
            "WHERE team_id = ? ORDER BY rowid",
            [self.team_id],
        ).fetchall()
        for index, key, created_at, properties in rows:
            self._groups[index, key] = Group(index, key, created_at, json.loads(properties))

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
        self.types = {other: at for other, at in self.types.items() if at != index}
        self.types[name] = index
        self._types_dirty = True

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
        return self._types_dirty or bool(self._dirty)

    def flush(self) -> None:
        """Write changed group types and groups to DuckDB."""
        if self._types_dirty:
            self._connection.execute("DELETE FROM group_types WHERE team_id = ?", [self.team_id])
            rows = [(self.team_id, name, index) for name, index in self.types.items()]
            bulk.insert(self._connection, "group_types", rows)
            self._types_dirty = False
        if not self._dirty:
            return
        changed = [self._groups[key] for key in sorted(self._dirty)]
        self._connection.execute(
            # Numbered parameters: DuckDB before version 2 counts the question marks of USING
            # after those of WHERE.
            "DELETE FROM groups USING (SELECT unnest($1::INTEGER[]) AS i, unnest($2::VARCHAR[]) "
            "AS k) AS c WHERE team_id = $3 AND group_type_index = c.i AND group_key = c.k",
            [[g.index for g in changed], [g.key for g in changed], self.team_id],
        )
        rows = [
            (
                self.team_id, g.index, g.key, g.created_at,
                json.dumps(g.properties, ensure_ascii=False, separators=(",", ":")),
            )
            for g in changed
        ]  # fmt: skip
        bulk.insert(self._connection, "groups", rows)
        self._dirty.clear()
