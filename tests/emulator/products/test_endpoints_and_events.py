"""Endpoints run their query; events are listed as CSV, and at most 1,000 at a time."""

from __future__ import annotations

import csv

import pytest

from .conftest import Api

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


async def test_an_endpoint_runs_with_variables(api: Api) -> None:
    variable = await api.post("insight_variables/", {"name": "Low", "type": "Number"})
    sql = "SELECT number FROM numbers(10) WHERE number >= {variables.low}"
    known = {"variableId": variable["id"], "code_name": "low", "value": 7}
    query = {"kind": "HogQLQuery", "query": sql, "variables": {variable["id"]: known}}
    made = await api.post("endpoints/", {"name": "numbers", "query": query})
    assert (made["current_version"], made["is_active"]) == (1, True)
    path = "endpoints/numbers/run/"
    ran = await api.post(path, {})
    assert (ran["results"], ran["columns"], ran["name"]) == ([[7], [8], [9]], ["number"], "numbers")
    assert (await api.post(path, {"variables": {"low": 9}}))["results"] == [[9]]
    part = await api.post(path, {"limit": 1, "offset": 1})
    assert (part["results"], part["hasMore"]) == ([[8]], True)
    assert (await api.get(path))["results"] == ran["results"]
    _, detail, attr = await api.refused("POST", path, {"variables": {"high": 1}})
    assert (detail, attr) == ("Variable 'high' not found in query", "variables")
    assert (await api.get("endpoints/numbers/"))["last_executed_at"] == "2026-01-01T00:00:00Z"


async def test_an_endpoint_keeps_its_versions(api: Api) -> None:
    for number in (1, 2):
        query = {"kind": "HogQLQuery", "query": f"SELECT {number}"}
        if number == 1:
            await api.post("endpoints/", {"name": "it", "query": query})
        else:
            changed = await api.patch("endpoints/it/", {"query": query})
            assert changed["current_version"] == 2
    assert (await api.post("endpoints/it/run/", {}))["results"] == [[2]]
    assert (await api.post("endpoints/it/run/", {"version": 1}))["results"] == [[1]]
    assert (await api.send("POST", "endpoints/it/run/", {"version": 3})).status_code == 404
    await api.patch("endpoints/it/", {"is_active": False})
    assert (await api.send("POST", "endpoints/it/run/", {})).status_code == 404


async def test_events_are_listed_as_csv(api: Api) -> None:
    properties = {"$browser": "Fox", "page": {"path": "/a,b"}, "tags": ["x"]}
    api.emulator.add("events", {"event": "a", "distinct_id": "ann", "properties": properties})
    api.emulator.add("events", {"event": "b", "distinct_id": "bob"})
    answer = await api.send("GET", "events/?format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = {row["event"]: row for row in csv.DictReader(answer.text.splitlines())}
    first = rows["a"]
    assert (first["distinct_id"], first["properties.page.path"]) == ("ann", "/a,b")
    assert (first["properties.$browser"], first["properties.tags"]) == ("Fox", '["x"]')
    assert rows["b"]["properties.$browser"] == ""


async def test_at_most_1000_events_are_listed(api: Api) -> None:
    api.emulator.add_demo_events(1_200, days=5, seed=1)
    page = await api.get("events/?limit=5000")
    assert len(page["results"]) == 1_000
    assert page["next"] is not None
    answer = await api.send("GET", "events/?format=csv")
    assert len(answer.text.splitlines()) == 1_001
