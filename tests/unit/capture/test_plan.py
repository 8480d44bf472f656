"""Batches, bisection, waits and budgets, as decisions."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.capture.plan import Bisection, EventBudget, Record, retry_delay, take_batch


def record(number: int, size: int) -> Record:
    return Record(f"uuid-{number}", b"x" * size)


RECORDS = st.lists(st.builds(record, st.integers(0, 30), st.integers(1, 50)), max_size=60)


@given(RECORDS, st.integers(1, 20), st.integers(1, 200))
def test_batches_have_all_events_in_order_within_the_limits(
    records: list[Record], max_events: int, max_bytes: int
) -> None:
    queue = deque(records)
    batches: list[list[Record]] = []
    while queue:
        batches.append(take_batch(queue, max_events, max_bytes))
    assert [record for batch in batches for record in batch] == records
    for batch in batches:
        assert 0 < len(batch) <= max_events
        assert len({record.uuid for record in batch}) == len(batch)
        assert len(batch) == 1 or sum(len(r.body) + 1 for r in batch) <= max_bytes
    # No batch is smaller than it has to be.
    for batch, following in pairwise(batches):
        more = [*batch, following[0]]
        assert (
            len(more) > max_events
            or sum(len(r.body) + 1 for r in more) > max_bytes
            or len({r.uuid for r in more}) < len(more)
        )


def bisect(records: list[Record], bad: set[str]) -> tuple[list[str], list[str], int]:
    """Send a batch to a server that refuses requests with certain events."""
    bisection, accepted, refused, requests = Bisection(), [], [], 0
    bisection.add(records)
    while bisection.groups:
        group = bisection.groups.pop()
        requests += 1
        if any(record.uuid in bad for record in group):
            refused += [record.uuid for record in bisection.refuse(group)]
        else:
            bisection.accept()
            accepted += [record.uuid for record in group]
    return accepted, refused, requests


@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=7))
def test_bisection_finds_the_culprits_alone(count: int, bad: set[int]) -> None:
    records = [Record(str(number), b"{}") for number in range(count)]
    accepted, refused, _ = bisect(records, {str(number) for number in bad})
    assert {*refused} == {str(number) for number in bad if number < count}
    assert sorted([*accepted, *refused]) == sorted(record.uuid for record in records)


def test_one_culprit_takes_few_requests() -> None:
    records = [Record(str(number), b"{}") for number in range(1024)]
    accepted, refused, requests = bisect(records, {"700"})
    assert (len(accepted), refused) == (1023, ["700"])
    assert requests <= 21


def test_a_server_that_refuses_everything_is_not_asked_for_each_event() -> None:
    records = [Record(str(number), b"{}") for number in range(1000)]
    accepted, refused, requests = bisect(records, {record.uuid for record in records})
    assert accepted == []
    assert sorted(refused) == sorted(record.uuid for record in records)
    assert requests < 40


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e6))
def test_retry_delays(attempt: int, chance: float, retry_after: float | None) -> None:
    delay = retry_delay(attempt, chance, retry_after, 120.0)
    assert 0.5 <= delay <= 120.0
    assert delay >= min(retry_after or 0.0, 120.0)


def test_retry_delays_grow() -> None:
    assert [retry_delay(n, 1.0, None, 120.0) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 100), st.lists(st.floats(0, 30), max_size=300))
def test_the_budget_is_kept_in_every_minute(per_minute: int, pauses: list[float]) -> None:
    now, spent = 0.0, list[float]()
    budget = EventBudget(per_minute, now)
    for pause in pauses:
        now += pause
        if budget.try_spend(now):
            spent.append(now)
    for start in spent:
        # A full bucket, and what refills it meanwhile.
        assert sum(start <= at < start + 60 for at in spent) <= 2 * per_minute


def test_the_budget_refills() -> None:
    budget = EventBudget(60, 0.0)
    assert sum(budget.try_spend(0.0) for _ in range(100)) == 60
    assert budget.try_spend(0.5) is False
    assert sum(budget.try_spend(10.0) for _ in range(100)) == pytest.approx(10, abs=1)
