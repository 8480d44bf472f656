"""Endpoints of session recordings and playlists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response, text_response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.state import ApiCall

from .lifecycle import RECORDING_LIFECYCLE, playlist_items
from .snapshots import drop_snapshots, recording_collection, snapshot_lines

__all__ = ["OPERATION_HANDLERS"]

_MAX_BULK: int = 20


def _recording(call: ApiCall, key: str) -> StoredObject:
    row = recording_collection(call.state, call.project).rows.get(key)
    if row is None:
        raise not_found()
    return row


def _update(call: ApiCall) -> Response:
    """Note that the recording was watched."""
    row = call.get_object()
    if as_object(call.body).get("viewed"):
        row.data["viewed"] = True
        viewers: list[str] = row.data.get("viewers") or []
        email = call.state.accounts.account.email
        row.data["viewers"] = viewers if email in viewers else [*viewers, email]
    return json_response(call.operation.result.status, {"success": True})


def _snapshots(call: ApiCall) -> Response:
    """Respond with the parts of a recording, or with the snapshots of one part."""
    call.resolve_parents()
    row = _recording(call, call.parents[1])
    lines = snapshot_lines(call.state, call.project, row.key)
    status = call.operation.result.status
    if call.request.query_value("source") is not None:
        return text_response(status, "".join(f"{line}\n" for line in lines), "application/jsonl")
    part = {
        "source": "blob_v2",
        "start_timestamp": row.data.get("start_time"),
        "end_timestamp": row.data.get("end_time"),
        "blob_key": "0",
    }
    return json_response(status, {"sources": [part] if lines else []})


def _bulk_delete(call: ApiCall) -> Response:
    call.resolve_parents()
    ids: list[Any] = as_object(call.body).get("session_recording_ids") or []
    if not ids:
        raise invalid("session_recording_ids must be provided as a non-empty array")
    if len(ids) > _MAX_BULK:
        raise invalid(f"Cannot process more than {_MAX_BULK} recordings at once")
    rows = recording_collection(call.state, call.project)
    existing = [str(key) for key in ids if str(key) in rows.rows]
    for key in existing:
        rows.remove(key)
        drop_snapshots(call.state, call.project, key)
    body = {
        "success": True,
        "deleted_count": len(existing),
        "total_requested": len(ids),
        "failed_ids": [str(key) for key in ids if str(key) not in existing],
    }
    return json_response(call.operation.result.status, body)


def _playlist(call: ApiCall) -> StoredObject:
    call.resolve_parents(2)
    rows = call.state.store.collection(f"/api/projects/{call.project}/session_recording_playlists/")
    return rows.rows[call.parents[1]]


def _playlist_recordings(call: ApiCall) -> Response:
    keys = playlist_items(call.state, call.project, _playlist(call))
    recordings = recording_collection(call.state, call.project).rows
    rows = [recordings[key] for key in keys if key in recordings]
    RECORDING_LIFECYCLE.derive(call.state, call.project, rows)
    body = {"results": [row.data for row in rows], "has_next": False, "version": 4}
    return json_response(call.operation.result.status, body)


def _add_recording(call: ApiCall) -> Response:
    row, key = _playlist(call), call.path_values[2]
    if row.data.get("type") == "filters":
        raise invalid("Cannot add recordings to a playlist that is type 'filters'.")
    keys = playlist_items(call.state, call.project, row)
    if key not in keys:
        keys.append(key)
    return json_response(call.operation.result.status, {"success": True})


def _remove_recording(call: ApiCall) -> Response:
    keys = playlist_items(call.state, call.project, _playlist(call))
    if call.path_values[2] in keys:
        keys.remove(call.path_values[2])
    return Response(call.operation.result.status)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "session_recordings.update": OperationHandler(_update),
    "session_recordings.replace": OperationHandler(_update),
    "session_recordings.snapshots": OperationHandler(_snapshots),
    "session_recordings.bulk_delete": OperationHandler(_bulk_delete),
    "session_recording_playlists.recordings.list": OperationHandler(_playlist_recordings),
    "session_recording_playlists.recordings.add": OperationHandler(_add_recording, validates=False),
    "session_recording_playlists.recordings.remove": OperationHandler(_remove_recording),
}
