"""What a 429 teaches."""

from __future__ import annotations

import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.rate_limits.adaptive import (
    attribute,
    backoff,
    bounded,
    pace,
    seconds_until_share,
    share,
)
from asyncposthog.rate_limits.limits import Limit, Usage
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW

from .helpers import anyio_backend, budget, call, operation, passage, refusal, refused

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
        ((400, 50.0), (500, 3590.0), 30.0, 0),  # the minute is nearly full of ours
        ((400, 50.0), (500, 3590.0), 1000.0, 1),  # no minute is that long
        ((100, 50.0), (4000, 900.0), 30.0, 1),
        ((400, 20.0), (500, 3590.0), 40.0, 1),  # our oldest leaves the minute earlier than that
        ((400, 50.0), (2400, 900.0), 1.0, 0),
        ((40, 59.0), (2400, 900.0), 1.0, 1),
        ((0, 0.0), (0, 0.0), 10.0, 0),  # strangers only: the shorter one, for want of a reason
        ((1, 60.0), (2, 3590.0), 60.0, 0),
        ((400, 50.0), (500, 900.0), 3000.0, 1),  # fits none: the longest
    ],
)
def test_which_window_refused(
    minute: tuple[int, float], hour: tuple[int, float], retry_after: float, which: int
) -> None:
    usages = [usage(480, *minute), usage(4800, *hour)]
    assert attribute([MINUTE, HOUR], usages, retry_after) == which
    assert attribute([HOUR, MINUTE], usages[::-1], retry_after) == 1 - which


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
def test_absurd_waits(given: float | None, kept: float | None) -> None:
    assert bounded(given, 60.0) == kept


def test_backing_off() -> None:
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
    peak, full = max(1, int(part * limit)), pace(seconds, cycles)
    now = share(limit, peak, elapsed, full)
    assert 1 <= now <= limit
    assert now <= share(limit, peak, elapsed + 1.0, full)
    assert share(limit, peak, 50 * full, full) == limit


@given(limit=st.integers(21, 5000), part=st.floats(0.06, 1), ahead=st.integers(0, 50))
def test_it_is_known_when_a_share_grows(limit: int, part: float, ahead: int) -> None:
    peak, full = max(1, int(part * limit)), pace(60.0, 0)
    wanted = min(limit, share(limit, peak, 0.0, full) + 1 + ahead)
    moment = seconds_until_share(limit, peak, full, wanted)
    assert share(limit, peak, moment + 0.01, full) >= wanted
    assert moment <= 0 or share(limit, peak, moment * 0.99 - 0.1, full) <= wanted


@pytest.mark.anyio
async def test_a_429_closes_its_bucket_for_everyone() -> None:
    limits = budget()
    await refused(limits, operation("burst", "sustained"), 30.0)
    view = limits.view()
    assert (view["burst"].closed, view["sustained"].closed) == (30.0, 0.0)
    assert (view.refused, view.requests) == (1, 1)
    assert await call(limits, operation("sustained")) == 0.0
    assert await call(limits, operation("burst")) == 30.0


@pytest.mark.anyio
async def test_a_refusal_by_the_hour_closes_the_hour() -> None:
    limits = budget()
    await refused(limits, operation("burst", "sustained"), 1800.0)
    assert await call(limits, operation("burst")) == 0.0
    assert await call(limits, operation("sustained")) == 1800.0


@pytest.mark.anyio
async def test_the_siblings_of_a_bucket_that_refused_are_charged() -> None:
    limits = budget()
    await refused(limits, operation("burst", "sustained"), 5.0)
    assert limits.view()["burst"].used == 0
    assert limits.view()["sustained"].used == 1


@pytest.mark.anyio
async def test_those_who_wait_already_wait_longer() -> None:
    limits = budget(limits={"burst": (2, 60)})
    went: list[float] = []

    async def late() -> None:
        went.append(await call(limits, operation("burst")))

    await call(limits, operation("burst"))
    held = passage(limits, operation("burst"))
    async with anyio.create_task_group() as tasks:
        await held.__aenter__()
        held.was_sent = True
        tasks.start_soon(late)
        await anyio.sleep(1)
        await held.__aexit__(None, refusal(50.0), None)
        assert limits.view()["burst"].closed == 50.0
        assert not went
    assert went == [pytest.approx(STAY)]


@pytest.mark.anyio
async def test_without_a_time_it_backs_off_alone() -> None:
    limits = budget()
    called = operation("burst", "sustained")
    closed = []
    for _ in range(4):
        await refused(limits, called, None)
        closed.append(limits.view()["burst"].closed)
        await anyio.sleep(closed[-1])
    assert 0.25 <= closed[0] <= 0.5
    assert closed[-1] > closed[0]
    assert limits.view()["sustained"].closed == 0.0
    assert limits.view()["burst"].used == 4  # it may have been charged: nobody says
    await call(limits, called)
    await refused(limits, called, None)
    assert limits.view()["burst"].closed <= 0.5  # a success ends the row


@pytest.mark.anyio
@pytest.mark.parametrize("wait", [-5.0, 0.0, math.nan, math.inf])
async def test_nonsense_is_no_time(wait: float) -> None:
    limits = budget()
    await refused(limits, operation("burst"), wait)
    assert 0 < limits.view()["burst"].closed <= 0.5


@pytest.mark.anyio
async def test_a_week_is_cut_to_the_window() -> None:
    limits = budget()
    await refused(limits, operation("burst"), 604800.0)
    assert limits.view()["burst"].closed == 60.0


@pytest.mark.anyio
async def test_a_429_about_something_else_closes_nothing() -> None:
    limits = budget()
    called = operation("burst", "sustained")
    await refused(limits, called, None, code="too_many_concurrent_backfills")
    assert limits.view()["burst"].closed == 0
    assert limits.view()["burst"].used == 1
    await refused(limits, operation("burst", path="/elsewhere/"), 99.0)
    assert anyio.current_time() == 0


@pytest.mark.anyio
async def test_others_with_the_key_take_their_part() -> None:
    limits = budget()
    called = operation("burst")
    for _ in range(100):
        await call(limits, called)
    await refused(limits, called, 10.0)
    await anyio.sleep(10)
    burst = limits.view()["burst"]
    assert (burst.used, burst.share, burst.remaining) == (100, 96, 0)


@pytest.mark.anyio
async def test_a_single_refusal_does_not_keep_us_longer_than_asked() -> None:
    limits = budget()
    await call(limits, operation("burst"))
    await refused(limits, operation("burst"), 3.0)
    assert await call(limits, operation("burst")) == 3.0


@pytest.mark.anyio
async def test_we_come_back_when_the_others_are_gone() -> None:
    limits = budget()
    called = operation("burst")
    for _ in range(240):
        await call(limits, called)
    await refused(limits, called, 1.0)
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
