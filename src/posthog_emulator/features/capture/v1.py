"""Capture version 1 (`/i/v1/analytics/events`), with a result for every event."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from posthog_emulator.event_store.ingest import Event, is_illegal_distinct_id
from posthog_emulator.http.errors import PlainTextError
from posthog_emulator.http.messages import Request, Response, json_response
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.state import EmulatorState
from posthog_emulator.timestamps import to_micros

from .codecs import ENCODINGS, decompress
from .legacy import exceeds_quota
from .parsing import MAX_FUTURE, token_error
from .store import store_events

__all__ = ["ROUTES"]

_MAX_BODY_BYTES = 20 << 20
_MAX_MESSAGE_BYTES = 1_000_000
_MAX_AI_MESSAGE_BYTES = 8 << 20
_MAX_NAME_LENGTH = 200
_REQUIRED_HEADERS = (
    "posthog-sdk-info", "posthog-attempt", "posthog-request-id", "posthog-request-timestamp",
    "content-type", "user-agent",
)  # fmt: skip
_TAGS_BY_STATUS = {413: "payload_too_large", 415: "unsupported_content_encoding"}
_BEARER = re.compile(r"^Bearer\s+(\S+)\s*$", re.IGNORECASE)
_BOOLEAN_OPTIONS = ("cookieless_mode", "disable_skew_correction", "process_person_profile")
_OPTION_PROPERTIES = {"cookieless_mode": "$cookieless_mode", "product_tour_id": "$product_tour_id"}


class _CaptureError(Exception):
    """An error of the whole request, with status, error tag and description."""

    def __init__(self, status: int, tag: str, description: str) -> None:
        super().__init__(description)
        self.status, self.tag, self.description = status, tag, description

    def to_response(self) -> Response:
        body = {
            "error": self.tag,
            "error_description": self.description,
            "error_uri": "https://posthog.com/docs/api",
        }
        after = [("Retry-After", "1")] if self.status in {429, 500, 503} else []
        return json_response(self.status, body, after)


class _EventDropped(Exception):
    """One event is dropped; the message is the reason code."""


def _capture(state: EmulatorState, request: Request, *, ai: bool = False) -> Response:
    if request.method != "POST":
        return Response(405, headers=[("Allow", "POST")])
    try:
        results = _ingest(state, request, ai)
    except _CaptureError as error:
        return error.to_response()
    again = any(result["result"] == "retry" for result in results.values())
    return json_response(200, {"results": results}, [("Retry-After", "1")] if again else [])


def _ingest(state: EmulatorState, request: Request, ai: bool) -> dict[str, Any]:
    token, sent_at = _token(request), _sent_at(request)
    content = _read_body(request)
    batch = _parse_batch(content)
    exhausted = state.settings.exhausted_quotas
    if "events" in exhausted:
        raise _CaptureError(429, "billing_limit_exceeded", "The billing limit was exceeded.")
    store = state.events
    now = store.now()
    sdk = _sdk_properties(request)
    max_bytes = _MAX_AI_MESSAGE_BYTES if ai else _MAX_MESSAGE_BYTES
    results: dict[str, Any] = {}
    events: list[Event] = []
    for uuid, raw in batch:
        try:
            event = _parse_event(uuid, raw, now, now - sent_at)
            event.properties.update(sdk)
            if ai and not event.event.startswith("$ai_"):
                raise _EventDropped("rejected")
            # Only a large request can have a large event; others need not be serialized.
            if len(content) > max_bytes and len(to_json(event.properties)) > max_bytes:
                raise _EventDropped("event_too_big")
            if exceeds_quota(event.event, exhausted):
                raise _EventDropped("billing_limit_exceeded")
        except _EventDropped as dropped:
            results[uuid] = {"result": "drop", "details": str(dropped)}
            continue
        # A setting of the emulator: the client has to send these events again.
        if state.settings.capture_retries > 0:
            state.settings.capture_retries -= 1
            results[uuid] = {"result": "retry", "details": "not_persisted"}
            continue
        events.append(event)
        results[uuid] = {"result": "ok"}
        if is_illegal_distinct_id(event.distinct_id):
            results[uuid] = {"result": "warning", "details": "person_processing_disabled"}
    # As in the legacy endpoints, an unknown token is not an error: the events are dropped.
    project = state.project_id_for_token(token)
    if project is not None and events:
        store_events(state, project, events)
    return results


def _sdk_properties(request: Request) -> dict[str, str]:
    """Return the SDK's name and version, which the server adds to every event."""
    name, _, version = request.headers["posthog-sdk-info"].partition("/")
    return {"$lib": name, "$lib_version": version}


def _token(request: Request) -> str:
    match = _BEARER.match(request.headers.get("authorization", ""))
    if match is None:
        raise _CaptureError(401, "invalid_api_token", "A project token is needed: Bearer phc_...")
    error = token_error(match[1])
    if error is not None:
        raise _CaptureError(401, "invalid_api_token", f"The project token is not valid: {error}")
    return match[1]


