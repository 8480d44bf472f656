"""The rows to export, and the HogQL queries that read and count a time range of them. Pure.

Every query is bounded on both sides, ordered by (time, key) and cut by an explicit LIMIT. If a page
ends inside a window, the next one starts after its last row. That position is the time as text in
UTC, to the microsecond, and the key as text: ClickHouse has an order of its own for UUIDs, and JSON
need not show a time exactly. Everything that varies is passed as a placeholder value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .timestamps import format_clickhouse

__all__ = [
    "KEY_COLUMN", "TIME_COLUMN", "RowKey", "Source", "head_query", "histogram_query", "page_query",
]  # fmt: skip

TIME_COLUMN: Final = "export_time"
KEY_COLUMN: Final = "export_key"
"""Columns at the end of every page, which only order the rows and are not delivered."""

_RANDOM_FUNCTION: Final = re.compile(r"\b(?:rand|generateUUID|fuzzBits)\w*\s*\(", re.IGNORECASE)
_RESERVED_NAMES: Final = (
    "export_from",
    "export_to",
    "export_after",
    "export_after_key",
    "export_step",
)


class RowKey(NamedTuple):
    """Position of a row in the order of an export."""

    time: int
    """Microseconds since 1970; 0 if the export has no time."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one kind: the table they are in, and the expressions that order them."""

    kind: str
    """`events`, `persons`, `sessions`, `groups` or `hogql`."""
    table: str
    """The text after FROM."""
    columns: tuple[str, ...]
    """HogQL expressions to select."""
    time: str | None
    """HogQL expression of the time that windows are cut by; None: there is one window."""
    key: str
    """HogQL expression that distinguishes rows of the same time."""
    unique: bool = True
    """Whether time and key identify a row: rows that share both are then copies of one."""
    where: tuple[str, ...] = ()
    """HogQL conditions."""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Values of the placeholders in the expressions."""
    json: frozenset[str] = frozenset()
    """Names of columns in the response that hold JSON as text."""

    @property
    def is_deterministic(self) -> bool:
        """Whether the same query returns the same rows, because it does not use random numbers."""
        return not any(
            map(_RANDOM_FUNCTION.search, (self.table, self.time or "", self.key, *self.where))
        )

    def __post_init__(self) -> None:
        """Check that no value has the name of a placeholder of the export.

        Raises:
            ValueError: A value has one.
        """
        reserved = sorted(set(_RESERVED_NAMES) & set(self.values))
        if reserved:
            raise ValueError(f"values has {', '.join(reserved)}, which the export uses itself")


def page_query(
    source: Source, start: int, end: int, after: RowKey | None, limit: int
) -> tuple[str, dict[str, Any]]:
    """Return the query for a page of a window, and the values of its placeholders.

    Args:
        source: The rows to read.
        start: The start of the window, in microseconds since 1970.
        end: The end of the window, exclusive.
        after: The key of the last received row; None: the page is the first.
        limit: The number of rows, at most.
    """
    # As text, so that the order of the rows and the comparison with the last key agree.
    key = f"toString({source.key})"
    values: dict[str, Any] = dict(source.values)
    # On lines of their own: a condition may end in a comment, which must not swallow the bracket.
    conditions = [f"(\n{condition}\n)" for condition in source.where]
    hidden, order = [f"{key} AS {KEY_COLUMN}"], [key]
    if source.time is not None:
        hidden.insert(0, f"toString({source.time}, 'UTC') AS {TIME_COLUMN}")
        order.insert(0, source.time)
        # Narrows the scan. The condition on (time, key) below is what excludes earlier rows.
        first = max(start, after.time) if after else start
        values |= {"export_from": format_clickhouse(first), "export_to": format_clickhouse(end)}
        conditions += _range_conditions(source.time)
    if after is not None:
        values["export_after_key"] = after.key
        after_condition = f"{key} > {{export_after_key}}"
        if source.time is not None:
            values["export_after"] = format_clickhouse(after.time)
            after_condition = (
                f"({source.time} > {_datetime_sql('export_after')} OR {after_condition})"
            )
        conditions.append(after_condition)
    lines = [
        f"SELECT {', '.join((*source.columns, *hidden))}",
        f"FROM {source.table}",
        *_where_lines(conditions),
        f"ORDER BY {', '.join(order)}",
        f"LIMIT {limit}",
    ]
    return "\n".join(lines), values


def head_query(source: Source, start: int, end: int, limit: int) -> tuple[str, dict[str, Any]]:
    """Return the query for the first rows of a range, and the values of its placeholders.

    Args:
        source: The rows to read.
        start: The start of the range, in microseconds since 1970.
        end: The end of the range, exclusive.
        limit: The number of rows, at most.
    """
    values: dict[str, Any] = dict(source.values)
    conditions = [f"(\n{condition}\n)" for condition in source.where]
    order = [f"toString({source.key})"]
    if source.time is not None:
        values |= {"export_from": format_clickhouse(start), "export_to": format_clickhouse(end)}
        conditions += _range_conditions(source.time)
        order.insert(0, source.time)
    lines = [
        f"SELECT {', '.join(source.columns)}",
        f"FROM {source.table}",
        *_where_lines(conditions),
        f"ORDER BY {', '.join(order)}",
        f"LIMIT {limit}",
    ]
    return "\n".join(lines), values


def histogram_query(
    source: Source, start: int, end: int, step: int, limit: int, *, distinct: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return the query that counts rows in buckets, and the values of its placeholders.

    Args:
        source: The rows to count.
        start: The start of the range, in microseconds since 1970.
        end: The end of the range, exclusive.
        step: The length of a bucket in seconds; buckets are aligned to 1970.
        limit: The number of buckets, at most.
        distinct: Count rows of the same key once.
    """
    assert source.time is not None
    values = dict(source.values) | {
        "export_from": format_clickhouse(start),
        "export_to": format_clickhouse(end),
        "export_step": step,
    }
    conditions = [f"(\n{condition}\n)" for condition in source.where] + _range_conditions(
        source.time
    )
    rows = f"count(DISTINCT toString({source.key}))" if distinct else "count()"
    lines = [
        f"SELECT intDiv(toUnixTimestamp({source.time}), {{export_step}}) AS bucket, {rows} AS rows",
        f"FROM {source.table}",
        *_where_lines(conditions),
        "GROUP BY bucket",
        "ORDER BY bucket",
        f"LIMIT {limit}",
    ]
    return "\n".join(lines), values


def _range_conditions(time: str) -> list[str]:
    return [f"{time} >= {_datetime_sql('export_from')}", f"{time} < {_datetime_sql('export_to')}"]


def _datetime_sql(name: str) -> str:
    return f"toDateTime64({{{name}}}, 6, 'UTC')"


def _where_lines(conditions: list[str]) -> list[str]:
    return ["WHERE " + "\n  AND ".join(conditions)] if conditions else []
