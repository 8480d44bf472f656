"""What recordings and playlists show beside what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import Change, EmulatorState, Lifecycle, fill_path

from .snapshots import drop_snapshots, recording_collection

__all__ = [
    "PLAYLISTS",
    "PLAYLIST_LIFECYCLE",
    "RECORDING_LIFECYCLE",
    "playlist_items",
]

PLAYLISTS: Final = "/api/projects/{}/session_recording_playlists/"
_ITEMS: Final = "/playlists/{}/recordings/"
"""Path of the ids of the recordings in playlists, by key of the playlist, in the saved state."""
_ONGOING: Final = timedelta(minutes=5)


def playlist_items(state: EmulatorState, project: str, playlist: StoredObject) -> list[str]:
    """Return the ids of the recordings in a playlist; changing the list changes the playlist."""
    path = fill_path(_ITEMS, [project])
    items: list[str] = state.store.singletons.setdefault(path, {}).setdefault(playlist.key, [])
    return items


def _deleted(change: Change) -> None:
    drop_snapshots(change.state, change.project, change.stored.key)


def _derive(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    now = state.settings.clock()
    for row in rows:
        _set_times(row, now)
    if not rows or not state.has_events:
        return
    # Imported here because it loads the event store.
    from posthog_emulator.features.persons.repository import PersonRepository
    from posthog_emulator.features.persons.serializers import person_row

    persons = PersonRepository(state.events, int(project))
    schema = {"$ref": "#/components/schemas/MinimalPerson"}
    for row in rows:
        distinct_id = row.data.get("distinct_id")
        for person in persons.find_by_distinct_ids([distinct_id] if distinct_id else []):
            row.data["person"] = state.object_schemas.fit(schema, person_row(person).data)


def _set_times(row: StoredObject, now: datetime) -> None:
    data = row.data
    days = data.get("retention_period_days")
    start, end = _time(data, "start_time"), _time(data, "end_time")
    if start is None or end is None or not isinstance(days, int):
        return
    expires_at = start + timedelta(days=days)
    data["expiry_time"] = expires_at.isoformat().replace("+00:00", "Z")
    data["recording_ttl"] = max(0, (expires_at - now).days)
    data["ongoing"] = now - end < _ONGOING


def _time(data: dict[str, Any], name: str) -> datetime | None:
    text = data.get(name)
    if not isinstance(text, str):
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


RECORDING_LIFECYCLE = Lifecycle(deleted=_deleted, derive=_derive)
"""The lifecycle of recordings, which are not in the activity log."""


def _derive_playlists(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    if not rows:
        return
    recordings = recording_collection(state, project).rows
    for row in rows:
        items = [
            recordings[key] for key in playlist_items(state, project, row) if key in recordings
        ]
        watched = sum(bool(item.data.get("viewed")) for item in items)
        row.data["recordings_counts"] = {
            "saved_filters": {"count": None, "has_more": None, "watched_count": None},
            "collection": {"count": len(items), "watched_count": watched},
        }


PLAYLIST_LIFECYCLE = Lifecycle("Replay", derive=_derive_playlists)
"""The lifecycle of playlists."""
