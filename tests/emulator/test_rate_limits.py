"""The server's rate limits, by tables and compared with a reference model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthog_emulator.rate_limits.rate_limits import Caller, Rate, RateLimits, Throttled, Usage
from tests.helpers.manual_clock import ManualClock

RATES: Mapping[str, Rate] = {
    "fast": Rate(2, 10),
    "slow": Rate(5, 100),
    "team": Rate(2, 10, "team"),
    "user": Rate(2, 10, "user"),
    "organization": Rate(2, 10, "organization"),
    "item": Rate(2, 10, "item"),
    "unknown": Rate(None, 60),
}
ME = Caller("phx_me", user="7", team="1", organization="o", item="i")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def rate_limits(clock: ManualClock) -> RateLimits:
    return RateLimits(clock, RATES)


def used(rate_limits: RateLimits, subject: str | int = "phx_me") -> dict[str, int]:
    return {bucket: usage.used for bucket, usage in rate_limits.usage(subject).items()}


@pytest.mark.parametrize(
    ("offsets", "wait"),
    [
        ((0, 0), 10),
        ((0, 5), 10),
        ((0, 9.5), 10),
        ((2, 3), 10),
    ],
)
def test_a_full_bucket_asks_to_wait_for_its_oldest_entry(
    rate_limits: RateLimits, clock: ManualClock, offsets: tuple[float, float], wait: float
) -> None:
    start = clock.now
    for offset in offsets:
        clock.now = start + offset
        assert rate_limits.charge(["fast"], ME) is None
    refusal = rate_limits.charge(["fast"], ME)
    expected = math.ceil(wait - (offsets[1] - offsets[0]))
    assert refusal == Throttled(("fast",), expected)


@pytest.mark.parametrize(
    ("later", "wait"), [(0, 10), (0.1, 10), (8.9, 2), (9, 1), (9.75, 1), (9.999999, 1)]
)
def test_the_wait_is_in_whole_seconds_rounded_up(
    rate_limits: RateLimits, clock: ManualClock, later: float, wait: int
) -> None:
    rate_limits.charge(["fast"], ME)
    rate_limits.charge(["fast"], ME)
    clock.now += later
    refusal = rate_limits.charge(["fast"], ME)
    assert refusal is not None
    assert refusal.wait == wait


def test_an_entry_leaves_when_it_is_as_old_as_the_window(
    rate_limits: RateLimits, clock: ManualClock
) -> None:
    rate_limits.charge(["fast"], ME)
    rate_limits.charge(["fast"], ME)
    clock.now += 10
    assert rate_limits.charge(["fast"], ME) is None
    assert used(rate_limits) == {"fast": 1}


@pytest.mark.parametrize(
    ("wait", "detail"),
    [
        (1, "Request was throttled. Expected available in 1 second."),
        (2, "Request was throttled. Expected available in 2 seconds."),
        (3600, "Request was throttled. Expected available in 3600 seconds."),
        (None, "Request was throttled."),
    ],
)
def test_detail(wait: int | None, detail: str) -> None:
    assert Throttled(("fast",), wait).detail == detail


def test_a_throttled_request_is_charged_to_the_other_buckets(rate_limits: RateLimits) -> None:
    for _ in range(2):
        assert rate_limits.charge(["fast", "slow"], ME) is None
    for _ in range(3):
        assert rate_limits.charge(["fast", "slow"], ME) == Throttled(("fast",), 10)
    assert used(rate_limits) == {"fast": 2, "slow": 5}
    assert rate_limits.charge(["fast", "slow"], ME) == Throttled(("fast", "slow"), 100)
    assert used(rate_limits) == {"fast": 2, "slow": 5}


def test_the_longest_wait_counts(rate_limits: RateLimits) -> None:
    for _ in range(5):
        rate_limits.charge(["slow"], ME)
    for _ in range(2):
        rate_limits.charge(["fast"], ME)
    assert rate_limits.charge(["slow", "fast"], ME) == Throttled(("slow", "fast"), 100)
    assert rate_limits.charge(["fast", "slow"], ME) == Throttled(("fast", "slow"), 100)


@pytest.mark.parametrize(
    ("bucket", "other", "shared"),
    [
        ("fast", Caller("phx_me", user="8", team="2", organization="p", item="j"), True),
        ("fast", Caller("phx_other", user="7", team="1", organization="o", item="i"), False),
        ("team", Caller("phx_other", user="8", team="1", organization="p", item="j"), True),
        ("team", Caller("phx_me", user="7", team="2", organization="o", item="i"), False),
        ("user", Caller("phx_other", user="7", team="2", organization="p", item="j"), True),
        ("user", Caller("phx_me", user="8", team="1", organization="o", item="i"), False),
        ("organization", Caller("phx_other", user="8", organization="o"), True),
        ("organization", Caller("phx_me", user="7", team="1", organization="p"), False),
        ("item", Caller("phx_other", user="8", team="1", item="i"), True),
        ("item", Caller("phx_me", user="7", team="1", organization="o", item="j"), False),
        ("item", Caller("phx_me", user="7", team="2", organization="o", item="i"), False),
    ],
)
def test_scope_key(rate_limits: RateLimits, bucket: str, other: Caller, shared: bool) -> None:
    rate_limits.charge([bucket], ME)
    rate_limits.charge([bucket], ME)
    assert (rate_limits.charge([bucket], other) is not None) is shared


@pytest.mark.parametrize(
    ("bucket", "caller", "same"),
    [
        ("team", Caller("phx_a", user="7"), Caller("phx_b", user="7")),
        ("organization", Caller("phx_a", user="7"), Caller("phx_a", user="8")),
        ("item", Caller("phx_a", team="1"), Caller("phx_a", team="2")),
        ("item", Caller("phx_a", item="i"), Caller("phx_a", item="j")),
    ],
)
def test_scope_key_fallbacks(
    rate_limits: RateLimits, bucket: str, caller: Caller, same: Caller
) -> None:
    rate_limits.charge([bucket], caller)
    rate_limits.charge([bucket], caller)
    assert rate_limits.charge([bucket], same) is not None


def test_an_unknown_rate_is_not_limited(rate_limits: RateLimits) -> None:
    for _ in range(1000):
        assert rate_limits.charge(["unknown"], ME) is None
    assert used(rate_limits) == {}


def test_override(rate_limits: RateLimits, clock: ManualClock) -> None:
    rate_limits.override("fast", 1, 3, 20)
    rate_limits.override("slow", "1", None)
    elsewhere = Caller("phx_me", team="2")
    for _ in range(3):
        assert rate_limits.charge(["fast", "slow"], ME) is None
    assert rate_limits.charge(["fast", "slow"], ME) == Throttled(("fast",), 20)
    assert used(rate_limits) == {"fast": 3}
    clock.now += 20
    assert rate_limits.charge(["fast"], elsewhere) is None
    assert rate_limits.charge(["fast"], elsewhere) is None
    assert rate_limits.charge(["fast"], elsewhere) == Throttled(("fast",), 10)


def test_a_bucket_over_its_limit_has_no_wait(rate_limits: RateLimits) -> None:
    rate_limits.override("fast", 1, 5)
    for _ in range(5):
        rate_limits.charge(["fast"], ME)
    rate_limits.override("fast", 1, 2)
    assert rate_limits.charge(["fast"], ME) == Throttled(("fast",), None)
    assert rate_limits.usage("phx_me")["fast"].remaining == 0


def test_costs(rate_limits: RateLimits, clock: ManualClock) -> None:
    assert rate_limits.charge(["slow", "fast"], ME, {"slow": 3}) is None
    assert used(rate_limits) == {"slow": 3, "fast": 1}
    clock.now += 40
    # There is room for two, so the wait for the oldest is divided by three.
    assert rate_limits.charge(["slow"], ME, {"slow": 3}) == Throttled(("slow",), 20)
    assert rate_limits.charge(["slow"], ME, {"slow": 2}) is None
    assert rate_limits.charge(["team"], ME, {"team": 3}) == Throttled(("team",), 4)


def test_usage(rate_limits: RateLimits, clock: ManualClock) -> None:
    rate_limits.charge(["fast", "slow", "team"], ME)
    clock.now += 4
    assert rate_limits.usage("phx_me") == {
        "fast": Usage(2, 1, 1, 6.0),
        "slow": Usage(5, 1, 4, 96.0),
    }
    assert rate_limits.usage(1) == {"team": Usage(2, 1, 1, 6.0)}
    assert rate_limits.usage("phx_other") == {}
    clock.now += 6
    assert rate_limits.usage("phx_me")["fast"] == Usage(2, 0, 2, 0.0)


def test_clearing(rate_limits: RateLimits) -> None:
    rate_limits.override("fast", 1, 1)
    rate_limits.simulate_other_client(["fast"], ME, 1.0)
    rate_limits.charge(["fast"], ME)
    rate_limits.clear()
    assert used(rate_limits) == {}
    assert [rate_limits.charge(["fast"], ME) is None for _ in range(3)] == [True, True, False]


def test_keys_are_not_stored(rate_limits: RateLimits) -> None:
    rate_limits.charge(["fast"], ME)
    assert "phx_me" not in repr(ME)
    assert "phx_me" not in repr(vars(rate_limits))


@pytest.mark.parametrize("requests", [0, -1])
def test_invalid_override(rate_limits: RateLimits, requests: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        rate_limits.override("fast", 1, requests)
    with pytest.raises(ValueError, match="must be positive"):
        rate_limits.override("fast", 1, 1, requests)


def test_unknown_bucket(rate_limits: RateLimits) -> None:
    with pytest.raises(KeyError, match="no rate limit bucket 'x'"):
        rate_limits.charge(["x"], ME)
    with pytest.raises(KeyError, match="no rate limit bucket 'x'"):
        rate_limits.override("x", 1, 1)
    with pytest.raises(KeyError, match="no rate limit bucket 'x'"):
        rate_limits.simulate_other_client(["x"], ME, 0.5)


# --- Another client ------------------------------------------------------------------------------


def test_another_client_uses_a_share_of_the_lowest_limit(
    rate_limits: RateLimits, clock: ManualClock
) -> None:
    # Half of 5 in 100 s is one every 40 s, the first of them now.
    rate_limits.simulate_other_client(["fast", "slow"], ME, 0.5)
    seen: list[int] = []
    for _ in range(6):
        seen.append(used(rate_limits)["slow"])
        clock.now += 20
    assert seen == [1, 1, 2, 2, 3, 2]
    assert used(rate_limits)["fast"] == 1


def test_another_client_above_the_limit(rate_limits: RateLimits, clock: ManualClock) -> None:
    rate_limits.simulate_other_client(["fast"], ME, 2.5)
    clock.now += 9
    assert rate_limits.usage("phx_me")["fast"] == Usage(2, 2, 0, 1.0)
    assert rate_limits.charge(["fast"], ME) == Throttled(("fast",), 1)


def test_another_client_with_another_key(rate_limits: RateLimits) -> None:
    rate_limits.simulate_other_client(["fast"], Caller("phx_other", team="1"), 1.0)
    assert used(rate_limits) == {}
    assert used(rate_limits, "phx_other") == {"fast": 1}


def test_another_client_is_replaced_and_stopped(
    rate_limits: RateLimits, clock: ManualClock
) -> None:
    rate_limits.simulate_other_client(["slow"], ME, 1.0)
    rate_limits.simulate_other_client(["slow"], ME, 0.2)
    clock.now += 90
    assert used(rate_limits) == {"slow": 2}
    rate_limits.simulate_other_client(["slow"], ME, 0)
    clock.now += 100
    assert used(rate_limits) == {"slow": 0}


@pytest.mark.parametrize(
    ("bucket", "share"), [("fast", -0.1), ("unknown", 0.5), ("fast", math.nan)]
)
def test_invalid_share(rate_limits: RateLimits, bucket: str, share: float) -> None:
    with pytest.raises(ValueError, match="cannot simulate a share"):
        rate_limits.simulate_other_client([bucket], ME, share)


# --- Against a plain model --------------------------------------------------------------------

VIEWS = (("fast", "slow"), ("slow",), ("team", "fast"), ("unknown", "fast"), ("item", "team"))
CALLERS = (
    Caller("a", team="1", item="x"),
    Caller("b", team="1", item="y"),
    Caller("a", team="2", item="x"),
)
PLAIN_KEYS: Mapping[str, Callable[[Caller], object]] = {
    "key": lambda caller: caller.key,
    "team": lambda caller: caller.team,
    "item": lambda caller: (caller.team, caller.item),
}


class ReferenceModel:
    """A reference model: the newest request first, and all of them compared each time."""

    def __init__(self) -> None:
        self.history: dict[tuple[str, Any], list[float]] = {}

    def admit(self, buckets: tuple[str, ...], caller: Caller, now: float) -> int | None:
        waits: list[float] = []
        for bucket in buckets:
            rate = RATES[bucket]
            if rate.requests is None:
                continue
            key = (bucket, PLAIN_KEYS[rate.per](caller))
            history = [t for t in self.history.get(key, []) if t > now - rate.seconds]
            if len(history) < rate.requests:
                history.insert(0, now)
            else:
                waits.append(rate.seconds - (now - history[-1]))
            self.history[key] = history
        return math.ceil(max(waits)) if waits else None


steps = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda n: n / 4), st.sampled_from(VIEWS), st.sampled_from(CALLERS)
    ),
    max_size=80,
)


@given(steps)
def test_it_agrees_with_the_reference_model(
    steps: list[tuple[float, tuple[str, ...], Caller]],
) -> None:
    clock, plain = ManualClock(), ReferenceModel()
    rate_limits = RateLimits(clock, RATES)
    for pause, view, caller in steps:
        clock.now += pause
        refusal = rate_limits.charge(view, caller)
        assert (None if refusal is None else refusal.wait) == plain.admit(view, caller, clock.now)
    kept = {b: len(t) for (b, w), t in plain.history.items() if w == "a"}
    shown = used(rate_limits, "a")
    assert set(shown) == set(kept)
    assert all(shown[bucket] <= kept[bucket] for bucket in kept)


@given(steps)
def test_no_window_exceeds_the_limit(
    steps: list[tuple[float, tuple[str, ...], Caller]],
) -> None:
    clock = ManualClock()
    rate_limits = RateLimits(clock, RATES)
    charged: dict[tuple[str, str], list[float]] = {}
    for pause, view, caller in steps:
        clock.now += pause
        refusal = rate_limits.charge(view, caller)
        refused = () if refusal is None else refusal.buckets
        for bucket in set(view) - set(refused):
            whose = caller.scope_key(RATES[bucket].per)
            charged.setdefault((bucket, whose), []).append(clock.now)
    for (bucket, _), times in charged.items():
        rate = RATES[bucket]
        if rate.requests is not None:
            for start in times:
                inside = [t for t in times if start <= t < start + rate.seconds]
                assert len(inside) <= rate.requests


@given(steps, st.floats(0.1, 3.0))
def test_waiting_retry_after_is_enough_without_other_clients(
    steps: list[tuple[float, tuple[str, ...], Caller]], share: float
) -> None:
    clock = ManualClock()
    rate_limits = RateLimits(clock, RATES)
    rate_limits.simulate_other_client(["fast"], CALLERS[0], share)
    for pause, view, caller in steps:
        clock.now += pause
        refusal = rate_limits.charge(view, caller)
    rate_limits.simulate_other_client(["fast"], CALLERS[0], 0)
    for view in VIEWS:
        refusal = rate_limits.charge(view, CALLERS[0])
        if refusal is not None:
            assert refusal.wait is not None
            clock.now += refusal.wait
            # What was charged by the refused attempt may have filled a sibling meanwhile.
            again = rate_limits.charge(refusal.buckets, CALLERS[0])
            assert again is None
