"""Rate limits through the client's public interface."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import AsyncPostHog, ClosedError, ConfigurationError, PostHogError, RateLimitError
from asyncposthog.rate_limits.limiter import RateLimiter
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW
from posthog_emulator import Emulator
from tests.helpers.virtual_time import LoopClock

from .helpers import KEY, NaiveServer, anyio_backend

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
STAY = 60.0 + CLOCK_SKEW
FLAG = {"id": 1, "key": "k", "name": "n"}
HOGQL = {"kind": "HogQLQuery", "query": "select 1"}


class Wire:
    """A server that responds after a latency, and throttles like a model if it has one."""

    def __init__(
        self, *answers: Any, latency: float = 0.1, model: NaiveServer | None = None
    ) -> None:
        self.answers = list(answers)
        self.latency = latency
        self.model = model
        self.sent_at: list[float] = []
        self.requests: list[httpx.Request] = []
        self.running = self.max_running = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.sent_at.append(anyio.current_time())
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            await anyio.sleep(self.latency)
        finally:
            self.running -= 1
        if self.model is not None and (wait := self.model.request()) is not None:
            return throttled(wait)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer or httpx.Response(200, json=FLAG)


def throttled(wait: float | None, detail: str = "Request was throttled.") -> httpx.Response:
    body = {"type": "throttled_error", "code": "throttled", "detail": detail, "attr": None}
    return httpx.Response(429, json=body, headers={"Retry-After": str(wait)} if wait else {})


def client(wire: Wire, **settings: Any) -> AsyncPostHog:
    usual: dict[str, Any] = {
        "api_key": KEY,
        "project_id": 1,
        "transport": httpx.MockTransport(wire),
        "clock": LoopClock(),
        "limits": None,
    }
    if "limiter" not in settings:
        usual["limits"] = None
    return AsyncPostHog(**{**usual, **settings})


async def gather(*calls: Any) -> None:
    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(call)


async def test_no_request_is_answered_with_429() -> None:
    wire = Wire(model=NaiveServer((480, 60), (4800, 3600)))
    async with client(wire) as ph:
        await gather(*[lambda: ph.feature_flags.get(1)] * 1000)
        assert len(wire.requests) == 1000
        assert wire.model is not None
        assert wire.model.refused == 0
        assert max(wire.sent_at) == pytest.approx(2 * STAY, abs=1.0)
        status = ph.rate_limits
        assert (status.requests, status.retries, status.waits, status.throttled) == (
            1000,
            0,
            520,
            0,
        )
        assert status["burst"].used == 40
        assert status["sustained"].used == 1000


async def test_configured_limits() -> None:
    wire = Wire()
    async with client(wire, limits={"burst": (2, 10)}) as ph:
        await gather(*[lambda: ph.feature_flags.get(1)] * 3)
        assert wire.sent_at == [0, 0, pytest.approx(10.15)]
        assert ph.rate_limits["burst"].limit == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"limits": {"burst": (0, 60)}}, "would block every call"),
        ({"limits": {"bursts": (1, 60)}}, "there is no bucket 'bursts'"),
        ({"query_plan": "new"}, "query_plan must be"),
        ({"query_slots": -1}, "query_slots must be 1 or more"),
        ({"limiter": RateLimiter(), "query_slots": 2}, "together with limits"),
        ({"limiter": RateLimiter(), "limits": {"burst": (1, 60)}}, "together with limits"),
    ],
)
async def test_invalid_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client(Wire(), **settings)
    assert said in str(caught.value)


async def test_a_limiter_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="limiter must be a RateLimiter, not str"):
        client(Wire(), limiter="redis")


async def test_copies_share_the_limits_of_their_key() -> None:
    wire = Wire(latency=0)
    async with client(wire, limits={"burst": (2, 60)}) as ph:
        await ph.feature_flags.get(1)
        await ph.with_options(timeout=5, project_id=2).feature_flags.get(1)
        assert ph.with_options(strict=True).rate_limits["burst"].used == 2
        other = ph.with_options(api_key="phx_other")
        assert not other.rate_limits.buckets
        await other.feature_flags.get(1)
        assert other.rate_limits["burst"].used == 1
        await ph.feature_flags.get(1)
    assert wire.sent_at == [0, 0, 0, STAY]


async def test_clients_may_share_a_limiter() -> None:
    limiter = RateLimiter(limits={"burst": (1, 60)}, clock=LoopClock())
    wire = Wire(latency=0)
    async with client(wire, limiter=limiter) as ph:
        await ph.feature_flags.get(1)
    async with client(wire, limiter=limiter) as ph:
        await ph.feature_flags.get(1)
    assert wire.sent_at == [0, STAY]


async def test_rate_limits_before_any_request() -> None:
    ph = client(Wire())
    assert str(ph.rate_limits).endswith(
        "0 requests, 0 of them retries; 0 waited; 0 throttled (429)"
    )
    await ph.aclose()


async def test_a_limit_that_was_not_used_yet_has_zero_usage() -> None:
    async with client(Wire(), limits={"burst": (7, 60)}, query_slots=2) as ph:
        burst = ph.rate_limits["burst"]
        assert (burst.limit, burst.seconds, burst.used, burst.remaining) == (7, 60, 0, 7)
        assert (burst.share, burst.reset, burst.waiting, burst.blocked_for) == (7, 0, 0, 0)
        assert ph.rate_limits["slots of project 1"].remaining == 2
        assert ph.rate_limits["health_issue_refresh of project 2"].limit == 1
        assert list(ph.rate_limits) == []
        await ph.feature_flags.get(1)
        assert ph.rate_limits["burst"].used == 1
        assert ph.rate_limits["query"].used == 0


async def test_an_unknown_limit_lists_those_there_are() -> None:
    async with client(Wire()) as ph:
        with pytest.raises(KeyError, match="did you mean 'burst'") as caught:
            ph.rate_limits["brust"]
        assert "api_queries_burst" in str(caught.value)
        with pytest.raises(KeyError, match="use 'slots of project 1'"):
            ph.rate_limits["slots"]
        with pytest.raises(KeyError, match="no rate limit 'burst of project 1'"):
            ph.rate_limits["burst of project 1"]


async def test_rate_limits_of_an_emulated_client() -> None:
    async with AsyncPostHog.emulated() as ph:
        await ph.cohorts.list(limit=1)
        assert ph.rate_limits["burst"].remaining == ph.rate_limits["burst"].limit == 480
        assert str(ph.rate_limits) == (
            "Rate limits are off (limits=False): requests are not counted."
        )
    async with AsyncPostHog.emulated(Emulator(rate_limits=True)) as ph:
        await ph.cohorts.list(limit=1)
        assert ph.rate_limits["burst"].used == 1


async def test_a_deadline_that_cannot_be_met_fails_at_once() -> None:
    wire = Wire(latency=0)
    async with client(wire, limits={"burst": (1, 60)}) as ph:
        await ph.feature_flags.get(1)
        with pytest.raises(RateLimitError) as caught:
            await ph.feature_flags.get(7, options={"deadline": 20})
        assert anyio.current_time() == 0
        assert caught.value.retry_after == pytest.approx(STAY)
        assert "GET /api/projects/1/feature_flags/7/" in str(caught.value)
        assert [a.number for a in caught.value.attempts] == [1]
        await ph.feature_flags.get(7, options={"deadline": 61})
    assert len(wire.requests) == 2


async def test_waiting_leaves_the_attempt_its_time() -> None:
    wire = Wire(latency=4)
    async with client(wire, limits={"burst": (1, 60)}, timeout=5) as ph:
        await ph.feature_flags.get(1)
        await ph.feature_flags.get(1)
    assert wire.sent_at == [0, 4 + STAY]


async def test_a_429_delays_all_calls() -> None:
    wire = Wire(throttled(7), latency=0)
    async with client(wire) as ph:

        async def later() -> None:
            await anyio.sleep(1)
            await ph.feature_flags.get(2)

        await gather(lambda: ph.feature_flags.get(1), later)
        assert wire.sent_at == [0, 7, 7]
        assert [r.url.path[-3:] for r in wire.requests] == ["/1/", "/1/", "/2/"]
        status = ph.rate_limits
        assert (status.requests, status.retries, status.throttled) == (3, 1, 1)


async def test_a_request_that_was_not_sent_does_not_count() -> None:
    wire = Wire(httpx.ConnectError("no route"), httpx.ReadError("reset"), latency=0)
    async with client(wire) as ph:
        await ph.feature_flags.get(1)
        assert len(wire.requests) == 3
        assert ph.rate_limits["burst"].used == 2


async def test_a_response_of_a_caching_middleware_does_not_count() -> None:
    async def cache(request: httpx.Request, call_next: Any) -> httpx.Response:
        return httpx.Response(200, json=FLAG)

    async with client(Wire(), limits={"burst": (1, 60)}, middleware=[cache]) as ph:
        for _ in range(5):
            await ph.feature_flags.get(1)
    assert anyio.current_time() == 0


async def test_a_streamed_response_counts_from_its_headers() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        await anyio.sleep(100)
        yield b"{}"

    wire = Wire(httpx.Response(200, content=slowly()), latency=1)
    async with client(wire, limits={"burst": (1, 60)}) as ph:
        async with ph.stream(ph.feature_flags.get, 1) as answer:
            assert [piece async for piece in answer.aiter_bytes()] == [b"{}"]
        assert anyio.current_time() == 101
        await ph.feature_flags.get(1)
    assert wire.sent_at == [0, 101]


async def test_three_queries_at_a_time() -> None:
    wire = Wire(latency=10)
    async with client(wire) as ph:
        await gather(
            *[lambda: ph.request("POST", "/api/projects/{project_id}/query/", body={})] * 7
        )
        assert (wire.max_running, anyio.current_time()) == (3, 30)
        assert ph.rate_limits["slots of project 1"].used == 0
        await gather(*[lambda: ph.feature_flags.get(1)] * 7)
        assert wire.max_running == 7


async def test_a_query_slot_is_held_during_retries() -> None:
    wire = Wire(httpx.Response(500), httpx.Response(500), latency=1)
    body = {"query": HOGQL}
    async with client(wire, query_slots=1) as ph:

        async def query(name: str) -> None:
            await ph.raw(ph.query.create, query=HOGQL, name=name)

        await gather(lambda: query("first"))
        wire.answers = [httpx.Response(500), httpx.Response(500)]
        wire.requests.clear()

        async def second() -> None:
            await anyio.sleep(0.5)
            await query("second")

        await gather(lambda: query("first"), second)
    sent = [json.loads(request.content)["name"] for request in wire.requests]
    assert sent == ["first", "first", "first", "second"]
    assert body["query"] == HOGQL


async def test_a_query_slot_is_released_on_error_and_cancellation() -> None:
    wire = Wire(httpx.Response(400, json={"detail": "no"}), latency=1)
    async with client(wire, query_slots=1) as ph:
        with pytest.raises(PostHogError):
            await ph.raw(ph.query.create, query=HOGQL)
        with anyio.move_on_after(0.5):
            await ph.raw(ph.query.create, query=HOGQL)
        await ph.raw(ph.query.create, query=HOGQL)
        assert anyio.current_time() == 2.5
        assert ph.rate_limits["slots of project 1"].used == 0


async def test_a_query_has_time_for_the_servers_own_queue() -> None:
    wire = Wire(latency=80)
    async with client(wire) as ph:
        await ph.raw(ph.query.create, query=HOGQL)
        assert wire.requests[-1].extensions["timeout"]["read"] == 90
        assert wire.requests[-1].extensions["timeout"]["connect"] == 10
        with pytest.raises(PostHogError, match="within the timeout of 60 s"):
            await ph.with_options(max_retries=0).feature_flags.get(1)
        assert wire.requests[-1].extensions["timeout"]["read"] == 60
        patient = ph.with_options(timeout=None)
        await patient.raw(patient.query.create, query=HOGQL)
        assert wire.requests[-1].extensions["timeout"]["read"] is None


async def test_a_429_about_concurrent_queries_of_other_clients() -> None:
    detail = "Exceeded maximum concurrency limit: 3 for key: api:query:per-team:1 and task: x"
    wire = Wire(throttled(None, detail), latency=1)
    async with client(wire) as ph:
        await ph.raw(ph.query.create, query=HOGQL)
        assert len(wire.requests) == 2
        assert ph.rate_limits.throttled == 1
        assert ph.rate_limits["api_queries_burst"].blocked_for == 0
        assert ph.rate_limits["api_queries_burst"].used == 2


async def test_closing_the_client_ends_waits() -> None:
    wire = Wire(latency=0)
    ended: list[float] = []
    async with client(wire, limits={"burst": (1, 60)}, query_slots=1) as ph:
        await ph.feature_flags.get(1)

        async def waits(call: Any) -> None:
            with pytest.raises(ClosedError):
                await call()
            ended.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            wire.latency = 1000
            tasks.start_soon(waits, lambda: ph.feature_flags.get(1))
            tasks.start_soon(waits, lambda: ph.raw(ph.query.create, query=HOGQL))
            tasks.start_soon(waits, lambda: ph.raw(ph.query.create, query=HOGQL))
            await anyio.sleep(5)
            await ph.aclose(cancel=True)
    assert ended == [5, 5, 5]


async def test_no_limits() -> None:
    wire = Wire(latency=0)
    async with client(wire, limits=False) as ph:
        await gather(*[lambda: ph.feature_flags.get(1)] * 1000)
    assert set(wire.sent_at) == {0}


async def test_a_block_longer_than_max_retry_after_fails_waiters() -> None:
    wire = Wire(throttled(3000), latency=2)
    ended: list[tuple[float, float | None]] = []
    async with client(wire, limits={"burst": (1, 60)}) as ph:

        async def fails(delay: float) -> None:
            await anyio.sleep(delay)
            with pytest.raises(RateLimitError) as caught:
                await ph.feature_flags.get(1)
            ended.append((anyio.current_time(), caught.value.retry_after))
            assert "max_retry_after (120 s)" in str(caught.value)

        async def patient() -> None:
            await ph.with_options(max_retry_after=4000).feature_flags.get(1)
            ended.append((anyio.current_time(), None))

        async def later() -> None:
            # Once the rest of the block is shorter than max_retry_after, the call waits.
            await anyio.sleep(2900)
            await ph.feature_flags.get(1)
            ended.append((anyio.current_time(), None))

        await gather(*[partial(fails, delay) for delay in (0, 1, 1, 500)], patient, later)
    assert ended[:3] == [(2, 3000)] * 3
    assert ended[3] == (500, pytest.approx(2502))
    assert [moment for moment, _ in ended[4:]] == [3004, pytest.approx(3066, abs=0.2)]
    assert len(wire.requests) == 3


async def test_a_prolonged_block_ends_the_wait() -> None:
    wire = Wire(throttled(100), throttled(500), latency=2)
    ended: list[tuple[float, list[int | None]]] = []
    async with client(wire, limits={"burst": (2, 60)}) as ph:

        async def fails(delay: float) -> None:
            await anyio.sleep(delay)
            with pytest.raises(RateLimitError) as caught:
                await ph.feature_flags.get(1)
            ended.append((anyio.current_time(), [a.status for a in caught.value.attempts]))

        await gather(*[partial(fails, delay) for delay in (0, 1, 2.5)])
    assert ended == [(3, [429]), (3, [None]), (102, [429, None])]
    assert len(wire.requests) == 2
