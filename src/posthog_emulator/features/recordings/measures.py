"""Measure the events of a session recording, which have the format of rrweb."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from posthog_emulator.json_types import as_object

__all__ = ["Measures", "measure"]

_INCREMENTAL: Final = 3
_META: Final = 4
_PLUGIN: Final = 6
_MOUSE_INTERACTION: Final = 2
_INPUT: Final = 5
_MOUSE_SOURCES: Final = frozenset({1, 2, 6, 12})
"""Moves of the mouse, interactions, moves of fingers, and drags."""
_ACTIVE_SOURCES: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 12})
_CLICKS: Final = frozenset({2, 3, 4, 9})
"""Clicks, right clicks, double clicks, and ends of touches."""
_CONSOLE_FIELDS: Final[Mapping[str, str]] = {
    "error": "console_error_count",
    "info": "console_log_count",
    "log": "console_log_count",
    "warn": "console_warn_count",
}
_ACTIVE_GAP: Final = 5_000
"""Milliseconds without activity after which a user counts as inactive."""


@dataclass(slots=True)
class Measures:
    """What the events of a recording, or of a part of it, add up to."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    """Counts and the size in bytes, by the field of the recording that shows them."""
    start: int | None = None
    """The first timestamp, in milliseconds since 1970."""
    end: int | None = None
    active_milliseconds: int = 0
    url: str | None = None
    """The first page."""


def measure(events: Iterable[Mapping[str, Any]]) -> Measures:
    """Return the measures of events.

    Args:
        events: The events; those without a timestamp are not measured.
    """
    measures = Measures()
    counts = measures.counts
    active: list[int] = []

    def add(name: str, number: int = 1) -> None:
        counts[name] = counts.get(name, 0) + number

    for event in events:
        timestamp = event.get("timestamp")
        if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
            continue
        at = int(timestamp)
        measures.start = at if measures.start is None else min(measures.start, at)
        measures.end = at if measures.end is None else max(measures.end, at)
        add("event_count")
        add("total_size", len(json.dumps(event, separators=(",", ":"))))
        data = as_object(event.get("data"))
        kind, source = event.get("type"), data.get("source")
        if kind == _META and measures.url is None and isinstance(data.get("href"), str):
            measures.url = data["href"]
        elif kind == _PLUGIN and data.get("plugin") == "rrweb/console@1":
            level = as_object(data.get("payload")).get("level")
            if level in _CONSOLE_FIELDS:
                add(_CONSOLE_FIELDS[str(level)])
        elif kind == _INCREMENTAL:
            if source in _ACTIVE_SOURCES:
                active.append(at)
            if source in _MOUSE_SOURCES:
                add("mouse_activity_count")
            if source == _MOUSE_INTERACTION and data.get("type") in _CLICKS:
                add("click_count")
            if source == _INPUT:
                add("keypress_count")
    active.sort()
    gaps = (later - earlier for earlier, later in pairwise(active))
    measures.active_milliseconds = sum(gap for gap in gaps if gap <= _ACTIVE_GAP)
    return measures
