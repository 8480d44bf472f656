"""Which properties there are, and of what type: guessed from the first value, as PostHog does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import bulk

if TYPE_CHECKING:
    import duckdb

__all__ = ["PropertyTypes", "Scope", "detect_type"]

Scope: TypeAlias = Literal["event", "person", "group", "session"]

_IGNORED = frozenset(
    {"$set", "$set_once", "$unset", "$groups", *(f"$group_{index}" for index in range(5))}
)
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}:?\d{2})?)?", re.IGNORECASE
)
_MIN_UNIX_SECONDS = 1_000_000_000


def detect_type(name: str, value: Any) -> str | None:
    """The type of a property by one of its values; None where a value says nothing."""
    if name.startswith(("utm_", "$feature/", "$survey_response")):
        return "String"
    if name == "$feature_flag_response":
        return "String"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int | float):
        lowered = name.lower()
        return "DateTime" if "time" in lowered and value >= _MIN_UNIX_SECONDS else "Numeric"
    if isinstance(value, str):
        if value.strip().lower() in {"true", "false"}:
            return "Boolean"
        return "DateTime" if _DATE.fullmatch(value.strip()) else "String"
    return None


class PropertyTypes:
    """The properties of a project.

    Args:
        team_id: The project.
        connection: Where they are kept.
        found: Told of each property that is new: its scope, name and type, and of a type found
            for one that had none.
    """

    def __init__(
        self,
        team_id: int,
        connection: duckdb.DuckDBPyConnection,
        on_property: Callable[[Scope, str, str | None], None],
    ) -> None:
        self.team_id = team_id
        self._connection = connection
        self._on_property = on_property
        self._typed: dict[Scope, dict[str, str]] = {}
        self._untyped: set[tuple[Scope, str]] = set()
        self._unflushed: list[tuple[int, Scope, str, str]] = []
        self.load()

    def load(self) -> None:
        """Read what DuckDB has."""
        rows = self._connection.execute(
            "SELECT scope, name, type FROM property_types WHERE team_id = ?", [self.team_id]
        ).fetchall()
        self._typed = {"event": {}, "person": {}, "group": {}, "session": {}}
        for scope, name, kind in rows:
            self._typed[scope][name] = kind

    def record(self, scope: Scope, properties: Mapping[str, Any]) -> None:
        """Take in the properties of one event, person or group."""
        typed = self._typed[scope]
        if properties.keys() <= typed.keys():
            return
        for name in properties:
            if name in typed or (scope == "event" and name in _IGNORED):
                continue
            kind = detect_type(name, properties[name])
            if kind is not None:
                typed[name] = kind
                self._unflushed.append((self.team_id, scope, name, kind))
                self._on_property(scope, name, kind)
            elif (scope, name) not in self._untyped:
                self._untyped.add((scope, name))
                self._on_property(scope, name, None)

    @property
    def is_dirty(self) -> bool:
        """Whether DuckDB is behind."""
        return bool(self._unflushed)

    def flush(self) -> None:
        """Write to DuckDB what is new."""
        bulk.insert(self._connection, "property_types", self._unflushed)
        self._unflushed = []
