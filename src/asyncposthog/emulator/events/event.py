"""One event in the form the store takes in, and how a plain dict becomes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from asyncposthog.emulator.events.moments import micros, parsed
from asyncposthog.emulator.guards import is_object

__all__ = ["Event", "event_from"]


class Event(NamedTuple):
    """An event whose name, distinct id, time and UUID have been made out."""

    event: str
    distinct_id: str
    timestamp: int
    """Microseconds since 1970."""
    uuid: str
    properties: dict[str, Any]
    """With `$set` and `$set_once` inside."""
    personal: bool = True
    """Whether it may make and change a person."""


def event_from(given: Mapping[str, Any], uuid: str, now: int) -> Event:
    """Read an event as users of the emulator write it.

    Args:
        given: `event`, and perhaps `distinct_id`, `timestamp` (a `datetime` or ISO 8601 text),
            `uuid`, `properties`.
        uuid: The UUID, when it has none.
        now: The time, when it has none.

    Raises:
        ValueError: The name is missing, or something is of another type.
    """
    name, at = given.get("event"), given.get("timestamp")
    if not isinstance(name, str) or not name:
        raise ValueError(f"an event needs a name in 'event', not {name!r}")
    properties: Any = given.get("properties") or {}
    if not is_object(properties):
        raise ValueError(f"the properties of {name!r} must be a dict, not {properties!r}")
    own = str(given.get("uuid") or uuid)
    try:
        own = str(UUID(own))
        to_json([name, given.get("distinct_id"), properties], inf_nan_mode="null")
    except ValueError as error:
        raise ValueError(f"{name!r} cannot be an event: {error}") from None
    moment = now if at is None else micros(at) if isinstance(at, datetime) else parsed(str(at))
    if moment is None:
        raise ValueError(f"the timestamp of {name!r} must be ISO 8601, not {at!r}")
    return Event(
        name,
        str(given.get("distinct_id") or ""),
        moment,
        own,
        dict(properties),
        properties.get("$process_person_profile") is not False,
    )
