"""Rate limits as a client observes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from math import ceil
from typing import Any, cast

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthog_emulator import Emulator

from . import widget_api
from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio

COHORTS = "/api/projects/1/cohorts/"
QUERY = "/api/projects/1/query/"
HOGQL = {"query": {"kind": "HogQLQuery", "query": "select 1"}}
TRENDS = {"query": {"kind": "TrendsQuery", "series": []}}


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def emulator(time: VirtualTime) -> Iterator[Emulator]:
    emulator = Emulator(rate_limits=True, clock=time.clock, sleep=time.sleep)
    yield emulator
    emulator.close()


@pytest.fixture
async def http(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(emulator) as http:
        yield http


def used(emulator: Emulator, subject: str | int = "phx_emulator") -> dict[str, int]:
    return {bucket: usage.used for bucket, usage in emulator.rate_limits.usage(subject).items()}


async def test_off_by_default(connect: Callable[..., httpx.AsyncClient]) -> None:
    emulator = Emulator()
    emulator.rate_limits.override("burst", 1, 1)
    async with connect(emulator) as http:
        assert [(await http.get(COHORTS)).status_code for _ in range(3)] == [200] * 3
        assert used(emulator) == {}
        emulator.settings.rate_limits = True
        assert [(await http.get(COHORTS)).status_code for _ in range(3)] == [200, 429, 429]
        emulator.settings.rate_limits = False
        assert (await http.get(COHORTS)).status_code == 200


async def test_the_481st_request_of_a_minute(
    emulator: Emulator, http: httpx.AsyncClient, time: VirtualTime
) -> None:
    for _ in range(480):
        assert (await http.get(COHORTS)).status_code == 200
    time.now += 22.5
    answer = await http.get(COHORTS)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "38"
    assert answer.json() == {
        "type": "throttled_error",
        "code": "throttled",
        "detail": "Request was throttled. Expected available in 38 seconds.",
        "attr": None,
    }
    assert not [name for name in answer.headers if "ratelimit" in name]
    assert used(emulator) == {"burst": 480, "sustained": 481}
    time.now += 37
    last = await http.get(COHORTS)
    assert last.headers["retry-after"] == "1"
    assert last.json()["detail"] == "Request was throttled. Expected available in 1 second."
    time.now += 1
    assert (await http.get(COHORTS)).status_code == 200
    assert used(emulator) == {"burst": 1, "sustained": 483}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40).map(lambda n: n / 2), max_size=40))
async def test_any_series_of_requests(pauses: list[float]) -> None:
    time = VirtualTime()
    emulator = Emulator(
        widget_api.OPERATIONS, widget_api.SCHEMAS, rate_limits=True, clock=time.clock
    )
    limits = {"burst": (2, 10), "sustained": (5, 100)}
    for bucket, (requests, seconds) in limits.items():
        emulator.rate_limits.override(bucket, 1, requests, seconds)
    history: dict[str, list[float]] = {bucket: [] for bucket in limits}
    headers = {"Authorization": f"Bearer {emulator.key}"}
    async with httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=headers
    ) as http:
        for pause in pauses:
            time.now += pause
            waits: list[float] = []
            for bucket, (requests, seconds) in limits.items():
                recent = [t for t in history[bucket] if t > time.now - seconds]
                if len(recent) < requests:
                    recent.append(time.now)
                else:
                    waits.append(recent[0] + seconds - time.now)
                history[bucket] = recent
            answer = await http.get("/api/projects/1/widgets/")
            expected = str(ceil(max(waits))) if waits else None
            assert answer.headers.get("retry-after") == expected
            assert answer.status_code == (429 if waits else 200)


async def test_a_key_has_one_budget_for_all_projects_and_two_keys_have_two(
    emulator: Emulator, http: httpx.AsyncClient, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.add_project(2)
    emulator.add_key("phx_second")
    for project in (1, 2):
        emulator.rate_limits.override("burst", project, 2)
    paths = (COHORTS, COHORTS.replace("1", "2"), COHORTS)
    assert [(await http.get(path)).status_code for path in paths] == [200, 200, 429]
    async with connect(emulator, "phx_second") as second:
        assert (await second.get(COHORTS)).status_code == 200
    assert used(emulator, "phx_second") == {"burst": 1, "sustained": 1}


async def test_environments_share_the_limits(emulator: Emulator, http: httpx.AsyncClient) -> None:
    await http.get("/api/environments/1/cohorts/")
    await http.get("/api/projects/@current/cohorts/")
    assert used(emulator) == {"burst": 2, "sustained": 2}


async def test_a_bucket_of_a_project(
    emulator: Emulator, http: httpx.AsyncClient, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.add_key("phx_second")
    emulator.rate_limits.override("subscription_test_delivery", 1, 1)
    path = "/api/projects/1/subscriptions/1/test-delivery/"
    assert (await http.post(path)).status_code != 429
    async with connect(emulator, "phx_second") as second:
        refused = await second.post(path)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert used(emulator, 1) == {"subscription_test_delivery": 1}
    assert used(emulator) == {}


async def test_a_bucket_of_one_resource(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.rate_limits.override("saved_query", 1, 1)
    first, second = (item["id"] for item in emulator.seed("warehouse_saved_queries", 2))

    async def run(id: str) -> int:
        path = f"/api/projects/1/warehouse_saved_queries/{id}/run/"
        return (await http.post(path)).status_code

    assert await run(first) == await run(second) == 200
    assert await run(first) == 429
    assert used(emulator, f"1_{first}") == {"saved_query": 1}


async def test_a_bucket_of_a_user(emulator: Emulator, http: httpx.AsyncClient) -> None:
    path = f"{QUERY}draft_sql/"
    answers = [await http.get(path, params={"prompt": "x"}) for _ in range(11)]
    assert [a.status_code for a in answers] == [200] * 10 + [429]
    assert used(emulator, "1") == {"ai_burst": 10, "ai_sustained": 11}


async def test_a_bucket_of_an_organization_counts_invitations(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    path = f"/api/organizations/{emulator.organization_id}/invites/"
    await http.post(path, json={"target_email": "a@example.com"})
    await http.post(f"{path}bulk/", json=[{"target_email": "a@example.com"}] * 20)
    assert used(emulator, emulator.organization_id) == {
        "organization_invite_burst": 21,
        "organization_invite_sustained": 21,
    }
    assert used(emulator) == {"burst": 2, "sustained": 2}


async def test_a_bucket_of_unknown_rate(emulator: Emulator, http: httpx.AsyncClient) -> None:
    path = "/api/projects/1/file_download_batch_exports/count_rows/"
    for _ in range(3):
        assert (await http.post(path, json={})).status_code != 429
    assert used(emulator, 1) == used(emulator) == {}


@pytest.mark.parametrize(
    ("plan", "method", "path", "body", "buckets"),
    [
        ("current", "POST", QUERY, HOGQL, {"api_queries_burst", "api_queries_sustained"}),
        ("current", "GET", f"{QUERY}x/", None, {"api_queries_burst", "api_queries_sustained"}),
        ("legacy", "POST", QUERY, HOGQL, {"query"}),
        ("legacy", "POST", QUERY, TRENDS, {"clickhouse_burst", "clickhouse_sustained"}),
        ("legacy", "DELETE", f"{QUERY}x/", None, {"clickhouse_burst", "clickhouse_sustained"}),
    ],
)
async def test_what_queries_are_charged_to(
    emulator: Emulator,
    http: httpx.AsyncClient,
    plan: Any,
    method: str,
    path: str,
    body: Any,
    buckets: set[str],
) -> None:
    emulator.settings.query_plan = plan
    await http.request(method, path, json=body)
    assert set(used(emulator)) == buckets


async def test_running_polling_and_cancelling_share_a_limit(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.rate_limits.override("api_queries_burst", 1, 2)
    await http.post(QUERY, json=HOGQL)
    await http.get(f"{QUERY}x/")
    assert (await http.delete(f"{QUERY}x/")).status_code == 429


async def test_a_team_with_a_rate_of_its_own_for_queries(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.settings.query_plan = "legacy"
    emulator.rate_limits.override("query", 1, 1, 86400)
    answers = [await http.post(QUERY, json=HOGQL) for _ in range(2)]
    assert answers[1].headers["retry-after"] == "86400"


def test_unknown_query_plan(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="query_plan must be"):
        emulator.settings.query_plan = cast("Any", "new")


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "charged"),
    [
        ("GET", "/api/projects/1/nothing/", {}, 404, False),
        ("GET", "/api/projects/99/cohorts/", {}, 404, False),
        ("GET", COHORTS, {"headers": {"Authorization": "Bearer phx_x"}}, 401, False),
        ("GET", COHORTS, {"headers": {"Authorization": "Bearer phx_weak"}}, 403, False),
        ("GET", f"{COHORTS}99/", {}, 404, True),
        ("DELETE", f"{COHORTS}99/", {}, 405, True),
        ("PUT", COHORTS, {}, 405, True),
        ("GET", COHORTS, {"params": {"x": "1"}}, 400, True),
        ("POST", COHORTS, {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400,
         True),
    ],
)  # fmt: skip
async def test_which_errors_are_charged(
    emulator: Emulator,
    http: httpx.AsyncClient,
    method: str,
    path: str,
    more: dict[str, Any],
    status: int,
    charged: bool,
) -> None:
    emulator.add_key("phx_weak", scopes=["person:read"])
    assert (await http.request(method, path, **more)).status_code == status
    expected = {"burst": 1, "sustained": 1} if charged else {}
    assert used(emulator) == expected
    assert used(emulator, "phx_weak") == {}


async def test_a_throttled_request_changes_nothing(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.rate_limits.override("burst", 1, 1)
    for name in ("a", "b"):
        await http.post(COHORTS, json={"name": name})
    assert [item["name"] for item in emulator.items("cohorts")] == ["a"]
    assert emulator.requests[-1].status == 429
    assert emulator.requests[-1].operation == "cohorts.create"


async def test_a_proxy_may_hide_the_envelope(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.rate_limits.override("burst", 1, 1)
    emulator.settings.html_errors = True
    answers = [await http.get(COHORTS) for _ in range(2)]
    assert answers[1].status_code == 429
    assert answers[1].headers["content-type"] == "text/html"


async def test_another_client_with_the_same_key(
    emulator: Emulator, http: httpx.AsyncClient, time: VirtualTime
) -> None:
    emulator.simulate_other_client("burst", "sustained", share=0.5)
    time.now += 59
    # Half of 4,800 an hour is one every 1.5 s.
    assert used(emulator) == {"burst": 40, "sustained": 40}
    statuses = [(await http.get(COHORTS)).status_code for _ in range(441)]
    assert statuses == [200] * 440 + [429]
    emulator.simulate_other_client("burst", "sustained", share=0)
    time.now += 60
    assert used(emulator)["burst"] == 0


async def test_another_client_with_another_key_or_project(emulator: Emulator) -> None:
    emulator.simulate_other_client("burst", key="phx_other")
    emulator.simulate_other_client("subscription_test_delivery", project_id=2)
    assert used(emulator, "phx_other") == {"burst": 1}
    assert used(emulator, 2) == {"subscription_test_delivery": 1}
    assert used(emulator) == used(emulator, 1) == {}


async def test_reset_clears_usage(emulator: Emulator, http: httpx.AsyncClient) -> None:
    await http.get(COHORTS)
    emulator.reset()
    assert used(emulator) == {}
