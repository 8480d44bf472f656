"""Charts as plain data: what is drawn, without how. Altair and the terminal each render them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, TypeAlias

__all__ = [
    "Bar",
    "Bars",
    "Cell",
    "Estimate",
    "Estimates",
    "Figure",
    "Grid",
    "Line",
    "Lines",
    "Mark",
    "Stack",
    "StackPart",
    "Timeline",
    "format_bytes",
    "format_count",
    "format_number",
    "format_percent",
    "format_seconds",
]

Unit: TypeAlias = Literal["number", "percent", "bytes"]
"""How values are written: 1,234; 12.3 %, of a share of 1; 1.2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What all charts have."""

    title: str
    subtitle: str
    """The period, and what else is to be known to read the chart."""
    empty: str = ""
    """What the chart says in place of data, if there is none; otherwise empty."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar."""

    label: str
    value: float
    text: str
    """The text at its end."""
    group: str = ""
    """The name of its colour; bars of one label and several groups are beside each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Figure):
    """Horizontal bars, in the given order from the top."""

    labels_title: str
    values_title: str
    bars: tuple[Bar, ...]
    unit: Unit = "number"
    groups_title: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line."""

    label: str
    points: tuple[tuple[date, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Figure):
    """Lines over time, with their names at their ends."""

    times_title: str
    values_title: str
    lines: tuple[Line, ...]
    unit: Unit = "number"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a grid."""

    row: str
    column: str
    value: float
    """The share from 0 to 1 that its colour shows."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(Figure):
    """Cells in rows and columns, coloured by a share."""

    rows_title: str
    columns_title: str
    values_title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class StackPart:
    """One part of a stacked bar; a negative value is below the axis."""

    time: date
    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(Figure):
    """Stacked bars over time."""

    times_title: str
    values_title: str
    labels: tuple[str, ...]
    """The labels of the parts, in the order in which they are stacked from the axis."""
    parts: tuple[StackPart, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates(Figure):
    """Values with confidence intervals, in the given order from the top."""

    labels_title: str
    values_title: str
    estimates: tuple[Estimate, ...]
    unit: Unit = "number"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a time."""

    time: datetime
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline(Figure):
    """Marks over time, with a row for each label, the first one at the top."""

    times_title: str
    labels_title: str
    marks: tuple[Mark, ...]


def format_number(value: float) -> str:
    """Return a number for people: `1,234`, `12.3`, `0.045`."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def format_count(count: int, noun: str) -> str:
    """Return a number with a noun: `1 person`, `1,234 persons`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_percent(share: float) -> str:
    """Return a share of 1 as a percentage: `12.3 %`, `100 %`."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text} %"


def format_seconds(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least one: `1.5 h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f}".removesuffix(".0") + " s"


def format_bytes(count: float) -> str:
    """Return a size in the largest unit of which it has at least one: `1.5 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count:.0f} B"
