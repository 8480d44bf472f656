"""Local evaluation and the emulator's `/flags` agree on generated flags and persons."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator

WORDS = st.sampled_from(["", "a", "A", "paid", "1", "2.5", "true", "x@y.org"])
NUMBERS = st.integers(-3, 30)
DATES = st.sampled_from(["2024-01-01", "2026-06-01T10:00:00Z", "-7d", "2024"])
VERSIONS = st.sampled_from(["1.2.3", "1.3", "2.0.0-beta", "0.1.0"])


def filters(kind: str, index: int | None = None) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.one_of(
        st.tuples(st.sampled_from(["exact", "is_not"]), WORDS | st.lists(WORDS, max_size=2)),
        st.tuples(st.sampled_from(["icontains", "not_icontains", "starts_with"]), WORDS),
        st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS),
        st.tuples(st.sampled_from(["is_date_before", "is_date_after"]), DATES),
        st.tuples(st.sampled_from(["semver_gte", "semver_lt", "semver_caret"]), VERSIONS),
        st.tuples(st.sampled_from(["is_set"]), st.none()),
    )
    more = {} if index is None else {"group_type_index": index}
    return pairs.map(
        lambda pair: {"key": "p", "type": kind, "operator": pair[0], "value": pair[1], **more}
    )


def flags(
    key: str, tests: st.SearchStrategy[dict[str, Any]], index: int | None
) -> st.SearchStrategy[dict[str, Any]]:
    condition = st.fixed_dictionaries(
        {
            "properties": st.lists(tests, max_size=2),
            "rollout_percentage": st.none() | st.sampled_from([0, 50, 100]),
            "variant": st.sampled_from([None, "a", "gone"]),
        }
    )
    shares = st.sampled_from([[], [("a", 50), ("b", 50)]]).map(
        lambda pairs: [{"key": name, "rollout_percentage": share} for name, share in pairs]
    )
    return st.fixed_dictionaries(
        {
            "key": st.just(key),
            "active": st.sampled_from([True, True, True, False]),
            "ensure_experience_continuity": st.sampled_from([False, False, False, True]),
            "filters": st.fixed_dictionaries(
                {
                    "groups": st.lists(condition, max_size=2),
                    "early_exit": st.booleans(),
                    "aggregation_group_type_index": st.just(index),
                    "multivariate": st.fixed_dictionaries({"variants": shares}),
                    "payloads": st.sampled_from([{}, {"true": "1", "a": '{"x": 2}'}]),
                }
            ),
        }
    )


def in_cohort(identifier: int) -> dict[str, Any]:
    return {"key": "id", "type": "cohort", "operator": "in", "value": identifier}


SUBJECTS = st.fixed_dictionaries(
    {
        "distinct_id": st.sampled_from(["ada", "bob", "0198", "é"]),
        "person_properties": st.fixed_dictionaries({"p": WORDS | NUMBERS | DATES | VERSIONS}),
        "company": st.none() | st.sampled_from(["acme", "beta"]),
        "company_p": WORDS | NUMBERS,
    }
)


@pytest.mark.anyio
@given(
    person=flags("person", filters("person"), None),
    cohort=flags("cohort", filters("person") | st.just(in_cohort(1)), None),
    group=flags("group", filters("group", 0), 0),
    rule=filters("person"),
    subject=SUBJECTS,
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_local_evaluation_agrees_with_the_server(
    person: dict[str, Any],
    cohort: dict[str, Any],
    group: dict[str, Any],
    rule: dict[str, Any],
    subject: dict[str, Any],
) -> None:
    emulator = EMULATOR
    emulator.reset()
    emulator.state.events.project(1).groups.define_type("company", 0)
    made = emulator.add("cohorts", {"filters": {"properties": {"type": "AND", "values": [rule]}}})
    for condition in cohort["filters"]["groups"]:
        for test in condition["properties"]:
            if test["type"] == "cohort":
                test["value"] = made["id"]
    for flag in (person, cohort, group):
        emulator.add("feature_flags", flag)
    company = subject["company"]
    about: dict[str, Any] = {
        "person_properties": subject["person_properties"],
        "groups": {} if company is None else {"company": company},
        "group_properties": {} if company is None else {"company": {"p": subject["company_p"]}},
    }
    async with AsyncPostHog.emulated(emulator) as ph:
        server = await ph.flags.evaluate(subject["distinct_id"], **about)
        async with ph.flags.local():
            local = ph.flags.evaluate_local(subject["distinct_id"], **about)
            merged = await ph.flags.evaluate(subject["distinct_id"], **about)
    for key, result in local.results.items():
        assert result.value == server.value(key, "failed"), (key, subject)
        assert result.payload == server.payload(key, None)
    # What is left to the server is what it answers.
    for key in local.unavailable:
        assert merged.reason(key) == server.reason(key)
    assert merged.keys() == tuple(key for key in merged if key in server)


EMULATOR = Emulator()
"""Reset for each example: creating one takes longer."""
