"""Which file downloads to request for the rows of an export. Pure.

PostHog's files contain the events that arrived in a time range; an export contains those that
happened in one. Events arrive when they happen or later, in files up to four days later: an event
that arrives later than that is in no file. Clocks that are fast make some arrive before they
happen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from asyncposthog.export.source import Source

__all__ = ["FILE_COLUMNS", "ArrivalRange", "arrival_ranges", "event_names", "unsupported_reason"]

ArrivalRange = tuple[int, int]
"""Start and end (exclusive) of a range of arrival times, in microseconds since 1970."""

_DAY_MICROS: Final = 86_400_000_000
_MAX_RANGE: Final = 7 * _DAY_MICROS
_MAX_LATE: Final = 4 * _DAY_MICROS
# A margin for clocks of clients that are fast.
_MAX_EARLY: Final = _DAY_MICROS
CLOCK_SKEW: Final = 30_000_000
"""Microseconds by which the server's clock may be behind ours."""

FILE_COLUMNS: Final[Mapping[str, str]] = {
    "uuid": "UUID",
    "event": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "distinct_id": "String",
    "person_id": "UUID",
    "properties": "String",
    "elements_chain": "String",
    "created_at": "DateTime64(6, 'UTC')",
    "person_properties": "String",
}
"""Columns of files of events, with the types that queries return for them."""

_EVENT_FILTER: Final = re.compile(r"events\.event IN \{(\w+)\}")


def unsupported_reason(source: Source) -> str | None:
    """Return why files cannot provide the rows of a source; None if they can."""
    if source.kind != "events":
        return f"files have no {source.kind} in the form that queries give"
    missing = [column for column in source.columns if column not in FILE_COLUMNS]
    if missing:
        return f"files have no column {missing[0]!r}"
    if any(_EVENT_FILTER.fullmatch(condition) is None for condition in source.where):
        return "files cannot be made with a condition"
    return None


def event_names(source: Source) -> list[str] | None:
    """Return the names of the events of a source; None: all events."""
    for condition in source.where:
        match = _EVENT_FILTER.fullmatch(condition)
        if match is not None:
            return [str(name) for name in cast("Sequence[Any]", source.values[match[1]])]
    return None


def arrival_ranges(start: int, end: int, latest: int) -> Iterator[ArrivalRange]:
    """Yield the ranges of arrival times that cover the events of a range.

    Args:
        start: The start of the range, in microseconds since 1970.
        end: The end of the range, exclusive.
        latest: The latest time that may be requested.
    """
    first, last = start - _MAX_EARLY, min(end + _MAX_LATE, latest - CLOCK_SKEW)
    while first < last:
        stop = min(first + _MAX_RANGE, last)
        yield first, stop
        first = stop
