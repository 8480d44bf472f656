"""Clocks that are set back, or whose sleep returns early."""

from __future__ import annotations

import pytest

from asyncposthog import testing
from asyncposthog.rate_limits.limiter import RateLimiter
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.transport.clock import SystemClock
from tests.helpers.manual_clock import ManualClock

from .helpers import BASE, KEY, anyio_backend, call, operation

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio


async def test_time_does_not_run_backwards() -> None:
    clock = ManualClock()
    monotonic = MonotonicClock(clock)
    assert monotonic.now() == 1000.0
    clock.now = 400.0
    assert monotonic.now() == 1000.0
    clock.now = 403.0
    assert monotonic.now() == 1003.0
    clock.now = 402.0
    assert monotonic.now() == 1003.0


async def test_a_clock_that_is_set_back_delays_by_one_window_at_most() -> None:
    clock = ManualClock()
    limits = RateLimiter(clock=clock, limits={"burst": (2, 60)}).for_key(BASE, KEY)
    called = operation("burst")
    await call(limits, called)
    clock.now -= 500.0
    await call(limits, called)
    await call(limits, called)
    assert sum(clock.slept) == pytest.approx(60.05)
    assert limits.status()["burst"].used == 1


@pytest.mark.parametrize("part", [0.0, 0.5])
async def test_a_sleep_that_returns_at_once_counts_as_done(part: float) -> None:
    clock = ManualClock(sleep_factor=part)
    limits = RateLimiter(clock=clock, limits={"burst": (3, 60)}).for_key(BASE, KEY)
    for _ in range(30):
        await call(limits, operation("burst"))
    assert sum(clock.slept) == pytest.approx(9 * 60.05)


async def test_limits_do_not_wait_within_testing() -> None:
    limits = RateLimiter(clock=SystemClock(), limits={"burst": (3, 60)}).for_key(BASE, KEY)
    with testing():
        for _ in range(20):
            await call(limits, operation("burst"))
    assert limits.requests == 20


async def test_a_sleep_that_ends_a_little_early_is_finished() -> None:
    clock = ManualClock(sleep_factor=0.99999)
    limits = RateLimiter(clock=clock, limits={"burst": (1, 60)}).for_key(BASE, KEY)
    for _ in range(2):
        await call(limits, operation("burst"))
    assert clock.now >= 1060.05
    assert len(clock.slept) <= 3
