"""Build events: check the arguments, add the defaults, serialise. No I/O."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import UUID

from pydantic_core import to_json

from .context import EventContext
from .plan import AI_EVENT_BYTES, EVENT_BYTES, Record
from .settings import BeforeSend, CaptureSettings
from .values import PLAIN_TYPES, convert, encode

__all__ = ["EventBuilder", "format_time", "parse_timestamp"]

_MAX_ID_CHARS: Final = 200
_OPTIONS: Final = {
    "cookieless_mode": bool,
    "disable_skew_correction": bool,
    "process_person_profile": bool,
    "product_tour_id": str,
}
"""The options of an event, and their types. One of another type fails a whole request."""
_OPTION_PROPERTIES: Final = {
    "$cookieless_mode": "cookieless_mode",
    "$ignore_sent_at": "disable_skew_correction",
    "$process_person_profile": "process_person_profile",
    "$product_tour_id": "product_tour_id",
}
"""Properties that are options in capture v1."""
_TOP_LEVEL_PROPERTIES: Final = {"$session_id": "session_id", "$window_id": "window_id"}
_LIFTED: Final = frozenset({*_OPTION_PROPERTIES, *_TOP_LEVEL_PROPERTIES})
_PRIVATE_AI_PROPERTIES: Final = (
    "$ai_input",
    "$ai_input_state",
    "$ai_output",
    "$ai_output_choices",
    "$ai_output_state",
)
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_RANDOM_CHARS: Final = 20
_UUIDS_AT_ONCE: Final = 16
_MAX_CACHED_NAMES: Final = 1000
_EVENT_FIELDS: Final = frozenset(
    {"event", "distinct_id", "properties", "timestamp", "uuid", "groups", "options"}
)


def format_time(seconds: float) -> str:
    """Return a time, in seconds since 1970, as RFC 3339 text in UTC, to the microsecond."""
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat(timespec='microseconds')[:-6]}Z"


def parse_timestamp(value: object) -> str:
    """Return a timestamp as RFC 3339 text in UTC.

    Args:
        value: A datetime with a time zone, or ISO 8601 text with an offset.

    Raises:
        TypeError: It is neither.
        ValueError: It has no time zone, or the text is not a time.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"timestamp is not an ISO 8601 time: {value[:80]!r}") from None
    elif isinstance(value, datetime):
        moment = value
    else:
        raise TypeError(
            f"timestamp must be a datetime or ISO 8601 text, not {type(value).__name__}"
        )
    if moment.tzinfo is None:
        raise ValueError(
            f"timestamp has no time zone: {value!s:.80}. Use datetime.now(UTC), or add an offset."
        )
    try:
        return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"
    except OverflowError:
        raise ValueError(f"timestamp is out of range: {value!s:.80}") from None


