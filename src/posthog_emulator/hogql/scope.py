"""What names mean inside one SELECT: its tables, subqueries, aliases and lambda arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .cohorts import current_cohorts
from .context import Context
from .errors import HogQLError
from .escape import quoted, string
from .parse import Node
from .properties import property_text
from .schema import TABLES, Lazy
from .values import Printed

__all__ = ["Names", "Query", "Scope", "Source", "SubquerySource", "TableSource"]


@dataclass(frozen=True, slots=True)
class Query:
    """A printed query."""

    sql: str
    columns: Mapping[str, Printed]
    """Columns by name, as a query around this one sees them."""
    names: tuple[str, ...]
    """Names of all columns; a name may occur twice."""


class Names:
    """Gives the aliases of tables in the printed query."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> str:
        """Return a new alias."""
        self._count += 1
        return f"__t{self._count}"


class Source:
    """Something that rows are selected from.

    Args:
        alias: Its alias in the printed query.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def names(self) -> Iterator[str]:
        """Yield the names of the columns of `*`."""
        raise NotImplementedError

    def column(self, name: str) -> Printed | None:
        """Return a column, or None."""
        raise NotImplementedError

    def joined(self, name: str) -> Source | None:
        """Return a table that is joined under a name, or None."""
        return None


class SubquerySource(Source):
    """A subquery, or a table function.

    Args:
        alias: Its alias in the printed query.
        columns: Its columns by name.
        sql: What to select from.
    """

    def __init__(self, alias: str, columns: Mapping[str, Printed], sql: str) -> None:
        super().__init__(alias)
        self.columns, self.sql = columns, sql

    def names(self) -> Iterator[str]:
        yield from self.columns

    def column(self, name: str) -> Printed | None:
        inner = self.columns.get(name)
        if inner is None:
            return None
        return Printed(f"{self.alias}.{quoted(name)}", inner.kind, inner.nullable, inner.scope)


class TableSource(Source):
    """A table, with the tables that were joined because a column of theirs was asked for.

    Args:
        name: The name of the table.
        context: What the query depends on.
        fresh: Gives aliases.
        direct: Whether it is the first table, with the condition on the project in WHERE.
        index: Which groups are meant, for the table `groups`.
    """

    def __init__(
        self, name: str, context: Context, fresh: Names, *, direct: bool = False,
        index: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(fresh.next())
        self.name, self.table = name, TABLES[name]
        self.direct = direct and not self.table.derived
        self._context, self._fresh, self._index = context, fresh, index
        self._inner = fresh.next() if self.table.derived else ""
        self._used: Counter[tuple[str, tuple[str | int, ...]]] = Counter()
        """How often columns, and keys of properties, of a derived table are read."""
        self._lazies: dict[str, tuple[Lazy, TableSource]] = {}

    def names(self) -> Iterator[str]:
        yield from (name for name, column in self.table.columns.items() if not column.hidden)

    def column(self, name: str) -> Printed | None:
        column = self.table.columns.get(name)
        if column is None:
            return None
        sql = column.sql.replace("{t}", self.alias)
        if self.table.derived:
            sql = self._read(name, ())
        elif name == "person_id" and self.name == "events" and self._context.has_person_overrides:
            override = self._join("override", self.table.lazy["override"])
            key, person = override._read("distinct_id", ()), override._read("person_id", ())
            sql = f"if(notEmpty({key}), {person}, {sql})"
        scope = f"group_{self._index}" if column.scope and self._index is not None else column.scope
        printed = Printed(sql, column.kind, column.nullable, scope)
        if scope and self.table.derived:
            printed.pull = lambda keys, deeper: self._pull(name, keys, deeper)
        if column.kind == "datetime" and self._context.timezone != "UTC":
            printed.bare = sql
            printed.sql = f"toTimeZone({sql}, {string(self._context.timezone)})"
        return printed

    def _read(self, name: str, keys: tuple[str | int, ...]) -> str:
        self._used[name, keys] += 1
        return f"{self.alias}.{quoted('___'.join(map(str, (name, *keys))))}"

    def _pull(self, name: str, keys: tuple[str | int, ...], deeper: bool) -> str:
        """Return a property that the subquery reads, so that it need not return all of them."""
        self._used[name, keys[:-1] if deeper else ()] -= 1
        return self._read(name, keys)

    def joined(self, name: str) -> TableSource | None:
        if self.name == "events" and name not in self.table.lazy:
            # Group types are names of the joins of their groups.
            types = self._context.group_types
            name = next((f"group_{n}" for n, kind in types.items() if kind == name), name)
        lazy = self.table.lazy.get(name)
        return None if lazy is None else self._join(name, lazy)

    def _join(self, name: str, lazy: Lazy) -> TableSource:
        if name not in self._lazies:
            joined = TableSource(lazy.table, self._context, self._fresh, index=lazy.index)
            # What the condition reads may join another table, which then comes before this one.
            left = self.column(lazy.left)
            assert left is not None
            on = f"{left.sql} = {joined._read(lazy.right, ())}"
            if lazy.index is not None:
                on += f" AND {joined._read('index', ())} = {lazy.index}"
            joined._condition = f"{lazy.how} {{}} ON {on}"
            self._lazies[name] = (lazy, joined)
        return self._lazies[name][1]

    _condition = ""

    def joins(self) -> Iterator[str]:
        """Yield the JOIN clauses of the tables joined to this one."""
        for _, joined in self._lazies.values():
            yield joined._condition.replace("{}", f"{joined.read()} AS {joined.alias}", 1)
            yield from joined.joins()

    def read(self) -> str:
        """Return what to select from."""
        team = str(self._context.team_id)
        if not self.table.derived:
            physical = self.table.physical
            if self.direct:
                return physical
            return f"(SELECT * FROM {physical} WHERE team_id = {team})"  # noqa: S608
        columns: list[str] = []
        for (name, keys), count in self._used.items():
            if count > 0:
                sql = self._filled(self.table.columns[name].sql)
                # Keys come from the query: nothing in them is to be filled in.
                sql = property_text(sql, keys) if keys else sql
                columns.append(f"{sql} AS {quoted('___'.join(map(str, (name, *keys))))}")
        rest = self._filled(self.table.derived)
        return f"(SELECT {', '.join(columns) or '1'} FROM {rest})"  # noqa: S608

    def _filled(self, sql: str) -> str:
        if "{cohorts}" in sql:
            sql = sql.replace("{cohorts}", current_cohorts(self._context))
        sql = sql.replace("{bounce}", str(self._context.bounce_seconds))
        return sql.replace("{t}", self._inner).replace("{team}", str(self._context.team_id))


@dataclass
class Scope:
    """The names of one SELECT."""

    sources: dict[str, Source] = field(default_factory=dict[str, Source])
    aliases: dict[str, Printed] = field(default_factory=dict[str, Printed])
    locals: list[dict[str, Printed]] = field(default_factory=list[dict[str, Printed]])
    """Arguments of the lambdas around, outermost first."""
    ctes: dict[str, Node] = field(default_factory=dict[str, Any])
    aggregate: str = ""
    """The aggregate function around, if any."""
    wheres: list[str] = field(default_factory=list[str])
    """Conditions that tables bring along."""

    def local(self, name: str) -> Printed | None:
        """Return an argument of a lambda, or None."""
        return next((frame[name] for frame in reversed(self.locals) if name in frame), None)

    def find(self, name: str) -> Printed | Source | None:
        """Return a column or a joined table of the sources, or None.

        Raises:
            HogQLError: Several sources have it.
        """
        matches: list[Printed | Source] = []
        for source in self.sources.values():
            match: Printed | Source | None = source.column(name) or source.joined(name)
            if match is not None:
                matches.append(match)
        if len(matches) > 1:
            raise HogQLError(f"Ambiguous query. Found multiple sources for field: {name}")
        return matches[0] if matches else None
