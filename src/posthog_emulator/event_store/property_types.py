"""Detect property types from the first value of each property, as PostHog does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal, TypeAlias

from posthog_emulator.clickhouse.engine import Database
from posthog_emulator.clickhouse.inserts import insert

from .tables import COLUMNS

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
    """Return the type of a property, detected from one value; None if the value has no type.

    Args:
        name: The property's name: some names decide the type, whatever the value.
        value: The JSON value.

    Returns:
        `String`, `Numeric`, `Boolean` or `DateTime`.
    """
    if name.startswith(("utm_", "$feature/", "$survey_response")):
        return "String"
    if name == "$feature_flag_response":
        return "String"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int | float):
        # A number is a Unix timestamp only if the name says so and it is after September 2001.
        lowered = name.lower()
        return "DateTime" if "time" in lowered and value >= _MIN_UNIX_SECONDS else "Numeric"
    if isinstance(value, str):
        if value.strip().lower() in {"true", "false"}:
            return "Boolean"
        return "DateTime" if _DATE.fullmatch(value.strip()) else "String"
    return None


class PropertyTypes:
    """The types of a project's properties.

    Args:
        team_id: The project.
        database: The database of the event store.
        on_property: Called with scope, name and type of each new property, and again when a
            property without a type gets one.
    """

    def __init__(
        self,
        team_id: int,
        database: Database,
        on_property: Callable[[Scope, str, str | None], None],
    ) -> None:
        self.team_id = team_id
        self._database = database
        self._on_property = on_property
        self._typed: dict[Scope, dict[str, str]] = {
            "event": {}, "person": {}, "group": {}, "session": {}
        }  # fmt: skip
        self._known = {scope: types.keys() for scope, types in self._typed.items()}
        """The names of typed properties: views, which follow changes."""
        self._untyped: set[tuple[Scope, str]] = set()
        self._unflushed: list[tuple[int, Scope, str, str, int]] = []

    def load(self) -> None:
        """Load the types from ClickHouse."""
        rows = self._database.rows(
            "SELECT scope, name, type FROM project_types FINAL "
            "WHERE team_id = ? AND scope != 'group_type'",
            [self.team_id],
        )
        for scope, name, kind in rows:
            self._typed[scope][name] = kind

    def all(self) -> dict[tuple[str, str], str]:
        """Return the types by scope and name."""
        return {
            (scope, name): kind
            for scope, types in self._typed.items()
            for name, kind in types.items()
        }

    def has_types(self, scope: Scope, names: AbstractSet[str]) -> bool:
        """Return whether all these properties have a type."""
        return names <= self._known[scope]

    def record(self, scope: Scope, properties: Mapping[str, Any]) -> None:
        """Record the types of the properties of one event, person or group."""
        if properties.keys() <= self._known[scope]:
            return
        typed = self._typed[scope]
        for name in properties:
            if name in typed or (scope == "event" and name in _IGNORED):
                continue
            kind = detect_type(name, properties[name])
            if kind is not None:
                typed[name] = kind
                self._unflushed.append((self.team_id, scope, name, kind, 1))
                self._on_property(scope, name, kind)
            elif (scope, name) not in self._untyped:
                self._untyped.add((scope, name))
                self._on_property(scope, name, None)

    @property
    def is_dirty(self) -> bool:
        """Whether there are types that `flush` has not written yet."""
        return bool(self._unflushed)

    def flush(self) -> None:
        """Write new types to ClickHouse."""
        insert(self._database, "project_types", COLUMNS["project_types"], self._unflushed)
        self._unflushed = []
