"""Decode OTLP requests in protobuf to the JSON form of the same protocol.

Only the messages of logs, traces and metrics are known, and of them the fields that are of use in
a test: the others are skipped, as protobuf prescribes for unknown fields.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

__all__ = ["decode_otlp"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message: its name in JSON, and how its value is decoded."""

    name: str
    decode: Callable[[Any], Any] | None = None
    """Decodes the raw value; None for a message."""
    wire: int = _BYTES
    message: _Message | None = None
    repeated: bool = False
    packed: bool = False
    """Whether the values are eight bytes each, one after another."""


_Fields: TypeAlias = Mapping[int, _Field]


@dataclass(slots=True)
class _Message:
    fields: _Fields = field(default_factory=dict[int, _Field])


def _text(raw: bytes) -> str:
    return raw.decode()


def _signed(raw: int) -> str:
    # JSON has 64-bit integers as text.
    return str(raw - (1 << 64) if raw >> 63 else raw)


def _integer(raw: int) -> int:
    return raw - (1 << 64) if raw >> 63 else raw


def _fixed(raw: bytes) -> str:
    return str(int.from_bytes(raw, "little"))


def _signed_fixed(raw: bytes) -> str:
    return str(int.from_bytes(raw, "little", signed=True))


def _double(raw: bytes) -> float:
    (value,) = struct.unpack("<d", raw)
    return value


