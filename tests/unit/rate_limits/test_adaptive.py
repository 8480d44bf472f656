"""Reaction to a 429: blocked windows and adaptive shares."""

from __future__ import annotations

import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.rate_limits.adaptive import (
    allowed_requests,
    backoff,
    likely_window,
    recovery_seconds,
    seconds_until_share,
    valid_retry_after,
)
from asyncposthog.rate_limits.limits import Limit, Usage
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW

from .helpers import (
    anyio_backend,
    call,
    call_refused,
    key_limiter,
    new_admission,
    operation,
    rate_limit_error,
)

__all__ = ["anyio_backend"]

STAY = 60.0 + CLOCK_SKEW
MINUTE = Limit("h/k/burst", "burst", 480, 60.0)
HOUR = Limit("h/k/sustained", "sustained", 4800, 3600.0)


def usage(limit: int, used: int, reset: float = 0.0) -> Usage:
    return Usage(limit, limit, used, 0, reset, 0.0)


@pytest.mark.parametrize(
    ("minute", "hour", "retry_after", "which"),
    [
        # (our requests, seconds until the oldest leaves) in either window
        ((400, 50.0), (500, 3590.0), 30.0, 0),  # the minute is nearly full of our requests
        ((400, 50.0), (500, 3590.0), 1000.0, 1),  # no minute is that long
        ((100, 50.0), (4000, 900.0), 30.0, 1),
        ((400, 20.0), (500, 3590.0), 40.0, 1),  # our oldest leaves the minute earlier than that
        ((400, 50.0), (2400, 900.0), 1.0, 0),
        ((40, 59.0), (2400, 900.0), 1.0, 1),
        ((0, 0.0), (0, 0.0), 10.0, 0),  # only other clients: the shorter one
        ((1, 60.0), (2, 3590.0), 60.0, 0),
        ((400, 50.0), (500, 900.0), 3000.0, 1),  # fits none: the longest
    ],
)
def test_likely_window(
    minute: tuple[int, float], hour: tuple[int, float], retry_after: float, which: int
) -> None:
    usages = [usage(480, *minute), usage(4800, *hour)]
    assert likely_window([MINUTE, HOUR], usages, retry_after) == which
    assert likely_window([HOUR, MINUTE], usages[::-1], retry_after) == 1 - which


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (5.0, 5.0),
        (0.2, 0.2),
        (3600.0, 60.0),
        (604800.0, 60.0),
        (1e300, 60.0),
        (None, None),
        (0.0, None),
        (-7.0, None),
        (math.inf, None),
        (math.nan, None),
    ],
)
def test_valid_retry_after(given: float | None, kept: float | None) -> None:
    assert valid_retry_after(given, 60.0) == kept


def test_backoff_grows_and_is_bounded() -> None:
    waits = [backoff(n, 1.0) for n in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.5, 30.0)
    assert backoff(3, 0.0) == backoff(3, 1.0) / 2
    assert backoff(10**9, 0.5) <= 30.0


@given(
    limit=st.integers(1, 5000),
    part=st.floats(0, 1),
    seconds=st.sampled_from([0.0, 60.0, 3600.0, 86400.0]),
    cycles=st.integers(0, 9),
    elapsed=st.floats(0, 1e6),
)
def test_a_share_is_within_bounds_and_grows(
    limit: int, part: float, seconds: float, cycles: int, elapsed: float
) -> None:
    peak, full = max(1, int(part * limit)), recovery_seconds(seconds, cycles)
    now = allowed_requests(limit, peak, elapsed, full)
    assert 1 <= now <= limit
    assert now <= allowed_requests(limit, peak, elapsed + 1.0, full)
    assert allowed_requests(limit, peak, 50 * full, full) == limit


@given(limit=st.integers(21, 5000), part=st.floats(0.06, 1), ahead=st.integers(0, 50))
def test_seconds_until_share_matches_allowed_requests(limit: int, part: float, ahead: int) -> None:
    peak, full = max(1, int(part * limit)), recovery_seconds(60.0, 0)
    wanted = min(limit, allowed_requests(limit, peak, 0.0, full) + 1 + ahead)
    moment = seconds_until_share(limit, peak, full, wanted)
    assert allowed_requests(limit, peak, moment + 0.01, full) >= wanted
    assert moment <= 0 or allowed_requests(limit, peak, moment * 0.99 - 0.1, full) <= wanted


@pytest.mark.anyio
async def test_a_429_blocks_its_bucket_for_all_calls() -> None:
    limits = key_limiter()
    await call_refused(limits, operation("burst", "sustained"), 30.0)
    status = limits.status()
    assert (status["burst"].blocked_for, status["sustained"].blocked_for) == (30.0, 0.0)
    assert (status.throttled, status.requests) == (1, 1)
    assert await call(limits, operation("sustained")) == 0.0
    assert await call(limits, operation("burst")) == 30.0


