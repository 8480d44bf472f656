"""One window: a log of moments, as the server keeps it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.rate_limits.adaptive import DROP, LEAST, max_probes
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW, Window

STAY = 60.0 + CLOCK_SKEW


def fill(window: Window, *moments: float) -> None:
    for moment in moments:
        window.flying += 1
        window.land(moment)


def test_a_place_is_free_until_the_limit_is_reached() -> None:
    window = Window(60.0)
    fill(window, 0.0, 1.0)
    assert window.wait(2.0, 3) == 0.0
    window.flying += 1
    assert window.wait(2.0, 3) == STAY - 2.0  # the first one leaves before the one in flight
    usage = window.usage(2.0, 3)
    assert (usage.used, usage.flying, usage.remaining) == (2, 1, 0)
    assert window.wait(STAY, 3) == 0.0


def test_what_is_in_flight_has_to_land_first() -> None:
    window = Window(60.0)
    window.flying = 2
    assert window.wait(0.0, 2) == math.inf
    window.flying -= 1
    assert window.wait(0.0, 2) == 0.0
    window.flying += 1
    window.land(7.0)
    assert window.wait(7.0, 2) == STAY


def test_it_counts_from_the_answer_not_from_the_departure() -> None:
    window = Window(60.0)
    window.flying += 1  # departed at 0
    window.land(5.0)
    assert window.wait(60.0 + CLOCK_SKEW, 1) == 5.0
    assert window.wait(65.0 + CLOCK_SKEW, 1) == 0.0


def test_a_slot_counts_only_in_flight() -> None:
    slot = Window(0.0)
    slot.flying = 3
    assert slot.wait(0.0, 3) == math.inf
    slot.land(1.0)
    assert slot.wait(1.0, 3) == 0.0
    assert slot.usage(1.0, 3).used == 0
    assert slot.forecast(1.0, 3, 100) == 0.0


def test_closing() -> None:
    window = Window(60.0)
    window.close(10.0, 5.0, learn=False)
    window.close(11.0, 1.0, learn=False)  # never shortens
    assert window.wait(11.0, 9) == 4.0
    assert window.usage(11.0, 9).closed == 4.0
    assert window.usage(11.0, 9).remaining == 0
    assert window.wait(15.0, 9) == 0.0
    assert window.usage(15.0, 9).share == 9


def test_others_leave_us_what_we_held_when_the_server_refused() -> None:
    window = Window(60.0)
    fill(window, *[0.0] * 200)
    window.close(1.0, 2.0, learn=True)
    assert window.usage(3.0, 480).share == 200 - DROP * 200
    assert window.wait(3.0, 480) > 0
    shares = [window.usage(3.0 + t, 480).share for t in range(0, 55, 5)]
    assert shares == sorted(shares)
    assert window.is_contended(3.0)
    assert not window.is_contended(300.0)


def test_a_share_grows_until_nothing_is_held_back() -> None:
    window = Window(60.0)
    fill(window, *[0.0] * 200)
    window.close(1.0, 2.0, learn=True)
    now, used = 3.0, 0
    while used < 480:
        assert now < 300
        now += 1.0
        # Demand without end: whatever is let go is taken.
        while window.wait(now, 480) == 0.0:
            fill(window, now)
        used = window.usage(now, 480).used
    assert window.usage(now, 480).share == 480


def test_a_share_does_not_grow_while_nothing_is_asked_for() -> None:
    window = Window(60.0)
    fill(window, *[0.0] * 200)
    window.close(1.0, 2.0, learn=True)
    for later in range(60, 6000, 60):
        assert window.wait(float(later), 480) == 0.0
    assert window.usage(6000.0, 480).share == 200


def test_what_the_server_lets_through_is_ours() -> None:
    window = Window(60.0)
    window.flying = 300
    window.close(1.0, 1.0, learn=True)  # the first answer of 300 is a 429
    for _ in range(240):
        window.land(1.5)
    assert window.usage(2.0, 480).share == 240 - math.ceil(DROP * 240)


def test_near_the_share_few_fly_at_a_time() -> None:
    window = Window(60.0)
    fill(window, *[0.0] * 100)
    window.close(0.0, 1.0, learn=True)
    fill(window, *[61.0] * 50)
    window.flying += 40
    assert window.wait(61.0, 240) == 0.0
    window.flying += 2
    assert window.wait(61.0, 240) == math.inf
    fill(window, *[61.0] * 42)
    window.flying = max_probes(240)
    assert window.wait(61.0, 240) == math.inf
    window.flying -= 1
    assert window.wait(61.0, 240) == 0.0


def test_we_are_never_pushed_out() -> None:
    window = Window(60.0)
    window.close(0.0, 1.0, learn=True)
    assert window.usage(1.0, 480).share == 480 // LEAST
    single = Window(60.0)
    single.close(0.0, 1.0, learn=True)
    assert single.usage(1.0, 1).share == 1


def test_when_a_request_could_go() -> None:
    window = Window(60.0)
    fill(window, 0.0, 10.0, 20.0)
    window.flying += 1
    # Limit 5: one place is free, then the log empties, then what is in flight.
    assert [window.forecast(30.0, 5, ahead) for ahead in range(6)] == [
        0.0,
        STAY - 30.0,
        STAY - 20.0,
        STAY - 10.0,
        STAY,
        STAY,
    ]
    assert window.forecast(30.0, 5, 6) == STAY - 30.0 + STAY
    window.close(30.0, 100.0, learn=False)
    assert window.forecast(30.0, 5, 0) == 100.0


def test_when_nothing_is_left_to_remember() -> None:
    window = Window(60.0)
    assert window.idle(0.0)
    fill(window, 0.0)
    assert not window.idle(1.0)
    assert window.idle(STAY)
    window.flying += 1
    assert not window.idle(STAY)
    window.land(STAY)
    window.close(STAY, 500.0, learn=False)
    assert not window.idle(STAY + STAY)
    assert window.idle(STAY + 500.0)
    window.close(1000.0, 1.0, learn=True)
    assert not window.idle(2000.0)


@given(
    limit=st.integers(1, 8),
    steps=st.lists(
        st.tuples(st.floats(0, 50), st.sampled_from(["take", "land", "drop", "close"])),
        max_size=60,
    ),
)
def test_a_wait_that_was_kept_to_was_enough(limit: int, steps: list[tuple[float, str]]) -> None:
    window, now = Window(60.0), 0.0
    for seconds, step in steps:
        now += seconds
        if step == "take":
            wait = window.wait(now, limit)
            if math.isinf(wait):
                assert window.flying
                continue
            # Nothing else happened meanwhile: the place is free then, and not before.
            if wait:
                assert window.wait(now + wait * 0.99, limit) > 0.0
            now += wait
            assert window.wait(now + 1e-9, limit) == 0.0
            window.flying += 1
        elif step == "close":
            window.close(now, seconds, learn=False)
        elif window.flying:
            if step == "land":
                window.land(now)
            else:
                window.flying -= 1
        usage = window.usage(now, limit)
        assert usage.used + usage.flying <= limit
        assert usage.remaining >= 0
