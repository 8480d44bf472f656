"""Faults that a request asks for by headers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator, serve
from posthog_emulator.faults.mutations import NEW_FIELD

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


async def ask(http: httpx.AsyncClient, query: Any = None, **faults: str) -> httpx.Response:
    headers = {f"X-Emulator-{name}": fault for name, fault in faults.items()}
    return await http.get(WIDGETS, params=query, headers=headers)


@pytest.mark.parametrize(
    ("fault", "status", "after"),
    [("503", 503, None), ("429; retry-after=2", 429, "2"), ("512", 512, None)],
)
async def test_errors(
    tiny: Emulator, tiny_http: httpx.AsyncClient, fault: str, status: int, after: str | None
) -> None:
    answer = await ask(tiny_http, Fail=fault)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, after)
    assert answer.json().keys() == {"type", "code", "detail", "attr"}
    assert (await ask(tiny_http)).status_code == 200


async def test_an_html_error_after_the_request_was_handled(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    answer = await tiny_http.post(
        WIDGETS, json={"name": "a"}, headers={"X-Emulator-Fail": "502; html; after"}
    )
    assert (answer.status_code, answer.text[:6]) == (502, "<html>")
    assert [item["name"] for item in tiny.items("widgets")] == ["a"]


async def test_latency(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    tiny.settings.sleep = sleep
    await ask(tiny_http, Latency="0.5")
    await ask(tiny_http, Latency="uniform 1 2", Seed="3")
    assert slept[0] == 0.5
    assert 1 <= slept[1] <= 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("drop", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("cut", httpx.RemoteProtocolError),
        ("reset-after", httpx.ReadError),
    ],
)
async def test_broken_connections(
    tiny: Emulator, tiny_http: httpx.AsyncClient, fault: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await ask(tiny_http, Break=fault)
    async with serve(tiny) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        http.headers = tiny_http.headers
        with pytest.raises(error):
            await ask(http, Break=fault)
        assert (await ask(http)).status_code == 200


async def test_broken_bodies(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    whole = (await ask(tiny_http)).content
    assert (await ask(tiny_http, Break="truncate")).content == whole[: len(whole) // 2]
    assert (await ask(tiny_http, Break="html")).status_code == 502
    corrupted = await ask(tiny_http, Break="corrupt-json", Seed="1")
    with pytest.raises(ValueError, match=r".+"):
        corrupted.json()
    assert (await ask(tiny_http)).content == whole


async def test_mutations(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 6)
    mutated = (await ask(tiny_http, {"limit": 3}, Fields="extra, missing", Links="foreign")).json()
    assert all(NEW_FIELD in row for row in mutated["results"])
    assert mutated["next"].startswith("https://posthog.invalid/")
    rows = [
        [r["id"] for r in (await ask(tiny_http, query, Pages="duplicate")).json()["results"]]
        for query in ({"limit": 3}, {"limit": 3, "offset": 3})
    ]
    assert rows == [[1, 2, 3], [1, 2, 3]]
    everything = await ask(tiny_http, Fields="all", Links="all", Pages="all", Latency="0")
    assert everything.status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"Fail": "often"},
        {"Fail": "700"},
        {"Fail": "503; loudly"},
        {"Latency": "long"},
        {"Break": "dance"},
        {"Fields": "extinct"},
        {"Links": ""},
        {"Pages": "torn"},
        {"Seed": "apple"},
    ],
    ids=str,
)
async def test_invalid_headers_are_rejected(
    tiny: Emulator, tiny_http: httpx.AsyncClient, fault: dict[str, str]
) -> None:
    answer = await ask(tiny_http, **fault)
    (name,) = fault
    assert answer.status_code == 400
    assert answer.json()["attr"] == f"x-emulator-{name.lower()}"
    assert answer.json()["detail"].startswith("The emulator cannot parse the header")
    assert tiny.requests[-1].status == 400


async def test_seed_must_be_an_integer(tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.get(WIDGETS, headers={"X-Emulator-Seed": "x"})
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith("x-emulator-seed: it must be an integer, not 'x'")