class _Stamps:
    """Makes the time and the UUID of new events, from parts that are formatted when they change."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._time_start = ""
        self._uuid_start = ""
        self._uuid_ends: list[str] = []

    def make(self, seconds: float) -> tuple[str, str]:
        """Return a time as RFC 3339 text in UTC, to the microsecond, and a new UUID.

        The UUID is random and of version 7, so that it sorts by time.

        Args:
            seconds: The time, in seconds since 1970.
        """
        microseconds = int(seconds * 1_000_000)
        millisecond = microseconds // 1000
        if millisecond != self._millisecond:
            text = f"{millisecond:012x}"
            self._uuid_start = f"{text[:8]}-{text[8:]}-7"
            moment = datetime.fromtimestamp(millisecond // 1000, UTC).isoformat()[:-6]
            self._time_start = f"{moment}.{millisecond % 1000:03d}"
            self._millisecond = millisecond
        if not self._uuid_ends:
            self._uuid_ends = _uuid_ends()
        return (
            f"{self._time_start}{microseconds % 1000:03d}Z",
            self._uuid_start + self._uuid_ends.pop(),
        )


def _uuid_ends() -> list[str]:
    """Return the random ends of many UUIDs, by one call of the system.

    They are not for two processes: a forked child makes its own.
    """
    chance = os.urandom(_UUIDS_AT_ONCE * _RANDOM_CHARS // 2).hex()
    parts = [chance[at : at + _RANDOM_CHARS] for at in range(0, len(chance), _RANDOM_CHARS)]
    return [f"{part[:3]}-{_VARIANTS[part[3]]}{part[4:7]}-{part[7:19]}" for part in parts]


class EventBuilder:
    """Builds the events of one client."""

    def __init__(
        self, settings: CaptureSettings, now: Callable[[], float], *, enrich: bool = True
    ) -> None:
        """Prepare what all events have.

        Args:
            settings: The settings of capture.
            now: Returns the time, in seconds since 1970.
            enrich: Whether events get properties of this process. Those of others must not.
        """
        self._now = now
        self._stamps = _Stamps()
        self._before_send: BeforeSend | None = settings.before_send
        self._privacy_mode = settings.privacy_mode
        enriched = enrich and settings.system_properties
        added: dict[str, object] = system_properties() if enriched else {}
        if settings.disable_geoip:
            added["$geoip_disable"] = True
        if enrich:
            added |= convert(settings.super_properties, "super_properties")
            added["$is_server"] = True
        self._added = added
        """Properties of every event, which take precedence over its own."""
        # Most events have nothing that needs more than their own properties serialised: what all
        # have in common is serialised once, and put behind them.
        self._tail = encode(added)[1:] + b"}"
        self._separator = b"," if added else b""
        self._simple = settings.before_send is None and _LIFTED.isdisjoint(added)
        self._special = _LIFTED | added.keys()
        self._names: dict[str, str] = {}
        """JSON of event names."""

    def build(
        self,
        event: object,
        distinct_id: object,
        properties: Mapping[str, object] | None,
        *,
        timestamp: object = None,
        uuid: object = None,
        groups: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
        context: EventContext | None = None,
        ai: bool = False,
    ) -> Record | None:
        """Return an event as it will be sent; None if `before_send` dropped it.

        Raises:
            TypeError: An argument, or a value in the properties, is of the wrong type.
            ValueError: An argument is empty, too long or too large.
        """
        if type(properties) is dict:
            own: Mapping[str, object] = cast("dict[str, object]", properties)
        elif properties is None:
            own = {}
        elif isinstance(cast("object", properties), Mapping):
            own = properties
        else:
            raise TypeError(f"properties must be a mapping, not {type(properties).__name__}")
        if context is not None:
            if distinct_id is None:
                distinct_id = context.distinct_id
            if context.groups:
                groups = {**context.groups, **(groups or {})}
            session = {} if context.session_id is None else {"$session_id": context.session_id}
            own = {**context.properties, **session, **own}
        if groups:
            own = {**own, "$groups": dict(groups)}
        if self._privacy_mode and (ai or str(event).startswith("$ai_")):
            own = {**own, **{name: None for name in _PRIVATE_AI_PROPERTIES if name in own}}
        now = self._now()
        moment, identity = self._stamps.make(now)
        if uuid is not None:
            identity = _check_uuid(uuid)
        if timestamp is not None:
            moment = parse_timestamp(timestamp)
        max_bytes = AI_EVENT_BYTES if ai else EVENT_BYTES
        if not (self._simple and not options and self._special.isdisjoint(own)):
            fields: dict[str, Any] = {
                "event": event,
                "uuid": identity,
                "distinct_id": distinct_id,
                "timestamp": moment,
                "properties": {**own, **self._added},
            }
            return self._finish(fields, options, max_bytes)
        name = self._names.get(event) if type(event) is str else None
        if name is None:
            name = encode(_check_name(event)).decode()
            if len(self._names) < _MAX_CACHED_NAMES:
                self._names[cast("str", event)] = name
        if type(distinct_id) is not str or not 0 < len(distinct_id) <= _MAX_ID_CHARS:
            distinct_id = _check_distinct_id(distinct_id)
        if not PLAIN_TYPES.issuperset(map(type, own.values())):
            own = convert(own)
        head = (
            f'{{"event":{name},"uuid":"{identity}","distinct_id":{_json_text(distinct_id)},'
            f'"timestamp":"{moment}","options":{{}},"properties":'
        ).encode()
        if own:
            try:
                text = to_json(own, inf_nan_mode="null")
            except ValueError:
                text = encode(own)  # raises an error that says where
            body = b"".join((head, text[:-1], self._separator, self._tail))
        else:
            body = b"".join((head, b"{", self._tail))
        if len(body) > max_bytes:
            raise _too_large(cast("str", event), body, own, max_bytes)
        return Record(identity, body)

    def build_from_mapping(
        self, fields: Mapping[str, object], context: EventContext | None = None, *, ai: bool = False
    ) -> Record | None:
        """Return an event from a mapping of the arguments of `capture`; see `build`."""
        unknown = sorted(str(name) for name in fields if name not in _EVENT_FIELDS)
        if unknown:
            raise TypeError(
                f"an event has no {', '.join(unknown)}; it takes {', '.join(sorted(_EVENT_FIELDS))}"
            )
        values: dict[str, Any] = dict(fields)
        return self.build(
            values.get("event"),
            values.get("distinct_id"),
            values.get("properties"),
            timestamp=values.get("timestamp"),
            uuid=values.get("uuid"),
            groups=values.get("groups"),
            options=values.get("options"),
            context=context,
            ai=ai,
        )

    def _finish(
        self, event: dict[str, Any], options: Mapping[str, object] | None, max_bytes: int
    ) -> Record | None:
        if self._before_send is not None:
            uuid = event["uuid"]
            result = self._before_send(event)
            if result is None:
                return None
            if not isinstance(cast("object", result), Mapping):
                raise TypeError(
                    f"before_send must return a mapping or None, not {type(result).__name__}"
                )
            event = dict(result)
            event["uuid"] = uuid
            event["timestamp"] = parse_timestamp(event.get("timestamp"))
        name, distinct_id = _check_name(event.get("event")), event.get("distinct_id")
        value: object = event.get("properties", {})
        if not isinstance(value, Mapping):
            raise TypeError(f"properties must be a mapping, not {type(value).__name__}")
        properties = cast("Mapping[str, object]", value)
        if type(distinct_id) is not str or not 0 < len(distinct_id) <= _MAX_ID_CHARS:
            distinct_id = _check_distinct_id(distinct_id)
        if not PLAIN_TYPES.issuperset(map(type, properties.values())):
            properties = convert(properties)
        sent: dict[str, object] = {
            "event": name,
            "uuid": event["uuid"],
            "distinct_id": distinct_id,
            "timestamp": event["timestamp"],
        }
        checked = _check_options(options) if options else {}
        if not _LIFTED.isdisjoint(properties):
            properties = _lift(dict(properties), sent, checked)
        sent["options"] = checked
        sent["properties"] = properties
        body = encode(sent)
        if len(body) > max_bytes:
            raise _too_large(name, body, properties, max_bytes)
        return Record(cast("str", event["uuid"]), body)


def system_properties() -> dict[str, object]:
    """Return the properties that name the versions of Python and the operating system."""
    names = {"darwin": "Mac OS X", "linux": "Linux", "win32": "Windows"}
    properties: dict[str, object] = {
        "$python_runtime": platform.python_implementation(),
        "$python_version": ".".join(map(str, sys.version_info[:3])),
        "$os": names.get(sys.platform, sys.platform),
        "$os_version": platform.mac_ver()[0] if sys.platform == "darwin" else platform.release(),
    }
    if sys.platform == "linux":
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            return properties
        properties["$os_version"] = release.get("VERSION_ID", "")
        properties["$os_distro"] = release.get("NAME", "")
    return properties


def _json_text(text: str) -> str:
    """Return text as JSON."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return encode(text).decode()


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"event must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError("event is empty: give the event a name")
    if len(name) > _MAX_ID_CHARS:
        raise ValueError(f"event is longer than {_MAX_ID_CHARS} characters: {name[:40]!r}…")
    return name


