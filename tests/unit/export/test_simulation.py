"""Random exports in virtual time: each ends with exactly the right rows, in order.

`python -m tests.unit.export.simulation 10000` runs more of them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .simulation import Plan, random_plan, simulate


@pytest.mark.parametrize("first", range(0, 150, 50))
def test_random_exports_end(first: int) -> None:
    for seed in range(first, first + 50):
        simulate(random_plan(seed))


@settings(max_examples=50)
@given(
    plan=st.builds(
        Plan,
        seed=st.integers(0, 2**32),
        count=st.integers(0, 120),
        ties=st.integers(1, 6),
        spread=st.sampled_from([1, 7, 50, 3_000, 1_000_000, 60_000_000, 86_400_000_000]),
        dense_start=st.booleans(),
        row_bytes=st.sampled_from([10, 10_000, 300_000, 1_000_000, 2_500_000]),
        page=st.integers(8, 110),
        concurrency=st.integers(1, 6),
        stepwise=st.booleans(),
        max_rows=st.sampled_from([0, 1, 5, 40, 100]),
        slow_rows=st.sampled_from([0, 10]),
        uncounted=st.booleans(),
        failures=st.sampled_from([0.0, 0.05]),
        latency=st.sampled_from([0.0, 3.0]),
        consumer=st.sampled_from([0.0, 20.0]),
    )
)
def test_every_export_ends_with_exactly_its_rows(plan: Plan) -> None:
    simulate(plan)


@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("concurrency", [1, 3, 10])
def test_exports_with_large_pages_end(concurrency: int, stepwise: bool) -> None:
    for seed in range(8):
        simulate(
            Plan(
                seed=seed, count=300, spread=50, dense_start=True, row_bytes=1_000_000, page=20,
                concurrency=concurrency, stepwise=stepwise, latency=5.0, consumer=seed % 2 * 9.0,
            )
        )  # fmt: skip
