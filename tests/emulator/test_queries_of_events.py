"""EventsQuery and HogQLMetadata."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from tests.emulator.hogql.sample_events import EVENTS, uuid

from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


PATH = "/api/projects/1/query/"


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def ask(self, **query: Any) -> httpx.Response:
        query = {"kind": "EventsQuery", "after": "all", **query}
        return await self.http.post(PATH, json={"query": query})

    async def rows(self, **query: Any) -> Any:
        answer = await self.ask(**query)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    async def look(self, query: str, language: str = "hogQL", **more: Any) -> dict[str, Any]:
        body = {"kind": "HogQLMetadata", "language": language, "query": query, **more}
        answer = await self.http.post(PATH, json={"query": body})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def client(connect: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Client]:
    time = VirtualTime()
    emulator = Emulator(clock=time.clock, sleep=time.sleep)
    time.now += 2 * 86400 + 12 * 3600  # 2026-01-03T12:00:00Z
    emulator.state.events.append(1, EVENTS)
    async with connect(emulator) as http:
        yield Client(http)


async def test_columns_of_events(client: Client) -> None:
    select = ["event", "properties.plan -- Plan", "timestamp", "lower(event) AS low"]
    body = (await client.ask(select=select, limit=2)).json()
    assert body["results"] == [
        ["signup", None, "2026-01-03T10:00:00Z", "signup"],
        ["signup", "pro", "2026-01-02T10:00:00.123456Z", "signup"],
    ]
    assert body["columns"] == [*select[:3], "low"]
    assert body["types"] == ["String", "Nullable(String)", "DateTime64(6, 'UTC')", "String"]
    assert (body["hasMore"], body["limit"], body["offset"]) == (True, 2, 0)
    assert body["nextCursor"] == "2026-01-02T10:00:00.123456Z"
    rest = (await client.ask(select=select, limit=2, offset=2)).json()
    assert [row[0] for row in rest["results"]] == ["$pageview", "$pageview"]
    assert (rest["hasMore"], rest["nextCursor"]) == (False, None)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"after": None}, [4]),
        ({"after": "-26h"}, [3, 4]),
        ({"after": "2026-01-01T00:00:00Z"}, [2, 3, 4]),
        ({"before": "2026-01-02"}, [1, 2]),
        ({"event": "signup"}, [3, 4]),
        ({"events": ["signup", "x"]}, [3, 4]),
        ({"where": ["properties.n > 5", "event != 'x'"]}, [3]),
        ({"where": ["event = 'signup' OR properties.n = 5"], "event": "$pageview"}, [1]),
        ({"properties": [{"key": "email", "type": "person", "operator": "exact",
                          "value": "ann@a.io"}]}, [1, 3]),
        ({"orderBy": ["event DESC", "timestamp"], "limit": 2}, [3, 4]),
        ({"personId": "ann"}, [1, 3]),
    ],
)  # fmt: skip
async def test_which_events(client: Client, query: dict[str, Any], numbers: list[int]) -> None:
    if "personId" in query:
        (row,) = await client.rows(select=["person_id"], where=["distinct_id = 'ann'"], limit=1,
                                   event="signup")  # fmt: skip
        query = {"personId": row[0]}
    found = await client.rows(**{"select": ["uuid"], "orderBy": ["timestamp"], **query})
    assert [row[0] for row in found] == [uuid(number) for number in numbers]


async def test_whole_events_and_persons(client: Client) -> None:
    rows = await client.rows(select=["*", "person"], event="signup", orderBy=["timestamp ASC"])
    event, person = rows[0]
    assert (event["uuid"], event["properties"]["plan"]) == (uuid(3), "pro")
    assert (event["person_mode"], event["team_id"]) == ("full", 1)
    assert person["distinct_id"] == "ann"
    assert person["properties"]["email"] == "ann@a.io"


async def test_totals(client: Client) -> None:
    assert await client.rows(select=["event", "count()"]) in (
        [["$pageview", 2], ["signup", 2]],
        [["signup", 2], ["$pageview", 2]],
    )
    found = await client.rows(select=["distinct_id", "max(properties.n)"], orderBy=["distinct_id"],
                              where=["count() > 1"])  # fmt: skip
    assert found == [["ann", 7.0], ["bob", None]]
    assert await client.rows(select=["count()"]) == [[4]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"select": ["event, uuid"]}, "mismatched input"),
        ({"select": ["event FROM persons"]}, "input"),
        ({"select": ["1) + (1"]}, "input"),
        ({"select": ["nope"]}, "nope"),
        ({"select": ["event"], "where": ["1 LIMIT 1"]}, "input"),
        ({"select": ["event"], "orderBy": ["event LIMIT 5"]}, "to sort by"),
        ({"select": ["event"], "limit": -1}, "negative"),
        ({"select": ["event"], "actionId": 5}, "`actionId`"),
        ({"select": ["event"], "actionSteps": [{"event": "x"}]}, "`actionSteps`"),
        ({"select": ["person_display_name"]}, "person_display_name"),
        ({"select": ["event"], "modifiers": {"personsJoinMode": "left"}}, "personsJoinMode"),
    ],
)
async def test_refusals(client: Client, query: dict[str, Any], told: str) -> None:
    answer = await client.ask(**query)
    assert (answer.status_code, told in answer.json()["detail"]) == (400, True)


async def test_results_are_kept_as_others_are(client: Client) -> None:
    assert (await client.ask(select=["event"])).json()["is_cached"] is False
    assert (await client.ask(select=["event"])).json()["is_cached"] is True


async def test_whether_a_query_is_one(client: Client) -> None:
    good = await client.look("SELECT event FROM events WHERE {filters}")
    assert (good["isValid"], good["errors"], "is_cached" in good) == (True, [], False)
    bad = await client.look("SELECT nope FROM events")
    assert bad["isValid"] is False
    assert bad["errors"][0]["message"] == "Unable to resolve field: nope"
    assert (await client.look("SELECT {x}"))["isValid"] is False
    assert (await client.look("SELECT 1 LIMIT 1 OFFSET 1"))["isValid"] is False
    assert (await client.look("properties.n + 1", "hogQLExpr"))["isValid"] is True
    assert (await client.look("1, 2", "hogQLExpr"))["isValid"] is False
    body = {"kind": "HogQLMetadata", "language": "hog", "query": "return 1"}
    assert (await client.http.post(PATH, json={"query": body})).status_code == 400
