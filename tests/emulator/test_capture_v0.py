"""Events as SDKs have always sent them: bodies, limits, answers, and what is then stored."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator, extra_routes
from posthog_emulator.features.capture import legacy, v1

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
TOKEN = "phc_emulator"
ONE = {"api_key": TOKEN, "event": "x", "distinct_id": "ada"}
PACKED = json.dumps(ONE).encode()
PATHS = ("/batch", "/capture", "/e", "/i/v0/e", "/track", "/engage", "/i/v0/ai/batch")
LZ64 = "BYUwNmD2A0AECWsCGBbZtDUzkA=="


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator(clock=lambda: AT)
    yield emulator
    emulator.close()


def names(emulator: Emulator) -> list[str]:
    return [event["event"] for event in emulator.captured_events()]


async def refused(http: httpx.AsyncClient, body: Any, path: str = "/e/") -> tuple[int, str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await http.post(path, content=content)
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.status_code, answer.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_path(
    http: httpx.AsyncClient, emulator: Emulator, path: str, slash: str
) -> None:
    answer = await http.post(path + slash, json=ONE, headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"status": "Ok"})
    assert names(emulator) == ["$identify" if path == "/engage" else "x"]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (json.dumps([ONE]).encode(), {}),
        (json.dumps({"token": TOKEN, "batch": [{"event": "x", "distinct_id": 7}]}).encode(), {}),
        (gzip.compress(PACKED, mtime=0), {}),
        (gzip.compress(PACKED, mtime=0), {"params": {"compression": "gzip-js"}}),
        (base64.b64encode(PACKED), {"params": {"compression": "base64"}}),
        (b"data=" + base64.b64encode(gzip.compress(PACKED, mtime=0)).replace(b"+", b"%2B"), {}),
        (PACKED, {"params": {"compression": "base64"}}),
        (PACKED, {"headers": {"Content-Type": "text/plain"}}),
    ],
)
async def test_every_packing(
    http: httpx.AsyncClient, emulator: Emulator, content: bytes, more: dict[str, Any]
) -> None:
    answer = await http.post("/e/", content=content, **more)
    assert answer.status_code == 200, answer.text
    assert names(emulator) == ["x"]


async def test_forms_and_gets(http: httpx.AsyncClient, emulator: Emulator) -> None:
    data = base64.b64encode(PACKED).decode()
    assert (await http.post("/track/", data={"data": data})).status_code == 200
    assert (await http.get("/track/", params={"data": data})).status_code == 200
    beacon = await http.post("/e/", json=ONE, params={"beacon": "1"})
    assert (beacon.status_code, beacon.content) == (204, b"")
    assert names(emulator) == ["x", "x", "x"]
    assert (await http.put("/e/", json=ONE)).status_code == 405


async def test_lz64(http: httpx.AsyncClient) -> None:
    answer = await http.post("/e/", params={"compression": "lz64"}, data={"data": LZ64})
    assert answer.text.startswith("failed to parse request: expected value"), "unpacked, no JSON"
    for broken in ("BYUw", "!", LZ64[:12]):
        answer = await http.post("/e/", params={"compression": "lz64"}, data={"data": broken})
        assert (answer.status_code, answer.text) == (
            400,
            "failed to decode request: invalid lz64 data",
        )


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "request missing data payload"),
        (b"{", 400, "failed to parse request: "),
        (b'{"a": NaN}', 400, "failed to parse request: "),
        (b"\xff\xfe", 400, "failed to parse request: "),
        (
            gzip.compress(PACKED, mtime=0)[:-9],
            400,
            "failed to decode request: unexpected end of file",
        ),
        (b"\x1f\x8bnonsense", 400, "failed to decode request: "),
        (b"data=%%%", 400, "failed to decode request: "),
        ("text", 400, "failed to parse request: "),
        ([], 400, "request holds no event"),
        ({"api_key": TOKEN, "batch": []}, 400, "request holds no event"),
        ({"api_key": TOKEN, "batch": {}}, 400, "failed to parse request: "),
        ({"api_key": TOKEN, "batch": [1]}, 400, "failed to parse request: "),
        ({"api_key": TOKEN, "distinct_id": "a"}, 400, "failed to parse request: missing field"),
        ({**ONE, "properties": []}, 400, "failed to parse request: "),
        ({**ONE, "uuid": "7"}, 400, "failed to parse request: invalid uuid"),
        ({**ONE, "event": ""}, 400, "event submitted with an empty event name"),
        ({**ONE, "distinct_id": None}, 400, "event submitted without a distinct_id"),
        ({**ONE, "distinct_id": ""}, 400, "event submitted with an empty distinct_id"),
        ({"event": "x", "distinct_id": "a"}, 401, "event submitted without an api_key"),
        ([ONE, {**ONE, "api_key": "phc_b"}], 401, "batch submitted with inconsistent api_key"),
        ({**ONE, "api_key": "phx_a"}, 401, "API key is not valid: personal_api_key"),
        ({**ONE, "api_key": ""}, 401, "API key is not valid: empty"),
        ({**ONE, "api_key": "phc_" + "x" * 61}, 401, "API key is not valid: too_long"),
        ({**ONE, "api_key": "phc_é"}, 401, "API key is not valid: not_ascii"),
        ({**ONE, "api_key": "phc_\0"}, 401, "API key is not valid: null_byte"),
    ],
)
async def test_refusals_are_text(
    http: httpx.AsyncClient, emulator: Emulator, body: Any, status: int, text: str
) -> None:
    told = await refused(http, body)
    assert (told[0], told[1][: len(text)]) == (status, text)
    assert names(emulator) == []


async def test_one_bad_event_spoils_the_batch(http: httpx.AsyncClient, emulator: Emulator) -> None:
    batch = {"api_key": TOKEN, "batch": [ONE, {"event": "y"}]}
    assert await refused(http, batch, "/batch/") == (400, "event submitted without a distinct_id")
    assert (names(emulator), emulator.items("events")) == ([], [])


@pytest.mark.parametrize(("path", "limit"), [("/e/", 2 << 20), ("/batch/", 20 << 20)])
async def test_bodies_have_a_limit(
    http: httpx.AsyncClient, emulator: Emulator, path: str, limit: int
) -> None:
    filler = {"event": "x", "distinct_id": "a", "properties": {"p": "x" * 500_000}}
    batch = {"api_key": TOKEN, "batch": [filler] * (limit // 500_000 - 1)}
    room = limit - len(json.dumps(batch).encode())
    fits = json.dumps({**batch, "_": "x" * (room - 9)}).encode()
    assert len(fits) == limit
    assert (await http.post(path, content=fits)).status_code == 200
    for content in (fits + b" ", gzip.compress(fits + b" ", 1)):
        status, text = await refused(http, content, path)
        assert (status, text[:27]) == (413, "maximum event size exceeded")


async def test_an_event_has_to_fit_into_a_message(http: httpx.AsyncClient) -> None:
    big = {**ONE, "properties": {"p": "x" * 1_000_001}}
    assert (await refused(http, big))[0] == 413


@pytest.mark.parametrize("limited", [{"events"}, set[str]()])
async def test_what_vanishes_is_accepted_all_the_same(
    http: httpx.AsyncClient, emulator: Emulator, limited: set[str]
) -> None:
    emulator.settings.exhausted_quotas = limited
    token = TOKEN if limited else "phc_of_nobody"
    answer = await http.post("/batch/", json={"api_key": token, "batch": [ONE]})
    assert (answer.status_code, answer.json()) == (200, {"status": "Ok"})
    assert names(emulator) == []


async def test_quotas_of_a_kind_of_event(http: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.settings.exhausted_quotas = {"exceptions", "llm_events"}
    sent = ("$exception", "$ai_generation", "survey sent", "x")
    batch = [{"event": name, "distinct_id": "a"} for name in sent]
    await http.post("/batch/", json={"api_key": TOKEN, "batch": batch})
    assert names(emulator) == ["survey sent", "x"]


async def test_each_project_has_its_token(http: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.add_project(2)
    await http.post("/e/", json={**ONE, "api_key": "phc_emulator_2", "event": "theirs"})
    await http.post("/e/", json={**ONE, "api_key": None, "properties": {"token": TOKEN}})
    assert names(emulator) == ["x"]
    assert [event["event"] for event in emulator.captured_events(project_id=2)] == ["theirs"]


async def test_what_is_made_of_an_event(http: httpx.AsyncClient, emulator: Emulator) -> None:
    uuid = "018f0000-0000-7000-8000-0000000000FF"
    properties = {"$set": {"a": 1}, "n": 1.5, "distinct_id": "elsewhere"}
    sent = {**ONE, "uuid": uuid, "properties": properties, "$set": {"b": 2}, "$set_once": {"c": 3}}
    await http.post("/e/", json=sent)
    (event,) = emulator.captured_events("x", "ada")
    assert event["uuid"] == uuid.lower()
    assert event["timestamp"] == AT
    assert event["properties"] == {
        "$set": {"a": 1, "b": 2},
        "$set_once": {"c": 3},
        "n": 1.5,
        "distinct_id": "elsewhere",
    }


@pytest.mark.parametrize(
    ("distinct_id", "kept"),
    [(7, "7"), (True, "true"), ({"a": 1}, '{"a":1}'), ("x" * 300, "x" * 200)],
)
async def test_distinct_ids_become_short_texts(
    http: httpx.AsyncClient, emulator: Emulator, distinct_id: Any, kept: str
) -> None:
    await http.post("/e/", json={**ONE, "distinct_id": distinct_id})
    del (other := dict(ONE))["distinct_id"]
    await http.post("/e/", json={**other, "properties": {"distinct_id": distinct_id}})
    await http.post("/e/", json={**other, "$distinct_id": distinct_id})
    assert [event["distinct_id"] for event in emulator.captured_events()] == [kept] * 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"timestamp": "2026-05-01T10:00:00.000001Z"}, AT - timedelta(hours=2, microseconds=-1)),
        ({"timestamp": "2026-05-01T10:00:00+02:00"}, AT - timedelta(hours=4)),
        ({"timestamp": "yesterday"}, AT),
        ({"offset": 1500}, AT - timedelta(seconds=1.5)),
        ({}, AT),
        ({"timestamp": "2026-05-02T10:59:59Z"}, AT + timedelta(hours=22, minutes=59, seconds=59)),
        ({"timestamp": "2026-05-02T11:00:01Z"}, AT),
    ],
)
async def test_times(
    http: httpx.AsyncClient, emulator: Emulator, fields: dict[str, Any], expected: datetime
) -> None:
    await http.post("/e/", json={**ONE, **fields})
    assert emulator.captured_events()[0]["timestamp"] == expected


async def test_a_clock_that_is_wrong_is_put_right(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    event = {**ONE, "timestamp": "2030-01-01T00:00:00Z"}
    sent = {"api_key": TOKEN, "sent_at": "2030-01-01T00:00:10Z", "batch": [event]}
    await http.post("/batch/", json=sent)
    milliseconds = int(datetime(2030, 1, 1, 0, 0, 10, tzinfo=UTC).timestamp() * 1000)
    await http.post("/e/", json=event, params={"_": milliseconds})
    assert [one["timestamp"] for one in emulator.captured_events()] == [
        AT - timedelta(seconds=10)
    ] * 2
    early = {**event, "timestamp": "2026-05-01T00:00:00Z", "properties": {"$ignore_sent_at": True}}
    await http.post("/batch/", json={**sent, "batch": [early]})
    assert emulator.captured_events()[-1]["timestamp"] == AT - timedelta(hours=12)


async def test_only_the_latest_are_remembered(connect: Any) -> None:
    emulator = Emulator(history_size=3)
    async with connect(emulator) as http:
        batch = [{"event": f"e{n}", "distinct_id": "a"} for n in range(5)]
        await http.post("/batch/", json={"api_key": TOKEN, "batch": batch})
    assert names(emulator) == ["e2", "e3", "e4"]
    emulator.reset()
    assert names(emulator) == []


async def test_recordings_are_taken_and_not_kept(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    snapshot = {"event": "$snapshot", "distinct_id": "a", "properties": {"$snapshot_data": []}}
    sent = {**ONE, **snapshot}
    answer = await http.post("/s/", content=gzip.compress(json.dumps([sent]).encode()))
    assert (answer.status_code, answer.json()) == (200, {"status": "Ok"})
    assert (await http.post("/s/?beacon=1", json=sent)).status_code == 204
    emulator.settings.exhausted_quotas = {"recordings"}
    limited = {"status": "Ok", "quota_limited": ["recordings"]}
    assert (await http.post("/s/", json=sent)).json() == limited
    assert await refused(http, {**sent, "api_key": ""}, "/s/") == (
        401, "API key is not valid: empty",
    )  # fmt: skip
    assert (await refused(http, b"x" * (25 * 2**20 + 1), "/s/"))[0] == 413
    assert (await http.put("/s/", json=sent)).status_code == 405
    assert names(emulator) == []


def test_each_path_is_known_where_it_is_loaded_from() -> None:
    later = {path for routes in (legacy.ROUTES, v1.ROUTES) for path in routes}
    assert all(extra_routes.find_handler(f"{path}/") is not None for path in later)
    assert all(
        extra_routes.find_handler(path) is routes[path]
        for routes in (legacy.ROUTES, v1.ROUTES)
        for path in routes
    )
    assert extra_routes.find_handler("/capture/more/") is None
