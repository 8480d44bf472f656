"""The limits that each operation counts against."""

from __future__ import annotations

import pytest

from asyncposthog import ConfigurationError
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.limits import (
    Bucket,
    buckets_for,
    default_buckets,
    depends_on_plan,
    needs_query_slot,
    parse_limits,
    validate_query_plan,
    validate_query_slots,
)
from asyncposthog.rate_limits.resolver import registered_operation
from asyncposthog.registry import BUCKETS, find, operations

from .helpers import operation

DEFAULT = ("burst", "sustained")
CLICKHOUSE = ("clickhouse_burst", "clickhouse_sustained")
QUERIES = ("api_queries_burst", "api_queries_sustained")

# Operation, buckets on the current plan, on the legacy plan with HogQL, and without.
TABLE = [
    ("feature_flags.list", DEFAULT, DEFAULT, DEFAULT),
    ("cohorts.create", DEFAULT, DEFAULT, DEFAULT),
    ("query.create", QUERIES, ("query",), CLICKHOUSE),
    ("query.run_kind", QUERIES, ("query",), CLICKHOUSE),
    ("query.get", QUERIES, CLICKHOUSE, CLICKHOUSE),
    ("query.cancel", QUERIES, CLICKHOUSE, CLICKHOUSE),
    ("query.get_log", QUERIES, CLICKHOUSE, CLICKHOUSE),
    ("query.draft_sql", ("ai_burst", "ai_sustained"), ("ai_burst", "ai_sustained"), None),
    ("endpoints.run", QUERIES, QUERIES, QUERIES),
    ("insights.get", CLICKHOUSE, CLICKHOUSE, CLICKHOUSE),
    ("events.list", CLICKHOUSE, CLICKHOUSE, CLICKHOUSE),
    ("persons.list", ("clickhouse_burst",), ("clickhouse_burst",), None),
    ("persons.delete", ("persons_delete_burst", "persons_delete_sustained"), None, None),
    ("feature_flags.local_evaluation", ("feature_flag_evaluations",), None, None),
    ("warehouse_saved_queries.run", ("saved_query",), None, None),
    (
        "organizations.invites.create",
        ("organization_invite_burst", "organization_invite_sustained", *DEFAULT),
        None,
        None,
    ),
]


def names(buckets: tuple[Bucket, ...]) -> tuple[str, ...]:
    return tuple(bucket.name for bucket in buckets)


@pytest.mark.parametrize(("id", "current", "legacy", "other"), TABLE)
def test_buckets_by_plan(
    id: str,
    current: tuple[str, ...],
    legacy: tuple[str, ...] | None,
    other: tuple[str, ...] | None,
) -> None:
    called = find(id)
    assert names(buckets_for(called)) == names(buckets_for(called, "auto")) == current
    assert names(buckets_for(called, "legacy")) == (legacy or current)
    assert names(buckets_for(called, "legacy", hogql=False)) == (other or legacy or current)


@pytest.mark.parametrize("plan", ["current", "legacy", "auto"])
def test_every_operation_has_known_buckets(plan: str) -> None:
    seen = 0
    for called in operations():
        buckets = buckets_for(called, validate_query_plan(plan))
        assert buckets, called.id
        assert len(set(names(buckets))) == len(buckets)
        for bucket in buckets:
            row = BUCKETS[bucket.name]
            assert bucket.requests == row["requests"] or row["requests"] is None
            assert (bucket.seconds, bucket.per) == (row["seconds"], row["per"])
        if plan != "legacy" or not depends_on_plan(called):
            assert names(buckets) == called.buckets
        seen += 1
    assert seen > 1000


def test_an_unpublished_rate_is_assumed_to_be_the_default() -> None:
    unknown = {name for name, row in BUCKETS.items() if row["requests"] is None}
    assert unknown
    for name in unknown:
        usual = "burst" if default_buckets()[name].seconds == 60 else "sustained"
        assert default_buckets()[name].requests == default_buckets()[usual].requests


def test_only_the_api_is_limited() -> None:
    assert buckets_for(operation(path="/batch/")) == ()
    assert buckets_for(operation(path="/flags/")) == ()


def test_every_operation_is_found_by_its_path() -> None:
    for called in operations():
        path = called.path.replace("{project_id}", "2").replace("{organization_id}", "o-1")
        for parameter in called.path_parameters:
            path = path.replace(f"{{{parameter.name}}}", "zz9")
        found = registered_operation(called.method, f"{path}?limit=3")
        assert found is not None, called.id
        assert (found.buckets, needs_query_slot(found)) == (
            called.buckets,
            needs_query_slot(called),
        ), called.id


