"""Persons, who are like nothing else."""

from __future__ import annotations

import csv
import io
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


PERSONS = "/api/projects/1/persons/"


@pytest.fixture
def ada(emulator: Emulator) -> dict[str, Any]:
    fields = {
        "name": "Ada",
        "distinct_ids": ["ada", "ada-2"],
        "properties": {"email": "ada@example.com", "plan": "free", "age": 36},
    }
    return emulator.add("persons", fields)


async def properties(http: httpx.AsyncClient, person: dict[str, Any]) -> dict[str, Any]:
    return (await http.get(f"{PERSONS}{person['id']}/")).json()["properties"]


async def test_by_number_and_by_uuid(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    for one in (ada["id"], ada["uuid"]):
        assert (await http.get(f"{PERSONS}{one}/")).json()["name"] == "Ada"
    assert (await http.get(f"{PERSONS}99/")).status_code == 404


async def test_by_anything_else(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    answer = await http.get(f"{PERSONS}ada/")
    assert answer.status_code == 400
    assert "distinct_id=ada" in answer.json()["detail"]


async def test_an_update_is_accepted_and_seen_later(
    http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    for method in ("PATCH", "PUT"):
        answer = await http.request(
            method, f"{PERSONS}{ada['id']}/", json={"properties": {"plan": method}}
        )
        assert (answer.status_code, answer.content) == (202, b"")
        assert (await properties(http, ada))["plan"] != method, "not yet"
        assert (await properties(http, ada))["plan"] == method
        assert (await properties(http, ada))["age"] == 36, "merged, nothing is removed"


async def test_updates_can_be_made_to_settle(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    await http.patch(f"{PERSONS}{ada['id']}/", json={"properties": {"plan": "paid"}})
    emulator.apply_pending_changes()
    assert (await properties(http, ada))["plan"] == "paid"
    emulator.settings.stale_person_reads = 0
    await http.patch(f"{PERSONS}{ada['id']}/", json={"properties": {"plan": "gone"}})
    assert (await properties(http, ada))["plan"] == "gone"


async def test_a_list_is_as_late_as_a_read(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    await http.patch(f"{PERSONS}{ada['id']}/", json={"properties": {"plan": "paid"}})
    first, second = (await http.get(PERSONS)).json(), (await http.get(PERSONS)).json()
    assert first["results"][0]["properties"]["plan"] == "free"
    assert second["results"][0]["properties"]["plan"] == "paid"


@pytest.mark.parametrize(
    ("method", "tail", "body", "attr"),
    [
        ("PATCH", "", {}, "properties"),
        ("PUT", "", {"name": "x"}, "properties"),
        ("POST", "update_property/", {"key": "a"}, "value"),
        ("POST", "update_property/", {"value": "a"}, "key"),
        ("POST", "delete_property/", {}, "$unset"),
    ],
)
async def test_a_missing_field_has_code_and_detail_swapped(
    http: httpx.AsyncClient, ada: dict[str, Any], method: str, tail: str, body: Any, attr: str
) -> None:
    answer = await http.request(method, f"{PERSONS}{ada['id']}/{tail}", json=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "validation_error",
        "code": "This field is required.",
        "detail": "required",
        "attr": attr,
    }


async def test_one_property(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    set_one = await http.post(
        f"{PERSONS}{ada['id']}/update_property/", json={"key": "plan", "value": "paid"}
    )
    assert (set_one.status_code, set_one.content) == (202, b"")
    unset = await http.post(f"{PERSONS}{ada['id']}/delete_property/", json={"$unset": "age"})
    assert (unset.status_code, unset.json()) == (201, {"success": True})
    emulator.apply_pending_changes()
    assert await properties(http, ada) == {"email": "ada@example.com", "plan": "paid"}


async def test_persons_are_not_created(http: httpx.AsyncClient) -> None:
    answer = await http.post(PERSONS, json={"properties": {}})
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "created by events" in answer.json()["detail"]


@pytest.mark.parametrize("value", ["true", "false", ""])
async def test_a_flag_of_deletion_counts_by_being_there(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any], value: str
) -> None:
    emulator.add("events", {"distinct_id": "ada-2", "event": "hers"})
    emulator.add("events", {"distinct_id": "bob", "event": "his"})
    answer = await http.delete(f"{PERSONS}{ada['id']}/", params={"delete_events": value})
    assert (answer.status_code, answer.content) == (202, b"")
    left = [person["distinct_ids"] for person in emulator.items("persons")]
    assert left == [["bob"]], "whom his event made"
    assert [event["event"] for event in emulator.items("events")] == ["his"]


async def test_a_person_may_go_and_leave_the_events(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    emulator.add("events", {"distinct_id": "ada", "event": "hers"})
    await http.delete(f"{PERSONS}{ada['uuid']}/")
    assert (emulator.items("persons"), len(emulator.items("events"))) == ([], 1)


async def test_a_person_may_stay_and_lose_the_events(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    emulator.add("events", {"distinct_id": "ada", "event": "hers"})
    await http.delete(f"{PERSONS}{ada['id']}/?delete_events=1&keep_person=0")
    assert (len(emulator.items("persons")), emulator.items("events")) == (1, [])


async def test_bulk_delete(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    emulator.add("persons", {"distinct_ids": ["bob"]})
    path = f"{PERSONS}bulk_delete/"
    answer = await http.post(path, json={"distinct_ids": ["ada-2", "nobody"]})
    assert answer.status_code == 202
    assert answer.json() == {
        "persons_found": 1,
        "persons_deleted": 1,
        "events_queued_for_deletion": False,
        "recordings_queued_for_deletion": False,
        "deletion_errors": [],
    }
    assert [person["distinct_ids"] for person in emulator.items("persons")] == [["bob"]]
    kept = await http.post(
        path, json={"ids": [emulator.items("persons")[0]["uuid"]], "keep_person": True}
    )
    assert (kept.json()["persons_found"], kept.json()["persons_deleted"]) == (1, 0)


async def test_a_text_is_true_in_bulk_delete(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    emulator.add("events", {"distinct_id": "ada", "event": "hers"})
    sent = {"distinct_ids": ["ada"], "delete_events": "false", "keep_person": "false"}
    answer = await http.post(f"{PERSONS}bulk_delete/", json=sent)
    assert (answer.status_code, answer.json()["events_queued_for_deletion"]) == (202, True)
    assert answer.json()["persons_deleted"] == 0
    assert (len(emulator.items("persons")), emulator.items("events")) == (1, [])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"distinct_ids": "ada"},
        {"ids": ["018f0000-0000-7000-8000-0000000000aa"], "distinct_ids": ["b"]},
        {"distinct_ids": [str(number) for number in range(1001)]},
    ],
)
async def test_bulk_delete_refuses(http: httpx.AsyncClient, body: Any) -> None:
    answer = await http.post(f"{PERSONS}bulk_delete/", json=body)
    assert (answer.status_code, answer.json()["type"]) == (400, "validation_error")


async def test_split(emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    answer = await http.post(f"{PERSONS}{ada['id']}/split/", json={"main_distinct_id": "ada"})
    assert (answer.status_code, answer.json()) == (201, {"success": True})
    owned = [person["distinct_ids"] for person in emulator.items("persons")]
    assert owned == [["ada"], ["ada-2"]]


async def test_split_off_some(
    emulator: Emulator, http: httpx.AsyncClient, ada: dict[str, Any]
) -> None:
    path = f"{PERSONS}{ada['id']}/split/"
    await http.post(path, json={"distinct_ids_to_split": ["ada"]})
    assert [p["distinct_ids"] for p in emulator.items("persons")] == [["ada-2"], ["ada"]]
    both = await http.post(
        path, json={"distinct_ids_to_split": ["ada-2"], "main_distinct_id": "ada"}
    )
    assert both.status_code == 400


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"distinct_id": "ada-2"}, ["Ada"]),
        ({"distinct_id": "ad"}, []),
        ({"email": "ada@example.com"}, ["Ada"]),
        ({"email": "ADA@example.com"}, []),
        ({"search": "ADA"}, ["Ada"]),
        ({"properties": [{"key": "plan", "value": "free"}]}, ["Ada"]),
        ({"properties": [{"key": "plan", "value": ["paid", "free"]}]}, ["Ada"]),
        ({"properties": [{"key": "plan", "value": "free", "operator": "is_not"}]}, ["Bob"]),
        ({"properties": [{"key": "plan", "value": "RE", "operator": "icontains"}]}, ["Ada"]),
        ({"properties": [{"key": "age", "value": "", "operator": "is_set"}]}, ["Ada"]),
        ({"properties": [{"key": "age", "operator": "is_not_set"}]}, ["Bob"]),
        ({"properties": [{"key": "plan", "value": "free"}, {"key": "age", "value": 1}]}, []),
    ],
)
async def test_finding_them(
    emulator: Emulator,
    http: httpx.AsyncClient,
    ada: dict[str, Any],
    params: dict[str, Any],
    found: list[str],
) -> None:
    emulator.add("persons", {"name": "Bob", "distinct_ids": ["bob"], "properties": {}})
    sent = {k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()}
    page = (await http.get(PERSONS, params=sent)).json()
    assert [person["name"] for person in page["results"]] == found


@pytest.mark.parametrize(
    "text", ["{", "3", '[{"value": 1}]', '[{"key": "a", "operator": "semver_gt"}]']
)
async def test_property_filters_it_cannot_judge_are_refused(
    http: httpx.AsyncClient, ada: dict[str, Any], text: str
) -> None:
    answer = await http.get(PERSONS, params={"properties": text})
    assert (answer.status_code, answer.json()["attr"]) == (400, "properties")


async def test_as_csv(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    answer = await http.get(PERSONS, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows[0]["name"] == "Ada"
    assert json.loads(rows[0]["distinct_ids"]) == ["ada", "ada-2"]
