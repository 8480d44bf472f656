"""Placeholders in HogQL: values of every kind, filters and variables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from tests.emulator.virtual_time import VirtualTime

from .hogql_database import Asker
from .sample_events import EVENTS, SESSION_1, SESSION_2

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: a query is answered without any wait."""
    return "asyncio"


PATH = "/api/projects/1/query/"
ALL = "SELECT count() FROM events WHERE {filters}"


@pytest.fixture
def emulator() -> Emulator:
    time = VirtualTime()
    made = Emulator(clock=time.clock, sleep=time.sleep)
    time.now += 7 * 86400 + 12 * 3600  # 2026-01-08T12:00:00Z
    made.state.events.append(1, EVENTS)
    return made


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def ask(self, sql: str, **more: Any) -> httpx.Response:
        query = {"kind": "HogQLQuery", "query": sql, **more}
        return await self.http.post(PATH, json={"query": query, "refresh": "force_blocking"})

    async def one(self, sql: str, **more: Any) -> Any:
        answer = await self.ask(sql, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"][0][0]

    async def refusal(self, sql: str, **more: Any) -> str:
        answer = await self.ask(sql, **more)
        assert answer.status_code == 400, answer.text
        return answer.json()["detail"]


@pytest.fixture
async def client(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> AsyncIterator[Client]:
    async with connect(emulator) as http:
        yield Client(http)


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        (None, None, "Nullable(Nothing)"),
        (True, 1, "UInt8"),
        (-1, -1, "Int8"),
        (2**53 + 1, 2**53 + 1, "UInt64"),
        (1.5, 1.5, "Float64"),
        ("it's {x}", "it's {x}", "String"),
        ([], [], "Array(Nothing)"),
        ([1, None], [1, None], "Array(Nullable(UInt8))"),
        (["a", None], ["a", None], "Array(Nullable(String))"),
        ([[1], [2, 300]], [[1], [2, 300]], "Array(Array(UInt16))"),
        ([[], ["a"]], [[], ["a"]], "Array(Array(String))"),
        ("2026-01-01T00:00:00.5+02:00", "2026-01-01T00:00:00.5+02:00", "String"),
    ],
)
def test_a_value_keeps_its_type(value: Any, shown: Any, kind: str) -> None:
    assert SHARED.rows("SELECT {x}", {"x": value}) == [[shown]]
    assert SHARED.whole("SELECT {x}", {"x": value})[0] == [kind]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (2**64, "more than 64 bits"),
        ({"a": 1}, "type dict"),
        ([{"a": 1}], "type dict"),
    ],
)
def test_values_that_are_refused(value: Any, told: str) -> None:
    assert told in SHARED.refusal("SELECT {x}", {"x": value}).detail


def test_moments_are_compared_as_moments() -> None:
    sql = "SELECT count() FROM events WHERE timestamp >= {a} AND timestamp < {b}"
    values = {"a": "2026-01-01T01:05:00.500+01:00", "b": "2026-01-02T10:00:00.123456Z"}
    assert SHARED.rows(sql, values) == [[1]]


def test_a_list_of_tuples_may_stand_after_in() -> None:
    sql = "SELECT count() FROM events WHERE event IN {names} AND distinct_id NOT IN {nobody}"
    assert SHARED.rows(sql, {"names": ["signup", "x"], "nobody": []}) == [[2]]


async def test_braces_in_texts_and_comments_are_no_placeholders(client: Client) -> None:
    filters = {"properties": [{"key": "n", "type": "event", "operator": "gt", "value": 6}]}
    sql = "SELECT '{filters}', count() FROM events WHERE {filters} -- {filters}, {nothing}"
    answer = await client.ask(sql, filters=filters)
    assert answer.json()["results"] == [["{filters}", 1]]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (None, 4),
        ({}, 4),
        ({"dateRange": {"date_from": "all"}}, 4),
        ({"dateRange": {"date_from": "2026-01-02"}}, 2),
        ({"dateRange": {"date_from": "2026-01-02T10:00:00.123456Z"}}, 2),
        # The end is not part of the range; so long ago means to the second.
        ({"dateRange": {"date_to": "2026-01-03T10:00:00Z"}}, 3),
        ({"dateRange": {"date_from": "-7d"}}, 2),
        ({"dateRange": {"date_from": "-180h", "date_to": "-6d"}}, 3),
        ({"dateRange": {"date_from": "-1m"}}, 4),
        ({"properties": []}, 4),
        ({"properties": [{"key": "plan", "type": "event", "value": ["pro", "x"]}]}, 1),
        ({"properties": [{"key": "plan", "type": "event", "value": "pro",
                          "operator": "is_not"}]}, 3),
        ({"properties": [{"key": "plan", "type": "event", "operator": "is_not_set"}]}, 3),
        ({"properties": [{"key": "n", "type": "event", "value": 5}]}, 1),
        ({"properties": [{"key": "paid", "type": "event", "value": ["true"]}]}, 1),
        ({"properties": [{"key": "email", "type": "person", "value": "ANN",
                          "operator": "icontains"}]}, 2),
        ({"properties": [{"key": "$current_url", "type": "event", "value": "/\\d$",
                          "operator": "regex"}]}, 2),
        ({"properties": [{"key": "$session_duration", "type": "session", "value": 10,
                          "operator": "gt"}]}, 2),
        ({"properties": [{"key": "event = 'signup' OR properties.n = 5", "type": "hogql"}]}, 3),
        ({"properties": [{"key": "0 -- nobody", "type": "hogql"}]}, 0),
        ({"properties": [{"key": "n", "type": "event", "value": 5},
                         {"key": "n", "type": "event", "value": 7}]}, 0),
        ({"filterTestAccounts": True}, 4),
    ],
)  # fmt: skip
async def test_filters(client: Client, filters: Any, count: int) -> None:
    more = {} if filters is None else {"filters": filters}
    assert await client.one(ALL, **more) == count


