"""Input and output of a translation: the context of a query, and the translated query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from .problems import HogQLError
from .types import Type

__all__ = ["Context", "Filter", "Query"]

Filter: TypeAlias = "Callable[[str], tuple[str, Mapping[str, Any]]]"
"""Gives a condition on the rows of `events`, `sessions` or `groups`, and its constants."""


def _no_filter(table: str) -> tuple[str, Mapping[str, Any]]:
    return "true", {}


def _no_variable(name: str) -> Any:
    raise HogQLError(f"Variable {name} is missing from query")


@dataclass(frozen=True, slots=True)
class Context:
    """What the meaning of a query depends on besides its text."""

    team_id: int
    now: datetime
    """The current time, in UTC."""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Values by the names of their placeholders."""
    property_types: Mapping[tuple[str, str], str] = field(
        default_factory=dict[tuple[str, str], str]
    )
    """`String`, `Numeric`, `Boolean` or `DateTime`, by scope and name."""
    cohorts: Mapping[int, str] = field(default_factory=dict[int, str])
    """Names by id."""
    cohort_problems: Mapping[int, str] = field(default_factory=dict[int, str])
    """Error messages by id, of cohorts whose members could not be calculated."""
    filter: Filter = _no_filter
    """What `{filters}` stands for in a SELECT from a table."""
    date_range: tuple[datetime | None, datetime | None] = (None, None)
    """What `{filters.dateRange.from}` and `{filters.dateRange.to}` stand for."""
    variable: Callable[[str], Any] = _no_variable
    """The value of `{variables.name}`; raises `HogQLError`."""


@dataclass(frozen=True, slots=True)
class Query:
    """A translated SELECT; its columns are c0, c1, … in the SQL."""

    sql: str
    columns: tuple[tuple[str, Type], ...]
    """Names and types."""
    text: str = ""
    """The query as HogQL writes it."""
