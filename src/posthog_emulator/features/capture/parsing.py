"""Project tokens: checked for shape, and looked up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_json

from posthog_emulator.event_store.ingest import Event
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.state import PROJECTS
from posthog_emulator.timestamps import parse_micros

from .errors import CaptureError, parse_error

if TYPE_CHECKING:
    from posthog_emulator.state import EmulatorState

__all__ = ["MAX_FUTURE", "Batch", "project_id_for_token", "read_batch", "token_error"]

_MAX_TOKEN_LENGTH = 64


def token_error(token: str) -> str | None:
    """What is wrong with the look of a token; None if nothing is."""
    if not token:
        return "empty"
    if "\0" in token:
        return "null_byte"
    if not token.isascii():
        return "not_ascii"
    if len(token) > _MAX_TOKEN_LENGTH:
        return "too_long"
    return "personal_api_key" if token.startswith("phx_") else None


def project_id_for_token(state: EmulatorState, token: str) -> int | None:
    """The project with a token; None where nobody has it."""
    for row in state.store.collection(PROJECTS):
        held: Any = row.data.get("api_token")
        if held == token and not row.deleted:
            return int(row.data["id"])
    return None


_MAX_NAME_LENGTH = 200
MAX_FUTURE = 23 * 3_600_000_000
"""How far ahead of the server's clock an event may be; what is further is put at now."""
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request holds."""

    token: str
    events: list[Event]


def read_batch(
    value: Any,
    *,
    now: int,
    uuid: Callable[[], str],
    sent_at: int | None = None,
    engage: bool = False,
) -> Batch:
    """Read a request's JSON: one event, an array of them, or an envelope with a `batch`.

    Args:
        value: The JSON.
        now: The server's clock, in microseconds since 1970.
        uuid: Makes a UUID, for events without one.
        sent_at: The client's clock when it sent them, if the query says so.
        engage: Whether they came to `/engage`, where no event has a name.

    Raises:
        Refusal: 400 or 401; one bad event spoils the lot.
    """
    token: str | None = None
    raw: Any = [value]
    if is_array(value):
        raw = value
    elif is_object(value):
        if "batch" in value:
            raw = value["batch"]
            token = _find_token(value)
        if isinstance(value.get("sent_at"), str):
            sent_at = parse_micros(value["sent_at"])
    if not is_array(raw):
        raise parse_error("invalid type: batch must be a sequence")
    if not raw:
        raise CaptureError(400, "request holds no event")
    if token is None:
        token = _shared_token(raw)
    skew = 0 if sent_at is None else now - sent_at
    return Batch(token, [_parse_event(one, now, skew, uuid, engage=engage) for one in raw])


def _find_token(holder: dict[str, Any]) -> str | None:
    for name in ("token", "api_key", "$token"):
        found = holder.get(name)
        if isinstance(found, str):
            return found
    return None


def _shared_token(events: list[Any]) -> str:
    tokens: set[str] = set()
    for event in events:
        if not is_object(event):
            raise parse_error("data did not match any form of event")
        token = _find_token(event)
        if token is None:
            token = _find_token(as_object(event.get("properties")))
        if token is None:
            raise CaptureError(401, "event submitted without an api_key")
        tokens.add(token)
    if len(tokens) > 1:
        raise CaptureError(401, "batch submitted with inconsistent api_key values")
    return tokens.pop()


def _parse_event(
    raw: Any, now: int, skew: int, make_uuid: Callable[[], str], *, engage: bool
) -> Event:
    if not is_object(raw):
        raise parse_error("data did not match any form of event")
    name = "$identify" if engage else raw.get("event")
    if not isinstance(name, str):
        raise parse_error("missing field `event`")
    if not name:
        raise CaptureError(400, "event submitted with an empty event name")
    properties: Any = raw.get("properties")
    if properties is None:
        properties = {}
    elif not is_object(properties):
        raise parse_error("invalid type: properties must be a map")
    distinct_id = raw.get("distinct_id")
    if type(distinct_id) is not str or not distinct_id:
        distinct_id = _distinct_id(raw, properties)
    uuid = raw.get("uuid")
    if uuid is None or uuid == "":
        uuid = make_uuid()
    elif type(uuid) is not str or not _UUID.fullmatch(uuid):
        uuid = _parse_uuid(uuid)
    for field in ("$set", "$set_once"):
        if field in raw and is_object(raw[field]):
            properties[field] = {**as_object(properties.get(field)), **raw[field]}
    return Event(
        name[:_MAX_NAME_LENGTH],
        distinct_id[:_MAX_NAME_LENGTH],
        _event_timestamp(raw, properties, now, skew),
        uuid,
        properties,
        properties.get("$process_person_profile") is not False,
    )


def _distinct_id(raw: dict[str, Any], properties: dict[str, Any]) -> str:
    found = raw.get("distinct_id", raw.get("$distinct_id"))
    if found is None:
        found = properties.get("distinct_id", properties.get("$distinct_id"))
    if found is None:
        raise CaptureError(400, "event submitted without a distinct_id")
    text = found if isinstance(found, str) else to_json(found).decode()
    if not text:
        raise CaptureError(400, "event submitted with an empty distinct_id")
    return text


def _parse_uuid(value: Any) -> str:
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise parse_error("invalid uuid") from None


def _event_timestamp(raw: dict[str, Any], properties: dict[str, Any], now: int, skew: int) -> int:
    given = raw.get("timestamp")
    at: int | None = None
    if isinstance(given, str):
        at = parse_micros(given)
        if at is not None and skew and properties.get("$ignore_sent_at") is not True:
            at += skew
    if at is None:
        offset = raw.get("offset")
        at = now - int(offset * 1000) if isinstance(offset, int | float) else now
    return at if at <= now + MAX_FUTURE else now