async def test_filters_of_internal_users(client: Client, emulator: Emulator) -> None:
    row = emulator.state.store.collection("/api/projects/").find("1")
    assert row is not None
    row.data["test_account_filters"] = [
        {"key": "email", "type": "person", "value": "a.io", "operator": "not_icontains"}
    ]
    assert await client.one(ALL, filters={"filterTestAccounts": True}) == 2


async def test_filters_of_other_tables(client: Client) -> None:
    sessions = "SELECT session_id FROM sessions WHERE {filters}"
    span = {"dateRange": {"date_from": "2026-01-01T00:01:00Z"}}
    assert await client.one(sessions, filters=span) == SESSION_2
    longer = [{"key": "$session_duration", "type": "session", "operator": "gt", "value": 5}]
    assert await client.one(sessions, filters={"properties": longer}) == SESSION_1
    of_events = [{"key": "n", "type": "event", "value": 5}]
    assert "sessions" in await client.refusal(sessions, filters={"properties": of_events})
    for sql in ("SELECT {filters}", "SELECT 1 FROM persons WHERE {filters}"):
        assert "Cannot use 'filters' placeholder" in await client.refusal(sql)


async def test_the_bounds_of_the_range(client: Client) -> None:
    sql = (
        "SELECT count() FROM events WHERE timestamp >= {filters.dateRange.from} "
        "AND timestamp < {filters.dateRange.to}"
    )
    assert await client.one(sql) == 4
    span = {"date_from": "2026-01-01T00:01:00Z", "date_to": "2026-01-03"}
    assert await client.one(sql, filters={"dateRange": span}) == 2
    assert await client.one(sql, filters={"dateRange": {"date_to": "2026-01-02"}}) == 2
    nested = "SELECT toDate({filters.dateRange.to})"
    assert await client.one(nested, filters={"dateRange": span}) == "2026-01-03"
    assert "directly in a comparison" in await client.refusal(nested)
    assert "Unsupported filters placeholder" in await client.refusal("SELECT {filters.x}")


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"properties": [{"key": "x", "type": "recording", "operator": "exact"}]},
         "Unable to resolve field: x"),
        ({"properties": [{"key": "x", "type": "event", "operator": "sounds_like",
                          "value": "2026-01-01"}]}, "sounds_like"),
        ({"properties": [{"key": "n", "type": "event", "operator": "gt", "value": "x"}]},
         "Cannot convert string"),
        ({"properties": [{"key": "1) OR (1", "type": "hogql"}]}, "input"),
        ({"properties": [{"key": "1 FROM events", "type": "hogql"}]}, "input"),
        ({"properties": [{"key": "x", "type": "group", "value": 1}]}, "group"),
        ({"properties": [{"key": "id", "type": "cohort", "value": 99}]}, "cohort"),
    ],
)  # fmt: skip
async def test_filters_that_are_refused(client: Client, filters: Any, told: str) -> None:
    assert told in await client.refusal(ALL, filters=filters)


async def test_variables(client: Client) -> None:
    saved = await client.http.post(
        "/api/projects/1/insight_variables/",
        json={"name": "Plan", "code_name": "plan", "type": "String", "default_value": "pro"},
    )
    key = saved.json()["id"]
    code = saved.json()["code_name"]
    sql = f"SELECT count() FROM events WHERE properties.plan = {{variables.{code}}}"

    def given(**more: Any) -> dict[str, Any]:
        return {key: {"variableId": key, "code_name": code, **more}}

    assert await client.one(sql, variables=given()) == 1
    assert await client.one(sql, variables=given(value="free")) == 0
    assert await client.one(sql, variables=given(value="free", isNull=True)) == 3
    assert "missing from query" in await client.refusal(sql)
    stranger = {"x": {"variableId": "x", "code_name": code}}
    assert "does not exist" in await client.refusal(sql, variables=stranger)
    misspelt = await client.refusal(f"SELECT {{variables.{code}s}}", variables=given())
    assert f"Did you mean: {code}?" in misspelt


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"explain": True}, "`explain`"),
        ({"modifiers": {"personsJoinMode": "inner"}}, "`personsJoinMode`"),
    ],
)
async def test_what_is_not_understood_is_refused(client: Client, more: Any, told: str) -> None:
    assert told in await client.refusal("SELECT 1", **more)
    assert await client.one("SELECT 1", modifiers={"debug": True}, name="x") == 1


@pytest.mark.parametrize("name", ["filters_override", "variables_override", "limit_context"])
async def test_overrides_are_refused(client: Client, name: str) -> None:
    value: Any = "posthog_ai" if name == "limit_context" else {"date_from": "-7d"}
    body = {"query": {"kind": "HogQLQuery", "query": "SELECT 1"}, name: value}
    answer = await client.http.post(PATH, json=body)
    assert (answer.status_code, answer.json()["attr"]) == (400, name)


async def test_a_project_of_another_zone(client: Client) -> None:
    answer = await client.http.patch("/api/projects/1/", json={"timezone": "Europe/Berlin"})
    assert answer.status_code == 200
    assert await client.one("SELECT now()") == "2026-01-08T13:00:00+01:00"


SHARED = Asker()