@pytest.mark.anyio
async def test_a_429_of_the_hourly_limit_blocks_the_hour() -> None:
    limits = key_limiter()
    await call_refused(limits, operation("burst", "sustained"), 1800.0)
    assert await call(limits, operation("burst")) == 0.0
    assert await call(limits, operation("sustained")) == 1800.0


@pytest.mark.anyio
async def test_a_refused_request_counts_in_the_other_buckets() -> None:
    limits = key_limiter()
    await call_refused(limits, operation("burst", "sustained"), 5.0)
    assert limits.status()["burst"].used == 0
    assert limits.status()["sustained"].used == 1


@pytest.mark.anyio
async def test_a_429_prolongs_running_waits() -> None:
    limits = key_limiter(limits={"burst": (2, 60)})
    went: list[float] = []

    async def late() -> None:
        went.append(await call(limits, operation("burst")))

    await call(limits, operation("burst"))
    held = new_admission(limits, operation("burst"))
    async with anyio.create_task_group() as tasks:
        await held.__aenter__()
        held.was_sent = True
        tasks.start_soon(late)
        await anyio.sleep(1)
        await held.__aexit__(None, rate_limit_error(50.0), None)
        assert limits.status()["burst"].blocked_for == 50.0
        assert not went
    assert went == [pytest.approx(STAY)]


@pytest.mark.anyio
async def test_without_retry_after_one_bucket_backs_off() -> None:
    limits = key_limiter()
    called = operation("burst", "sustained")
    blocked = []
    for _ in range(4):
        await call_refused(limits, called, None)
        blocked.append(limits.status()["burst"].blocked_for)
        await anyio.sleep(blocked[-1])
    assert 0.25 <= blocked[0] <= 0.5
    assert blocked[-1] > blocked[0]
    assert limits.status()["sustained"].blocked_for == 0.0
    assert limits.status()["burst"].used == 4  # the server may have counted it
    await call(limits, called)
    await call_refused(limits, called, None)
    assert limits.status()["burst"].blocked_for <= 0.5  # a success resets the backoff


@pytest.mark.anyio
@pytest.mark.parametrize("wait", [-5.0, 0.0, math.nan, math.inf])
async def test_an_invalid_retry_after_blocks_briefly(wait: float) -> None:
    limits = key_limiter()
    await call_refused(limits, operation("burst"), wait)
    assert 0 < limits.status()["burst"].blocked_for <= 0.5


@pytest.mark.anyio
async def test_retry_after_is_capped_at_the_window() -> None:
    limits = key_limiter()
    await call_refused(limits, operation("burst"), 604800.0)
    assert limits.status()["burst"].blocked_for == 60.0


@pytest.mark.anyio
async def test_a_429_about_something_else_blocks_nothing() -> None:
    limits = key_limiter()
    called = operation("burst", "sustained")
    await call_refused(limits, called, None, code="too_many_concurrent_backfills")
    assert limits.status()["burst"].blocked_for == 0
    assert limits.status()["burst"].used == 1
    await call_refused(limits, operation("burst", path="/elsewhere/"), 99.0)
    assert anyio.current_time() == 0


@pytest.mark.anyio
async def test_the_share_shrinks_when_other_clients_use_the_key() -> None:
    limits = key_limiter()
    called = operation("burst")
    for _ in range(100):
        await call(limits, called)
    await call_refused(limits, called, 10.0)
    await anyio.sleep(10)
    burst = limits.status()["burst"]
    assert (burst.used, burst.share, burst.remaining) == (100, 96, 0)


@pytest.mark.anyio
async def test_one_429_blocks_no_longer_than_retry_after() -> None:
    limits = key_limiter()
    await call(limits, operation("burst"))
    await call_refused(limits, operation("burst"), 3.0)
    assert await call(limits, operation("burst")) == 3.0


@pytest.mark.anyio
async def test_the_share_recovers_when_other_clients_stop() -> None:
    limits = key_limiter()
    called = operation("burst")
    for _ in range(240):
        await call(limits, called)
    await call_refused(limits, called, 1.0)
    start, went = anyio.current_time(), 0
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            nonlocal went
            while True:
                await call(limits, called, latency=0.2)
                went += 1

        for _ in range(20):
            tasks.start_soon(work)
        await anyio.sleep(240)
        before = went
        await anyio.sleep(3 * STAY)
        assert went - before >= 3 * 480 * 0.98
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - start < 500