@pytest.mark.parametrize(
    ("method", "path", "buckets"),
    [
        ("GET", "/api/environments/7/persons/", ("clickhouse_burst",)),
        ("GET", "/api/projects/7/persons", ("clickhouse_burst",)),
        ("GET", "/api/projects/@current/insights/", CLICKHOUSE),
        ("HEAD", "/api/projects/7/insights/", CLICKHOUSE),
        ("POST", "/api/projects/7/persons/bulk_delete/", find("persons.bulk_delete").buckets),
        ("POST", "/api/projects/7/persons/1/delete_events/", find("persons.delete_events").buckets),
        ("POST", "/api/projects/7/query/", QUERIES),
        ("DELETE", "/api/projects/7/query/abc/", QUERIES),
    ],
)
def test_ad_hoc_paths_are_recognised(method: str, path: str, buckets: tuple[str, ...]) -> None:
    found = registered_operation(method, path)
    assert found is not None
    assert found.buckets == buckets


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/7/nothing_like_it/",
        "/api/projects/7/persons/1/2/3/4/5/6/",
        "/api/projects/",
        "/api/nothing/",
        "/api/",
        "/",
        "/decide/",
        "/api/projects/7/__init__/",
        "/api/projects/7/../query/",
    ],
)
def test_unknown_paths_belong_to_nothing(path: str) -> None:
    assert registered_operation("PATCH", path) is None


def test_which_operations_need_a_query_slot() -> None:
    assert {called.id for called in operations() if needs_query_slot(called)} == {
        "query.create",
        "query.run_kind",
        "endpoints.run",
    }


def test_parse_limits() -> None:
    buckets = parse_limits({"burst": (960, 60), "query": [240, 1800.5]})
    assert buckets["burst"] == Bucket("burst", 960, 60.0)
    assert buckets["query"] == Bucket("query", 240, 1800.5)
    assert buckets["sustained"] == default_buckets()["sustained"]
    assert default_buckets()["burst"].requests == 480
    assert buckets_for(find("feature_flags.list"), buckets=buckets)[0].requests == 960
    assert parse_limits(None) == default_buckets()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"brust": (1, 60)}, "there is no bucket 'brust'.\nDid you mean 'burst'"),
        ({"zzz": (1, 60)}, "no bucket 'zzz'.\nThe most used ones are 'burst'"),
        ({7: (1, 60)}, "no bucket 7"),
        ({"burst": (0, 60)}, "0 requests would block every call"),
        ({"burst": (-5, 60)}, "-5 requests would block every call"),
        ({"burst": (5, 0)}, "not 0."),
        ({"burst": (5, -1.5)}, "not -1.5."),
        ({"burst": (5, float("nan"))}, "more than 0 seconds long, and at most a year, not nan"),
        ({"burst": (5, float("inf"))}, "at most a year, not inf"),
        ({"burst": (5, 1e300)}, "at most a year, not 1e+300"),
    ],
)
def test_limits_out_of_range(limits: object, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_limits(limits)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "limits",
    [
        [("burst", 5)],
        "burst",
        {"burst": 5},
        {"burst": (5,)},
        {"burst": (5, 60, 1)},
        {"burst": (5.0, 60)},
        {"burst": (True, 60)},
        {"burst": (5, "60")},
        {"burst": (5, True)},
    ],
)
def test_limits_of_the_wrong_type(limits: object) -> None:
    with pytest.raises(TypeError, match="limits"):
        parse_limits(limits)


def test_query_plan_and_query_slots_are_validated() -> None:
    with pytest.raises(ConfigurationError, match="'current', 'legacy' or 'auto', not 'old'"):
        validate_query_plan("old")
    with pytest.raises(ConfigurationError, match="1 or more, not 0"):
        validate_query_slots(0)
    for wrong in (2.0, "3", True, None):
        with pytest.raises(TypeError, match="must be an int"):
            validate_query_slots(wrong)
    assert validate_query_slots(20) == 20


def test_an_operation_without_a_registry_falls_to_the_default_pair() -> None:
    bare = Operation(id="request", method="GET", path="/api/projects/1/new_thing/")
    assert names(buckets_for(bare)) == DEFAULT
