"""One sliding window."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.rate_limits.adaptive import BACKOFF_FRACTION, MIN_SHARE_DIVISOR, max_probes
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW, SlidingWindow

STAY = 60.0 + CLOCK_SKEW


def fill(window: SlidingWindow, *moments: float) -> None:
    for moment in moments:
        window.in_flight += 1
        window.record(moment)


def test_capacity_until_the_limit_is_reached() -> None:
    window = SlidingWindow(60.0)
    fill(window, 0.0, 1.0)
    assert window.wait_seconds(2.0, 3) == 0.0
    window.in_flight += 1
    assert (
        window.wait_seconds(2.0, 3) == STAY - 2.0
    )  # the first one leaves before the one in flight
    usage = window.usage(2.0, 3)
    assert (usage.used, usage.in_flight, usage.remaining) == (2, 1, 0)
    assert window.wait_seconds(STAY, 3) == 0.0


def test_requests_in_flight_have_to_complete_first() -> None:
    window = SlidingWindow(60.0)
    window.in_flight = 2
    assert window.wait_seconds(0.0, 2) == math.inf
    window.in_flight -= 1
    assert window.wait_seconds(0.0, 2) == 0.0
    window.in_flight += 1
    window.record(7.0)
    assert window.wait_seconds(7.0, 2) == STAY


def test_a_request_counts_from_its_completion() -> None:
    window = SlidingWindow(60.0)
    window.in_flight += 1  # departed at 0
    window.record(5.0)
    assert window.wait_seconds(60.0 + CLOCK_SKEW, 1) == 5.0
    assert window.wait_seconds(65.0 + CLOCK_SKEW, 1) == 0.0


def test_a_slot_counts_only_in_flight() -> None:
    slot = SlidingWindow(0.0)
    slot.in_flight = 3
    assert slot.wait_seconds(0.0, 3) == math.inf
    slot.record(1.0)
    assert slot.wait_seconds(1.0, 3) == 0.0
    assert slot.usage(1.0, 3).used == 0
    assert slot.estimate_wait(1.0, 3, 100) == 0.0


def test_block() -> None:
    window = SlidingWindow(60.0)
    window.block(10.0, 5.0, adapt=False)
    window.block(11.0, 1.0, adapt=False)  # never shortens
    assert window.wait_seconds(11.0, 9) == 4.0
    assert window.usage(11.0, 9).blocked_for == 4.0
    assert window.usage(11.0, 9).remaining == 0
    assert window.wait_seconds(15.0, 9) == 0.0
    assert window.usage(15.0, 9).share == 9


def test_the_share_is_the_observed_capacity() -> None:
    window = SlidingWindow(60.0)
    fill(window, *[0.0] * 200)
    window.block(1.0, 2.0, adapt=True)
    assert window.usage(3.0, 480).share == 200 - BACKOFF_FRACTION * 200
    assert window.wait_seconds(3.0, 480) > 0
    shares = [window.usage(3.0 + t, 480).share for t in range(0, 55, 5)]
    assert shares == sorted(shares)
    assert window.is_contended(3.0)
    assert not window.is_contended(300.0)


def test_the_share_recovers_to_the_limit() -> None:
    window = SlidingWindow(60.0)
    fill(window, *[0.0] * 200)
    window.block(1.0, 2.0, adapt=True)
    now, used = 3.0, 0
    while used < 480:
        assert now < 300
        now += 1.0
        # Unlimited demand: all capacity is used.
        while window.wait_seconds(now, 480) == 0.0:
            fill(window, now)
        used = window.usage(now, 480).used
    assert window.usage(now, 480).share == 480


def test_the_share_does_not_grow_without_demand() -> None:
    window = SlidingWindow(60.0)
    fill(window, *[0.0] * 200)
    window.block(1.0, 2.0, adapt=True)
    for later in range(60, 6000, 60):
        assert window.wait_seconds(float(later), 480) == 0.0
    assert window.usage(6000.0, 480).share == 200


def test_accepted_requests_raise_the_observed_capacity() -> None:
    window = SlidingWindow(60.0)
    window.in_flight = 300
    window.block(1.0, 1.0, adapt=True)  # the first response of 300 is a 429
    for _ in range(240):
        window.record(1.5)
    assert window.usage(2.0, 480).share == 240 - math.ceil(BACKOFF_FRACTION * 240)


def test_few_requests_are_in_flight_near_capacity() -> None:
    window = SlidingWindow(60.0)
    fill(window, *[0.0] * 100)
    window.block(0.0, 1.0, adapt=True)
    fill(window, *[61.0] * 50)
    window.in_flight += 40
    assert window.wait_seconds(61.0, 240) == 0.0
    window.in_flight += 2
    assert window.wait_seconds(61.0, 240) == math.inf
    fill(window, *[61.0] * 42)
    window.in_flight = max_probes(240)
    assert window.wait_seconds(61.0, 240) == math.inf
    window.in_flight -= 1
    assert window.wait_seconds(61.0, 240) == 0.0


def test_the_share_has_a_minimum() -> None:
    window = SlidingWindow(60.0)
    window.block(0.0, 1.0, adapt=True)
    assert window.usage(1.0, 480).share == 480 // MIN_SHARE_DIVISOR
    single = SlidingWindow(60.0)
    single.block(0.0, 1.0, adapt=True)
    assert single.usage(1.0, 1).share == 1


def test_estimate_wait() -> None:
    window = SlidingWindow(60.0)
    fill(window, 0.0, 10.0, 20.0)
    window.in_flight += 1
    # Limit 5: one request fits, then completed ones leave, then the one in flight.
    assert [window.estimate_wait(30.0, 5, ahead) for ahead in range(6)] == [
        0.0,
        STAY - 30.0,
        STAY - 20.0,
        STAY - 10.0,
        STAY,
        STAY,
    ]
    assert window.estimate_wait(30.0, 5, 6) == STAY - 30.0 + STAY
    window.block(30.0, 100.0, adapt=False)
    assert window.estimate_wait(30.0, 5, 0) == 100.0


def test_is_idle() -> None:
    window = SlidingWindow(60.0)
    assert window.is_idle(0.0)
    fill(window, 0.0)
    assert not window.is_idle(1.0)
    assert window.is_idle(STAY)
    window.in_flight += 1
    assert not window.is_idle(STAY)
    window.record(STAY)
    window.block(STAY, 500.0, adapt=False)
    assert not window.is_idle(STAY + STAY)
    assert window.is_idle(STAY + 500.0)
    window.block(1000.0, 1.0, adapt=True)
    assert not window.is_idle(2000.0)


@given(
    limit=st.integers(1, 8),
    steps=st.lists(
        st.tuples(st.floats(0, 50), st.sampled_from(["take", "land", "drop", "close"])),
        max_size=60,
    ),
)
def test_waiting_as_long_as_told_is_enough(limit: int, steps: list[tuple[float, str]]) -> None:
    window, now = SlidingWindow(60.0), 0.0
    for seconds, step in steps:
        now += seconds
        if step == "take":
            wait = window.wait_seconds(now, limit)
            if math.isinf(wait):
                assert window.in_flight
                continue
            # Nothing else happened meanwhile: there is capacity then, and not before.
            if wait:
                assert window.wait_seconds(now + wait * 0.99, limit) > 0.0
            now += wait
            assert window.wait_seconds(now + 1e-9, limit) == 0.0
            window.in_flight += 1
        elif step == "close":
            window.block(now, seconds, adapt=False)
        elif window.in_flight:
            if step == "land":
                window.record(now)
            else:
                window.in_flight -= 1
        usage = window.usage(now, limit)
        assert usage.used + usage.in_flight <= limit
        assert usage.remaining >= 0
