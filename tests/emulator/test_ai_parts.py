"""`/i/v0/ai`: an event of an AI product in parts."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

PATH = "/i/v0/ai"
TOKEN = {"Authorization": "Bearer phc_emulator"}
EVENT = {
    "event": "$ai_generation",
    "distinct_id": "ada",
    "uuid": "018f0000-0000-7000-8000-000000000001",
    "timestamp": "2026-05-01T12:00:00Z",
}
PROPERTIES = {"$ai_model": "m-1", "$ai_input_tokens": 3}
Parts = list[tuple[str, tuple[None, bytes, str]]]


def part(name: str, value: Any, media: str = "application/json") -> Parts:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return [(name, (None, content, media))]


def parts(*more: Parts, event: Any = EVENT, properties: Any = PROPERTIES) -> Parts:
    chosen = part("event", event)
    if properties is not None:
        chosen += part("event.properties", properties)
    return chosen + [item for one in more for item in one]


async def test_large_properties(http: httpx.AsyncClient, emulator: Emulator) -> None:
    sent = parts(
        part("event.properties.$ai_input", [{"role": "user", "content": "Hi"}]),
        part("event.properties.$ai_output_choices", b"Hello", "text/plain"),
        part("event.properties.$ai_image", b"\x89PNG", "image/png"),
    )
    answer = await http.post(PATH, files=sent, headers=TOKEN)
    assert answer.status_code == 200, answer.text
    accepted = answer.json()["accepted_parts"]
    assert [item["name"] for item in accepted] == [name for name, _ in sent]
    assert accepted[4] == {
        "name": "event.properties.$ai_image",
        "length": 4,
        "content-type": "image/png",
        "content-encoding": None,
    }
    (event,) = emulator.captured_events("$ai_generation")
    assert event["uuid"] == EVENT["uuid"]
    assert event["properties"] == {
        **PROPERTIES,
        "$ai_input": [{"role": "user", "content": "Hi"}],
        "$ai_output_choices": "Hello",
        "$ai_image": {"content_type": "image/png", "length": 4},
    }


async def test_embedded_properties_and_gzip(http: httpx.AsyncClient, emulator: Emulator) -> None:
    request = http.build_request(
        "POST", PATH, files=parts(event={**EVENT, "properties": PROPERTIES}, properties=None)
    )
    headers = {"Content-Type": request.headers["content-type"], "Content-Encoding": "gzip", **TOKEN}
    answer = await http.post(PATH, content=gzip.compress(request.read()), headers=headers)
    assert answer.status_code == 200, answer.text
    assert emulator.captured_events()[0]["properties"] == PROPERTIES


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (part("event.properties", {}), 400, "First part must be 'event'"),
        (parts(event=[]), 400, "must be a JSON object"),
        (parts(event=b"{"), 400, "must be valid JSON"),
        (parts(event=b"\xff"), 400, "must be valid UTF-8"),
        (parts(event={**EVENT, "properties": {}}), 400, "cannot have both"),
        (parts(event={**EVENT, "event": "signed up"}), 400, "must start with '$ai_'"),
        (parts(event={"event": "$ai_trace"}), 400, "distinct_id"),
        (parts(properties={}), 400, "$ai_model"),
        (parts(part("event.properties.a", 1), part("event.properties.a", 2)), 400, "Duplicate"),
        (parts(part("event.properties.a", b"{")), 400, "does not match its content type"),
        (parts(event={**EVENT, "x": "y" * 40_000}), 413, "maximum event size exceeded"),
    ],
)
async def test_invalid_parts(
    http: httpx.AsyncClient, emulator: Emulator, sent: Parts, status: int, text: str
) -> None:
    answer = await http.post(PATH, files=sent, headers=TOKEN)
    assert (answer.status_code, emulator.captured_events()) == (status, [])
    assert text in answer.text


async def test_other_requests(http: httpx.AsyncClient, emulator: Emulator) -> None:
    assert (await http.get(PATH)).status_code == 405
    assert (await http.post(PATH, headers=TOKEN)).status_code == 400
    assert (await http.post(PATH, json=EVENT, headers=TOKEN)).status_code == 400
    nobody = {"Authorization": ""}
    assert (await http.post(PATH, files=parts(), headers=nobody)).status_code == 401
    personal = {"Authorization": "Bearer phx_emulator"}
    assert (await http.post(PATH, files=parts(), headers=personal)).status_code == 401
    unknown = {"Authorization": "Bearer phc_nobody"}
    assert (await http.post(PATH, files=parts(), headers=unknown)).status_code == 200
    emulator.settings.exhausted_quotas = {"llm_events"}
    assert (await http.post(PATH, files=parts(), headers=TOKEN)).status_code == 200
    assert emulator.captured_events() == []