def _check_distinct_id(value: object) -> str:
    if value is None:
        raise ValueError(
            "The event has no distinct_id: pass one, or capture inside "
            "`with ph.capture.context(distinct_id=…)`."
        )
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise TypeError(f"distinct_id must be a str, an int or a UUID, not {type(value).__name__}")
    text = str(value)
    if not text:
        raise ValueError("distinct_id is empty")
    if len(text) > _MAX_ID_CHARS:
        raise ValueError(f"distinct_id is longer than {_MAX_ID_CHARS} characters: {text[:40]!r}…")
    return text


def _check_uuid(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"uuid must be a UUID or its text, not {type(value).__name__}")
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError(f"uuid is not a UUID: {value[:80]!r}") from None


def _check_options(options: object) -> dict[str, object]:
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be a mapping, not {type(options).__name__}")
    checked: dict[str, object] = {}
    for name, value in cast("Mapping[object, object]", options).items():
        if not isinstance(name, str) or name not in _OPTIONS:
            raise TypeError(f"options has no {name!r}; it takes {', '.join(sorted(_OPTIONS))}")
        if value is not None:
            _check_option(f"options[{name!r}]", name, value)
            checked[name] = value
    return checked


def _check_option(where: str, name: str, value: object) -> None:
    if not isinstance(value, _OPTIONS[name]):
        expected = _OPTIONS[name].__name__
        raise TypeError(f"{where} must be a {expected}, not {type(value).__name__}")


def _lift(
    properties: dict[str, object], sent: dict[str, object], options: dict[str, object]
) -> dict[str, object]:
    """Move properties to the places that they have in capture v1."""
    for name, field in _TOP_LEVEL_PROPERTIES.items():
        value = properties.pop(name, None)
        if value is not None:
            sent[field] = value if isinstance(value, str) else str(value)
    for name, option in _OPTION_PROPERTIES.items():
        value = properties.pop(name, None)
        if value is not None and option not in options:
            _check_option(f"properties[{name!r}]", option, value)
            options[option] = value
    return properties


def _too_large(
    name: str, body: bytes, properties: Mapping[str, object], max_bytes: int
) -> ValueError:
    return ValueError(
        f"The event {name[:40]!r} has {len(body):,} bytes as JSON, and the limit is "
        f"{max_bytes:,}: {_largest(properties)}. Send less."
    )


def _largest(properties: Mapping[str, object]) -> str:
    """Say which property is the largest."""
    if not properties:
        return "it has no properties"
    sizes = {name: len(encode({name: value})) for name, value in properties.items()}
    name = max(sizes, key=lambda key: sizes[key])
    return f"the property {name[:80]!r} alone has {sizes[name]:,}"