def _sent_at(request: Request) -> int:
    """Check the required headers, and return the client's clock in microseconds since 1970."""
    missing = [name for name in _REQUIRED_HEADERS if not request.headers.get(name)]
    if missing:
        raise _CaptureError(
            400, "missing_required_headers", f"missing headers: {', '.join(missing)}"
        )
    sent_at = _parse_rfc3339(request.headers["posthog-request-timestamp"])
    if sent_at is None:
        text = "PostHog-Request-Timestamp must be an RFC 3339 timestamp"
        raise _CaptureError(400, "invalid_header_value", text)
    if not re.fullmatch(r"[1-9]\d{0,8}", request.headers["posthog-attempt"]):
        raise _CaptureError(400, "invalid_header_value", "PostHog-Attempt must be 1 or more")
    return sent_at


def _read_body(request: Request) -> bytes:
    if not request.headers["content-type"].lower().startswith("application/json"):
        raise _CaptureError(415, "unsupported_media_type", "Content-Type must be application/json")
    content, packing = request.content, request.headers.get("content-encoding", "").lower()
    try:
        if packing in ENCODINGS:
            content = decompress(content, packing, _MAX_BODY_BYTES)
        elif packing not in {"", "identity"}:
            text = f"Content-Encoding must be gzip, deflate, br or zstd, not {packing!r}"
            raise _CaptureError(415, "unsupported_content_encoding", text)
    except PlainTextError as error:
        tag = _TAGS_BY_STATUS.get(error.status, "invalid_payload")
        raise _CaptureError(error.status, tag, error.text) from None
    # `decompress` checks compressed bodies; this is for bodies sent as they are.
    if len(content) > _MAX_BODY_BYTES:
        raise _CaptureError(413, "payload_too_large", f"the body is over {_MAX_BODY_BYTES} bytes")
    return content


def _parse_batch(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Parse the body, and return the events with their UUIDs."""
    try:
        body = from_json(content, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise _CaptureError(400, "invalid_payload", f"failed to parse body: {error}") from None
    events = body.get("batch") if is_object(body) else None
    if not is_object(body) or not is_array(events):
        raise _CaptureError(400, "invalid_payload", "the body must be an object with a batch")
    if _parse_rfc3339(body.get("created_at")) is None:
        raise _CaptureError(400, "invalid_payload", "created_at must be an RFC 3339 timestamp")
    if not events:
        raise _CaptureError(400, "empty_batch", "the batch holds no event")
    events_by_uuid: dict[str, dict[str, Any]] = {}
    for event in events:
        if not is_object(event):
            raise _CaptureError(400, "invalid_payload", "an event must be an object")
        uuid = _parse_uuid(event.get("uuid"))
        if uuid in events_by_uuid:
            raise _CaptureError(400, "duplicate_event_uuid", f"two events have the uuid {uuid}")
        events_by_uuid[uuid] = event
    return list(events_by_uuid.items())


def _parse_uuid(value: Any) -> str:
    if value is None or value == "":
        raise _CaptureError(400, "missing_event_uuid", "an event has no uuid")
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise _CaptureError(400, "invalid_event_uuid", "an event's uuid is invalid") from None


def _parse_event(uuid: str, raw: dict[str, Any], now: int, skew: int) -> Event:
    name, distinct_id = raw.get("event"), raw.get("distinct_id")
    if not isinstance(name, str) or not name:
        raise _EventDropped("missing_event_name")
    if len(name) > _MAX_NAME_LENGTH:
        raise _EventDropped("event_name_too_long")
    if not isinstance(distinct_id, str) or not distinct_id:
        raise _EventDropped("missing_distinct_id")
    if len(distinct_id) > _MAX_NAME_LENGTH:
        raise _EventDropped("distinct_id_too_large")
    timestamp = _parse_rfc3339(raw.get("timestamp"))
    if timestamp is None:
        raise _EventDropped("invalid_event_timestamp")
    raw_properties: Any = raw.get("properties", {})
    if not is_object(raw_properties):
        raise _EventDropped("malformed_event_properties")
    options = _parse_options(raw.get("options"))
    properties = dict(raw_properties)
    for field in ("session_id", "window_id"):
        if isinstance(raw.get(field), str):
            properties[f"${field}"] = raw[field]
    for option, field in _OPTION_PROPERTIES.items():
        if options.get(option) is not None:
            properties[field] = options[option]
    process_person = options.get("process_person_profile")
    if process_person is not None:
        properties["$process_person_profile"] = process_person
    if not options.get("disable_skew_correction"):
        timestamp += skew
    return Event(
        name, distinct_id, timestamp if timestamp <= now + MAX_FUTURE else now, uuid, properties,
        properties.get("$process_person_profile") is not False,
    )  # fmt: skip


def _parse_options(raw: Any) -> dict[str, Any]:
    """Return the options of an event, with boolean options converted from text and numbers."""
    if raw is None:
        return {}
    if not is_object(raw):
        raise _EventDropped("invalid_options")
    options = dict(raw)
    for name in _BOOLEAN_OPTIONS:
        value = options.get(name)
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            options[name] = value.lower() == "true"
        elif value in (0, 1):
            options[name] = bool(value)
        elif value is not None:
            raise _EventDropped("invalid_options")
    return options


def _parse_rfc3339(text: Any) -> int | None:
    """Return the microseconds since 1970 of an RFC 3339 text; None if it is not one."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else to_micros(at)


ROUTES: Mapping[str, Callable[[EmulatorState, Request], Response]] = {
    "/i/v1/ai/events": partial(_capture, ai=True),
    "/i/v1/analytics/events": _capture,
}
"""Handlers by path, without the trailing slash."""
