"""Experiments, early access features and surveys make flags and keep them up to date."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Api

pytestmark = pytest.mark.anyio


async def experiment(api: Api, **fields: Any) -> Any:
    body = {"name": "Price", "feature_flag_key": "price", **fields}
    return await api.post("experiments/", body)


def shares(item: dict[str, Any]) -> dict[str, float]:
    listed = item["filters"]["multivariate"]["variants"]
    return {variant["key"]: variant["rollout_percentage"] for variant in listed}


async def test_an_experiment_goes_from_draft_to_archive(api: Api) -> None:
    made = await experiment(api)
    path, flag = f"experiments/{made['id']}/", f"feature_flags/{made['feature_flag']['id']}/"
    assert (made["status"], made["feature_flag"]["active"]) == ("draft", False)
    assert shares(made["feature_flag"]) == {"control": 50, "test": 50}
    assert (await api.refused("POST", f"{path}end/", {}))[1] == (
        "Experiment has not been launched yet."
    )
    launched = await api.post(f"{path}launch/")
    assert (launched["status"], launched["start_date"]) == ("running", "2026-01-01T00:00:00Z")
    assert (await api.get(flag))["active"] is True
    assert (await api.refused("POST", f"{path}launch/"))[1] == (
        "Experiment has already been launched."
    )
    assert (await api.post(f"{path}pause/"))["status"] == "paused"
    assert (await api.get(flag))["active"] is False
    assert (await api.refused("POST", f"{path}pause/"))[1] == "Experiment is already paused."
    assert (await api.post(f"{path}resume/"))["status"] == "running"
    _, detail, _ = await api.refused("POST", f"{path}archive/", {})
    assert detail == "Experiment must be ended before it can be archived."
    api.time.now += 60
    ended = await api.post(f"{path}end/", {"conclusion": "won", "conclusion_comment": "good"})
    assert (ended["status"], ended["end_date"]) == ("stopped", "2026-01-01T00:01:00Z")
    assert (ended["conclusion"], ended["feature_flag"]["active"]) == ("won", True)
    archived = await api.post(f"{path}archive/", {"disable_feature_flag": True})
    assert (archived["archived"], archived["feature_flag"]["active"]) == (True, False)
    assert (await api.get(flag))["archived"] is True
    restored = await api.post(f"{path}unarchive/")
    assert (restored["archived"], (await api.get(flag))["archived"]) == (False, False)
    reset = await api.post(f"{path}reset/")
    assert (reset["status"], reset["start_date"], reset["conclusion"]) == ("draft", None, None)


async def test_a_shipped_variant_is_given_to_everyone(api: Api) -> None:
    made = await experiment(api, start_date="2026-01-01T00:00:00Z")
    path = f"experiments/{made['id']}/ship_variant/"
    assert (await api.refused("POST", path, {"variant_key": "no"}))[1] == (
        "Variant 'no' not found on feature flag."
    )
    shipped = await api.post(path, {"variant_key": "test", "release_to_everyone": True})
    assert shipped["status"] == "stopped"
    assert shares(shipped["feature_flag"]) == {"control": 0, "test": 100}
    assert len(shipped["feature_flag"]["filters"]["groups"]) == 2
    body = {"token": "phc_emulator", "distinct_id": "ann"}
    answer = (await api.http.post("/flags?v=2", json=body)).json()
    assert answer["flags"]["price"]["variant"] == "test"


async def test_variants_are_changed_until_the_launch(api: Api) -> None:
    variants = [
        {"key": "control", "rollout_percentage": 20},
        {"key": "test", "rollout_percentage": 80},
    ]
    described = {"feature_flag": {"filters": {"multivariate": {"variants": variants}}}}
    made = await experiment(api)
    path = f"experiments/{made['id']}/"
    changed = await api.patch(path, described)
    assert shares(changed["feature_flag"]) == {"control": 20, "test": 80}
    assert changed["feature_flag"]["id"] == made["feature_flag"]["id"]
    await api.post(f"{path}launch/")
    variants[0]["rollout_percentage"] = variants[1]["rollout_percentage"] = 50
    assert shares((await api.patch(path, described))["feature_flag"])["test"] == 80
    forced = await api.patch(path, {**described, "update_feature_flag_params": True})
    assert shares(forced["feature_flag"])["test"] == 50
    variants.pop(0)
    assert (await api.refused("PATCH", path, described))[1].startswith(
        "Feature flag must have at least 2 variants"
    )
    _, detail, _ = await api.refused("PATCH", path, {"feature_flag_key": "other"})
    assert detail == "Can't update keys: get_feature_flag_key on Experiment"


async def test_a_flag_knows_its_experiments_and_follows_them(api: Api) -> None:
    made = await experiment(api)
    flag = f"feature_flags/{made['feature_flag']['id']}/"
    copied = await api.post(f"experiments/{made['id']}/duplicate/", {})
    assert (copied["name"], copied["feature_flag_key"]) == ("Price (Copy)", "price")
    seen = await api.get(flag)
    assert seen["experiment_set"] == [made["id"], copied["id"]]
    assert seen["is_eligible_for_experiment"] is True
    await api.patch(flag, {"key": "cost"})
    assert (await api.get(f"experiments/{made['id']}/"))["feature_flag_key"] == "cost"
    await api.post(f"experiments/{made['id']}/launch/")
    assert (await api.get(flag))["experiment_set_metadata"][0]["is_running"] is True
    _, detail, _ = await api.refused("PATCH", flag, {"deleted": True})
    assert detail.startswith("Cannot delete a feature flag that is linked to running experiment(s)")
    await api.post(f"experiments/{made['id']}/end/", {})
    gone = await api.patch(flag, {"deleted": True})
    # The key is free for another flag, while the experiment keeps its own.
    assert gone["key"] == f"cost:deleted:{gone['id']}"
    await api.flag("cost")
    assert (await api.patch(flag, {"deleted": False}))["key"] == "cost-2"


async def test_an_experiment_takes_a_flag_that_exists(api: Api) -> None:
    await api.flag("price")
    body = {"name": "Price", "feature_flag_key": "price"}
    assert "at least 2 variants" in (await api.refused("POST", "experiments/", body))[1]
    listed = await api.get("experiments/?status=running")
    assert listed["results"] == []


async def test_an_early_access_feature_opens_and_closes_enrollment(api: Api) -> None:
    made = await api.post(
        "early_access_feature/", {"name": "New Editor", "stage": "draft", "payload": {"a": 1}}
    )
    path, flag_id = f"early_access_feature/{made['id']}/", made["feature_flag"]["id"]
    flag = f"feature_flags/{flag_id}/"
    assert (made["feature_flag"]["key"], made["payload"]) == ("new-editor", {"a": 1})
    assert made["assignee"] == {"type": "user", "id": 1}
    beta = await api.patch(path, {"stage": "beta"})
    assert beta["feature_flag"]["filters"]["feature_enrollment"] is True
    enrolled = {"$set": {"$feature_enrollment/new-editor": True}}
    await api.capture({"event": "$set", "distinct_id": "ann", "properties": enrolled})
    body = {"token": "phc_emulator", "distinct_id": "ann"}
    flags = (await api.http.post("/flags?v=2", json=body)).json()["flags"]
    assert flags["new-editor"]["enabled"] is True
    feature = (await api.get(flag))["features"][made["id"]]
    assert (feature["stage"], feature["flagKey"]) == ("beta", "new-editor")
    _, detail, _ = await api.refused("PATCH", flag, {"deleted": True})
    assert detail.startswith("Cannot delete a feature flag that is in use with early access")
    general = {"stage": "general-availability", "rollout_to_all": True}
    released = (await api.patch(path, general))["feature_flag"]["filters"]
    assert released["groups"] == [{"properties": [], "rollout_percentage": 100}]
    assert released["feature_enrollment"] is None
    await api.ok("DELETE", path)
    assert (await api.patch(flag, {"deleted": True}))["deleted"] is True


async def test_an_early_access_feature_takes_a_suitable_flag(api: Api) -> None:
    path, body = "early_access_feature/", {"name": "Editor", "stage": "beta"}
    assert (await api.refused("POST", path, {**body, "feature_flag_id": 9}))[1] == (
        "Feature Flag with this ID does not exist"
    )
    variants = [{"key": "control", "rollout_percentage": 100}]
    filters = {"groups": [{"properties": []}], "multivariate": {"variants": variants}}
    many = await api.flag("many", filters=filters)
    _, detail, _ = await api.refused("POST", path, {**body, "feature_flag_id": many["id"]})
    assert detail == "Multivariate feature flags are not supported for Early Access Features."
    plain = await api.flag("plain")
    made = await api.post(path, {**body, "feature_flag_id": plain["id"]})
    assert made["feature_flag"]["id"] == plain["id"]
    _, detail, _ = await api.refused("POST", path, {**body, "feature_flag_id": plain["id"]})
    assert detail == "Linked feature flag plain already has a feature attached to it."


QUESTION = {"type": "rating", "question": "How?", "display": "number", "scale": 5,
            "lowerBoundLabel": "bad", "upperBoundLabel": "good"}  # fmt: skip


async def survey(api: Api, **fields: Any) -> Any:
    return await api.post(
        "surveys/", {"name": "S", "type": "popover", "questions": [QUESTION], **fields}
    )


async def test_a_survey_owns_its_targeting_flags(api: Api) -> None:
    linked = await api.flag("linked")
    filters = {"groups": [{"properties": [], "rollout_percentage": 10}]}
    made = await survey(api, linked_flag_id=linked["id"], targeting_flag_filters=filters)
    path, own = f"surveys/{made['id']}/", made["internal_targeting_flag"]
    assert own["key"].startswith("survey-targeting-")
    assert own["key"].endswith("-custom")
    tested = own["filters"]["groups"][0]["properties"][0]
    assert (tested["key"], tested["operator"]) == (
        f"$survey_dismissed/{made['id']}", "is_not_set",
    )  # fmt: skip
    assert (own["active"], made["targeting_flag"]["active"]) == (False, False)
    assert made["linked_flag"]["key"] == "linked"
    # The flags that a survey made for itself are not listed.
    assert [flag["key"] for flag in (await api.get("feature_flags/"))["results"]] == ["linked"]
    assert made["id"] in (await api.get(f"feature_flags/{linked['id']}/"))["surveys"]
    launched = await api.post(f"{path}launch/")
    assert launched["start_date"] == "2026-01-01T00:00:00Z"
    assert launched["internal_targeting_flag"]["active"] is True
    assert launched["targeting_flag"]["active"] is True
    stopped = await api.post(f"{path}stop/")
    assert stopped["end_date"] is not None
    assert stopped["internal_targeting_flag"]["active"] is False
    changed = await api.patch(path, {"remove_targeting_flag": True, "name": "T"})
    assert (changed["targeting_flag"], changed["name"]) == (None, "T")
    assert changed["internal_targeting_flag"]["id"] == own["id"]
    await api.ok("DELETE", path)
    assert [flag["key"] for flag in api.emulator.items("feature_flags")] == ["linked"]


async def test_survey_responses_are_counted(api: Api) -> None:
    made = await survey(api, start_date="2026-01-01T00:00:00Z")
    question = made["questions"][0]["id"]
    api.time.now += 3600

    def event(name: str, who: str, **properties: Any) -> dict[str, Any]:
        return {"event": f"survey {name}", "distinct_id": who,
                "properties": {"$survey_id": made["id"], **properties}}  # fmt: skip

    def sent(who: str, score: str, submission: str) -> dict[str, Any]:
        fields = {f"$survey_response_{question}": score, "$survey_submission_id": submission}
        return event("sent", who, **fields)

    await api.capture(*(event("shown", who) for who in ("ann", "bob", "eve", "joe")))
    await api.capture(event("dismissed", "ann"), event("dismissed", "bob"))
    await api.capture(sent("bob", "2", "one"))
    api.time.now += 60
    # A later event of the same submission replaces the earlier one.
    await api.capture(sent("bob", "4", "one"), sent("eve", "5", "two"))
    path = f"surveys/{made['id']}/"
    found = await api.get(f"{path}stats/")
    counts = {
        name: (item["total_count"], item["unique_persons"]) for name, item in found["stats"].items()
    }
    assert counts == {"survey shown": (4, 4), "survey dismissed": (2, 1), "survey sent": (2, 2)}
    assert found["stats"]["survey shown"]["unique_persons_only_seen"] == 1
    assert found["rates"] == {
        "response_rate": 50.0, "dismissal_rate": 50.0,
        "unique_users_response_rate": 50.0, "unique_users_dismissal_rate": 25.0,
    }  # fmt: skip
    assert (await api.get("surveys/stats/"))["rates"] == found["rates"]
    assert await api.get("surveys/responses_count/") == {made["id"]: 2}
    responses = await api.get(f"{path}responses/?limit=1")
    assert responses["has_more"] is True
    everyone = (await api.get(f"{path}responses/"))["results"]
    assert sorted((row["distinct_id"], row["answers"][0]["answer"]) for row in everyone) == [
        ("bob", "4"), ("eve", "5"),
    ]  # fmt: skip
    best = (await api.get(f"{path}responses/?score_gte=5"))["results"]
    assert [row["distinct_id"] for row in best] == ["eve"]
    await api.post(f"{path}responses/{best[0]['uuid']}/archive/", {})
    assert await api.get(f"{path}archived-response-uuids/") == [best[0]["uuid"]]
    kept = (await api.get(f"{path}responses/?exclude_archived=true"))["results"]
    assert [row["distinct_id"] for row in kept] == ["bob"]


async def test_without_events_there_are_no_responses(api: Api) -> None:
    made = await survey(api)
    found = await api.get(f"surveys/{made['id']}/stats/")
    assert found["stats"]["survey sent"]["total_count"] == 0
    assert set(found["rates"].values()) == {0.0}
    assert await api.get("surveys/responses_count/") == {}
