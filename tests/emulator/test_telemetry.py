"""Logs, traces and metrics of OpenTelemetry, in JSON and in protobuf."""

from __future__ import annotations

import gzip
import json
import struct
from typing import Any

import httpx
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthog_emulator import Emulator
from posthog_emulator.features.capture.otlp_protobuf import decode_otlp

pytestmark = pytest.mark.anyio

TOKEN = {"Authorization": "Bearer phc_emulator"}
AT = 1_777_636_800_000_000_000
"""2026-05-01T12:00:00Z in nanoseconds."""
RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    text = bytearray()
    while value > 0x7F:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*text, value])


def sized(number: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def fixed(field: int, value: int | float) -> bytes:
    packed = struct.pack("<d" if isinstance(value, float) else "<q", value)
    return varint(field << 3 | 1) + packed


def pair(name: str, value: bytes) -> bytes:
    return sized(1, name) + sized(2, value)


def message(record: bytes) -> bytes:
    """Wrap a record in its scope, its resource and a request."""
    resource = sized(1, pair("service.name", sized(1, "shop")))
    return sized(1, sized(1, resource) + sized(2, sized(1, sized(1, "lib")) + sized(2, record)))


def body(signal: str, record: dict[str, Any]) -> dict[str, Any]:
    resources, scopes, records = {
        "logs": ("resourceLogs", "scopeLogs", "logRecords"),
        "traces": ("resourceSpans", "scopeSpans", "spans"),
        "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    }[signal]
    scope = {"scope": {"name": "lib"}, records: [record]}
    return {resources: [{"resource": RESOURCE, scopes: [scope]}]}


LOG = {
    "timeUnixNano": str(AT),
    "severityNumber": 17,
    "severityText": "ERROR",
    "body": {"stringValue": "no such cart"},
    "attributes": [
        {"key": "tries", "value": {"intValue": "-3"}},
        {"key": "ratio", "value": {"doubleValue": 0.5}},
        {"key": "last", "value": {"boolValue": True}},
        {"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}},
        {"key": "more", "value": {"kvlistValue": {"values": [
            {"key": "k", "value": {"stringValue": "v"}}]}}},
    ],
    "traceId": "0af7651916cd43dd8448eb211c80319c",
}  # fmt: skip
PROTOBUF_LOG = b"".join(
    [
        fixed(1, AT),
        number(2, 17),
        sized(3, "ERROR"),
        sized(5, sized(1, "no such cart")),
        sized(6, pair("tries", number(3, -3))),
        sized(6, pair("ratio", fixed(4, 0.5))),
        sized(6, pair("last", number(2, 1))),
        sized(6, pair("tags", sized(5, sized(1, sized(1, "a"))))),
        sized(6, pair("more", sized(6, sized(1, pair("k", sized(1, "v")))))),
        sized(9, bytes.fromhex("0af7651916cd43dd8448eb211c80319c")),
        sized(99, b"a field of a later version"),
    ]
)
PLAIN_LOG = {
    **LOG,
    "body": "no such cart",
    "attributes": {"tries": -3, "ratio": 0.5, "last": True, "tags": ["a"], "more": {"k": "v"}},
}
SPAN = {"name": "GET /cart", "kind": 2, "startTimeUnixNano": str(AT), "status": {"code": 2}}
PROTOBUF_SPAN = sized(5, "GET /cart") + number(6, 2) + fixed(7, AT) + sized(15, number(3, 2))
POINTS = {"dataPoints": [{"timeUnixNano": str(AT), "asInt": "-4"}], "aggregationTemporality": 2,
          "isMonotonic": True}  # fmt: skip
SUM = {"name": "carts", "unit": "1", "sum": POINTS}
PROTOBUF_SUM = (
    sized(1, "carts")
    + sized(3, "1")
    + sized(7, sized(1, fixed(3, AT) + fixed(6, -4)) + number(2, 2) + number(3, 1))
)
BUCKETS = {"count": "3", "sum": 4.5, "bucketCounts": ["1", "2"], "explicitBounds": [2.0]}
HISTOGRAM = {"name": "sizes", "histogram": {"dataPoints": [BUCKETS]}}
PROTOBUF_HISTOGRAM = sized(1, "sizes") + sized(
    9,
    sized(
        1,
        fixed(4, 3)
        + fixed(5, 4.5)
        + sized(6, struct.pack("<qq", 1, 2))
        + sized(7, struct.pack("<d", 2.0)),
    ),
)


@pytest.mark.parametrize(
    ("signal", "record", "protobuf", "plain"),
    [
        ("logs", LOG, PROTOBUF_LOG, PLAIN_LOG),
        ("traces", SPAN, PROTOBUF_SPAN, SPAN),
        ("metrics", SUM, PROTOBUF_SUM, SUM),
        ("metrics", HISTOGRAM, PROTOBUF_HISTOGRAM, HISTOGRAM),
    ],
)
async def test_both_formats_say_the_same(
    http: httpx.AsyncClient,
    emulator: Emulator,
    signal: str,
    record: dict[str, Any],
    protobuf: bytes,
    plain: dict[str, Any],
) -> None:
    text = json.dumps(body(signal, record)).encode()
    for content in (text, message(protobuf), text + b"\n" + text, gzip.compress(text)):
        answer = await http.post(f"/i/v1/{signal}", content=content, headers=TOKEN)
        assert (answer.status_code, answer.json()) == (200, {}), answer.text
    expected = {
        "signal": signal,
        "resource": {"service.name": "shop"},
        "scope": "lib",
        "record": plain,
    }
    assert emulator.captured_telemetry(signal) == [expected] * 5
    assert emulator.captured_telemetry() == [expected] * 5
    assert emulator.captured_telemetry(project_id=9) == []


async def test_logs_can_be_queried(http: httpx.AsyncClient, emulator: Emulator) -> None:
    headers = {**TOKEN, "Content-Encoding": "zstd"}
    content = pyarrow.compress(json.dumps(body("logs", LOG)).encode(), "zstd", asbytes=True)
    assert (await http.post("/i/v1/logs", content=content, headers=headers)).status_code == 200
    answer = await http.post("/api/projects/1/logs/query/", json={"query": {}})
    (log,) = answer.json()["results"]
    assert (log["body"], log["level"], log["severity_text"]) == ("no such cart", "error", "ERROR")
    assert log["timestamp"] == "2026-05-01T12:00:00+00:00"
    assert log["resource_attributes"] == {"service.name": "shop"}


async def test_old_records_are_dropped() -> None:
    emulator = Emulator(history_size=2)
    async with httpx.AsyncClient(transport=emulator.transport(), base_url="http://e") as http:
        for index in range(3):
            record = {"body": {"stringValue": str(index)}}
            await http.post("/i/v1/logs?token=phc_emulator", json=body("logs", record))
    kept = [item["record"]["body"] for item in emulator.captured_telemetry("logs")]
    assert kept == ["1", "2"]
    assert [item["body"] for item in emulator.items("logs.query")] == ["1", "2"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Authorization": ""}, b"{}", 401),
        ({"Authorization": "Bearer phx_emulator"}, b"{}", 401),
        (TOKEN, b"{", 400),
        (TOKEN, b"[]", 400),
        (TOKEN, b'{"resourceLogs": 3}', 400),
        (TOKEN, b'{"resourceLogs": [3]}', 400),
        ({**TOKEN, "Content-Encoding": "lzma"}, b"{}", 415),
        ({**TOKEN, "Content-Encoding": "zstd"}, b"{}", 400),
        (TOKEN, b" " * (2 << 20) + b"{}", 413),
        (TOKEN, gzip.compress(b" " * (3 << 20)), 413),
    ],
)
async def test_invalid_requests(
    http: httpx.AsyncClient, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = await http.post("/i/v1/logs", content=content, headers=headers)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)


async def test_other_requests(http: httpx.AsyncClient, emulator: Emulator) -> None:
    assert (await http.get("/i/v1/traces")).status_code == 405
    assert (await http.options("/i/v1/traces")).json() == {}
    unknown = {"Authorization": "Bearer phc_nobody"}
    sent = await http.post("/v1/traces", json=body("traces", SPAN), headers=unknown)
    assert (sent.status_code, emulator.captured_telemetry()) == (200, [])
    emulator.settings.exhausted_quotas = {"traces"}
    over = await http.post("/i/v1/traces", json=body("traces", SPAN), headers=TOKEN)
    assert (over.status_code, over.headers["retry-after"]) == (429, "900")


@given(content=st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(content: bytes) -> None:
    for signal in ("logs", "traces", "metrics"):
        try:
            decoded = decode_otlp(signal, content)
        except ValueError:
            continue
        assert set(decoded) <= {"resourceLogs", "resourceSpans", "resourceMetrics"}
