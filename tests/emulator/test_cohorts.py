"""Dynamic cohorts: their members are found some time after a change, or are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


PATH = "/api/projects/1/cohorts/"
DAY = 86400
PRO = {"type": "person", "key": "plan", "value": "pro", "operator": "exact"}


def did(event: str, **more: Any) -> dict[str, Any]:
    return {"type": "behavioral", "key": event, "value": "performed_event",
            "event_type": "events", "time_value": 7, "time_interval": "day", **more}  # fmt: skip


def rule(*leaves: Any, kind: str = "AND") -> dict[str, Any]:
    inner = {"type": kind, "values": list(leaves)}
    return {"properties": {"type": "OR", "values": [inner]}}


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def cohort(self, *leaves: Any, name: str = "c", kind: str = "AND") -> dict[str, Any]:
        body = {"name": name, "filters": rule(*leaves, kind=kind)}
        answer = await self.http.post(PATH, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def ask(self, sql: str) -> httpx.Response:
        query = {"kind": "HogQLQuery", "query": sql}
        body = {"query": query, "refresh": "force_blocking"}
        return await self.http.post("/api/projects/1/query/", json=body)

    async def members(self, cohort: Any) -> list[str]:
        sql = (
            f"SELECT DISTINCT distinct_id FROM events WHERE person_id IN COHORT {cohort} ORDER BY 1"
        )
        answer = await self.ask(sql)
        assert answer.status_code == 200, answer.text
        return [row[0] for row in answer.json()["results"]]


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


def happen(emulator: Emulator, *events: tuple[str, str, str], **properties: Any) -> None:
    emulator.state.events.append(
        1,
        [
            {"event": event, "distinct_id": person, "timestamp": f"2026-01-{day}T00:00:00Z",
             "properties": properties}
            for person, event, day in events
        ],
    )  # fmt: skip


@pytest.fixture
def emulator(time: VirtualTime) -> Iterator[Emulator]:
    made = Emulator(clock=time.clock, sleep=time.sleep)
    time.now += 9 * DAY  # 2026-01-10
    happen(made, ("ann", "$identify", "01"), **{"$set": {"plan": "pro"}})
    happen(made, ("bob", "$identify", "01"), **{"$set": {"plan": "free"}})
    happen(made, ("ann", "paid", "02"), ("bob", "paid", "08"), ("bob", "paid", "09"))
    happen(made, ("eve", "paid", "09"), ("eve", "visit", "09"), size="large")
    yield made
    made.close()


@pytest.fixture
async def client(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> AsyncIterator[Client]:
    async with connect(emulator) as http:
        yield Client(http)


@pytest.mark.parametrize(
    ("leaves", "kind", "members"),
    [
        ([PRO], "AND", ["ann"]),
        ([{**PRO, "negation": True}], "AND", ["bob", "eve"]),
        ([{**PRO, "operator": "is_not_set", "value": None}], "AND", ["eve"]),
        ([did("paid")], "AND", ["bob", "eve"]),
        ([did("paid", time_value=30)], "AND", ["ann", "bob", "eve"]),
        ([did("paid", time_value=None, explicit_datetime="2026-01-09")], "AND", ["bob", "eve"]),
        ([did("paid", negation=True)], "AND", ["ann"]),
        ([did("paid"), did("visit")], "AND", ["eve"]),
        ([PRO, did("visit")], "OR", ["ann", "eve"]),
        ([did("paid", value="performed_event_multiple", operator="gte", operator_value=2)],
         "AND", ["bob"]),
        ([did("paid", value="performed_event_multiple", operator="lte", operator_value=1)],
         "AND", ["eve"]),
        ([did("paid", event_filters=[{"type": "event", "key": "size", "value": "large",
                                      "operator": "exact"}])], "AND", ["eve"]),
    ],
)  # fmt: skip
async def test_who_is_in_a_cohort(
    client: Client, leaves: list[Any], kind: str, members: list[str]
) -> None:
    made = await client.cohort(*leaves, kind=kind)
    assert await client.members(made["id"]) == members
    assert await client.members("'c'") == members


def recent(days: int, **more: Any) -> dict[str, Any]:
    return {"seq_time_value": days, "seq_time_interval": "day", **more}


@pytest.mark.parametrize(
    ("leaf", "members"),
    [
        # The time is 10 January: ann paid on the 2nd, bob on the 8th and 9th, eve on the 9th.
        (did("paid", value="performed_event_first_time", time_value=1), ["eve"]),
        (did("paid", value="performed_event_first_time", time_value=30),
         ["ann", "bob", "cat", "eve"]),
        (did("paid", value="stopped_performing_event", time_value=30, **recent(3)), ["ann"]),
        (did("paid", value="stopped_performing_event", time_value=30, **recent(9)), []),
        (did("paid", value="restarted_performing_event", time_value=5, **recent(2)), ["cat"]),
        (did("paid", value="performed_event_sequence", time_value=30, seq_event="visit",
             seq_event_type="events", **recent(1)), ["eve"]),
        (did("$identify", value="performed_event_sequence", time_value=30, seq_event="paid",
             seq_event_type="events", **recent(1)), ["ann", "cat"]),
        (did("paid", value="performed_event_sequence", time_value=30, seq_event="paid",
             seq_event_type="events", **recent(1)), ["bob"]),
        (did("paid", value="performed_event_regularly", time_value=1, operator="gte",
             operator_value=1, total_periods=3, min_periods=2), ["bob"]),
        (did("paid", time_value=None, explicit_datetime="2026-01-01",
             explicit_datetime_to="2026-01-03"), ["ann", "cat"]),
        ({"type": "person", "key": "since", "operator": "is_date_before", "value": "-7d"}, ["cat"]),
    ],
)  # fmt: skip
async def test_behaviour_over_time(
    client: Client, emulator: Emulator, leaf: Any, members: list[str]
) -> None:
    happen(emulator, ("cat", "$identify", "01"), **{"$set": {"since": "2025-12-24"}})
    happen(emulator, ("cat", "paid", "02"), ("cat", "paid", "09"))
    made = await client.cohort(leaf)
    assert await client.members(made["id"]) == members


async def test_actions_in_conditions(client: Client) -> None:
    steps = [{"event": "paid", "properties": [{"key": "size", "value": "large"}]}]
    action = await client.http.post(
        "/api/projects/1/actions/", json={"name": "large order", "steps": steps}
    )
    made = await client.cohort(did(str(action.json()["id"]), event_type="actions"))
    assert await client.members(made["id"]) == ["eve"]


async def test_it_is_calculated_after_a_change(client: Client) -> None:
    made = await client.cohort(PRO)
    assert made["is_calculating"] is True
    seen = (await client.http.get(f"{PATH}{made['id']}/")).json()
    assert (seen["is_calculating"], seen["count"]) == (False, 1)
    assert seen["last_calculation"] == "2026-01-10T00:00:00Z"
    changed = await client.http.patch(f"{PATH}{made['id']}/", json={"filters": rule(did("paid"))})
    assert (changed.json()["is_calculating"], changed.json()["count"]) == (True, 1)
    (listed,) = (await client.http.get(PATH)).json()["results"]
    assert (listed["is_calculating"], listed["count"]) == (False, 2)
    persons = (await client.http.get(f"{PATH}{made['id']}/persons/")).json()["results"]
    assert {one["distinct_ids"][0] for one in persons} == {"bob", "eve"}
    renamed = await client.http.patch(f"{PATH}{made['id']}/", json={"name": "d"})
    assert renamed.json()["is_calculating"] is False


async def test_members_are_those_of_the_last_calculation(
    client: Client, emulator: Emulator, time: VirtualTime
) -> None:
    made = await client.cohort(did("paid"))
    assert await client.members(made["id"]) == ["bob", "eve"]
    happen(emulator, ("zoe", "paid", "09"))
    assert await client.members(made["id"]) == ["bob", "eve"]
    emulator.apply_pending_changes()
    assert await client.members(made["id"]) == ["bob", "eve", "zoe"]
    time.now += 7 * DAY
    assert await client.members(made["id"]) == []


async def test_cohorts_of_cohorts(emulator: Emulator, client: Client) -> None:
    inner = await client.cohort(did("paid"), name="inner")
    one = {"type": "cohort", "key": "id", "value": inner["id"]}
    outer = await client.cohort(one, {**PRO, "value": "free"}, name="outer")
    assert await client.members(outer["id"]) == ["bob"]
    nobody = await client.cohort({**one, "negation": True}, name="others")
    assert await client.members(nobody["id"]) == ["ann"]
    own = {"type": "cohort", "key": "id", "value": outer["id"]}
    refused = await client.http.patch(f"{PATH}{outer['id']}/", json={"filters": rule(own)})
    assert refused.status_code == 400
    assert refused.json()["detail"] == "Cohorts cannot reference other cohorts in a loop."
    emulator.items("cohorts")[1]["filters"] = rule(own)
    answer = await client.ask(f"SELECT count() FROM events WHERE person_id IN COHORT {outer['id']}")
    assert (answer.status_code, "depends on itself" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("leaf", "told"),
    [
        (did("paid", value="stopped_performing_event"), "seq_time_value"),
        (did("paid", value="performed_event_multiple"), "count"),
        (did("paid", value="bought_twice"), "bought_twice"),
        (did("7", event_type="actions"), "action"),
        (did("7", event_type="data_warehouse"), "data_warehouse"),
    ],
)
async def test_what_cannot_be_computed_is_refused_when_it_is_asked_for(
    client: Client, leaf: Any, told: str
) -> None:
    made = await client.cohort(leaf)
    known = await client.cohort(PRO, name="known")
    for sql in (
        f"SELECT count() FROM events WHERE person_id IN COHORT {made['id']}",
        "SELECT count() FROM cohort_people",
    ):
        answer = await client.ask(sql)
        assert (answer.status_code, told in answer.text) == (400, True), answer.text
    assert await client.members(known["id"]) == ["ann"]
    listed = await client.http.get(f"{PATH}{made['id']}/persons/")
    assert (listed.status_code, told in listed.text) == (400, True)
    seen = (await client.http.get(f"{PATH}{made['id']}/")).json()
    assert (seen["is_calculating"], seen["errors_calculating"]) == (False, 1)


async def test_flags_for_those_who_did_something(client: Client, emulator: Emulator) -> None:
    made = await client.cohort(did("paid"))
    test = {"type": "cohort", "key": "id", "value": made["id"]}
    group = {"properties": [test], "rollout_percentage": 100}
    emulator.add("feature_flags", {"key": "f", "active": True, "filters": {"groups": [group]}})

    async def on(person: str) -> bool:
        body = {"token": "phc_emulator", "distinct_id": person}
        answer = await client.http.post("/flags/?v=2", json=body)
        return answer.json()["flags"]["f"]["enabled"]

    assert [await on("ann"), await on("bob"), await on("nobody")] == [False, True, False]
