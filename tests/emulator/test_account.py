"""The default account: its user, organization and project agree in all responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


async def test_user_organization_and_project_agree(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    me = (await http.get("/api/users/@me/")).json()
    organization = (await http.get("/api/organizations/@current/")).json()
    project = (await http.get("/api/projects/@current/")).json()
    assert me["team"]["id"] == project["id"] == emulator.project_id == 1
    assert me["organization"]["id"] == organization["id"] == emulator.organization_id
    assert [one["id"] for one in me["organizations"]] == [organization["id"]]
    assert project["organization"] == organization["id"]
    assert [team["id"] for team in organization["teams"]] == [1]
    assert (await http.get("/api/projects/1/")).json() == project
    assert (await http.get(f"/api/organizations/{organization['id']}/projects/1/")).json() == (
        project
    )


async def test_lists_of_organizations_and_projects(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.add_project(5, "Fifth")
    for path in ("/api/projects/", "/api/organizations/@current/projects/"):
        page = (await http.get(path)).json()
        assert [(one["id"], one["name"]) for one in page["results"]] == [
            (1, "Emulated project"),
            (5, "Fifth"),
        ]
    assert (await http.get("/api/organizations/")).json()["count"] == 1
    assert (await http.get("/api/projects/5/cohorts/")).status_code == 200


async def test_a_project_made_through_the_api_can_be_used(http: httpx.AsyncClient) -> None:
    made = await http.post("/api/organizations/@current/projects/", json={"name": "New"})
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    assert number == 2
    assert (await http.get(f"/api/projects/{number}/cohorts/")).status_code == 200
    assert (await http.get(f"/api/projects/{number}/")).json()["name"] == "New"


async def test_project_id_argument() -> None:
    emulator = Emulator(project_id=4711)
    async with httpx.AsyncClient(
        transport=emulator.transport(),
        base_url="http://emulator",
        headers={"Authorization": "Bearer phx_emulator"},
    ) as http:
        assert (await http.get("/api/users/@me/")).json()["team"]["id"] == 4711
        assert (await http.get("/api/projects/4711/cohorts/")).status_code == 200
        assert (await http.get("/api/projects/1/cohorts/")).status_code == 404


async def test_a_key_describes_itself(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.add_key("phx_reader_key", scopes=["cohort:read"])
    about = await http.get(
        "/api/personal_api_keys/@current/", headers={"Authorization": "Bearer phx_reader_key"}
    )
    assert about.json()["scopes"] == ["cohort:read"]
    assert about.json()["scoped_teams"] == []
    assert "phx_reader_key" not in about.text


async def test_changes_to_the_user_are_stored(http: httpx.AsyncClient) -> None:
    me = (await http.get("/api/users/@me/")).json()
    await http.patch("/api/users/@me/", json={"first_name": "Ada"})
    await http.patch(f"/api/users/{me['uuid']}/", json={"last_name": "L"})
    changed = (await http.get("/api/users/@me/")).json()
    assert (changed["first_name"], changed["last_name"]) == ("Ada", "L")


def test_unknown_collections(emulator: Emulator) -> None:
    asks: list[Callable[[], Any]] = [
        lambda: emulator.add("cohort"),
        lambda: emulator.items("cohort"),
        lambda: emulator.seed("cohort", 0),
    ]
    for ask in asks:
        with pytest.raises(KeyError, match="no collection 'cohort'"):
            ask()


def test_history_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="history_size"):
        Emulator(history_size=0)


async def test_history_size_bounds_the_request_log() -> None:
    emulator = Emulator(history_size=3)
    async with httpx.AsyncClient(transport=emulator.transport()) as http:
        for number in range(5):
            await http.get(f"http://emulator/{number}/")
    assert [request.path for request in emulator.requests] == ["/2/", "/3/", "/4/"]


def test_wrong_number_of_parents(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="needs 1 ids in `parents`, but got 0"):
        emulator.add("batch_exports.backfills")
    with pytest.raises(ValueError, match="needs 0 ids in `parents`, but got 1"):
        emulator.add("cohorts", parents=[1])
