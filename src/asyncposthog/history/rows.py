"""Turn rows of files and iterables into events. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import NAMESPACE_URL, uuid5

from pydantic_core import from_json, to_json

from asyncposthog.capture.events import parse_timestamp
from asyncposthog.capture.values import convert

__all__ = ["event_fields"]

_FIELDS: Final = frozenset(
    {"event", "distinct_id", "timestamp", "uuid", "properties", "groups", "$set", "$set_once"}
)
_NAMESPACE: Final = uuid5(NAMESPACE_URL, "https://posthog.com/asyncposthog/import")


def event_fields(row: object) -> dict[str, Any]:
    """Return the arguments of an event from a row.

    A row has `event`, `distinct_id`, `timestamp` and, optionally, `uuid`, `properties` (a mapping
    or its JSON), `groups`, `$set` and `$set_once`. Without `properties`, all other columns that are
    not empty are properties; with it, they are ignored. A time without an offset is in UTC.
    Without a UUID, the event gets one that depends on its content, so that it is the same event if
    it is imported again.

    Raises:
        TypeError, ValueError: The row is not an event.
    """
    if not isinstance(row, Mapping):
        raise TypeError(f"the row is not an object, but of the type {type(row).__name__}")
    source = cast("Mapping[str, object]", row)
    properties = _properties(source)
    moment = source.get("timestamp")
    if moment is None or moment == "":
        raise ValueError("the row has no timestamp, which an old event needs")
    fields: dict[str, Any] = {
        "event": source.get("event"),
        "distinct_id": source.get("distinct_id"),
        "timestamp": _timestamp(moment),
        "properties": properties,
        # The times of old events have nothing to do with the clock of this machine.
        "options": {"disable_skew_correction": True},
    }
    groups = source.get("groups")
    if groups is not None and groups != "":
        fields["groups"] = _mapping("groups", groups)
    # Columns of numbers in files without types are text or numbers, as it happens.
    if not isinstance(fields["distinct_id"], str | type(None)):
        fields["distinct_id"] = str(fields["distinct_id"])
    if not fields["distinct_id"]:
        raise ValueError("the row has no distinct_id")
    uuid = source.get("uuid")
    fields["uuid"] = _content_uuid(fields) if uuid is None or uuid == "" else uuid
    return fields


def _properties(row: Mapping[str, object]) -> dict[str, object]:
    value = row.get("properties")
    if "properties" not in row:
        properties = {
            name: value
            for name, value in row.items()
            if name not in _FIELDS and value is not None and value != ""
        }
    elif value is None or value == "":
        properties = {}
    else:
        properties = dict(_mapping("properties", value))
    for name in ("$set", "$set_once"):
        value = row.get(name)
        if value is not None and value != "":
            properties.setdefault(name, _mapping(name, value))
    return convert(properties)


def _mapping(name: str, value: object) -> Mapping[str, object]:
    if isinstance(value, str | bytes):
        try:
            value = from_json(value)
        except ValueError as error:
            raise ValueError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be an object, not {type(value).__name__}")
    return cast("Mapping[str, object]", value)


def _timestamp(value: object) -> str:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"timestamp is not an ISO 8601 time: {value[:80]!r}") from None
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return parse_timestamp(value)


def _content_uuid(fields: Mapping[str, Any]) -> str:
    """Return a UUID that depends on the content of an event."""
    ordered = {name: fields["properties"][name] for name in sorted(fields["properties"])}
    content = [fields["event"], fields["distinct_id"], fields["timestamp"], ordered]
    content.append(fields.get("groups"))
    return str(uuid5(_NAMESPACE, to_json(content, inf_nan_mode="null").decode()))
