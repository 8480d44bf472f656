"""Feature flags, asked for as any application does."""

from __future__ import annotations

import base64
import gzip
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


TOKEN = "phc_emulator"


def on(**condition: Any) -> dict[str, Any]:
    """A condition set for everybody, but for what is said."""
    return {"properties": [], "rollout_percentage": 100, **condition}


def person(key: str, value: Any = None, operator: str = "exact", **more: Any) -> dict[str, Any]:
    return {"key": key, "value": value, "operator": operator, "type": "person", **more}


def add(emulator: Emulator, key: str, *groups: dict[str, Any], **filters: Any) -> dict[str, Any]:
    fields = {"key": key, "active": True, "filters": {"groups": list(groups), **filters}}
    return emulator.add("feature_flags", fields)


async def ask(
    http: httpx.AsyncClient, distinct_id: str = "ada", version: int | None = 2, **asked: Any
) -> dict[str, Any]:
    params = {} if version is None else {"v": version}
    body = {"token": TOKEN, "distinct_id": distinct_id, **asked}
    answer = await http.post("/flags/", params=params, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def flag(http: httpx.AsyncClient, key: str = "f", **asked: Any) -> dict[str, Any]:
    return (await ask(http, **asked))["flags"][key]


def two_variants() -> dict[str, Any]:
    shares = [{"key": key, "rollout_percentage": 50} for key in ("control", "test")]
    return {"variants": shares}


async def test_a_flag_that_was_created_is_evaluated(http: httpx.AsyncClient) -> None:
    made = await http.post(
        "/api/projects/1/feature_flags/",
        json={
            "key": "f",
            "active": True,
            "filters": {"groups": [on()], "payloads": {"true": '{"a": 1}'}},
        },
    )
    assert made.status_code == 201, made.text
    body = await ask(http)
    assert body["flags"] == {
        "f": {
            "key": "f",
            "enabled": True,
            "variant": None,
            "reason": {
                "code": "condition_match",
                "condition_index": 0,
                "description": "Matched condition set 1",
            },
            "metadata": {
                "id": made.json()["id"],
                "version": made.json()["version"],
                "description": None,
                "payload": '{"a": 1}',
                "has_experiment": False,
            },
        }
    }
    assert body["errorsWhileComputingFlags"] is False
    assert isinstance(body["evaluatedAt"], int)
    assert len(body["requestId"]) == 36
    assert "quotaLimited" not in body


async def test_reasons(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "none")
    add(emulator, "out", on(rollout_percentage=0))
    add(emulator, "unmet", on(properties=[person("plan", "paid")]))
    add(emulator, "closest", on(rollout_percentage=0), on(properties=[person("plan", "paid")]))
    add(emulator, "second", on(properties=[person("plan", "paid")]), on())
    add(emulator, "group", on(), aggregation_group_type_index=0)
    emulator.add("feature_flags", {"key": "off", "active": False, "filters": {"groups": [on()]}})
    flags = (await ask(http))["flags"]
    assert {key: (one["enabled"], one["reason"]["code"]) for key, one in flags.items()} == {
        "none": (False, "no_condition_match"),
        "out": (False, "out_of_rollout_bound"),
        "unmet": (False, "no_condition_match"),
        "closest": (False, "out_of_rollout_bound"),
        "second": (True, "condition_match"),
        "group": (False, "no_group_type"),
        "off": (False, "flag_disabled"),
    }
    assert {one["reason"]["description"] for one in flags.values()} == {
        "No matching condition set",
        "Out of rollout bound",
        "Matched condition set 2",
        "No group type",
        "Feature flag is disabled",
    }
    assert flags["second"]["reason"]["condition_index"] == 1


async def test_a_deleted_flag_is_not_there(emulator: Emulator, http: httpx.AsyncClient) -> None:
    made = add(emulator, "f", on())
    await http.patch(f"/api/projects/1/feature_flags/{made['id']}/", json={"deleted": True})
    assert (await ask(http))["flags"] == {}


async def test_early_exit(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "f", on(rollout_percentage=0), on(), early_exit=True)
    assert (await flag(http))["reason"]["code"] == "out_of_rollout_bound"


async def test_stored_properties_and_those_of_the_request(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    add(emulator, "f", on(properties=[person("plan", "paid")]))
    set_plan = {"event": "$set", "distinct_id": "ada", "properties": {"$set": {"plan": "paid"}}}
    emulator.state.events.append(1, [set_plan])
    assert (await flag(http))["enabled"]
    assert not (await flag(http, distinct_id="bob"))["enabled"]
    assert not (await flag(http, person_properties={"plan": "free"}))["enabled"]
    assert (await flag(http, distinct_id="bob", person_properties={"plan": "paid"}))["enabled"]


async def test_the_distinct_id_is_a_property(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "f", on(properties=[person("distinct_id", ["ada", "bob"])]))
    assert (await flag(http))["enabled"]
    assert not (await flag(http, distinct_id="eve"))["enabled"]


async def test_variants_and_their_payloads(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(
        emulator, "f", on(), multivariate=two_variants(),
        payloads={"control": "1", "test": '"two"'},
    )  # fmt: skip
    seen = [await flag(http, distinct_id=str(number)) for number in range(30)]
    assert {one["variant"] for one in seen} == {"control", "test"}
    payloads = {"control": "1", "test": '"two"'}
    assert all(one["metadata"]["payload"] == payloads[one["variant"]] for one in seen)


async def test_a_condition_may_pin_a_variant(emulator: Emulator, http: httpx.AsyncClient) -> None:
    pinned = on(properties=[person("distinct_id", "ada")], variant="test")
    unknown = on(variant="gone")
    add(emulator, "f", pinned, unknown, multivariate=two_variants())
    assert (await flag(http))["variant"] == "test"
    others = {(await flag(http, distinct_id=str(number)))["variant"] for number in range(30)}
    assert others == {"control", "test"}, "a variant that does not exist pins nothing"


async def test_groups(emulator: Emulator, http: httpx.AsyncClient) -> None:
    plan = {"key": "plan", "value": "paid", "type": "group", "group_type_index": 0}
    add(emulator, "f", on(properties=[plan]), aggregation_group_type_index=0)
    emulator.state.events.append(
        1,
        [
            {
                "event": "$groupidentify",
                "distinct_id": "ada",
                "properties": {
                    "$group_type": "company",
                    "$group_key": "acme",
                    "$group_set": {"plan": "paid"},
                },
            }
        ],
    )
    assert (await flag(http))["reason"]["code"] == "no_group_type"
    assert (await flag(http, groups={"company": "acme"}))["enabled"]
    assert not (await flag(http, groups={"company": "other"}))["enabled"]
    other: dict[str, Any] = {
        "groups": {"company": "other"},
        "group_properties": {"company": {"plan": "paid"}},
    }
    assert (await flag(http, **other))["enabled"]
    assert (await flag(http, groups={"unknown": "x"}))["reason"]["code"] == "no_group_type"


async def test_a_condition_about_groups_beside_one_about_persons(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.state.events.project(1).groups.define_type("company", 0)
    everyone = on(properties=[person("plan", "paid")])
    add(emulator, "f", on(aggregation_group_type_index=0, rollout_percentage=100), everyone)
    assert (await flag(http))["reason"]["code"] == "no_condition_match"
    assert (await flag(http, person_properties={"plan": "paid"}))["enabled"]
    assert (await flag(http, groups={"company": "acme"}))["enabled"]


async def test_cohorts(emulator: Emulator, http: httpx.AsyncClient) -> None:
    rule = {
        "type": "OR",
        "values": [
            {"type": "AND", "values": [person("plan", "paid"), person("age", 18, "gte")]},
            {"type": "AND", "values": [person("admin", True)]},
        ],
    }
    dynamic = emulator.add("cohorts", {"name": "d", "filters": {"properties": rule}})
    static = emulator.add("cohorts", {"name": "s", "is_static": True, "filters": {}})
    emulator.state.events.append(1, [{"event": "hi", "distinct_id": "ada"}])
    ada = emulator.state.events.project(1).persons.find("ada")
    assert ada is not None
    emulator.state.events.cohorts.add_members(1, static["id"], [ada.uuid])
    inside = {"key": "id", "type": "cohort", "operator": "in"}
    add(emulator, "dynamic", on(properties=[{**inside, "value": dynamic["id"]}]))
    add(emulator, "static", on(properties=[{**inside, "value": static["id"]}]))
    outside = {**inside, "operator": "not_in", "value": static["id"]}
    add(emulator, "outside", on(properties=[outside]))

    async def enabled(distinct_id: str, **properties: Any) -> set[str]:
        body = await ask(http, distinct_id, person_properties=properties)
        return {key for key, one in body["flags"].items() if one["enabled"]}

    assert await enabled("ada") == {"static"}
    assert await enabled("bob") == {"outside"}
    assert await enabled("bob", plan="paid", age=20) == {"outside", "dynamic"}
    assert await enabled("bob", plan="paid", age=17) == {"outside"}
    assert await enabled("bob", admin=True) == {"outside", "dynamic"}


async def test_flags_that_depend_on_flags(emulator: Emulator, http: httpx.AsyncClient) -> None:
    base = add(
        emulator, "base", on(), multivariate={"variants": [{"key": "b", "rollout_percentage": 100}]}
    )

    def needs(value: Any, key: Any = base["id"]) -> dict[str, Any]:
        test = {"type": "flag", "key": str(key), "operator": "flag_evaluates_to", "value": value}
        return on(properties=[test])

    add(emulator, "any", needs(True))
    add(emulator, "exactly", needs("b"))
    add(emulator, "other", needs("a"))
    add(emulator, "off", needs(False))
    add(emulator, "by_key", needs(True, "base"))
    add(emulator, "dangling", needs(True, 999), on())
    add(emulator, "ouroboros", needs(True, "tail"), on())
    add(emulator, "tail", needs(True, "ouroboros"), on())
    add(emulator, "above", needs(True, "dangling"))
    flags = (await ask(http))["flags"]
    assert {key for key, one in flags.items() if one["enabled"]} == {
        "base", "any", "exactly", "by_key",
    }  # fmt: skip
    missing = {k for k, one in flags.items() if one["reason"]["code"] == "missing_dependency"}
    assert missing == {"dangling", "ouroboros", "tail", "above"}


async def test_early_access(emulator: Emulator, http: httpx.AsyncClient) -> None:
    enrolled = {"properties": [person("$feature_enrollment/old", ["true"])]}
    add(emulator, "old", on(), super_groups=[{**enrolled, "rollout_percentage": 100}])
    add(emulator, "f", on(), feature_enrollment=True)
    assert (await flag(http))["reason"]["code"] == "condition_match"
    for key in ("f", "old"):
        for value, enabled in ((True, True), ("true", True), ("false", False)):
            one = await flag(http, key, person_properties={f"$feature_enrollment/{key}": value})
            assert (one["enabled"], one["reason"]["code"]) == (enabled, "super_condition_value")


async def test_a_holdout(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "f", on(), holdout={"id": 7, "exclusion_percentage": 100})
    older = [{"properties": [], "rollout_percentage": 100, "variant": "holdout-3"}]
    add(emulator, "old", on(), holdout_groups=older)
    add(emulator, "in", on(), holdout={"id": 7, "exclusion_percentage": 0})
    flags = (await ask(http))["flags"]
    assert {key: (one["enabled"], one["variant"]) for key, one in flags.items()} == {
        "f": (True, "holdout-7"),
        "old": (True, "holdout-3"),
        "in": (True, None),
    }
    assert flags["f"]["reason"]["description"] == "Holdout condition value"


async def test_a_flag_that_goes_by_device(emulator: Emulator, http: httpx.AsyncClient) -> None:
    fields = {"key": "f", "active": True, "bucketing_identifier": "device_id"}
    emulator.add("feature_flags", {**fields, "filters": {"groups": [on(rollout_percentage=50)]}})
    assert (await flag(http))["reason"]["code"] == "out_of_rollout_bound"
    one = [await flag(http, distinct_id=str(n), device_id="d") for n in range(10)]
    assert len({each["enabled"] for each in one}) == 1
    many = [await flag(http, device_id=str(n)) for n in range(30)]
    assert {each["enabled"] for each in many} == {True, False}


async def test_what_somebody_got_before_signing_in(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    fields = {"key": "f", "active": True, "ensure_experience_continuity": True}
    emulator.add("feature_flags", {**fields, "filters": {"groups": [on(rollout_percentage=50)]}})
    before = (await flag(http, distinct_id="anonymous"))["enabled"]
    for number in range(20):
        asked = {"distinct_id": str(number), "$anon_distinct_id": "anonymous"}
        assert (await flag(http, **asked))["enabled"] == before


async def test_what_a_person_got_at_first_stays(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    fields = {"key": "f", "active": True, "ensure_experience_continuity": True}
    emulator.add("feature_flags", {**fields, "filters": {"groups": [on(rollout_percentage=50)]}})
    values = {n: (await flag(http, distinct_id=str(n)))["enabled"] for n in range(20)}
    one = next(n for n in values if values[n])
    other = next(n for n in values if not values[n])
    asked = {"distinct_id": str(one), "$anon_distinct_id": str(other)}
    # Nobody the server knows: nothing is kept.
    assert not (await flag(http, **asked))["enabled"]
    assert (await flag(http, distinct_id=str(one)))["enabled"]
    emulator.add("persons", {"distinct_ids": [str(one), "second"]})
    assert not (await flag(http, **asked))["enabled"]
    for later in (str(one), "second"):
        assert not (await flag(http, distinct_id=later))["enabled"]
    again = {"distinct_id": "second", "$anon_distinct_id": str(one)}
    assert not (await flag(http, **again))["enabled"]
    emulator.reset()
    emulator.add("feature_flags", {**fields, "filters": {"groups": [on(rollout_percentage=50)]}})
    assert (await flag(http, distinct_id=str(one)))["enabled"]


async def test_a_flag_that_cannot_be_judged_fails_alone(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    add(emulator, "f", on(properties=[person("age", "old", "gt")]))
    add(emulator, "odd", on(properties=[person("age", 1, "resembles")]))
    add(emulator, "lost", on(properties=[{"type": "cohort", "key": "id", "value": 99}]))
    add(emulator, "good", on())
    body = await ask(http, person_properties={"age": 3})
    assert body["errorsWhileComputingFlags"] is True
    failed = {key for key, one in body["flags"].items() if one.get("failed")}
    assert failed == {"f", "odd", "lost"}
    assert body["flags"]["good"]["enabled"]
    typed = await ask(http, version=4, person_properties={"age": 3})
    assert (typed["flags"]["f"]["value"], typed["flags"]["f"]["failed"]) == (None, True)


async def test_only_the_flags_asked_for(emulator: Emulator, http: httpx.AsyncClient) -> None:
    for key in ("a", "b", "survey-targeting-x"):
        add(emulator, key, on())
    assert set((await ask(http, flag_keys_to_evaluate=["b", "gone"]))["flags"]) == {"b"}
    assert (await ask(http, flag_keys_to_evaluate=[]))["flags"] == {}
    answer = await http.post(
        "/flags?v=2&only_evaluate_survey_feature_flags=true",
        json={"token": TOKEN, "distinct_id": "ada"},
    )
    assert set(answer.json()["flags"]) == {"survey-targeting-x"}


async def test_the_forms_of_old(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "on", on(), payloads={"true": "[1]"})
    add(emulator, "off", on(rollout_percentage=0), payloads={"true": "[2]"})
    plain = {"featureFlags": {"on": True, "off": False}, "featureFlagPayloads": {"on": "[1]"}}
    for version in (None, 1):
        body = await ask(http, version=version)
        assert {name: body[name] for name in plain} == plain
        assert "flags" not in body

    async def decide(version: int) -> dict[str, Any]:
        body = {"api_key": TOKEN, "distinct_id": "ada"}
        return (await http.post("/decide/", params={"v": version}, json=body)).json()

    assert (await decide(1))["featureFlags"] == ["on"]
    assert (await decide(2))["featureFlags"] == {"on": True}
    assert (await decide(3))["featureFlags"] == {"on": True, "off": False}
    assert (await decide(4))["flags"]["on"]["enabled"] is True


async def test_the_typed_form(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "f", on(), multivariate={"variants": [{"key": "b", "rollout_percentage": 100}]})
    add(emulator, "off")
    for version in (3, 4):
        flags = (await ask(http, version=version))["flags"]
        assert (flags["f"]["value"], flags["off"]["value"]) == ("b", False)
        assert flags["f"]["metadata"]["variant_key"] == "b"
        assert flags["f"]["metadata"]["config_version"] == 1
        assert "enabled" not in flags["f"]


async def test_with_the_project_s_settings(http: httpx.AsyncClient) -> None:
    answer = await http.post("/flags?v=2&config=true", json={"token": TOKEN, "distinct_id": "ada"})
    assert answer.json()["supportedCompression"] == ["gzip", "gzip-js"]


@pytest.mark.parametrize("packed", ["gzip", "base64", "both"])
async def test_a_packed_body(emulator: Emulator, http: httpx.AsyncClient, packed: str) -> None:
    add(emulator, "f", on())
    body = json.dumps({"token": TOKEN, "distinct_id": "ada"}).encode()
    if packed != "gzip":
        body = b"data=" + base64.b64encode(body)
    if packed != "base64":
        body = gzip.compress(body)
    answer = await http.post("/flags/?v=2", content=body)
    assert answer.json()["flags"]["f"]["enabled"]


async def test_over_quota(emulator: Emulator, http: httpx.AsyncClient) -> None:
    add(emulator, "f", on())
    emulator.settings.exhausted_quotas = {"feature_flags"}
    body = await ask(http)
    assert (body["quotaLimited"], body["flags"]) == (["feature_flags"], {})
    listed = "/api/projects/1/feature_flags/local_evaluation/"
    for path in (listed, f"/flags/definitions?token={TOKEN}"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (402, "server_error")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"distinct_id": "ada"}, 401, "No API token provided"),
        ({"token": "", "distinct_id": "ada"}, 401, "No API token provided"),
        ({"token": "phc_other", "distinct_id": "ada"}, 401, "invalid or has expired"),
        ({"token": TOKEN}, 400, "distinct_id field is missing"),
        ({"token": TOKEN, "distinct_id": ""}, 400, "distinct_id field cannot be empty"),
        ([], 400, "Failed to decode request"),
    ],
)
async def test_refusals_are_plain_text(
    http: httpx.AsyncClient, body: Any, status: int, words: str
) -> None:
    answer = await http.post("/flags/?v=2", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "text/plain; charset=utf-8",
    )
    assert words in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"\x1f\x8bnot gzip", b"data=%%%", b"\xff\xfe"])
async def test_a_body_that_cannot_be_read(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/flags/?v=2", content=content)
    assert (answer.status_code, answer.text[:25]) == (400, "Failed to decode request:")


async def test_other_methods(http: httpx.AsyncClient) -> None:
    assert (await http.get("/flags/")).status_code == 405
    assert (await http.options("/flags/")).status_code == 204


async def test_another_project_has_other_flags(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.add_project(2)
    emulator.set_flag("f", project_id=2)
    assert (await ask(http))["flags"] == {}
    assert (await ask(http, token="phc_emulator_2"))["flags"]["f"]["enabled"]
