"""What the meaning of a query depends on besides its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from .errors import HogQLError
from .parse import Expression

__all__ = ["Action", "Cohort", "Context", "SystemTable", "Value"]

Value: TypeAlias = "Any | Expression"
"""A constant, or an expression, that a placeholder stands for."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """A cohort."""

    name: str
    static: bool = False
    version: int | None = None
    """The version of its rows that counts; None: all rows, by the sum of their signs."""
    error: str | None = None
    """Why its members could not be calculated."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action: its name, and its steps as the API has them."""

    name: str
    steps: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class SystemTable:
    """The rows of a table of `system`, with the ClickHouse types of its columns."""

    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]] = ()


def _no_filter(table: str) -> Value:
    return True


def _no_variable(name: str) -> Any:
    raise HogQLError(f"Variable {name} is missing from query")


def _no_table(name: str) -> SystemTable | None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What the meaning of a query depends on besides its text."""

    team_id: int
    now: datetime
    """The current time, with a time zone."""
    timezone: str = "UTC"
    """The time zone of the project."""
    week_start_day: int = 0
    """0 for Sunday, 1 for Monday."""
    values: Mapping[str, Value] = field(default_factory=dict[str, Any])
    """Values by the names of their placeholders."""
    property_types: Mapping[tuple[str, str], str] = field(
        default_factory=dict[tuple[str, str], str]
    )
    """`String`, `Numeric`, `Boolean` or `DateTime`, by scope and name of the property. Scopes are
    `event`, `person`, `group` and `group_0` to `group_4`."""
    cohorts: Mapping[int, Cohort] = field(default_factory=dict[int, Cohort])
    """By id."""
    actions: Mapping[int, Action] = field(default_factory=dict[int, Action])
    """By id."""
    group_types: Mapping[int, str] = field(default_factory=dict[int, str])
    """Names by index."""
    filters: Callable[[str], Value] = _no_filter
    """What `{filters}` stands for in a SELECT from a table."""
    date_range: tuple[datetime | None, datetime | None] = (None, None)
    """What `{filters.dateRange.from}` and `{filters.dateRange.to}` stand for."""
    variable: Callable[[str], Any] = _no_variable
    """The value of `{variables.name}`; raises `HogQLError`."""
    has_person_overrides: bool = True
    """Whether events of the project may carry a person that was merged into another."""
    views: Mapping[str, str] = field(default_factory=dict[str, str])
    """The HogQL of saved queries, by name."""
    system_table: Callable[[str], SystemTable | None] = _no_table
    """The rows of a table of `system`."""
    engine_functions: frozenset[str] | None = None
    """Names of the functions that the engine has; None: all."""
    path_cleaning: Sequence[tuple[str, str]] = ()
    """Regular expressions and replacements that clean paths."""
    bounce_seconds: int = 10
    """Seconds from which a session with one page does not bounce."""
