"""`/i/v0/ai`: one event of an AI product in parts, of which some may be large."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

from posthog_emulator.http.errors import PlainTextError
from posthog_emulator.http.messages import Request, Response, json_response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.state import EmulatorState

from .codecs import decompress
from .errors import decode_error, too_large_error
from .legacy import exceeds_quota
from .parsing import read_batch, token_error

__all__ = ["ROUTES"]

_MAX_PARTS_BYTES: Final = 25 << 20
_MAX_BODY_BYTES: Final = _MAX_PARTS_BYTES * 11 // 10
_MAX_EVENT_BYTES: Final = 32 << 10
_MAX_COMBINED_BYTES: Final = (1 << 20) - (64 << 10)
_EVENT, _PROPERTIES, _BLOB_PREFIX = "event", "event.properties", "event.properties."
_NAME_PREFIX: Final = "$ai_"
_METADATA: Final = ("content-type", "content-encoding")


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    content: bytes
    media: str | None
    encoding: str | None

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "length": len(self.content),
            "content-type": self.media,
            "content-encoding": self.encoding,
        }


def _capture(state: EmulatorState, request: Request) -> Response:
    if request.method != "POST":
        return Response(405, headers=[("Allow", "POST")])
    try:
        token, parts = _read_parts(request)
        event = _assemble(parts)
        _ingest(state, token, event, parts)
    except PlainTextError as error:
        return error.to_response()
    return json_response(200, {"accepted_parts": [part.describe() for part in parts]})


def _read_parts(request: Request) -> tuple[str, list[_Part]]:
    if not request.content:
        raise PlainTextError(400, "request holds no event")
    if len(request.content) > _MAX_BODY_BYTES:
        raise too_large_error(_MAX_BODY_BYTES)
    content = request.content
    if request.headers.get("content-encoding", "").lower() == "gzip":
        content = decompress(content, "gzip", _MAX_BODY_BYTES)
    media = request.headers.get("content-type", "")
    if not media.startswith("multipart/form-data"):
        raise decode_error("Content-Type must be multipart/form-data")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer":
        raise PlainTextError(401, "event submitted without an api_key")
    error = token_error(token)
    if error is not None:
        raise PlainTextError(401, f"API key is not valid: {error}")
    parts = list(_split(content, media))
    if sum(len(part.content) for part in parts) > _MAX_PARTS_BYTES:
        raise too_large_error(_MAX_PARTS_BYTES)
    return token, parts


def _split(content: bytes, media: str) -> list[_Part]:
    head = f"Content-Type: {media}\r\n\r\n".encode("latin-1")
    message = BytesParser(policy=HTTP).parsebytes(head + content)
    if not message.is_multipart():
        raise decode_error("Multipart parsing failed: no parts found")
    parts: list[_Part] = []
    for item in message.iter_parts():
        name = item.get_param("name", header="content-disposition")
        payload = item.get_payload(decode=True)
        parts.append(
            _Part(
                name if isinstance(name, str) else "unknown",
                payload if isinstance(payload, bytes) else b"",
                *(_header(item, header) for header in _METADATA),
            )
        )
    return parts


def _header(item: Message, name: str) -> str | None:
    value = item.get(name)
    return None if value is None else str(value)


def _assemble(parts: list[_Part]) -> dict[str, Any]:
    """Return the event of the parts, without the large properties.

    Raises:
        PlainTextError: 400, a part is invalid or missing; 413, one is too large.
    """
    if not parts or parts[0].name != _EVENT:
        first_part = parts[0].name if parts else "nothing"
        raise decode_error(f"First part must be 'event', got '{first_part}'")
    names = [part.name for part in parts if part.name.startswith(_BLOB_PREFIX)]
    for name in names:
        if names.count(name) > 1:
            raise decode_error(f"Duplicate blob property: {name}")
    separate = next((part for part in parts if part.name == _PROPERTIES), None)
    if len(parts[0].content) > _MAX_EVENT_BYTES:
        raise too_large_error(_MAX_EVENT_BYTES)
    if len(parts[0].content) + (len(separate.content) if separate else 0) > _MAX_COMBINED_BYTES:
        raise too_large_error(_MAX_COMBINED_BYTES)
    event = _read_json(parts[0], "Event")
    if not is_object(event):
        raise decode_error("Event must be a JSON object")
    if separate is not None:
        if "properties" in event:
            raise decode_error(
                "Event cannot have both embedded properties and a separate 'event.properties' part"
            )
        event["properties"] = _read_json(separate, "Properties")
    _check(event)
    return event


def _read_json(part: _Part, name: str) -> Any:
    try:
        return json.loads(part.content)
    except UnicodeDecodeError:
        raise decode_error(f"{name} part must be valid UTF-8") from None
    except (ValueError, RecursionError):
        raise decode_error(f"{name} part must be valid JSON") from None


def _check(event: Mapping[str, Any]) -> None:
    name, distinct_id = event.get("event"), event.get("distinct_id")
    if not isinstance(name, str):
        raise decode_error("Event missing 'event' field")
    if not name.startswith(_NAME_PREFIX):
        raise decode_error(f"Event name must start with '{_NAME_PREFIX}', got '{name}'")
    if not isinstance(distinct_id, str) or not distinct_id:
        raise decode_error("Event missing 'distinct_id' field")
    model = as_object(event.get("properties")).get("$ai_model")
    if not isinstance(model, str) or not model:
        raise decode_error("Event properties must contain '$ai_model'")


def _ingest(state: EmulatorState, token: str, event: dict[str, Any], parts: list[_Part]) -> None:
    batch = read_batch(
        {"token": token, "batch": [event]}, now=state.events.now(), uuid=state.events.new_uuid
    )
    (captured,) = batch.events
    for part in parts:
        if part.name.startswith(_BLOB_PREFIX):
            captured.properties[part.name.removeprefix(_BLOB_PREFIX)] = _blob(part)
    project = state.project_id_for_token(token)
    exhausted = state.settings.exhausted_quotas
    if project is None or "events" in exhausted or exceeds_quota(captured.event, exhausted):
        return
    state.events.ingest(project, [captured], captured=True)


def _blob(part: _Part) -> Any:
    """Return a large property: JSON and text themselves, of other data a description.

    The server stores the data elsewhere, and an address of it in the event.
    """
    media = (part.media or "").partition(";")[0].strip()
    try:
        if media == "application/json":
            return json.loads(part.content)
        if media.startswith("text/"):
            return part.content.decode()
    except (ValueError, RecursionError):
        raise decode_error(f"Blob '{part.name}' does not match its content type") from None
    return {"content_type": part.media, "length": len(part.content)}


ROUTES: Mapping[str, Callable[[EmulatorState, Request], Response]] = {"/i/v0/ai": _capture}
"""The handler by path, without the trailing slash."""
