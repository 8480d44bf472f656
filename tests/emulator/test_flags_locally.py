"""What clients need to evaluate flags on their own, and flags set up for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from posthog.feature_flags import match_feature_flag_properties

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

DEFINITIONS = "/flags/definitions?token=phc_emulator&send_cohorts"
OLD = "/api/feature_flag/local_evaluation/"
LISTED = "/api/projects/1/feature_flags/local_evaluation/"


def everyone(**condition: Any) -> dict[str, Any]:
    return {"properties": [], "rollout_percentage": 100, **condition}


async def values(http: httpx.AsyncClient, distinct_id: str) -> dict[str, Any]:
    """What the emulator says of every flag."""
    asked = {"token": "phc_emulator", "distinct_id": distinct_id}
    return (await http.post("/flags/", json=asked)).json()["featureFlags"]


async def own_values(http: httpx.AsyncClient, distinct_id: str) -> dict[str, Any]:
    """What the official client makes of the definitions."""
    body = (await http.get(DEFINITIONS)).json()
    flags = {flag["key"]: flag for flag in body["flags"]}
    return {
        key: flag["active"]
        and match_feature_flag_properties(
            flag,
            distinct_id,
            {"distinct_id": distinct_id},
            cohort_properties=body["cohorts"],
            flags_by_key=flags,
            evaluation_cache={},
            bucketing_value=distinct_id,
        )
        for key, flag in flags.items()
    }


async def test_definitions(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.state.events.project(1).groups.define_type("company", 0)
    rule = {"type": "OR", "values": [{"type": "AND", "values": []}]}
    dynamic = emulator.add("cohorts", {"filters": {"properties": rule}})
    emulator.add("cohorts", {"is_static": True})
    flag = emulator.set_flag("f", "b")
    emulator.set_flag("off", enabled=False)
    gone = emulator.set_flag("gone")
    await http.patch(f"/api/projects/1/feature_flags/{gone['id']}/", json={"deleted": True})
    body = (await http.get(DEFINITIONS)).json()
    assert body["group_type_mapping"] == {"0": "company"}
    assert body["cohorts"] == {str(dynamic["id"]): rule}
    assert [(one["key"], one["active"]) for one in body["flags"]] == [("f", True), ("off", False)]
    assert body["flags"][0]["id"] == flag["id"]
    assert body["flags"][0]["filters"]["groups"] == flag["filters"]["groups"]
    for path in (f"{LISTED}?send_cohorts=true", f"{OLD}?send_cohorts"):
        assert (await http.get(path)).json() == body
    assert (await http.get(OLD)).json()["cohorts"] == {}


@pytest.mark.parametrize("path", [DEFINITIONS, LISTED])
async def test_definitions_that_have_not_changed(
    emulator: Emulator, http: httpx.AsyncClient, path: str
) -> None:
    emulator.set_flag("f")
    first = await http.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "private, must-revalidate"
    again = await http.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    emulator.set_flag("f", "b")
    changed = await http.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"] == tag) == (200, False)


async def test_dependencies_are_named_and_ordered(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    ids: dict[str, Any] = {}

    def add(key: str, *needs: str) -> None:
        tests = [
            {"type": "flag", "key": ids.get(one, one), "operator": "flag_evaluates_to",
             "value": True}
            for one in needs
        ]  # fmt: skip
        fields = {"key": key, "active": True, "filters": {"groups": [everyone(properties=tests)]}}
        ids[key] = str(emulator.add("feature_flags", fields)["id"])

    add("base")
    add("middle", "base")
    add("top", "middle")
    add("left", "right")
    add("right", "left")
    flags = {one["key"]: one for one in (await http.get(DEFINITIONS)).json()["flags"]}
    test = flags["top"]["filters"]["groups"][0]["properties"][0]
    assert (test["key"], test["dependency_chain"]) == ("middle", ["base", "middle"])
    assert flags["left"]["filters"]["groups"][0]["properties"][0]["dependency_chain"] == []
    stored = emulator.items("feature_flags")[2]["filters"]["groups"][0]["properties"][0]
    assert "dependency_chain" not in stored


async def test_who_may_have_definitions(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.add_key("phs_secret")
    emulator.add_key("phx_other", ["insight:read"])
    emulator.add_project(2)
    emulator.add_key("phx_elsewhere", projects=[2])

    async def statuses(key: str | None) -> list[int]:
        async with connect(emulator, key) as http:
            return [(await http.get(path)).status_code for path in (DEFINITIONS, LISTED, OLD)]

    assert await statuses("phs_secret") == [200, 200, 200]
    assert await statuses("phx_other") == [403, 403, 403]
    assert await statuses("phx_elsewhere") == [403, 403, 403]
    assert await statuses("phx_unknown") == [401, 401, 401]
    assert await statuses(None) == [401, 401, 401]
    async with connect(emulator) as http:
        assert (await http.get("/flags/definitions")).status_code == 401
        assert (await http.get(f"{OLD}?token=phc_none")).status_code == 404
        assert (await http.post(DEFINITIONS)).status_code == 405
        assert (await http.options(DEFINITIONS)).status_code == 204
        assert (await http.head(DEFINITIONS)).content == b""


async def test_a_secret_key_may_do_nothing_else(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.add_key("phs_secret")
    async with connect(emulator, "phs_secret") as http:
        assert (await http.get("/api/projects/1/feature_flags/")).status_code == 403


async def test_remote_configuration(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.add_project(2)
    flag = emulator.set_flag("main settings", payload={"colour": "red"})
    emulator.set_flag("main settings", payload={"colour": "blue"}, project_id=2)
    emulator.add_key("phs_secret")
    async with connect(emulator, "phs_secret") as http:
        for named in (flag["id"], "main%20settings"):
            path = f"/api/projects/@current/feature_flags/{named}/remote_config"
            answer = await http.get(path, params={"token": "phc_emulator"})
            assert answer.json() == '{"colour": "red"}'
        answer = await http.get(path, params={"token": "phc_emulator_2"})
        assert answer.json() == '{"colour": "blue"}'
        missing = await http.get("/api/projects/1/feature_flags/none/remote_config/")
        assert missing.status_code == 404


async def test_who_gets_what(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.set_flag("f", "b")
    path = "/api/projects/1/feature_flags/evaluation_reasons/"
    answer = await http.get(path, params={"distinct_id": "ada"})
    assert answer.json()["f"]["value"] == "b"
    assert answer.json()["f"]["evaluation"]["reason"] == "condition_match"
    for params in ({}, {"distinct_id": "ada", "groups": "["}):
        assert (await http.get(path, params=params)).status_code == 400


async def test_a_flag_in_one_line(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.set_flag("on")
    emulator.set_flag("off", enabled=False)
    emulator.set_flag("variant", "b", payload={"a": 1})
    assert await values(http, "ada") == {"on": True, "off": False, "variant": "b"}
    assert await own_values(http, "ada") == await values(http, "ada")
    asked = {"token": "phc_emulator", "distinct_id": "ada"}
    payloads = (await http.post("/flags/", json=asked)).json()["featureFlagPayloads"]
    assert payloads == {"variant": '{"a": 1}'}
    emulator.set_flag("on", enabled=False)
    emulator.set_flag("variant", "c")
    assert await values(http, "ada") == {"on": False, "off": False, "variant": "c"}
    assert len(emulator.items("feature_flags")) == 3


async def test_a_flag_for_one_person(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.set_flag("f", "everyone")
    emulator.set_flag("f", "hers", distinct_id="ada")
    emulator.set_flag("f", enabled=False, distinct_id="bob")
    emulator.set_flag("g", distinct_id="ada")
    emulator.set_flag("h", enabled=False)
    emulator.set_flag("h", distinct_id="ada")
    expected = {
        "ada": {"f": "hers", "g": True, "h": True},
        "bob": {"f": False, "g": False, "h": False},
        "eve": {"f": "everyone", "g": False, "h": False},
    }
    for distinct_id, wanted in expected.items():
        assert await values(http, distinct_id) == wanted
        assert await own_values(http, distinct_id) == wanted
    emulator.set_flag("f", "hers too", distinct_id="ada")
    emulator.set_flag("f", "anew")
    assert (await values(http, "ada"))["f"] == "hers too"
    assert (await values(http, "bob"))["f"] is False
    assert (await values(http, "eve"))["f"] == "anew"


def test_a_flag_that_is_off_has_no_variant(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="'f' is off"):
        emulator.set_flag("f", "b", enabled=False)
    with pytest.raises(ValueError, match="'f' is off"):
        emulator.set_flag("f", enabled=False, payload=None)
