"""`ph.persons`: lookups by distinct id, changes that are visible later, deletions of many."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from asyncposthog import (
    AsyncPostHog,
    NotFoundError,
    ServerError,
    TimeoutError,  # noqa: A004
)
from posthog_emulator import Emulator
from tests.helpers.fake_transport import Server, client
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.state.settings.stale_person_reads = 2
    for name in ("ada", "bob"):
        emulator.add("persons", {"distinct_ids": [name], "properties": {"plan": "free"}})
    return emulator


@pytest.fixture
async def ph(emulator: Emulator) -> AsyncIterator[AsyncPostHog]:
    async with AsyncPostHog.emulated(emulator, clock=ManualClock()) as ph:
        yield ph


async def test_by_distinct_id(ph: AsyncPostHog) -> None:
    person = await ph.persons.get_by_distinct_id("ada")
    assert person.distinct_ids == ["ada"]
    with pytest.raises(NotFoundError, match="No person has this distinct id"):
        await ph.persons.get_by_distinct_id("ad")
    with pytest.raises(ValueError, match="distinct_id is empty"):
        await ph.persons.get_by_distinct_id("")


async def test_an_update_says_that_it_is_applied_later(ph: AsyncPostHog) -> None:
    person = await ph.persons.get_by_distinct_id("ada")
    update = await ph.persons.update(person.id, properties={"plan": "pro"})
    assert (await ph.persons.get(person.id)).properties["plan"] == "free"
    fresh = await update.wait()
    assert fresh.properties["plan"] == "pro"
    update = await ph.persons.update_property(person.id, key="plan", value="max")
    assert (await update.wait(timeout=60)).properties["plan"] == "max"


async def test_waiting_ends(emulator: Emulator, ph: AsyncPostHog) -> None:
    person = await ph.persons.get_by_distinct_id("ada")
    emulator.state.settings.stale_person_reads = 1000
    update = await ph.persons.update(person.id, properties={"plan": "pro", "age": 3})
    with pytest.raises(TimeoutError, match="age, plan after 20 s"):
        await update.wait(timeout=20)


@pytest.mark.parametrize("value", ["false", 0, None, "true"])
async def test_delete_takes_booleans_alone(ph: AsyncPostHog, value: Any) -> None:
    person = await ph.persons.get_by_distinct_id("ada")
    for name in ("delete_events", "delete_recordings", "keep_person"):
        with pytest.raises(TypeError, match=name):
            await ph.persons.delete(person.id, **{name: value})
        with pytest.raises(TypeError, match=name):
            await ph.persons.bulk_delete(ids=["x"], **{name: value})
    await ph.persons.get_by_distinct_id("ada")


async def test_false_does_not_delete_events(emulator: Emulator, ph: AsyncPostHog) -> None:
    person = await ph.persons.get_by_distinct_id("ada")
    await ph.persons.delete(person.id, delete_events=False, keep_person=False)
    [request] = emulator.requests.matching(operation="persons.delete")
    assert request.query == {}
    other = await ph.persons.get_by_distinct_id("bob")
    await ph.persons.delete(other.id, delete_events=True)
    request = emulator.requests.matching(operation="persons.delete")[1]
    assert request.query == {"delete_events": "true"}


def deleted(request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    ids = body.get("ids") or body["distinct_ids"]
    count = len(ids)
    assert count <= 1000
    return httpx.Response(
        202,
        json={
            "persons_found": count,
            "persons_deleted": count - 1,
            "events_queued_for_deletion": body.get("delete_events", False),
            "recordings_queued_for_deletion": False,
            "deletion_errors": [{"person_uuid": ids[0]}],
        },
    )


async def test_any_number_is_deleted_in_requests_of_1_000() -> None:
    server = Server(deleted)
    async with client(server) as ph:
        result = await ph.persons.bulk_delete(
            ids=[str(number) for number in range(2500)], delete_events=True
        )
    assert [len(json.loads(r.content)["ids"]) for r in server.requests] == [1000, 1000, 500]
    assert all(json.loads(r.content)["delete_events"] is True for r in server.requests)
    assert (result.persons_found, result.persons_deleted) == (2500, 2497)
    assert result.events_queued_for_deletion is True
    assert [item["person_uuid"] for item in result.deletion_errors or ()] == ["0", "1000", "2000"]


async def test_few_are_deleted_in_one_request() -> None:
    server = Server(deleted)
    async with client(server) as ph:
        await ph.persons.bulk_delete(distinct_ids=["a", "b"])
        assert json.loads(server.last.content) == {"distinct_ids": ["a", "b"]}
        await ph.persons.bulk_delete(distinct_ids=["a", "b", "a"] * 500)
        assert json.loads(server.last.content) == {"distinct_ids": ["a", "b"]}
    assert len(server.requests) == 2


async def test_an_error_says_how_far_it_came() -> None:
    server = Server(deleted, httpx.Response(500, json={"detail": "down"}))
    async with client(server, max_retries=0) as ph:
        with pytest.raises(ServerError, match="1,000 of 1,500 ids were done") as caught:
            await ph.persons.bulk_delete(ids=[str(number) for number in range(1500)])
    assert caught.value.status == 500


async def test_a_long_text_is_no_list_of_ids() -> None:
    server = Server()
    async with client(server) as ph:
        with pytest.raises(TypeError, match="ids must be a list"):
            await ph.persons.bulk_delete(ids="a" * 2000)
    assert server.requests == []


async def test_raw_and_dry_run_still_work(ph: AsyncPostHog) -> None:
    preview = await ph.dry_run(ph.persons.bulk_delete, ids=["a"], delete_events=True)
    assert preview.method == "POST"
    person = await ph.persons.get_by_distinct_id("ada")
    raw = await ph.raw(ph.persons.update, person.id, properties={"plan": "pro"})
    assert raw.http.status_code == 202
