"""Names in one SELECT: tables, columns, aliases and lambda arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .problems import HogQLError, untranslated
from .schema import ALIASES, TABLES, Column, Table
from .types import Type
from .values import Json, Value, identifier

__all__ = ["QuerySource", "Scope", "Source", "TableSource", "table_named"]


def table_named(name: str) -> Table:
    """Return the table with a name.

    Raises:
        HogQLError: The table does not exist, or the emulator does not have it.
    """
    table = TABLES.get(ALIASES.get(name, name))
    if table is None:
        raise HogQLError(
            f"Unknown table `{name}`. The emulator has: {', '.join(sorted({*TABLES, *ALIASES}))}."
        )
    return table


class Source:
    """A table or subquery in FROM."""

    outer: bool = False
    """Whether rows may be unmatched, as on the right of a LEFT JOIN."""

    def field(self, name: str) -> Value | None:
        """Return a column; None if there is none."""
        raise NotImplementedError

    def child(self, name: str) -> Source | None:
        """Return a table that is joined lazily to this one, as `person` to `events`."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """Return the columns of `SELECT *`."""
        raise NotImplementedError

    def joins(self) -> str:
        """Return the SQL of the lazily joined tables that are used."""
        return ""

    def _filled(self, sql: str, type: Type) -> str:
        """Return the SQL of a column, with its empty value in rows that an outer join added."""
        # ClickHouse fills unmatched rows of an outer join with empty values, DuckDB with NULL.
        return f"coalesce({sql}, {type.empty})" if self.outer and not type.nullable else sql


class TableSource(Source):
    """A table of the schema, with what is joined to it when needed."""

    def __init__(self, table: Table, alias: str, team_id: int) -> None:
        self.table = table
        self.alias = alias
        self._team = team_id
        self._children: dict[str, _Joined] = {}

    @property
    def sql(self) -> str:
        """What to select from."""
        return self.table.sql.format(team=self._team)

    def field(self, name: str) -> Value | None:
        """Return a column; None if there is none."""
        column = self.table.columns.get(name)
        return None if column is None else self._value(name, column)

    def _value(self, name: str, column: Column) -> Value:
        own = column.sql.format(self.alias)
        sql = self._filled(own, column.type)
        # Properties are read from the column itself: the empty value of an unmatched row is not
        # valid JSON.
        json = Json(own, column.properties) if column.properties else None
        return Value(sql, column.type, identifier(name), json=json, name=name)

    def child(self, name: str) -> Source | None:
        """Return a table that is joined lazily to this one."""
        known = self._children.get(name)
        if known is not None:
            return known
        lazy = self.table.lazy.get(name)
        if lazy is None:
            return None
        alias = f"{self.alias}_{len(self._children)}"
        on = lazy.on.format(left=self.alias, right=alias)
        joined = _Joined(table_named(lazy.table), alias, self._team, on, self, lazy.instead)
        self._children[name] = joined
        return joined

    def names(self) -> Iterator[str]:
        """Return the columns of `SELECT *`."""
        return (name for name, column in self.table.columns.items() if column.shown)

    def joins(self) -> str:
        """Return the SQL of the lazily joined tables that are used."""
        return "".join(
            f" LEFT JOIN {child.sql} AS {child.alias} ON {child.on}{child.joins()}"
            for child in self._children.values()
            if child.needed
        )


class _Joined(TableSource):
    """A table that is joined only if one of its columns is used."""

    outer = True

    def __init__(
        self,
        table: Table,
        alias: str,
        team_id: int,
        on: str,
        parent: TableSource,
        instead: Mapping[str, str],
    ) -> None:
        super().__init__(table, alias, team_id)
        self.on = on
        self._parent = parent
        self._instead = instead
        self._used = False

    @property
    def needed(self) -> bool:
        """Whether it has to be joined."""
        return self._used or any(child.needed for child in self._children.values())

    def field(self, name: str) -> Value | None:
        """Return a column, from the parent table if it has the column."""
        # `person.id` is `events.person_id`: no join is needed for it.
        if name in self._instead:
            found = self._parent.field(self._instead[name])
            return None if found is None else found.called(name)
        found = super().field(name)
        self._used |= found is not None
        return found


class QuerySource(Source):
    """A subquery, or the values of an ARRAY JOIN."""

    def __init__(self, alias: str, columns: Mapping[str, tuple[str, Type]]) -> None:
        self.alias = alias
        self._columns = columns
        """Name → name in the subquery, and type."""

    def field(self, name: str) -> Value | None:
        """Return a column; None if there is none."""
        found = self._columns.get(name)
        if found is None:
            return None
        inner, kind = found
        sql = self._filled(f"{self.alias}.{inner}", kind)
        # A subquery may select `properties`; the outer query can still access single ones.
        valid = f"(CASE WHEN json_valid({sql}) THEN {sql} END)"
        json = Json(valid, "") if kind.plain.name == "String" else None
        return Value(sql, kind, identifier(name), json=json, name=name)

    def child(self, name: str) -> Source | None:
        """Return None: nothing is joined lazily to a subquery."""
        return None

    def names(self) -> Iterator[str]:
        """Return the columns of `SELECT *`."""
        return iter(self._columns)


@dataclass(slots=True)
class Scope:
    """The names that one SELECT can use."""

    sources: dict[str, Source] = field(default_factory=dict[str, Source])
    """By alias."""
    aliases: dict[str, Value] = field(default_factory=dict[str, Value])
    locals: dict[str, Value] = field(default_factory=dict[str, Value])
    """Arguments of the lambdas around the expression."""
    unnested: dict[str, str] = field(default_factory=dict[str, str])
    """Arrays that `arrayJoin` takes apart, by SQL, and the alias of each."""

    def add(self, name: str, source: Source) -> None:
        """Add a table.

        Raises:
            HogQLError: There is a table of that name already.
        """
        if name in self.sources:
            raise HogQLError(f'Already have joined a table called "{name}". Cannot redefine.')
        self.sources[name] = source

    def column(self, name: str) -> Value | None:
        """Resolve a name without a table: aliases come before columns.

        Raises:
            HogQLError: Several tables have such a column.
        """
        if name in self.locals:
            return self.locals[name]
        if name in self.aliases:
            return self.aliases[name]
        found = [v for s in self.sources.values() if (v := s.field(name)) is not None]
        if len(found) > 1:
            raise HogQLError(f"Ambiguous query. Found multiple sources for field: {name}")
        return found[0] if found else None

    def source(self, name: str) -> Source | None:
        """Return the table that a name before a dot refers to, if any."""
        if name in self.sources:
            return self.sources[name]
        found = [s for t in self.sources.values() if (s := t.child(name)) is not None]
        if len(found) > 1:
            raise untranslated(f"`{name}`, which is ambiguous; qualify it with its table")
        return found[0] if found else None