def _number32(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _string(name: str) -> _Field:
    return _Field(name, _text)


def _hex(name: str) -> _Field:
    return _Field(name, bytes.hex)


def _enum(name: str) -> _Field:
    return _Field(name, _integer, _VARINT)


def _time(name: str) -> _Field:
    return _Field(name, _fixed, _FIXED64)


def _real(name: str) -> _Field:
    return _Field(name, _double, _FIXED64)


def _one(name: str, message: _Message) -> _Field:
    return _Field(name, message=message)


def _many(name: str, message: _Message) -> _Field:
    return _Field(name, message=message, repeated=True)


_VALUE: Final = _Message()
_KEY_VALUE: Final = _Message({1: _string("key"), 2: _one("value", _VALUE)})
_VALUE.fields = {
    1: _string("stringValue"),
    2: _Field("boolValue", bool, _VARINT),
    3: _Field("intValue", _signed, _VARINT),
    4: _real("doubleValue"),
    5: _one("arrayValue", _Message({1: _many("values", _VALUE)})),
    6: _one("kvlistValue", _Message({1: _many("values", _KEY_VALUE)})),
    7: _Field("bytesValue", _base64),
}


def _attributes() -> _Field:
    return _many("attributes", _KEY_VALUE)


_RESOURCE: Final = _Message({1: _attributes()})
_SCOPE: Final = _Message({1: _string("name"), 2: _string("version"), 3: _attributes()})

_LOG_RECORD: Final = _Message(
    {
        1: _time("timeUnixNano"),
        2: _enum("severityNumber"),
        3: _string("severityText"),
        5: _one("body", _VALUE),
        6: _attributes(),
        8: _Field("flags", _number32, _FIXED32),
        9: _hex("traceId"),
        10: _hex("spanId"),
        11: _time("observedTimeUnixNano"),
        12: _string("eventName"),
    }
)
_SPAN: Final = _Message(
    {
        1: _hex("traceId"),
        2: _hex("spanId"),
        3: _string("traceState"),
        4: _hex("parentSpanId"),
        5: _string("name"),
        6: _enum("kind"),
        7: _time("startTimeUnixNano"),
        8: _time("endTimeUnixNano"),
        9: _attributes(),
        11: _many(
            "events", _Message({1: _time("timeUnixNano"), 2: _string("name"), 3: _attributes()})
        ),
        13: _many("links", _Message({1: _hex("traceId"), 2: _hex("spanId"), 4: _attributes()})),
        15: _one("status", _Message({2: _string("message"), 3: _enum("code")})),
    }
)
_TIMES: Final = {2: _time("startTimeUnixNano"), 3: _time("timeUnixNano")}
_NUMBER_POINT: Final = _Message(
    {
        **_TIMES,
        4: _real("asDouble"),
        6: _Field("asInt", _signed_fixed, _FIXED64),
        7: _attributes(),
    }
)
_HISTOGRAM_POINT: Final = _Message(
    {
        **_TIMES,
        4: _time("count"),
        5: _real("sum"),
        6: _Field("bucketCounts", _fixed, _FIXED64, repeated=True, packed=True),
        7: _Field("explicitBounds", _double, _FIXED64, repeated=True, packed=True),
        9: _attributes(),
        11: _real("min"),
        12: _real("max"),
    }
)
_EXPONENTIAL_POINT: Final = _Message(
    {1: _attributes(), **_TIMES, 4: _time("count"), 5: _real("sum")}
)
_SUMMARY_POINT: Final = _Message({7: _attributes(), **_TIMES, 4: _time("count"), 5: _real("sum")})


def _points(message: _Message) -> dict[int, _Field]:
    return {1: _many("dataPoints", message), 2: _enum("aggregationTemporality")}


_METRIC: Final = _Message(
    {
        1: _string("name"),
        2: _string("description"),
        3: _string("unit"),
        5: _one("gauge", _Message({1: _many("dataPoints", _NUMBER_POINT)})),
        7: _one(
            "sum",
            _Message({**_points(_NUMBER_POINT), 3: _Field("isMonotonic", bool, _VARINT)}),
        ),
        9: _one("histogram", _Message(_points(_HISTOGRAM_POINT))),
        10: _one("exponentialHistogram", _Message(_points(_EXPONENTIAL_POINT))),
        11: _one("summary", _Message({1: _many("dataPoints", _SUMMARY_POINT)})),
    }
)


def _request(resources: str, scopes: str, records: str, record: _Message) -> _Message:
    scope = _Message({1: _one("scope", _SCOPE), 2: _many(records, record)})
    return _Message(
        {1: _many(resources, _Message({1: _one("resource", _RESOURCE), 2: _many(scopes, scope)}))}
    )


_REQUESTS: Final[Mapping[str, _Message]] = {
    "logs": _request("resourceLogs", "scopeLogs", "logRecords", _LOG_RECORD),
    "traces": _request("resourceSpans", "scopeSpans", "spans", _SPAN),
    "metrics": _request("resourceMetrics", "scopeMetrics", "metrics", _METRIC),
}


def decode_otlp(signal: str, content: bytes) -> dict[str, Any]:
    """Return a request of a signal (`logs`, `traces`, `metrics`) as its JSON object.

    Raises:
        ValueError: The content is not a message of this kind.
    """
    return _decode(_REQUESTS[signal], content, 0)


def _decode(message: _Message, content: bytes, depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("messages are nested too deeply")
    decoded: dict[str, Any] = {}
    for number, wire, raw in _wire_fields(content):
        definition = message.fields.get(number)
        if definition is None:
            continue
        if definition.packed and wire == _BYTES:
            decoded.setdefault(definition.name, []).extend(_unpack(definition, raw))
            continue
        if wire != definition.wire:
            raise ValueError(f"field {number} has wire type {wire}")
        if definition.message is not None:
            value: Any = _decode(definition.message, raw, depth + 1)
        else:
            value = raw if definition.decode is None else definition.decode(raw)
        if definition.repeated:
            decoded.setdefault(definition.name, []).append(value)
        else:
            decoded[definition.name] = value
    return decoded


def _unpack(definition: _Field, raw: bytes) -> Iterator[Any]:
    if len(raw) % 8 or definition.decode is None:
        raise ValueError("a packed field ends in the middle of a value")
    for start in range(0, len(raw), 8):
        yield definition.decode(raw[start : start + 8])


def _wire_fields(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield the number, the wire type and the raw value of each field of a message."""
    at = 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise ValueError("a field has the number 0")
        if wire == _VARINT:
            value, at = _read_varint(content, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _read_varint(content, at)
        elif wire in {_FIXED32, _FIXED64}:
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at + size > len(content):
            raise ValueError("the message ends in the middle of a field")
        yield number, wire, content[at : at + size]
        at += size


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("the message ends in the middle of a number")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
    raise ValueError("a number is longer than ten bytes")
