"""What to ask of file downloads, so that they bring the rows of an export. Pure.

PostHog's files hold what arrived in a stretch of time, and an export is of what happened in one.
Events arrive when they happen or later, up to four days later in files: whatever arrives later
than that is in none. Clocks that are fast make some arrive before they happen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from asyncposthog.export.source import Source

__all__ = ["COLUMNS", "Stretch", "names_of_events", "stretches", "unsupported"]

Stretch = tuple[int, int]
"""From a moment up to but not including another, in microseconds."""

_DAY: Final = 86_400_000_000
_LONGEST: Final = 7 * _DAY
_LATE: Final = 4 * _DAY
_EARLY: Final = _DAY
SKEW: Final = 30_000_000
"""How far the server's clock may be behind ours."""

COLUMNS: Final[Mapping[str, str]] = {
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
"""What files of events have, with the types that queries give."""

_EVENTS: Final = re.compile(r"events\.event IN \{(\w+)\}")


def unsupported(source: Source) -> str | None:
    """Say why files cannot bring the rows of a source; None: they can."""
    if source.kind != "events":
        return f"files have no {source.kind} in the form that queries give"
    foreign = [column for column in source.columns if column not in COLUMNS]
    if foreign:
        return f"files have no column {foreign[0]!r}"
    if any(_EVENTS.fullmatch(condition) is None for condition in source.where):
        return "files cannot be made with a condition"
    return None


def names_of_events(source: Source) -> list[str] | None:
    """Return the names of the events that a source is about; None: all."""
    for condition in source.where:
        found = _EVENTS.fullmatch(condition)
        if found is not None:
            return [str(name) for name in cast("Sequence[Any]", source.values[found[1]])]
    return None


def stretches(start: int, end: int, until: int) -> Iterator[Stretch]:
    """Yield the stretches of arrival that hold what happened in a range.

    Args:
        start: The range's first moment, in microseconds.
        end: The first moment after it.
        until: The last moment that may be asked for.
    """
    first, last = start - _EARLY, min(end + _LATE, until - SKEW)
    while first < last:
        stop = min(first + _LONGEST, last)
        yield first, stop
        first = stop
