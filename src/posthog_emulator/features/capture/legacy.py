"""Legacy capture endpoints: `/capture`, `/batch`, `/e`, `/engage`, `/s` and others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pydantic_core import to_json

from posthog_emulator.features.recordings.snapshots import record_snapshots
from posthog_emulator.http.errors import PlainTextError
from posthog_emulator.http.messages import Request, Response

from .errors import too_large_error
from .parsing import Batch, read_batch, token_error
from .payload import read_payload
from .store import store_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from posthog_emulator.state import EmulatorState

__all__ = ["ROUTES", "exceeds_quota"]

_SURVEY_EVENTS = frozenset({"survey sent", "survey shown", "survey dismissed"})


def exceeds_quota(event: str, exhausted: Collection[str]) -> bool:
    """Return whether an event is dropped because a quota of its kind is exhausted.

    Args:
        event: The event's name.
        exhausted: The exhausted quotas: `events`, `exceptions`, `surveys`, `llm_events`.
    """
    if event == "$exception":
        return "exceptions" in exhausted
    if event.startswith("$ai_"):
        return "llm_events" in exhausted
    return event in _SURVEY_EVENTS and "surveys" in exhausted


_MEBIBYTE = 1 << 20
_MAX_EVENT_BYTES, _MAX_BATCH_BYTES, _MAX_REPLAY_BYTES = (
    2 * _MEBIBYTE,
    20 * _MEBIBYTE,
    25 * _MEBIBYTE,
)
_MAX_MESSAGE_BYTES = 1_000_000
_OK = b'{"status":"Ok"}'
_OK_RECORDINGS_OVER_QUOTA = b'{"status":"Ok","quota_limited":["recordings"]}'


def _capture(state: EmulatorState, request: Request, *, limit: int) -> Response:
    if request.method not in {"GET", "POST"}:
        return Response(405, headers=[("Allow", "GET,HEAD,POST")])
    try:
        _ingest(state, request, limit)
    except PlainTextError as error:
        return error.to_response()
    if request.query_value("beacon") == "1":
        return Response(204)
    return Response(200, _OK)


def _replay(state: EmulatorState, request: Request) -> Response:
    """Accept snapshots of session recordings."""
    if request.method not in {"GET", "POST"}:
        return Response(405, headers=[("Allow", "GET,HEAD,POST")])
    try:
        batch, _ = _parse_request(state, request, _MAX_REPLAY_BYTES)
    except PlainTextError as error:
        return error.to_response()
    over = "recordings" in state.settings.exhausted_quotas
    project = state.project_id_for_token(batch.token)
    # Snapshots beyond the quota are accepted as well, and dropped.
    if project is not None and not over:
        record_snapshots(state, str(project), batch.events)
    if request.query_value("beacon") == "1":
        return Response(204)
    return Response(200, _OK_RECORDINGS_OVER_QUOTA if over else _OK)


def _parse_request(state: EmulatorState, request: Request, limit: int) -> tuple[Batch, int]:
    client_time = request.query_value("_") or ""
    value, size = read_payload(request, limit)
    batch = read_batch(
        value,
        now=state.events.now(),
        uuid=state.events.new_uuid,
        # The query parameter `_` is the client's clock in milliseconds.
        sent_at=int(client_time) * 1000
        if client_time.isascii() and client_time.isdigit()
        else None,
        engage=request.path.rstrip("/") == "/engage",
    )
    error = token_error(batch.token)
    if error is not None:
        raise PlainTextError(401, f"API key is not valid: {error}")
    return batch, size


def _ingest(state: EmulatorState, request: Request, limit: int) -> None:
    batch, size = _parse_request(state, request, limit)
    # Only a large request can have a large event; others need not be serialized to check.
    if size > _MAX_MESSAGE_BYTES:
        _check_sizes(batch)
    limited = state.settings.exhausted_quotas
    project = state.project_id_for_token(batch.token)
    if project is None or "events" in limited:
        # The server responds with success even if it drops all events.
        return
    events = (
        [e for e in batch.events if not exceeds_quota(e.event, limited)]
        if limited
        else batch.events
    )
    store_events(state, project, events)


def _check_sizes(batch: Batch) -> None:
    """Raise `PlainTextError` (413) if an event exceeds one message of the server's queue."""
    for event in batch.events:
        if len(to_json(event.properties)) > _MAX_MESSAGE_BYTES:
            raise too_large_error(_MAX_MESSAGE_BYTES)


_capture_event = partial(_capture, limit=_MAX_EVENT_BYTES)
_capture_batch = partial(_capture, limit=_MAX_BATCH_BYTES)

ROUTES: Mapping[str, Callable[[EmulatorState, Request], Response]] = {
    "/batch": _capture_batch,
    "/capture": _capture_event,
    "/e": _capture_event,
    "/engage": _capture_event,
    "/i/v0/ai/batch": _capture_batch,
    "/i/v0/e": _capture_event,
    "/s": _replay,
    "/track": _capture_event,
}
"""Handlers by path, without the trailing slash."""
