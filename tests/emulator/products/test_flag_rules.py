"""Feature flags are refused as the server refuses them, and know what uses them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Api

pytestmark = pytest.mark.anyio

DAY = 86_400


def groups(*properties: Any, **fields: Any) -> dict[str, Any]:
    return {"groups": [{"properties": list(properties), "rollout_percentage": 100, **fields}]}


def depends(flag: dict[str, Any]) -> dict[str, Any]:
    return groups(
        {"type": "flag", "key": str(flag["id"]), "operator": "flag_evaluates_to", "value": True}
    )


def variants(*shares: float) -> dict[str, Any]:
    keys = ("control", "test", "third")
    listed = [
        {"key": key, "rollout_percentage": share} for key, share in zip(keys, shares, strict=False)
    ]
    return {**groups(), "multivariate": {"variants": listed}}


@pytest.mark.parametrize("key", ["a b", "ä", "a.b", ""])
async def test_keys_are_letters_digits_hyphens_and_underscores(api: Api, key: str) -> None:
    code, detail, attr = await api.refused(
        "POST", "feature_flags/", {"key": key, "filters": groups()}
    )
    assert (code, attr) == ("invalid_key", "key")
    assert detail == "Only letters, numbers, hyphens (-) & underscores (_) are allowed."


async def test_a_key_is_taken_until_its_flag_is_deleted(api: Api) -> None:
    first = await api.flag("a-b_1")
    body = {"key": "a-b_1", "filters": groups()}
    code, _, attr = await api.refused("POST", "feature_flags/", body)
    assert (code, attr) == ("unique", "key")
    await api.patch(f"feature_flags/{first['id']}/", {"deleted": True})
    second = await api.flag("a-b_1")
    assert second["version"] == 1
    assert [flag["id"] for flag in (await api.get("feature_flags/"))["results"]] == [second["id"]]


@pytest.mark.parametrize(
    ("filters", "detail"),
    [
        ({"groups": []}, "Feature flags must have at least one condition set (group)."),
        (
            groups(rollout_percentage=101),
            "groups[0].rollout_percentage must be between 0 and 100, got 101",
        ),
        (
            groups(rollout_percentage=-1),
            "groups[0].rollout_percentage must be between 0 and 100, got -1",
        ),
        (
            variants(50, 60),
            "Invalid variant definitions: Variant rollout percentages must sum to 100.",
        ),
        (
            variants(150, -50),
            "multivariate.variants[0].rollout_percentage must be between 0 and 100, got 150",
        ),
        (
            {**variants(50, 50), **groups(variant="other")},
            "Filters are not valid (variant override does not exist)",
        ),
        (
            {**variants(50, 50), "payloads": {"other": "1"}},
            "Payload keys must match a variant key for multivariate flags",
        ),
        ({**groups(), "payloads": {"other": "1"}}, "Payload keys must be 'true' for boolean flags"),
        ({**groups(), "payloads": {"true": "{"}}, "Payload value is not valid JSON"),
        (
            groups({"type": "cohort", "key": "id", "value": 9, "operator": "in"}),
            "Cohort with id 9 does not exist",
        ),
        (
            groups({"type": "flag", "key": "9", "operator": "flag_evaluates_to", "value": True}),
            "Flag dependency references non-existent flag with ID 9",
        ),
        (
            groups(
                {
                    "type": "group",
                    "key": "a",
                    "value": "b",
                    "operator": "exact",
                    "group_type_index": 0,
                }
            ),
            "Filters are not valid (person-aggregated conditions can only use person, cohort, and "
            "flag properties)",
        ),
    ],
)
async def test_filters_are_checked(api: Api, filters: dict[str, Any], detail: str) -> None:
    body = {"key": "a", "filters": filters}
    assert (await api.refused("POST", "feature_flags/", body))[1:] == (detail, "filters")


async def test_variants_that_sum_to_100_are_accepted(api: Api) -> None:
    made = await api.flag("a", filters=variants(50, 25, 25))
    assert len(made["filters"]["multivariate"]["variants"]) == 3


async def test_cohorts_with_events_cannot_be_used(api: Api) -> None:
    behavior = {"type": "behavioral", "key": "paid", "value": "performed_event",
                "event_type": "events", "time_value": 7, "time_interval": "day"}  # fmt: skip
    inner = {"type": "AND", "values": [behavior]}
    filters = {"properties": {"type": "OR", "values": [inner]}}
    cohort = await api.post("cohorts/", {"name": "Paid", "filters": filters})
    test = {"type": "cohort", "key": "id", "value": cohort["id"], "operator": "in"}
    code, detail, _ = await api.refused(
        "POST", "feature_flags/", {"key": "a", "filters": groups(test)}
    )
    assert code == "behavioral_cohort_found"
    assert "'Paid'" in detail


async def test_dependencies_protect_a_flag(api: Api) -> None:
    base = await api.flag("base")
    other = await api.flag("other", filters=depends(base))
    path = f"feature_flags/{base['id']}/"
    named = f"other (ID: {other['id']})"
    for body, action in (({"active": False}, "disable"), ({"deleted": True}, "delete")):
        _, detail, _ = await api.refused("PATCH", path, body)
        assert detail == (
            f"Cannot {action} this feature flag because other flags depend on it: {named}. "
            "Please update or disable the dependent flags first."
        )
    assert (await api.refused("POST", f"{path}archive/"))[1].startswith("Cannot disable")
    assert await api.get(f"{path}dependent_flags/") == [
        {"id": other["id"], "key": "other", "name": ""}
    ]
    await api.patch(f"feature_flags/{other['id']}/", {"active": False})
    await api.patch(path, {"active": False})
    _, detail, _ = await api.refused("PATCH", f"feature_flags/{other['id']}/", {"active": True})
    assert "depends on disabled flags: base" in detail


async def test_dependencies_make_no_circle(api: Api) -> None:
    base = await api.flag("base")
    other = await api.flag("other", filters=depends(base))
    path = f"feature_flags/{base['id']}/"
    _, detail, attr = await api.refused("PATCH", path, {"filters": depends(other)})
    assert (detail, attr) == ("Circular dependency detected: base → other → base", "filters")
    _, detail, _ = await api.refused("PATCH", path, {"filters": depends(base)})
    assert detail == "Feature flag 'base' cannot depend on itself"


async def test_archiving_disables(api: Api) -> None:
    path = f"feature_flags/{(await api.flag('a'))['id']}/"
    archived = await api.post(f"{path}archive/")
    assert (archived["archived"], archived["active"], archived["status"]) == (
        True, False, "ARCHIVED",
    )  # fmt: skip
    _, detail, _ = await api.refused("POST", f"{path}enable/")
    assert detail == "Cannot enable an archived feature flag. Unarchive it first."
    assert (await api.post(f"{path}unarchive/"))["archived"] is False
    assert (await api.post(f"{path}enable/"))["active"] is True
    _, detail, _ = await api.refused("PATCH", path, {"archived": True})
    assert detail.startswith("Cannot archive an enabled feature flag.")


async def test_flags_are_deleted_in_bulk_unless_something_needs_them(api: Api) -> None:
    base = await api.flag("base")
    await api.flag("other", filters=depends(base))
    free = await api.flag("free")
    body = {"ids": [base["id"], free["id"], 99]}
    result = await api.post("feature_flags/bulk_delete/", body)
    assert result["deleted"] == [{"id": free["id"], "key": "free"}]
    assert [error["id"] for error in result["errors"]] == [base["id"], 99]
    keys = await api.post("feature_flags/bulk_keys/", {"ids": [base["id"], free["id"]]})
    assert keys == {"keys": {str(base["id"]): "base"}}


async def test_the_status_says_whether_a_flag_is_stale(api: Api) -> None:
    made = await api.flag("a")
    path = f"feature_flags/{made['id']}/status/"
    status = await api.get(path)
    assert (status["status"], status["reason"]) == ("active", "Flag has no usage data yet")
    assert status["rollout"] == {
        "effectively_full_rollout": True, "has_targeting_conditions": False,
        "max_rollout_percentage": 100, "is_multivariate": False,
    }  # fmt: skip
    api.time.now += 31 * DAY
    status = await api.get(path)
    assert (status["status"], status["reason_states_rollout"]) == ("stale", True)
    assert status["reason"] == 'This boolean flag will always evaluate to "true"'
    called = {"event": "$feature_flag_called", "distinct_id": "ann"}
    await api.capture({**called, "properties": {"$feature_flag": "a"}})
    assert (await api.get(path))["reason"] == "Flag was called today"
    assert (await api.get("feature_flags/?active=STALE"))["count"] == 0
    api.time.now += 40 * DAY
    assert (await api.get(path))["reason"] == "Flag has not been called in 40 days"
    stale = await api.get("feature_flags/?active=STALE")
    assert [flag["status"] for flag in stale["results"]] == ["STALE"]


async def test_a_shipped_variant_is_stale_and_a_split_is_not(api: Api) -> None:
    split = await api.flag("split", filters=variants(50, 50))
    shipped = await api.flag("shipped", filters=variants(0, 100))
    api.time.now += 31 * DAY
    assert (await api.get(f"feature_flags/{split['id']}/status/"))["status"] == "active"
    status = await api.get(f"feature_flags/{shipped['id']}/status/")
    assert status["reason"] == 'This flag will always use the variant "test"'


async def test_the_blast_radius_counts_persons_groups_and_members(api: Api) -> None:
    for name, plan in (("ann", "pro"), ("bob", "free"), ("eve", "pro")):
        api.emulator.add("persons", {"distinct_ids": [name], "properties": {"plan": plan}})
    group = {"event": "$groupidentify", "distinct_id": "ann"}
    for key, size in (("x", 5), ("y", 50)):
        set_group = {"$group_type": "company", "$group_key": key, "$group_set": {"size": size}}
        await api.capture({**group, "properties": set_group})

    async def radius(*tests: Any, **fields: Any) -> tuple[int, int]:
        body = {"condition": {"properties": list(tests)}, **fields}
        found = await api.post("feature_flags/user_blast_radius/", body)
        return found["affected"], found["total"]

    pro = {"type": "person", "key": "plan", "value": ["pro"], "operator": "exact"}
    assert await radius() == (3, 3)
    assert await radius(pro) == (2, 3)
    assert await radius({**pro, "operator": "is_not"}) == (1, 3)
    large = {"type": "group", "key": "size", "value": "10", "operator": "gt"}
    assert await radius({**large, "group_type_index": 0}, group_type_index=0) == (1, 2)
    inner = {"type": "AND", "values": [pro]}
    filters = {"properties": {"type": "OR", "values": [inner]}}
    cohort = await api.post("cohorts/", {"name": "Pro", "filters": filters})
    member = {"type": "cohort", "key": "id", "value": cohort["id"]}
    assert await radius(member) == (2, 3)
    assert await radius({**member, "operator": "not_in"}) == (1, 3)
    body = {"condition": {"properties": [large]}, "group_type_index": 0}
    assert (await api.refused("POST", "feature_flags/user_blast_radius/", body))[1] == (
        "Invalid group type index for feature flag condition."
    )


async def test_a_cohort_in_an_active_flag_is_not_deleted(api: Api) -> None:
    cohort = await api.post("cohorts/", {"name": "Some", "is_static": True})
    test = {"type": "cohort", "key": "id", "value": cohort["id"], "operator": "in"}
    made = await api.flag("a", filters=groups(test))
    path = f"cohorts/{cohort['id']}/"
    _, detail, _ = await api.refused("PATCH", path, {"deleted": True})
    assert detail.startswith("This cohort is used in 1 active feature flag(s): a.")
    used = await api.get(f"{path}used_in/")
    assert [flag["key"] for flag in used["feature_flags"]["results"]] == ["a"]
    await api.patch(f"feature_flags/{made['id']}/", {"active": False})
    assert (await api.patch(path, {"deleted": True}))["deleted"] is True
