"""What a translation is told of the world, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asyncposthog.emulator.hogql.types import Type

__all__ = ["Context", "Query"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a query's meaning depends on, besides its text."""

    team_id: int
    now: datetime
    """The moment, UTC."""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """By the names of the placeholders."""
    property_types: Mapping[tuple[str, str], str] = field(
        default_factory=dict[tuple[str, str], str]
    )
    """`String`, `Numeric`, `Boolean` or `DateTime`, by scope and name."""
    cohorts: Mapping[int, str] = field(default_factory=dict[int, str])
    """Names by number."""


@dataclass(frozen=True, slots=True)
class Query:
    """A translated SELECT; its columns are c0, c1, … in the SQL."""

    sql: str
    columns: tuple[tuple[str, Type], ...]
    """Names and types."""
    text: str = ""
    """The query as HogQL writes it."""
