"""The limiter and a naive model of the server, driven together."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.errors import RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.limiter import KeyLimiter

from .helpers import NaiveServer, key_limiter, new_admission, operation, rate_limit_error, run

BOTH = operation("burst", "sustained")


@dataclass
class Scenario:
    """The arrival times, latencies and cancellations of a simulated run."""

    burst: tuple[int, float]
    hour: tuple[int, float]
    arrivals: list[float]
    seed: int
    slowest: float
    cancelled: float = 0.0
    unsent: float = 0.0
    went: list[int] = field(default_factory=list[int])


async def client(
    plan: Scenario, limits: KeyLimiter, server: NaiveServer, called: Operation
) -> None:
    """Send every request of a scenario at its arrival time."""
    chance = random.Random(plan.seed)

    async def one(number: int, arrival: float, there: float, back: float, fate: float) -> None:
        await anyio.sleep(arrival)
        with anyio.CancelScope() as scope:
            if fate < plan.cancelled:
                scope.deadline = anyio.current_time() + chance.uniform(0, 100)
            async with new_admission(limits, called) as attempt:
                if fate > 1.0 - plan.unsent:
                    await anyio.sleep(there)
                    plan.went.append(number)
                    return
                attempt.was_sent = True
                await anyio.sleep(there)
                refused = server.request()
                await anyio.sleep(back)
                assert refused is None, (anyio.current_time(), refused)
                await attempt.on_response(200)
                plan.went.append(number)

    async with anyio.create_task_group() as tasks:
        for number, arrival in enumerate(plan.arrivals):
            there, back = chance.uniform(0, plan.slowest), chance.uniform(0, plan.slowest)
            tasks.start_soon(one, number, arrival, there, back, chance.random())


async def scenario(plan: Scenario) -> None:
    limits = key_limiter(limits={"burst": plan.burst, "sustained": plan.hour})
    server = NaiveServer(plan.burst, plan.hour)
    await client(plan, limits, server, BOTH)
    assert server.refused == 0
    if not plan.cancelled:
        assert sorted(plan.went) == list(range(len(plan.arrivals)))  # no request is lost
    status = limits.status()
    for bucket in status.buckets.values():
        assert bucket.waiting == 0
    # Nothing stays in flight, and there is neither a leader nor a waiter.
    assert all(
        u.in_flight == 0
        for queue in limits._limiter.queues.values()
        for u in queue.windows.snapshot()
    )
    assert not limits.scheduler.queues
    assert limits.scheduler._leader is None


plans = st.builds(
    Scenario,
    burst=st.tuples(st.integers(1, 6), st.floats(1.0, 60.0)),
    hour=st.tuples(st.integers(1, 20), st.floats(10.0, 3600.0)),
    arrivals=st.lists(st.floats(0, 200), max_size=40),
    seed=st.integers(0, 2**32),
    slowest=st.floats(0, 80),
    cancelled=st.sampled_from([0.0, 0.0, 0.4]),
    unsent=st.sampled_from([0.0, 0.3]),
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(plan=plans)
@settings(max_examples=40, deadline=None)
def test_no_request_exceeds_the_limit_and_every_waiter_is_admitted(
    backend: str, plan: Scenario
) -> None:
    plan.went.clear()
    run(backend, scenario, plan)


async def saturated(burst: tuple[int, float], hour: tuple[int, float], seconds: float) -> float:
    """Return the fraction of the server's limit that unlimited demand uses."""
    limits = key_limiter(limits={"burst": burst, "sustained": hour})
    server, chance = NaiveServer(burst, hour), random.Random(1)

    async def work() -> None:
        while True:
            async with new_admission(limits, BOTH) as attempt:
                attempt.was_sent = True
                await anyio.sleep(chance.uniform(0.01, 0.2))
                assert server.request() is None
                await anyio.sleep(chance.uniform(0.01, 0.4))

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(work)
    granted = min(limit * seconds / span for limit, span in (burst, hour))
    return len(server.admitted) / granted


@pytest.mark.parametrize(
    ("backend", "burst", "hour"),
    [
        ("asyncio", (48, 60), (480, 3600)),
        ("trio", (24, 60), (120, 3600)),
        ("asyncio", (12, 60), (10**6, 3600)),
    ],
)
def test_the_whole_limit_is_used(
    backend: str, burst: tuple[int, float], hour: tuple[int, float]
) -> None:
    assert run(backend, saturated, burst, hour, 7200.0) >= 0.99


async def starving(seed: int) -> None:
    """Calls of several kinds share a window: each kind's longest wait is near the fair one."""
    limits = key_limiter(limits={"burst": (10, 60), "llm_prompt_publish_burst": (30, 60)})
    kinds = [operation("burst"), operation("burst", "llm_prompt_publish_burst")]
    chance, waits = random.Random(seed), dict[int, list[float]]()

    async def one(kind: int, arrival: float) -> None:
        await anyio.sleep(arrival)
        async with new_admission(limits, kinds[kind]) as attempt:
            attempt.was_sent = True
            waits.setdefault(kind, []).append(anyio.current_time() - arrival)

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(one, int(number % 10 == 0), chance.uniform(0, 600))
    assert len(waits[0]) == 180
    assert len(waits[1]) == 20
    assert abs(max(waits[0]) - max(waits[1])) <= 180


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_no_kind_of_call_starves(backend: str, seed: int) -> None:
    run(backend, starving, seed)


@dataclass
class Shared:
    """The result of sharing a key with another client."""

    ours: int = 0
    refused: int = 0
    theirs: int = 0


async def sharing(limit: int, part: float, seconds: float, seed: int) -> Shared:
    """Simulate unlimited demand beside another client that uses a part of the limit."""
    limits, server = key_limiter(limits={"burst": (limit, 60)}), NaiveServer((limit, 60))
    chance, result = random.Random(seed), Shared()
    called = operation("burst")

    async def other_client() -> None:
        while True:
            await anyio.sleep(chance.expovariate(part * limit / 60))
            result.theirs += server.request() is None

    async def work() -> None:
        while True:
            admission = new_admission(limits, called)
            try:
                async with admission as attempt:
                    attempt.was_sent = True
                    await anyio.sleep(chance.uniform(0.01, 0.2))
                    wait = server.request()
                    await anyio.sleep(chance.uniform(0.01, 0.3))
                    if wait is not None:
                        result.refused += 1
                        raise rate_limit_error(wait)
                    result.ours += 1
            except RateLimitError:
                continue

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other_client)
            await anyio.sleep(60)
            for _ in range(8):
                tasks.start_soon(work)
    return result


@pytest.mark.parametrize(("backend", "seed"), [("asyncio", 1), ("trio", 2)])
def test_another_client_uses_half_of_the_limit(backend: str, seed: int) -> None:
    seconds = 1500.0
    result = run(backend, sharing, 240, 0.5, seconds + 60, seed)
    rest = 240 * seconds / 60 - result.theirs * seconds / (seconds + 60)
    assert result.ours >= 0.9 * rest
    assert result.refused <= 0.02 * (result.ours + result.refused)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_another_client_uses_all_of_the_limit(backend: str) -> None:
    # Throttled again and again, the client respects every Retry-After and still makes progress.
    result = run(backend, sharing, 60, 3.0, 1800.0, 3)
    assert result.ours > 30
    assert result.refused <= 8 * 1800 / 2
