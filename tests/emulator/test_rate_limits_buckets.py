"""The server's buckets: their rates, and which of them a request is charged to."""

from __future__ import annotations

from typing import Any

import pytest

from asyncposthog import registry
from asyncposthog.operation import Operation
from posthog_emulator.rate_limits.rate_limits import (
    Caller,
    QueryPlan,
    Rate,
    RateLimits,
    Throttled,
    charged_buckets,
    costs,
)
from tests.helpers.manual_clock import ManualClock

ME = Caller("phx_me", team="1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_the_buckets_are_those_of_the_registry(clock: ManualClock) -> None:
    rate_limits = RateLimits(clock)
    assert rate_limits.rates["burst"] == Rate(480, 60)
    assert rate_limits.rates["sustained"] == Rate(4800, 3600)
    assert rate_limits.rates["organization_invite_burst"] == Rate(50, 3600, "organization")
    assert rate_limits.rates["feature_flag_remote_config"].requests == 600
    assert rate_limits.rates["batch_exports_count_rows_burst"].requests is None
    assert rate_limits.rates.keys() == registry.BUCKETS.keys()
    assert all(set(o.buckets) <= rate_limits.rates.keys() for o in registry.operations())


def test_throttled_requests_use_up_the_hour(clock: ManualClock) -> None:
    rate_limits = RateLimits(clock)
    answered = 0
    for _ in range(4800):
        answered += rate_limits.charge(("burst", "sustained"), ME) is None
    assert answered == 480
    clock.now += 60
    refusal = rate_limits.charge(("burst", "sustained"), ME)
    assert refusal == Throttled(("sustained",), 3540)


HOGQL = {"query": {"kind": "HogQLQuery", "query": "select 1"}}
TRENDS = {"query": {"kind": "TrendsQuery"}}
CURRENT = ("api_queries_burst", "api_queries_sustained")
CLICKHOUSE = ("clickhouse_burst", "clickhouse_sustained")


@pytest.mark.parametrize(
    ("operation", "body", "current", "legacy"),
    [
        ("query.create", HOGQL, CURRENT, ("query",)),
        ("query.create", TRENDS, CURRENT, CLICKHOUSE),
        ("query.create", None, CURRENT, CLICKHOUSE),
        ("query.create", [HOGQL], CURRENT, CLICKHOUSE),
        ("query.create", {"query": "select 1"}, CURRENT, CLICKHOUSE),
        ("query.run_kind", HOGQL, CURRENT, ("query",)),
        ("query.get", None, CURRENT, CLICKHOUSE),
        ("query.cancel", None, CURRENT, CLICKHOUSE),
        ("query.get_log", None, CURRENT, CLICKHOUSE),
        ("query.draft_sql", None, ("ai_burst", "ai_sustained"), ("ai_burst", "ai_sustained")),
        ("endpoints.run", HOGQL, CURRENT, CURRENT),
        ("cohorts.list", None, ("burst", "sustained"), ("burst", "sustained")),
        ("persons.list", None, ("clickhouse_burst",), ("clickhouse_burst",)),
    ],
)
def test_query_plans(
    operation: str, body: Any, current: tuple[str, ...], legacy: tuple[str, ...]
) -> None:
    plans: dict[QueryPlan, tuple[str, ...]] = {"current": current, "legacy": legacy}
    for plan, buckets in plans.items():
        assert charged_buckets(registry.find(operation), body, plan) == buckets


@pytest.mark.parametrize(
    ("body", "cost"),
    [([{}, {}, {}], 3), ([], 1), ({"target_email": "a"}, None), (None, None)],
)
def test_invitations_are_counted_one_by_one(body: Any, cost: int | None) -> None:
    operation: Operation = registry.find("organizations.invites.bulk_create")
    expected = {} if cost is None else dict.fromkeys(operation.buckets[:2], cost)
    assert costs(operation.buckets, body) == expected
    assert costs(("burst", "sustained"), body) == {}
