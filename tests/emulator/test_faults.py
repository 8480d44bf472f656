"""Faults that are injected into the next requests."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


async def statuses(http: httpx.AsyncClient, times: int) -> list[int]:
    return [(await http.get(WIDGETS)).status_code for _ in range(times)]


async def test_a_429(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.fail(429, retry_after=37, times=2)
    answer = await tiny_http.get(WIDGETS)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "37"
    assert answer.json() == {
        "type": "throttled_error",
        "code": "throttled",
        "detail": "Request was throttled. Expected available in 37 seconds.",
        "attr": None,
    }
    assert await statuses(tiny_http, 2) == [429, 200]


@pytest.mark.parametrize(
    ("seconds", "sent"), [(0, "0"), (1.0, "1"), (0.5, "0.5"), (12345678, "12345678"), (-5, "-5")]
)
async def test_any_retry_after(
    tiny: Emulator, tiny_http: httpx.AsyncClient, seconds: float, sent: str
) -> None:
    tiny.faults.fail(503, retry_after=seconds)
    assert (await tiny_http.get(WIDGETS)).headers["retry-after"] == sent


async def test_retry_after_of_a_429(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.fail(429, retry_after=1)
    assert (await tiny_http.get(WIDGETS)).json()["detail"].endswith("in 1 second.")
    tiny.faults.fail(429)
    assert "retry-after" not in (await tiny_http.get(WIDGETS)).headers


@pytest.mark.parametrize(
    ("status", "type", "code"),
    [
        (400, "validation_error", "invalid_input"),
        (402, "server_error", "quota_limit_exceeded"),
        (403, "authentication_error", "permission_denied"),
        (409, "server_error", "conflict"),
        (500, "server_error", "error"),
        (503, "server_error", "error"),
        (512, "server_error", "error"),
        (513, "server_error", "clickhouse_memory_limit_exceeded"),
    ],
)
async def test_the_envelope_of_each_status(
    tiny: Emulator, tiny_http: httpx.AsyncClient, status: int, type: str, code: str
) -> None:
    tiny.faults.fail(status)
    answer = await tiny_http.get(WIDGETS)
    assert answer.status_code == status
    assert (answer.json()["type"], answer.json()["code"]) == (type, code)


@pytest.mark.parametrize(
    ("body", "content", "media"),
    [
        ({"error": "x"}, b'{"error":"x"}', "application/json"),
        ("plain", b"plain", "text/plain; charset=utf-8"),
        ("<html></html>", b"<html></html>", "text/html; charset=utf-8"),
        (b"\x00\x01", b"\x00\x01", "application/octet-stream"),
        (b"", b"", None),
    ],
)
async def test_any_body(
    tiny: Emulator, tiny_http: httpx.AsyncClient, body: Any, content: bytes, media: str | None
) -> None:
    tiny.faults.fail(500, body=body, headers={"X-Extra": "1"})
    answer = await tiny_http.get(WIDGETS)
    assert (answer.content, answer.headers.get("content-type")) == (content, media)
    assert answer.headers["x-extra"] == "1"


async def test_path_and_method(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.fail(500, path="*/settings/", times=None)
    tiny.faults.fail(503, method="post")
    assert await statuses(tiny_http, 2) == [200, 200]
    assert (await tiny_http.get("/api/projects/1/settings/")).status_code == 500
    assert (await tiny_http.get("/api/projects/1/settings/")).status_code == 500
    assert (await tiny_http.post(WIDGETS, json={"name": "a"})).status_code == 503
    assert (await tiny_http.post(WIDGETS, json={"name": "a"})).status_code == 201


async def test_a_fault_changes_nothing(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.fail(500)
    await tiny_http.post(WIDGETS, json={"name": "a"})
    assert tiny.items("widgets") == []
    assert (tiny.requests[-1].status, tiny.requests[-1].body) == (500, {"name": "a"})


async def test_faults_queue_until_cleared(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.fail(500)
    tiny.faults.fail(503, times=None)
    assert await statuses(tiny_http, 3) == [500, 503, 503]
    tiny.faults.clear()
    assert await statuses(tiny_http, 1) == [200]


async def test_a_lost_connection(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.drop()
    with pytest.raises(httpx.RemoteProtocolError):
        await tiny_http.get(WIDGETS)
    assert tiny.requests[-1].status == 0
    assert await statuses(tiny_http, 1) == [200]


async def test_half_a_response(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 2)
    whole = (await tiny_http.get(WIDGETS)).content
    tiny.faults.truncate()
    half = await tiny_http.get(WIDGETS)
    assert (half.status_code, half.content) == (200, whole[: len(whole) // 2])
    with pytest.raises(json.JSONDecodeError):
        half.json()


async def test_html_errors(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.settings.html_errors = True
    answer = await tiny_http.get("/api/nothing/")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html"
    assert answer.text.startswith("<html>")
    assert await statuses(tiny_http, 1) == [200]
    tiny.faults.clear()
    assert (await tiny_http.get("/api/nothing/")).json()["code"] == "not_found"


def test_times_must_be_positive(tiny: Emulator) -> None:
    with pytest.raises(ValueError, match="times"):
        tiny.faults.fail(500, times=0)


async def test_reset_clears_everything(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 2)
    tiny.add_key("phx_other")
    await tiny_http.get(WIDGETS, params={"colour": "red"})
    tiny.faults.fail(500)
    tiny.reset()
    assert (tiny.requests, tiny.warnings, tiny.items("widgets")) == ([], [], [])
    assert await statuses(tiny_http, 1) == [200]
    other = await tiny_http.get(WIDGETS, headers={"Authorization": "Bearer phx_other"})
    assert other.status_code == 401
    assert tiny.add("widgets")["id"] == 1
