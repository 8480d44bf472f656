"""One truth about people: what is captured, what the API shows and changes, what ClickHouse has."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


P = "/api/projects/1"
TOKEN = "phc_emulator"
PERSONS = "(SELECT * FROM person FINAL WHERE is_deleted = 0)"


async def capture(http: httpx.AsyncClient, name: str, who: str, **properties: Any) -> None:
    event = {"event": name, "distinct_id": who, "properties": properties}
    answer = await http.post("/batch/", json={"api_key": TOKEN, "batch": [event]})
    assert answer.status_code == 200


async def get(http: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await http.get(
        path if path.startswith("http") else f"{P}{path}", params=params or None
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(emulator: Emulator, sql: str) -> list[tuple[Any, ...]]:
    return emulator.state.events.read(sql)


async def test_captured_people_are_listed(http: httpx.AsyncClient, emulator: Emulator) -> None:
    await capture(http, "x", "anon")
    await capture(
        http, "$identify", "ada", **{"$anon_distinct_id": "anon", "$set": {"email": "a@b.c"}}
    )
    await capture(http, "x", "bob")
    listed = (await get(http, "/persons/"))["results"]
    assert [(one["name"], one["distinct_ids"]) for one in listed] == [
        ("bob", ["bob"]),
        ("a@b.c", ["anon", "ada"]),
    ]
    for number, one in enumerate(reversed(listed), 1):
        assert one["id"] == number
        assert await get(http, f"/persons/{one['uuid']}/") == await get(http, f"/persons/{number}/")
    assert emulator.captured_events("x")[0]["person_id"] == listed[1]["uuid"], "after the merge"


async def test_the_list_is_searched_and_filtered(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    for name, age in (("ada", 36), ("Bob", 20), ("o'hara %_", 50)):
        properties = {"name": name, "age": age, "a/b~c": True, "email": f"{name}@x"}
        emulator.add("persons", {"name": "", "distinct_ids": [name], "properties": properties})

    async def found(**params: Any) -> list[str]:
        listed = await get(http, "/persons/", **params)
        return [one["distinct_ids"][0] for one in listed["results"]]

    async def having(**condition: Any) -> list[str]:
        return await found(properties=json.dumps([condition]))

    assert await found(search="BO") == ["Bob"]
    assert await found(search="%_") == ["o'hara %_"]
    assert await found(distinct_id="ada") == ["ada"]
    assert await found(email="Bob@x") == ["Bob"]
    assert await having(key="age", value=["36", 50]) == ["o'hara %_", "ada"]
    assert await having(key="age", value=30, operator="gt") == ["o'hara %_", "ada"]
    assert await having(key="age", value=30, operator="lte") == ["Bob"]
    assert await having(key="name", value="o'hara %_", operator="is_not") == ["Bob", "ada"]
    assert await having(key="name", value="A", operator="not_icontains") == ["Bob"]
    assert await having(key="a/b~c", value="true") == ["o'hara %_", "Bob", "ada"]
    assert await having(key="gone", operator="is_not_set") == ["o'hara %_", "Bob", "ada"]
    assert await having(key="gone", operator="is_set") == []
    page = await get(http, "/persons/", limit=2, include_total=1)
    assert (len(page["results"]), page["count"]) == (2, 3)
    assert len((await get(http, page["next"]))["results"]) == 1


async def test_changes_by_the_api_reach_the_database_late(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    await capture(http, "x", "ada", **{"$set": {"plan": "free", "age": 36}})
    answer = await http.patch(f"{P}/persons/1/", json={"properties": {"plan": "paid"}})
    assert answer.status_code == 202
    held = f"SELECT JSONExtractString(properties, 'plan') FROM {PERSONS}"
    assert rows(emulator, held) == [("free",)]
    emulator.apply_pending_changes()
    assert rows(emulator, held) == [("paid",)]
    await http.post(f"{P}/persons/1/delete_property/", json={"$unset": "age"})
    emulator.apply_pending_changes()
    assert (await get(http, "/persons/1/"))["properties"] == {"plan": "paid"}


async def test_people_added_by_hand_are_who_events_are_of(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    ada = emulator.add("persons", {"distinct_ids": ["ada", "a2"], "properties": {"n": 1}})
    emulator.seed("persons", 3)
    await capture(http, "x", "a2", **{"$set": {"n": 2}})
    assert rows(emulator, "SELECT person_id FROM events") == [(ada["uuid"],)]
    assert rows(emulator, f"SELECT count() FROM {PERSONS}") == [(4,)]
    assert emulator.items("persons")[0]["properties"] == {"n": 2}
    await capture(http, "x", "new")
    assert emulator.items("persons")[-1]["id"] == 5


async def test_whoever_is_split_takes_the_events_along(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    await capture(http, "hers", "ada")
    await capture(http, "$create_alias", "ada", alias="bob")
    await capture(http, "his", "bob")
    await http.post(f"{P}/persons/1/split/", json={"main_distinct_id": "ada"})
    owners = (
        f"SELECT e.event, d.distinct_id FROM {emulator.state.events.events_table(1)} AS e "
        "JOIN (SELECT * FROM person_distinct_id2 FINAL WHERE is_deleted = 0) AS d "
        "ON d.person_id = e.person_id WHERE e.event IN ('hers', 'his') ORDER BY 1"
    )
    assert rows(emulator, owners) == [("hers", "ada"), ("his", "bob")]


async def test_batches_and_values(http: httpx.AsyncClient, emulator: Emulator) -> None:
    for who, plan in (("ada", "free"), ("bob", "free"), ("eve", "paid")):
        await capture(http, "x", who, plan=plan, **{"$set": {"plan": plan}})
    by_id = await http.post(
        f"{P}/persons/batch_by_distinct_ids/", json={"distinct_ids": ["eve", "nobody"]}
    )
    eve = by_id.json()["results"]["eve"]
    by_uuid = await http.post(f"{P}/persons/batch_by_uuids/", json={"uuids": [eve["uuid"]]})
    assert by_uuid.json() == {"results": {eve["uuid"]: eve}}
    expected = {
        "results": [{"name": "free", "count": 2}, {"name": "paid", "count": 1}],
        "refreshing": False,
    }
    assert await get(http, "/persons/values/", key="plan") == expected
    assert await get(http, "/events/values/", key="plan", event_name="x") == expected
    answer = await http.get(f"{P}/events/values/", params={"key": "plan"})
    assert (answer.status_code, answer.json()["attr"]) == (400, "event_name")


async def test_static_cohorts(http: httpx.AsyncClient, emulator: Emulator) -> None:
    for who in ("ada", "bob", "eve"):
        await capture(http, "x", who)
    uuids = {one["distinct_ids"][0]: one["uuid"] for one in emulator.items("persons")}
    body = {"name": "few", "is_static": True, "_create_static_person_ids": [uuids["eve"]]}
    cohort = (await http.post(f"{P}/cohorts/", json=body)).json()
    path = f"{P}/cohorts/{cohort['id']}"
    add = f"{path}/add_persons_to_static_cohort/"
    for _ in range(2):
        answer = await http.patch(add, json={"person_ids": [uuids["ada"], uuids["eve"]]})
        assert answer.status_code == 200
    listed = (await http.get(f"{path}/persons/")).json()["results"]
    assert {one["id"] for one in listed} == {uuids["ada"], uuids["eve"]}
    assert rows(emulator, "SELECT count() FROM person_static_cohort") == [(2,)]
    remove = f"{path}/remove_person_from_static_cohort/"
    for status in (200, 404):
        answer = await http.patch(remove, json={"person_id": uuids["eve"]})
        assert answer.status_code == status
    assert (await http.get(f"{path}/")).json()["count"] == 1
    other = (await http.post(f"{P}/cohorts/", json={"name": "live"})).json()
    refused = await http.patch(
        f"{P}/cohorts/{other['id']}/add_persons_to_static_cohort/",
        json={"person_ids": [uuids["ada"]]},
    )
    assert refused.status_code == 400
    await http.delete(f"{P}/persons/{uuids['ada']}/")
    assert rows(emulator, "SELECT count() FROM person_static_cohort") == [(0,)]


async def test_groups(http: httpx.AsyncClient, emulator: Emulator) -> None:
    named = {"$group_type": "company", "$group_key": "acme", "$group_set": {"size": 3}}
    await capture(http, "$groupidentify", "ada", **named)
    emulator.add("groups", {"group_type_index": 0, "group_key": "zeta", "group_properties": {}})
    listed = (await get(http, "/groups/", group_type_index=0))["results"]
    assert [one["group_key"] for one in listed] == ["zeta", "acme"]
    types = await get(http, "/groups_types/")
    assert [(one["group_type"], one["group_type_index"]) for one in types] == [("company", 0)]
    one = {"group_type_index": 0, "group_key": "acme"}
    update = await http.post(
        f"{P}/groups/update_property/", params=one, json={"key": "tier", "value": "gold"}
    )
    assert update.json()["group_properties"] == {"size": 3, "tier": "gold"}
    await http.post(f"{P}/groups/delete_property/", params=one, json={"$unset": "size"})
    assert (await get(http, "/groups/find/", **one))["group_properties"] == {"tier": "gold"}
    held = "SELECT group_properties FROM groups FINAL WHERE group_key = 'acme'"
    assert rows(emulator, held) == [('{"tier":"gold"}',)]
    values = await get(http, "/groups/property_values/", group_type_index=0, key="tier")
    assert values["results"] == [{"name": "gold", "count": 1}]
    gone = await http.get(f"{P}/groups/find/", params={**one, "group_key": "none"})
    assert gone.status_code == 404


async def test_definitions(http: httpx.AsyncClient, emulator: Emulator) -> None:
    await capture(http, "paid", "ada", amount=9.5, **{"$set": {"vip": True}})
    await capture(http, "paid", "ada", amount=3)
    events = (await get(http, "/event_definitions/"))["results"]
    assert [one["name"] for one in events] == ["paid"]
    (amount,) = (await get(http, "/property_definitions/"))["results"]
    assert (amount["name"], amount["property_type"], amount["is_numerical"]) == (
        "amount",
        "Numeric",
        True,
    )
    (vip,) = (await get(http, "/property_definitions/", type="person"))["results"]
    assert (vip["name"], vip["property_type"]) == ("vip", "Boolean")


async def test_events_are_listed_by_what_they_are(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    await capture(http, "a", "ada", n=1, **{"$set": {"plan": "paid"}})
    await capture(http, "b", "bob", n=2)

    async def found(**params: Any) -> list[str]:
        return [one["event"] for one in (await get(http, "/events/", **params))["results"]]

    assert await found() == ["b", "a"]
    assert await found(event="a") == ["a"]
    assert await found(distinct_id="bob") == ["b"]
    assert await found(person_id=1) == ["a"]
    assert await found(person_id=99) == []
    assert await found(properties=json.dumps([{"key": "n", "value": 2}])) == ["b"]
    person = [{"key": "plan", "value": "paid", "type": "person"}]
    assert await found(properties=json.dumps(person)) == ["a"]
    (event,) = (await get(http, "/events/", event="a", include_person="true"))["results"]
    assert event["person"]["properties"] == {"plan": "paid"}
    whole = await get(http, f"/events/{event['id']}/")
    assert whole["person"]["distinct_ids"] == ["ada"]
    for wrong, status in ((event["id"][:-4] + "ffff", 404), ("nonsense", 400)):
        assert (await http.get(f"{P}/events/{wrong}/")).status_code == status
    refused = await http.get(f"{P}/events/", params={"where": '["true"]'})
    assert refused.status_code == 400


async def test_a_list_of_events_may_be_cut(http: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.add_demo_events(1500)
    page = await get(http, "/events/", limit=1200)
    assert (len(page["results"]), page["next"] is None) == (1000, False)
    emulator.settings.max_events_per_page = None
    assert len((await get(http, "/events/", limit=1200))["results"]) == 1200


async def test_the_demo_is_seen_by_the_api(http: httpx.AsyncClient, emulator: Emulator) -> None:
    made = emulator.add_demo_events(3000)
    first = await get(http, "/persons/", limit=50, include_total=1)
    assert (first["count"], len(first["results"])) == (made.persons, 50)
    who = first["results"][0]
    assert (await get(http, f"/persons/{who['id']}/")) == who
    again = (await get(http, "/persons/", distinct_id=who["distinct_ids"][0]))["results"]
    assert [one["uuid"] for one in again] == [who["uuid"]]
    assert len({one["id"] for one in emulator.items("persons")}) == made.persons
