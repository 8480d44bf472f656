"""Events as the newest SDKs send them: one answer for each."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pyarrow
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PATH = "/i/v1/analytics/events"
UUID = "018f0000-0000-7000-8000-000000000001"
OTHER = "018f0000-0000-7000-8000-000000000002"
HEADERS = {
    "Authorization": "Bearer phc_emulator",
    "PostHog-Sdk-Info": "posthog-python/7.91.1",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": UUID,
    "PostHog-Request-Timestamp": "2026-05-01T12:00:00Z",
    "Content-Type": "application/json",
    "User-Agent": "posthog-python/7.91.1",
}
EVENT = {"event": "x", "uuid": UUID, "distinct_id": "ada", "timestamp": "2026-05-01T11:00:00Z"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator(clock=lambda: AT)
    yield emulator
    emulator.close()


async def send(
    http: httpx.AsyncClient, *events: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    body = {"created_at": "2026-05-01T12:00:00Z", "batch": list(events)}
    sent = {**HEADERS, **(headers or {})}
    return await http.post(PATH, content=json.dumps(body).encode(), headers=sent)


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body.keys() == {"error", "error_description", "error_uri"}
    return answer.status_code, body["error"]


async def test_an_event_is_taken_in(http: httpx.AsyncClient, emulator: Emulator) -> None:
    more = {"session_id": OTHER, "window_id": UUID, "properties": {"a": 1, "$set": {"b": 2}}}
    answer = await send(http, {**EVENT, **more})
    assert answer.status_code == 200
    assert answer.json() == {"results": {UUID: {"result": "ok"}}}
    (event,) = emulator.captured_events("x")
    assert event["timestamp"] == AT - timedelta(hours=1)
    assert event["properties"] == {
        "a": 1,
        "$set": {"b": 2},
        "$session_id": OTHER,
        "$window_id": UUID,
        "$lib": "posthog-python",
        "$lib_version": "7.91.1",
    }


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"event": ""}, "missing_event_name"),
        ({"event": None}, "missing_event_name"),
        ({"event": "x" * 201}, "event_name_too_long"),
        ({"distinct_id": ""}, "missing_distinct_id"),
        ({"distinct_id": 7}, "missing_distinct_id"),
        ({"distinct_id": "x" * 201}, "distinct_id_too_large"),
        ({"timestamp": None}, "invalid_event_timestamp"),
        ({"timestamp": "2026-05-01T12:00:00"}, "invalid_event_timestamp"),
        ({"timestamp": "noon"}, "invalid_event_timestamp"),
        ({"properties": []}, "malformed_event_properties"),
        ({"options": []}, "invalid_options"),
        ({"options": {"process_person_profile": "perhaps"}}, "invalid_options"),
        ({"properties": {"p": "x" * 1_000_001}}, "event_too_big"),
        ({"event": "$exception"}, "billing_limit_exceeded"),
    ],
)
async def test_one_bad_event_does_not_spoil_the_others(
    http: httpx.AsyncClient, emulator: Emulator, fields: dict[str, Any], details: str
) -> None:
    emulator.settings.exhausted_quotas = {"exceptions"}
    answer = await send(http, {**EVENT, **fields}, {**EVENT, "uuid": OTHER})
    assert answer.status_code == 200
    assert answer.json()["results"] == {
        UUID: {"result": "drop", "details": details},
        OTHER: {"result": "ok"},
    }
    assert [event["uuid"] for event in emulator.captured_events()] == [OTHER]


async def test_nobody_is_warned_of(http: httpx.AsyncClient, emulator: Emulator) -> None:
    answer = await send(http, {**EVENT, "distinct_id": "NULL"})
    assert answer.json()["results"][UUID] == {
        "result": "warning",
        "details": "person_processing_disabled",
    }
    assert (len(emulator.captured_events()), emulator.items("persons")) == (1, [])


@pytest.mark.parametrize("flag", [False, "false", 0])
async def test_options(http: httpx.AsyncClient, emulator: Emulator, flag: Any) -> None:
    options = {"process_person_profile": flag, "product_tour_id": "t", "cookieless_mode": True}
    await send(http, {**EVENT, "options": options})
    (event,) = emulator.captured_events()
    assert event["properties"]["$process_person_profile"] is False
    assert event["properties"]["$cookieless_mode"] is True
    assert emulator.items("persons") == []


async def test_clocks(http: httpx.AsyncClient, emulator: Emulator) -> None:
    wrong = {"PostHog-Request-Timestamp": "2030-01-01T00:00:00+00:00"}
    event = {**EVENT, "timestamp": "2029-12-31T23:59:00Z"}
    late = {**EVENT, "uuid": OTHER, "timestamp": "2030-01-02T00:00:00Z"}
    await send(http, event, late, headers=wrong)
    plain = {"disable_skew_correction": True}
    third = {**EVENT, "uuid": HEADERS["PostHog-Request-Id"], "options": plain}
    await send(http, third, headers=wrong)
    assert [one["timestamp"] for one in emulator.captured_events()] == [
        AT - timedelta(minutes=1),
        AT,
        AT - timedelta(hours=1),
    ]


@pytest.mark.parametrize("name", sorted(HEADERS.keys() - {"Authorization", "User-Agent"}))
async def test_headers_are_required(http: httpx.AsyncClient, name: str) -> None:
    answer = await send(http, EVENT, headers={name: ""})
    assert told(answer) == (400, "missing_required_headers")
    assert name.lower() in answer.json()["error_description"]


@pytest.mark.parametrize(
    ("headers", "status", "tag"),
    [
        ({"Authorization": ""}, 401, "invalid_api_token"),
        ({"Authorization": "Bearer phx_emulator"}, 401, "invalid_api_token"),
        ({"PostHog-Attempt": "0"}, 400, "invalid_header_value"),
        ({"PostHog-Request-Timestamp": "noon"}, 400, "invalid_header_value"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "lzma"}, 415, "unsupported_content_encoding"),
        ({"Content-Encoding": "gzip"}, 400, "invalid_payload"),
        ({"Content-Encoding": "br"}, 400, "invalid_payload"),
        ({"Content-Encoding": "zstd"}, 400, "invalid_payload"),
    ],
)
async def test_refused_by_headers(
    http: httpx.AsyncClient, headers: dict[str, str], status: int, tag: str
) -> None:
    assert told(await send(http, EVENT, headers=headers)) == (status, tag)


@pytest.mark.parametrize(
    ("body", "tag"),
    [
        (b"{", "invalid_payload"),
        (b"[]", "invalid_payload"),
        (b'{"created_at": "2026-05-01T12:00:00Z"}', "invalid_payload"),
        (b'{"batch": [{}]}', "invalid_payload"),
        (b'{"created_at": "noon", "batch": [{}]}', "invalid_payload"),
        (b'{"created_at": "2026-05-01T12:00:00Z", "batch": []}', "empty_batch"),
        (b'{"created_at": "2026-05-01T12:00:00Z", "batch": [1]}', "invalid_payload"),
    ],
)
async def test_refused_by_the_body(http: httpx.AsyncClient, body: bytes, tag: str) -> None:
    assert told(await http.post(PATH, content=body, headers=HEADERS)) == (400, tag)


@pytest.mark.parametrize(
    ("uuids", "tag"),
    [
        ((None,), "missing_event_uuid"),
        (("7",), "invalid_event_uuid"),
        ((UUID, UUID.upper()), "duplicate_event_uuid"),
    ],
)
async def test_every_event_needs_a_uuid_of_its_own(
    http: httpx.AsyncClient, emulator: Emulator, uuids: tuple[Any, ...], tag: str
) -> None:
    answer = await send(http, *({**EVENT, "uuid": uuid} for uuid in uuids))
    assert (told(answer), emulator.captured_events()) == ((400, tag), [])


@pytest.mark.parametrize(
    ("packing", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", partial(pyarrow.compress, codec="brotli", asbytes=True)),
        ("zstd", partial(pyarrow.compress, codec="zstd", asbytes=True)),
    ],
)
async def test_packings(
    http: httpx.AsyncClient, emulator: Emulator, packing: str, pack: Any
) -> None:
    body = json.dumps({"created_at": "2026-05-01T12:00:00Z", "batch": [EVENT]}).encode()
    headers = {**HEADERS, "Content-Encoding": packing}
    assert (await http.post(PATH, content=pack(body), headers=headers)).status_code == 200
    assert len(emulator.captured_events()) == 1
    bomb = pack(b" " * (20 * 1024 * 1024 + 1))
    assert told(await http.post(PATH, content=bomb, headers=headers)) == (413, "payload_too_large")


async def test_quota_and_unknown_tokens(http: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.settings.exhausted_quotas = {"events"}
    answer = await send(http, EVENT)
    assert told(answer) == (429, "billing_limit_exceeded")
    assert answer.headers["retry-after"] == "1"
    emulator.settings.exhausted_quotas = ()
    answer = await send(http, EVENT, headers={"Authorization": "Bearer phc_of_nobody"})
    assert answer.json()["results"] == {UUID: {"result": "ok"}}
    assert emulator.captured_events() == []


async def test_events_that_could_not_be_kept(http: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.settings.capture_retries = 1
    answer = await send(http, {**EVENT, "uuid": OTHER}, EVENT)
    assert answer.json()["results"] == {
        OTHER: {"result": "retry", "details": "not_persisted"},
        UUID: {"result": "ok"},
    }
    assert answer.headers["retry-after"] == "1"
    assert [event["uuid"] for event in emulator.captured_events()] == [UUID]
    again = await send(http, {**EVENT, "uuid": OTHER})
    assert again.json()["results"] == {OTHER: {"result": "ok"}}
    assert "retry-after" not in again.headers
