"""What names mean inside one SELECT: its tables, subqueries, aliases and lambda arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import HogQLError
from .escape import quoted, string
from .parse import Node
from .schema import TABLES
from .tables import Lazy, Table
from .values import Printed

if TYPE_CHECKING:
    from .context import Context

__all__ = ["Names", "Scope", "Source", "SubquerySource", "TableSource"]


class Names:
    """Gives the aliases of tables in the printed query."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> str:
        """Return a new alias."""
        self._count += 1
        return f"__t{self._count}"


@dataclass
class Source:
    """Something that rows are selected from."""

    alias: str

    def names(self) -> Iterator[str]:
        """Yield the names of the columns of `*`."""
        raise NotImplementedError

    def column(self, name: str) -> Printed | None:
        """Return a column, or None."""
        raise NotImplementedError

    def joined(self, name: str) -> Source | None:
        """Return a table that is joined under a name, or None."""
        return None


@dataclass
class SubquerySource(Source):
    """A subquery, or a table function."""

    columns: Mapping[str, Printed]
    sql: str

    def names(self) -> Iterator[str]:
        yield from self.columns

    def column(self, name: str) -> Printed | None:
        inner = self.columns.get(name)
        if inner is None:
            return None
        return Printed(f"{self.alias}.{quoted(name)}", inner.kind, inner.nullable, inner.scope)


@dataclass
class TableSource(Source):
    """A table, with the tables that were joined because a column of theirs was asked for."""

    name: str
    table: Table
    context: Context
    fresh: Names
    scope: str = ""
    """Whose properties it holds, instead of the scope of the table."""
    direct: bool = False
    """Whether it is read as the first table, with the condition on the project in WHERE."""
    used: dict[str, None] = field(default_factory=dict[str, None])
    lazies: dict[str, tuple[Lazy, TableSource]] = field(
        default_factory=dict[str, "tuple[Lazy, TableSource]"]
    )

    def names(self) -> Iterator[str]:
        for name, column in self.table.columns.items():
            if not column.hidden:
                yield name

    def column(self, name: str) -> Printed | None:
        column = self.table.columns.get(name)
        if column is None:
            return None
        if self.table.derived:
            self._use(name)
            sql = f"{self.alias}.{quoted(name)}"
        elif name == "person_id" and self.name == "events" and self.context.has_person_overrides:
            override = self.joined("override")
            assert override is not None
            other = override.column("distinct_id")
            person = override.column("person_id")
            assert other is not None and person is not None
            own = column.sql.replace("{t}", self.alias)
            sql = f"if(notEmpty({other.sql}), {person.sql}, {own})"
        else:
            sql = column.sql.replace("{t}", self.alias)
        scope = column.scope and (self.scope or column.scope)
        printed = Printed(sql, column.kind, column.nullable, scope)
        if column.kind == "datetime" and self.context.timezone != "UTC":
            printed.bare = sql
            printed.sql = f"toTimeZone({sql}, {string(self.context.timezone)})"
        return printed

    def _use(self, name: str) -> None:
        if name not in self.used:
            for other in self.table.columns[name].needs:
                self._use(other)
            self.used[name] = None

    def joined(self, name: str) -> TableSource | None:
        if name not in self.table.lazy and self.name == "events":
            # Group types are names of the joins of their groups.
            name = next(
                (f"group_{n}" for n, kind in self.context.group_types.items() if kind == name), name
            )
        if name in self.lazies:
            return self.lazies[name][1]
        lazy = self.table.lazy.get(name)
        if lazy is None:
            return None
        made = TableSource(
            self.fresh.next(), lazy.table, TABLES[lazy.table], self.context, self.fresh, lazy.scope
        )
        # Registered before the columns of its condition, which may join others before it.
        if lazy.left:
            self.column(lazy.left)
        for column in (lazy.right or lazy.on.rpartition("{r}.")[2]).split():
            made._use(column)
        self.lazies[name] = (lazy, made)
        return made

    def joins(self) -> Iterator[str]:
        """Yield the JOIN clauses of the tables joined to this one."""
        for lazy, made in self.lazies.values():
            on = lazy.on
            if lazy.left:
                left = self.column(lazy.left)
                assert left is not None
                on = on.replace(f"{{l}}.{lazy.left}", left.sql)
            on = on.replace("{l}", self.alias).replace("{r}", made.alias)
            yield f"{lazy.how} {made.read()} AS {made.alias} ON {on}"
            yield from made.joins()

    def read(self) -> str:
        """Return what to select from: for a table of the database, its name alone."""
        if not self.table.derived:
            return self.table.physical
        inner = self.fresh.next()
        own = self.table.columns
        used = self.used or dict.fromkeys([next(iter(own))])
        printed = ", ".join(
            f"{own[name].sql.replace('{bounce}', str(self.context.bounce_seconds))} "
            f"AS {quoted(name)}"
            for name in used
        )
        text = self.table.derived.replace("{columns}", printed).replace("{t}", inner)
        text = text.replace("{team}", str(self.context.team_id))
        if "{cohorts}" not in text:
            return text
        return text.replace("{cohorts}", _current_cohorts(inner, self.context))


def _current_cohorts(alias: str, context: Context) -> str:
    """Return the condition on the rows of the cohorts as they were last calculated.

    Raises:
        HogQLError: The members of a cohort could not be calculated, so that its rows are missing.
    """
    error = next((cohort.error for cohort in context.cohorts.values() if cohort.error), None)
    if error is not None:
        raise HogQLError(f"The members of a cohort could not be calculated. {error}")
    pairs = [
        f"({number}, {cohort.version})" if cohort.version is not None else f"({number}, NULL)"
        for number, cohort in context.cohorts.items()
        if not cohort.static
    ]
    exact = [pair for pair in pairs if not pair.endswith("NULL)")]
    loose = [pair[1:].split(",")[0] for pair in pairs if pair.endswith("NULL)")]
    tests = [f"({alias}.cohort_id, {alias}.version) IN ({', '.join(exact)})"] if exact else []
    if loose:
        tests.append(f"{alias}.cohort_id IN ({', '.join(loose)}) AND {alias}.sign > 0")
    return f"({' OR '.join(tests)})" if tests else "0"


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
        found: list[Printed | Source] = []
        for source in self.sources.values():
            one: Printed | Source | None = source.column(name) or source.joined(name)
            if one is not None:
                found.append(one)
        if len(found) > 1:
            raise HogQLError(f"Ambiguous query. Found multiple sources for field: {name}")
        return found[0] if found else None
