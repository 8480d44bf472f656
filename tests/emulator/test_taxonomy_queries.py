"""Taxonomy queries, against figures counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    emulator.freeze("2026-03-01T00:00:00Z")
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("ann", "02-20", {"plan": "pro", "size": 3, "$set": {"city": "Oslo"}, "tags": ["a"]}),
        ("bob", "02-21", {"plan": "free", "size": 3, "$set": {"city": "Rome"}}),
        ("eve", "02-22", {"plan": "pro", "$feature/x": True, "note": ""}),
        ("eve", "01-01", {"plan": "old"}),
    ]
    emulator.state.events.append(
        1,
        [
            {"event": "paid", "distinct_id": person, "properties": properties,
             "timestamp": f"2026-{day}T00:00:00Z"}
            for person, day, properties in rows
        ]
        + [{"event": "view", "distinct_id": "ann", "timestamp": "2026-02-28T00:00:00Z"}],
    )  # fmt: skip
    yield emulator
    emulator.close()


async def ask(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient], **query: Any
) -> httpx.Response:
    body = {"query": query, "refresh": "force_blocking"}
    async with connect(emulator) as http:
        return await http.post("/api/projects/1/query/", json=body)


async def test_events_of_the_last_month(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    response = await ask(emulator, connect, kind="TeamTaxonomyQuery")
    assert response.json()["results"] == [
        {"event": "paid", "count": 3},
        {"event": "view", "count": 1},
    ]
    page = (await ask(emulator, connect, kind="TeamTaxonomyQuery", limit=1)).json()
    assert (len(page["results"]), page["hasMore"]) == (1, True)
    page = (await ask(emulator, connect, kind="TeamTaxonomyQuery", limit=1, offset=1)).json()
    assert (page["results"][0]["event"], page["hasMore"]) == ("view", False)


async def test_properties_of_an_event(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    response = await ask(emulator, connect, kind="EventTaxonomyQuery", event="paid")
    assert response.json()["results"] == [
        {"property": "plan", "sample_values": ["free", "pro"], "sample_count": 2},
        {"property": "size", "sample_values": ["3"], "sample_count": 1},
        {"property": "tags", "sample_values": ['["a"]'], "sample_count": 1},
    ]
    response = await ask(
        emulator, connect, kind="EventTaxonomyQuery", event="paid",
        properties=["plan", "$feature/x"], maxPropertyValues=1,
    )  # fmt: skip
    assert response.json()["results"] == [
        {"property": "plan", "sample_values": ["free"], "sample_count": 2},
        {"property": "$feature/x", "sample_values": ["true"], "sample_count": 1},
    ]
    steps = [{"event": "paid", "properties": [{"key": "plan", "value": "free"}]}]
    action = emulator.add("actions", {"name": "free order", "steps": steps})
    response = await ask(
        emulator, connect, kind="EventTaxonomyQuery", actionId=action["id"], properties=["plan"]
    )
    assert response.json()["results"][0]["sample_values"] == ["free"]
    refused = await ask(emulator, connect, kind="EventTaxonomyQuery")
    assert (refused.status_code, "actionId" in refused.text) == (400, True)


async def test_properties_of_persons(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    response = await ask(
        emulator, connect, kind="ActorsPropertyTaxonomyQuery", properties=["city", "none"]
    )
    assert response.json()["results"] == [
        {"sample_values": ["Oslo", "Rome"], "sample_count": 2},
        {"sample_values": [], "sample_count": 0},
    ]


async def test_values_of_a_property(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    async def names(key: str, kind: str = "event", **query: Any) -> list[Any]:
        given = {"kind": "PropertyValuesQuery", "property_key": key, "property_type": kind, **query}
        response = await ask(emulator, connect, **given)
        assert response.status_code == 200, response.text
        return [one["name"] for one in response.json()["results"]]

    # The events of the last seven days; the most frequent values first.
    emulator.freeze("2026-02-26T00:00:00Z")
    assert await names("plan") == ["pro", "free"]
    assert await names("plan", search_value="R") == ["pro", "free"]
    assert await names("plan", search_value="fre", event_names=["paid"]) == ["free"]
    assert await names("plan", event_names=["view"]) == []
    assert await names("tags") == ["a"]
    assert await names("size") == [3]
    assert await names("$feature/x") == ["true"]
    assert await names("distinct_id", is_column=True) == ["ann", "bob", "eve"]
    assert await names("city", "person") == ["Oslo", "Rome"]
    assert await names("distinct_id", "person", search_value="v") == ["eve"]
