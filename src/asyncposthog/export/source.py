"""What is exported, and the HogQL that reads a stretch of it. Pure.

Every query is bounded on both sides, ordered by (time, key) and cut at an explicit LIMIT. Where a
page ends inside a window, the next begins behind its last row: the cursor is the time as text in
UTC, to the microsecond, and the key as text, because ClickHouse orders UUIDs by a rule of its own
and JSON need not show a time exactly. All that varies goes in through placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .timestamps import as_text

__all__ = ["KEY", "TIME", "Place", "Source", "histogram_query", "page_query"]

TIME: Final = "export_time"
KEY: Final = "export_key"
"""The columns that every page has at its end, and that are not handed on."""

_RANDOM: Final = re.compile(r"\b(?:rand|generateUUID|fuzzBits)\w*\s*\(", re.IGNORECASE)
_RESERVED: Final = ("export_from", "export_to", "export_after", "export_after_key", "export_step")


class Place(NamedTuple):
    """A row's place in the order of an export."""

    time: int
    """Microseconds since 1970; 0 where the export has no time."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one kind: where they are, and what orders them."""

    kind: str
    """`events`, `persons`, `sessions`, `groups` or `hogql`."""
    table: str
    """What follows FROM."""
    columns: tuple[str, ...]
    """HogQL expressions."""
    time: str | None
    """The expression of the time that windows are cut by; None: there is one window."""
    key: str
    """The expression that tells rows of one time apart."""
    unique: bool = True
    """Whether time and key are those of one row: equal ones are then the same row twice."""
    where: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    json: frozenset[str] = frozenset()
    """Columns, by their names in the answer, that hold JSON as text."""

    @property
    def repeatable(self) -> bool:
        """Whether the same rows are found each time: not where it is left to chance."""
        return not any(map(_RANDOM.search, (self.table, self.time or "", self.key, *self.where)))

    def __post_init__(self) -> None:
        """Refuse placeholders that are ours.

        Raises:
            ValueError: A value has the name of one.
        """
        taken = sorted(set(_RESERVED) & set(self.values))
        if taken:
            raise ValueError(f"values has {', '.join(taken)}, which the export uses itself")


def page_query(
    source: Source, start: int, end: int, after: Place | None, limit: int
) -> tuple[str, dict[str, Any]]:
    """Return the query for the rows of a window, and its values.

    Args:
        source: What is exported.
        start: The window's first moment, in microseconds.
        end: The first moment after it.
        after: The last row that is known already.
        limit: How many rows at most.
    """
    key = f"toString({source.key})"
    values: dict[str, Any] = dict(source.values)
    conditions = [f"(\n{condition}\n)" for condition in source.where]
    hidden, order = [f"{key} AS {KEY}"], [key]
    if source.time is not None:
        hidden.insert(0, f"toString({source.time}, 'UTC') AS {TIME}")
        order.insert(0, source.time)
        first = max(start, after.time) if after else start
        values |= {"export_from": as_text(first), "export_to": as_text(end)}
        conditions += _bounds(source.time)
    if after is not None:
        values["export_after_key"] = after.key
        behind = f"{key} > {{export_after_key}}"
        if source.time is not None:
            values["export_after"] = as_text(after.time)
            behind = f"({source.time} > {_moment('export_after')} OR {behind})"
        conditions.append(behind)
    lines = [
        f"SELECT {', '.join((*source.columns, *hidden))}",
        f"FROM {source.table}",
        *_where(conditions),
        f"ORDER BY {', '.join(order)}",
        f"LIMIT {limit}",
    ]
    return "\n".join(lines), values


def histogram_query(
    source: Source, start: int, end: int, step: int, limit: int, *, distinct: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return the query that counts the rows of every `step` seconds, by whole steps since 1970.

    With `distinct`, those of one key count once.
    """
    assert source.time is not None
    values = dict(source.values) | {
        "export_from": as_text(start),
        "export_to": as_text(end),
        "export_step": step,
    }
    conditions = [f"(\n{condition}\n)" for condition in source.where] + _bounds(source.time)
    rows = f"count(DISTINCT toString({source.key}))" if distinct else "count()"
    lines = [
        f"SELECT intDiv(toUnixTimestamp({source.time}), {{export_step}}) AS bucket, {rows} AS rows",
        f"FROM {source.table}",
        *_where(conditions),
        "GROUP BY bucket",
        "ORDER BY bucket",
        f"LIMIT {limit}",
    ]
    return "\n".join(lines), values


def _bounds(time: str) -> list[str]:
    return [f"{time} >= {_moment('export_from')}", f"{time} < {_moment('export_to')}"]


def _moment(name: str) -> str:
    return f"toDateTime64({{{name}}}, 6, 'UTC')"


def _where(conditions: list[str]) -> list[str]:
    return ["WHERE " + "\n  AND ".join(conditions)] if conditions else []
