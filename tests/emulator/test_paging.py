"""Every pagination style, with the quirks of the server."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthog_emulator import Emulator

from . import widget_api

pytestmark = pytest.mark.anyio

COHORTS = "/api/projects/1/cohorts/"
PERSONS = "/api/projects/1/persons/"
EVENTS = "/api/projects/1/events/"
RECORDINGS = "/api/projects/1/session_recordings/"
LOGS = "/api/projects/1/logs/query/"


async def get(http: httpx.AsyncClient, url: str, **params: Any) -> dict[str, Any]:
    answer = await http.get(url, params=params or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: dict[str, Any]) -> list[int]:
    return [item["id"] for item in page["results"]]


async def test_offset(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.seed("cohorts", 250)
    first = await get(http, COHORTS)
    assert (first["count"], len(first["results"]), first["previous"]) == (250, 100, None)
    assert first["next"] == f"http://emulator{COHORTS}?limit=100&offset=100"
    second = await get(http, first["next"])
    assert second["previous"] == f"http://emulator{COHORTS}?limit=100"
    last = await get(http, second["next"])
    assert (len(last["results"]), last["next"]) == (50, None)
    assert last["previous"] == f"http://emulator{COHORTS}?limit=100&offset=100"
    assert ids(first) + ids(second) + ids(last) == list(range(1, 251))


@pytest.mark.parametrize(
    ("limit", "offset", "expected"),
    [
        (2, 0, [1, 2]),
        (2, 4, [5]),
        (2, 5, []),
        (2, 99, []),
        (1000, 0, [1, 2, 3, 4, 5]),
        (0, 0, [1, 2, 3, 4, 5]),
        (3, 1, [2, 3, 4]),
    ],
)
async def test_limit_and_offset(
    emulator: Emulator, http: httpx.AsyncClient, limit: int, offset: int, expected: list[int]
) -> None:
    emulator.seed("cohorts", 5)
    page = await get(http, COHORTS, limit=limit, offset=offset)
    assert (ids(page), page["count"]) == (expected, 5)


async def test_links_keep_other_parameters_and_the_requested_host(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.seed("feature_flags", 3)
    page = await get(http, "/api/projects/1/feature_flags/", search="flag s", limit=1)
    assert page["count"] == 0
    page = await get(http, "/api/projects/1/feature_flags/", search="flags", limit=1)
    assert page["next"].endswith("?search=flags&limit=1&offset=1")
    answer = await http.get(COHORTS, headers={"Host": "posthog.example"})
    assert answer.status_code == 200
    emulator.seed("cohorts", 2)
    answer = await http.get(f"{COHORTS}?limit=1", headers={"Host": "posthog.example"})
    assert answer.json()["next"].startswith("http://posthog.example/api/")


async def test_next_host(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.seed("cohorts", 2)
    emulator.settings.next_host = "http://internal:8000"
    page = await get(http, COHORTS, limit=1)
    assert page["next"] == f"http://internal:8000{COHORTS}?limit=1&offset=1"


async def test_persons_have_no_count_and_an_empty_last_page(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.seed("persons", 200)
    first = await get(http, PERSONS)
    assert "count" not in first
    assert first["previous"] is None
    second = await get(http, first["next"])
    assert second["previous"] == f"http://emulator{PERSONS}?offset=100&limit=100", "this page"
    third = await get(http, second["next"])
    assert (third["results"], third["next"]) == ([], None)
    assert third["previous"].endswith("limit=100&offset=100")
    assert ids(first) + ids(second) == list(range(200, 0, -1)), "newest first"
    assert (await get(http, PERSONS, limit=200))["next"] is not None
    assert (await get(http, PERSONS, limit=201))["next"] is None


async def test_persons_are_counted_on_request(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.seed("persons", 3)
    assert (await get(http, f"{PERSONS}?include_total"))["count"] == 3


async def test_cursor(emulator: Emulator, http: httpx.AsyncClient) -> None:
    export = emulator.add("batch_exports")["id"]
    emulator.seed("batch_exports.backfills", 120, parents=[export])
    path = f"/api/projects/1/batch_exports/{export}/backfills/"
    pages = [await get(http, path)]
    while pages[-1]["next"]:
        pages.append(await get(http, pages[-1]["next"]))
    assert [len(page["results"]) for page in pages] == [50, 50, 20]
    assert all(page.keys() == {"next", "previous", "results"} for page in pages)
    seen = [one for page in pages for one in ids(page)]
    assert len(set(seen)) == 120
    assert pages[0]["previous"] is None
    assert ids(await get(http, pages[2]["previous"])) == ids(pages[1])
    assert ids(await get(http, pages[1]["previous"])) == ids(pages[0])


async def test_a_cursor_is_stable_when_rows_change(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    tiny.seed("pointed", 6)
    first = await get(tiny_http, "/api/projects/1/pointed/")
    assert ids(first) == [6, 5, 4]
    tiny.seed("pointed", 3)
    del tiny.state.store.collection("/api/projects/1/pointed/").rows["4"]
    assert ids(await get(tiny_http, first["next"])) == [3, 2, 1]


async def test_a_cursor_in_another_order(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    for size in (5, 1, None, 3, 1):
        tiny.add("pointed", {"size": size})
    page = await get(tiny_http, "/api/projects/1/pointed/", ordering="size")
    sizes = [item["size"] for item in page["results"]]
    page = await get(tiny_http, page["next"])
    assert sizes + [item["size"] for item in page["results"]] == [1, 1, 3, 5, None]


@pytest.mark.parametrize("cursor", ["x", "e30=", "bnVsbA==", "%%%"])
async def test_a_bad_cursor(tiny_http: httpx.AsyncClient, cursor: str) -> None:
    answer = await tiny_http.get("/api/projects/1/pointed/", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Invalid cursor")


async def test_page_numbers(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("numbered", 7)
    path = "/api/projects/1/numbered/"
    first = await get(tiny_http, path)
    assert (first["count"], ids(first), first["previous"]) == (7, [1, 2, 3], None)
    second = await get(tiny_http, first["next"])
    assert (ids(second), second["previous"]) == ([4, 5, 6], f"http://emulator{path}")
    third = await get(tiny_http, second["next"])
    assert (ids(third), third["next"]) == ([7], None)
    assert third["previous"] == f"http://emulator{path}?page=2"


@pytest.mark.parametrize("page", ["0", "4"])
async def test_a_missing_page(tiny: Emulator, tiny_http: httpx.AsyncClient, page: str) -> None:
    tiny.seed("numbered", 7)
    answer = await tiny_http.get("/api/projects/1/numbered/", params={"page": page})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Invalid page.")


async def test_the_activity_log_has_cursors_and_page_numbers(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    tiny.seed("either", 5)
    path = "/api/projects/1/either/"
    assert "count" not in await get(tiny_http, path)
    assert (await get(tiny_http, path, page=1))["count"] == 5
    assert len((await get(tiny_http, path, page_size=2))["results"]) == 2
    assert len((await get(tiny_http, path, page=2, page_size=2))["results"]) == 2


async def test_events_with_the_timestamp_of_a_page_end_are_skipped(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    for second in (0, 1, 1, 2):
        stamp = f"2026-01-01T00:00:0{second}+00:00"
        emulator.add("events", {"timestamp": stamp, "event": f"e{second}"})
    first = await get(http, EVENTS, limit=2)
    assert first.keys() == {"next", "results"}
    assert [event["event"] for event in first["results"]] == ["e2", "e1"]
    second = await get(http, first["next"])
    assert [event["event"] for event in second["results"]] == ["e0"], "one e1 is passed over"
    assert second["next"] is None


async def test_events_in_ascending_order(emulator: Emulator, http: httpx.AsyncClient) -> None:
    for second in range(5):
        emulator.add("events", {"timestamp": f"2026-01-01T00:00:0{second}Z", "event": str(second)})
    first = await get(http, EVENTS, limit=3, orderBy='["timestamp"]')
    assert [event["event"] for event in first["results"]] == ["0", "1", "2"]
    second = await get(http, first["next"])
    assert [event["event"] for event in second["results"]] == ["3", "4"]
    within = await get(http, EVENTS, after="2026-01-01T00:00:00Z", before="2026-01-01T00:00:03Z")
    assert [event["event"] for event in within["results"]] == ["2", "1"]


async def test_recordings_have_has_next_and_no_next(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.seed("session_recordings", 5)
    first = await http.get(RECORDINGS, params={"limit": 3})
    page = first.json()
    assert (len(page.pop("results")), page) == (3, {"has_next": True, "version": 4})
    assert "server-timing" in first.headers
    last = await get(http, RECORDINGS, limit=3, offset=3)
    assert (len(last["results"]), last["has_next"]) == (2, False)


async def test_logs_are_paged_by_a_cursor_in_the_body(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    for number in range(5):
        emulator.add("logs.query", {"timestamp": "2026-01-01T00:00:00Z", "body": str(number)})
    query: dict[str, Any] = {"limit": 2}
    seen: list[str] = []
    while True:
        answer = await http.post(LOGS, json={"query": query})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [entry["body"] for entry in page["results"]]
        assert page["hasMore"] is (page["nextCursor"] is not None)
        if not page["hasMore"]:
            break
        mark = json.loads(base64.b64decode(page["nextCursor"]))
        assert mark.keys() == {"timestamp", "uuid"}
        query["after"] = page["nextCursor"]
    assert sorted(seen) == ["0", "1", "2", "3", "4"]


async def test_logs_have_errors_of_their_own(http: httpx.AsyncClient) -> None:
    answer = await http.post(LOGS, json={})
    assert (answer.status_code, answer.json()) == (400, {"error": "No query provided"})
    answer = await http.post(LOGS, json={"query": {"limit": 2001}})
    assert (answer.status_code, answer.json()["attr"]) == (400, "query__limit")
    answer = await http.post(LOGS, json={"query": {"after": "x"}})
    assert (answer.status_code, answer.json()["detail"]) == (400, "Invalid cursor")


async def test_unpaginated_lists(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("whole", 150)
    page = await get(tiny_http, "/api/projects/1/whole/")
    assert page["next"] is None
    assert (page["count"], len(page["results"])) == (150, 150)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=40, deadline=None)
@given(
    made=st.integers(0, 40),
    dropped=st.sets(st.integers(0, 39), max_size=10),
    limit=st.integers(1, 17),
    name=st.sampled_from(["widgets", "numbered", "pointed"]),
)
async def test_pages_contain_each_live_object_once(
    made: int, dropped: set[int], limit: int, name: str
) -> None:
    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
    expected = emulator.seed(name, made, lambda index: {"deleted": index in dropped})
    live = {
        item["id"]
        for index, item in enumerate(expected)
        if name != "widgets" or index not in dropped
    }
    transport = emulator.transport()
    headers = {"Authorization": f"Bearer {emulator.key}"}
    url: str | None = f"http://emulator/api/projects/1/{name}/"
    if name == "widgets":
        url += f"?limit={limit}"
    seen: list[int] = []
    async with httpx.AsyncClient(transport=transport, headers=headers) as http:
        while url:
            page = await get(http, url)
            assert page.get("count", len(live)) == len(live)
            seen += ids(page)
            url = page["next"]
    assert len(seen) == len(live)
    assert set(seen) == live
