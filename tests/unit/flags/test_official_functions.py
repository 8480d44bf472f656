"""The functions of PostHog's package that local evaluation calls, and what it expects of them."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import pytest
from posthog import feature_flags as official

FLAG: dict[str, Any] = {
    "key": "beta",
    "active": True,
    "filters": {
        "groups": [
            {
                "properties": [
                    {"key": "plan", "type": "person", "operator": "exact", "value": "pro"},
                    {"key": "id", "type": "cohort", "value": 5},
                ],
                "rollout_percentage": 100,
            }
        ]
    },
}
COHORTS = {"5": {"type": "AND", "values": [
    {"key": "country", "type": "person", "operator": "exact", "value": "NL"}]}}  # fmt: skip


def test_the_version_is_one_that_the_extra_admits() -> None:
    major, minor = (int(part) for part in version("posthog").split(".")[:2])
    assert (7, 91) <= (major, minor) < (8, 0)


def test_the_signatures() -> None:
    match = inspect.signature(official.match_feature_flag_properties).parameters
    assert list(match)[:3] == ["flag", "distinct_id", "properties"]
    keywords = {name for name, item in match.items() if item.kind is item.KEYWORD_ONLY}
    assert keywords >= {
        "cohort_properties",
        "flags_by_key",
        "evaluation_cache",
        "device_id",
        "bucketing_value",
        "group_type_mapping",
        "groups",
        "group_properties",
        "property_matching_version",
    }
    bucketing = inspect.signature(official.resolve_bucketing_value).parameters
    assert list(bucketing) == ["flag", "distinct_id", "device_id"]
    for error in (official.InconclusiveMatchError, official.RequiresServerEvaluation):
        assert issubclass(error, Exception)


def match(properties: dict[str, Any], cohorts: dict[str, Any]) -> Any:
    return official.match_feature_flag_properties(
        FLAG,
        "ada",
        properties,
        cohort_properties=cohorts,
        flags_by_key={"beta": FLAG},
        evaluation_cache={},
        device_id=None,
        bucketing_value="ada",
        group_type_mapping={},
        groups={},
        group_properties={},
        property_matching_version=1,
    )


def test_the_results() -> None:
    assert match({"plan": "pro", "country": "NL"}, COHORTS) is True
    assert match({"plan": "pro", "country": "FR"}, COHORTS) is False
    with pytest.raises(official.InconclusiveMatchError):
        match({"country": "NL"}, COHORTS)
    with pytest.raises(official.RequiresServerEvaluation):
        match({"plan": "pro"}, {})
    assert official.resolve_bucketing_value({"filters": {}}, "ada", None) == "ada"
    with pytest.raises(official.InconclusiveMatchError):
        official.resolve_bucketing_value({"bucketing_identifier": "device_id"}, "ada", None)
