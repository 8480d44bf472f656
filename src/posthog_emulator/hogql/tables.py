"""The parts of a table's definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Column", "Lazy", "Table"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    sql: str
    """With `{t}` for the alias of the table."""
    kind: str = "string"
    """Kind of its values; see `values.py`."""
    nullable: bool = False
    hidden: bool = False
    """Whether `*` leaves it out."""
    scope: str = ""
    """Whose properties it holds, when it is their JSON text."""
    needs: tuple[str, ...] = ()
    """Columns of the same table that its SQL names; only of derived tables."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """A table that is joined when one of its columns is asked for."""

    table: str
    on: str
    """The condition, with `{l}` and `{r}` for the aliases."""
    how: str
    left: str = ""
    """A column of the left table whose SQL replaces `{l}.name` in the condition."""
    right: str = ""
    """Columns of the right table that the condition reads; else that of the same name."""
    scope: str = ""
    """Whose properties it holds, in place of the scope of the table."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: either one of the database, or derived by a subquery."""

    columns: Mapping[str, Column]
    lazy: Mapping[str, Lazy] = field(default_factory=dict[str, Lazy])
    physical: str = ""
    derived: str = ""
    """With `{columns}`, `{t}` for the alias inside, `{team}` and `{cohorts}`."""
