"""Keep the snapshots of session recordings, and make recordings of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.event_store.ingest import Event
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.state import EmulatorState, fill_path
from posthog_emulator.timestamps import format_utc

from .measures import Measures, measure

__all__ = [
    "RECORDINGS",
    "drop_snapshots",
    "record_snapshots",
    "recording_collection",
    "snapshot_lines",
]

RECORDINGS: Final = "/api/projects/{}/session_recordings/"
_STATE_KEY: Final = "recordings"
_MAX_BYTES: Final = 64 << 20
_COUNTS: Final = (
    "click_count", "console_error_count", "console_log_count", "console_warn_count",
    "event_count", "keypress_count", "mouse_activity_count", "total_size",
)  # fmt: skip


@dataclass(slots=True)
class _Snapshots:
    """Snapshots in memory, the oldest recording first. They are not part of the saved state."""

    lines: dict[tuple[str, str], list[str]] = field(
        default_factory=dict[tuple[str, str], list[str]]
    )
    """A JSON text `[window id, event]` for each event, by project and recording."""
    size: int = 0

    def add(self, key: tuple[str, str], lines: Iterable[str]) -> None:
        """Add lines to a recording; drop those of the oldest recordings if they are too many."""
        stored = self.lines.setdefault(key, [])
        for line in lines:
            stored.append(line)
            self.size += len(line)
        while self.size > _MAX_BYTES and len(self.lines) > 1:
            self.drop(next(iter(self.lines)))

    def drop(self, key: tuple[str, str]) -> None:
        """Drop the lines of a recording."""
        self.size -= sum(len(line) for line in self.lines.pop(key, ()))


def _snapshots(state: EmulatorState) -> _Snapshots:
    return state.extensions.setdefault(_STATE_KEY, _Snapshots())


def recording_collection(state: EmulatorState, project: str) -> ObjectCollection:
    """Return the session recordings of a project."""
    return state.store.collection(fill_path(RECORDINGS, [project]))


def snapshot_lines(state: EmulatorState, project: str, session_id: str) -> list[str]:
    """Return the snapshots of a recording, each as a JSON text `[window id, event]`."""
    return _snapshots(state).lines.get((project, session_id), [])


def drop_snapshots(state: EmulatorState, project: str, session_id: str) -> None:
    """Forget the snapshots of a recording."""
    _snapshots(state).drop((project, session_id))


def record_snapshots(state: EmulatorState, project: str, events: Iterable[Event]) -> None:
    """Add captured snapshots to their recordings, which are created if they are missing.

    Args:
        state: The emulator's state.
        project: The key of the project.
        events: The captured events; others than `$snapshot` are ignored.
    """
    spec = state.plans.collections.get(RECORDINGS)
    for event in events:
        session_id, data = event.properties.get("$session_id"), _data(event.properties)
        if spec is None or event.event != "$snapshot" or not session_id or not data:
            continue
        key = str(session_id)
        row = recording_collection(state, project).rows.get(key)
        if row is None:
            fields = _new_recording(event, key)
            row = state.insert(spec, fill_path(RECORDINGS, [project]), fields, int(project))
            # A field of the response to an update, which has the same collection.
            row.data.pop("success", None)
        window = str(event.properties.get("$window_id") or "")
        _snapshots(state).add(
            (project, key),
            [_line(window, item) for item in data],
        )
        _add_measures(row, measure(data))


def _line(window: str, item: Mapping[str, Any]) -> str:
    return json.dumps([window, item], ensure_ascii=False, separators=(",", ":"))


def _data(properties: Mapping[str, Any]) -> list[dict[str, Any]]:
    data = properties.get("$snapshot_data")
    items = data if is_array(data) else [data]
    return [item for item in map(as_object, items) if item]


def _new_recording(event: Event, session_id: str) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(("start_time", "end_time", "start_url"))
    viewers: list[str] = []
    return {
        "id": session_id,
        "distinct_id": event.distinct_id,
        "snapshot_source": str(event.properties.get("$snapshot_source") or "web"),
        "snapshot_library": event.properties.get("$lib"),
        "retention_period_days": 30,
        "viewed": False,
        "viewers": viewers,
        "matches_filters": True,
        "recording_duration": 0,
        "active_seconds": 0,
        "inactive_seconds": 0,
        "external_references": list[Any](),
        **nothing,
        **dict.fromkeys(_COUNTS, 0),
    }


def _add_measures(row: StoredObject, measures: Measures) -> None:
    if measures.start is None or measures.end is None:
        return
    data = row.data
    for name, number in measures.counts.items():
        data[name] = (data.get(name) or 0) + number
    start, end = _iso(measures.start), _iso(measures.end)
    # Not compared as texts: a fraction of a second may be missing.
    data["start_time"] = min(data.get("start_time") or start, start, key=_parse)
    data["end_time"] = max(data.get("end_time") or end, end, key=_parse)
    data["start_url"] = data.get("start_url") or measures.url
    duration = _parse(data["end_time"]) - _parse(data["start_time"])
    data["recording_duration"] = round(duration.total_seconds())
    active = (data.get("active_seconds") or 0) + round(measures.active_milliseconds / 1000)
    data["active_seconds"] = min(active, data["recording_duration"])
    data["inactive_seconds"] = data["recording_duration"] - data["active_seconds"]


def _iso(milliseconds: int) -> str:
    return format_utc(datetime.fromtimestamp(milliseconds / 1000, UTC))


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(text)
