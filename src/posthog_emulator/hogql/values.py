"""Printed expressions with what is known of their types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

__all__ = ["CONTAINERS", "MOMENTS", "NOTHING", "Keys", "Printed"]

NOTHING: Final = object()
"""In place of the value of an expression that is no constant."""
MOMENTS: Final = frozenset({"date", "datetime"})
CONTAINERS: Final = frozenset({"array", "tuple", "map", "unknown"})
"""Kinds whose elements may be NULL though they themselves are not."""
Keys: TypeAlias = "tuple[str | int, ...]"


@dataclass(slots=True)
class Printed:
    """ClickHouse SQL of an expression."""

    sql: str
    kind: str = "unknown"
    """string, number, int, float, bool, date, datetime, interval, uuid, array, tuple, map, null or
    unknown."""
    nullable: bool = True
    scope: str = ""
    """Whose properties it holds, when it is their JSON text."""
    constant: Any = NOTHING
    bare: str = ""
    """For a column of timestamps, the SQL without the conversion to the project's time zone."""
    path: tuple[str, Keys] | None = None
    """For a property: the SQL of the JSON text, and the keys in it."""
    text: str = ""
    """For a property: the SQL without conversion to the type of its definition."""
    pull: Callable[[Keys, bool], str] | None = None
    """For properties of a subquery: makes it read a property, and returns the SQL of that."""
    name: str = ""
    """For a field, the name that its column gets."""
    aggregate: bool = False
    """Whether an aggregate function is called."""

    @property
    def is_constant(self) -> bool:
        """Return whether the value is known."""
        return self.constant is not NOTHING
