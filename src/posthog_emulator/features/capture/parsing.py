"""Parse the JSON of a legacy capture request, and check project tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from posthog_emulator.event_store.ingest import Event
from posthog_emulator.http.errors import PlainTextError
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.timestamps import parse_micros

from .errors import parse_error

__all__ = ["MAX_FUTURE", "Batch", "read_batch", "token_error"]

_MAX_TOKEN_LENGTH = 64


def token_error(token: str) -> str | None:
    """Return the server's code for a malformed project token; None if it is well-formed."""
    if not token:
        return "empty"
    if "\0" in token:
        return "null_byte"
    if not token.isascii():
        return "not_ascii"
    if len(token) > _MAX_TOKEN_LENGTH:
        return "too_long"
    return "personal_api_key" if token.startswith("phx_") else None


_MAX_NAME_LENGTH = 200
MAX_FUTURE = 23 * 3_600_000_000
"""Microseconds an event may be ahead of the server's clock; later events get the current time."""
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Batch:
    """The token and events of one request."""

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
    """Parse the JSON of a request: one event, an array, or an object with a `batch`.

    Args:
        value: The JSON value.
        now: The server's clock, in microseconds since 1970.
        uuid: Returns a UUID for events without one.
        sent_at: The client's clock when it sent the request, if the query has it, in
            microseconds since 1970.
        engage: Whether the path is `/engage`, where events have no name.

    Raises:
        PlainTextError: 400 or 401. As on the server, one invalid event fails the whole batch.
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
        raise PlainTextError(400, "request holds no event")
    if token is None:
        token = _shared_token(raw)
    # The difference between the clocks, by which the timestamps of the events are corrected.
    skew = 0 if sent_at is None else now - sent_at
    return Batch(token, [_parse_event(event, now, skew, uuid, engage=engage) for event in raw])


def _find_token(holder: dict[str, Any]) -> str | None:
    for name in ("token", "api_key", "$token"):
        token = holder.get(name)
        if isinstance(token, str):
            return token
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
            raise PlainTextError(401, "event submitted without an api_key")
        tokens.add(token)
    if len(tokens) > 1:
        raise PlainTextError(401, "batch submitted with inconsistent api_key values")
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
        raise PlainTextError(400, "event submitted with an empty event name")
    properties: Any = raw.get("properties")
    if properties is None:
        properties = {}
    elif not is_object(properties):
        raise parse_error("invalid type: properties must be a map")
    # Exact types are checked here, the rare forms in functions: this runs for every event.
    distinct_id, uuid, text = raw.get("distinct_id"), raw.get("uuid"), raw.get("timestamp")
    if type(distinct_id) is not str or not distinct_id:
        distinct_id = _distinct_id(raw, properties)
    if uuid is None or uuid == "":
        uuid = make_uuid()
    elif type(uuid) is not str or not _UUID.fullmatch(uuid):
        uuid = _parse_uuid(uuid)
    # Some SDKs send `$set` and `$set_once` beside the properties instead of inside.
    if "$set" in raw or "$set_once" in raw:
        for field in ("$set", "$set_once"):
            if is_object(raw.get(field)):
                properties[field] = {**as_object(properties.get(field)), **raw[field]}
    timestamp = parse_micros(text) if type(text) is str else None
    if timestamp is None:
        timestamp = _default_timestamp(raw, now)
    elif skew and properties.get("$ignore_sent_at") is not True:
        timestamp += skew
    return Event(
        name[:_MAX_NAME_LENGTH],
        distinct_id[:_MAX_NAME_LENGTH],
        timestamp if timestamp <= now + MAX_FUTURE else now,
        uuid,
        properties,
        properties.get("$process_person_profile") is not False,
    )


def _distinct_id(raw: dict[str, Any], properties: dict[str, Any]) -> str:
    value = raw.get("distinct_id", raw.get("$distinct_id"))
    if value is None:
        value = properties.get("distinct_id", properties.get("$distinct_id"))
    if value is None:
        raise PlainTextError(400, "event submitted without a distinct_id")
    text = value if isinstance(value, str) else to_json(value).decode()
    if not text:
        raise PlainTextError(400, "event submitted with an empty distinct_id")
    return text


def _parse_uuid(value: Any) -> str:
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise parse_error("invalid uuid") from None


def _default_timestamp(raw: dict[str, Any], now: int) -> int:
    # Old SDKs send milliseconds since the event instead of a timestamp.
    offset = raw.get("offset")
    return now - int(offset * 1000) if isinstance(offset, int | float) else now
