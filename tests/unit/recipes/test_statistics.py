"""Confidence intervals, against SciPy and by simulation."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.recipes.statistics import Sample, difference_of_means, student_t_quantile

CONFIDENCES = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)


def sample(values: list[float]) -> Sample:
    return Sample(len(values), sum(values), sum(value * value for value in values))


def test_quantiles_are_those_of_scipy() -> None:
    from scipy.stats import t

    for freedom in (1, 1.7, 2, 5, 12.34, 30, 250, 4_000.5, 1e6):
        for probability in (0.5, 0.6, 0.75, 0.9, 0.975, 0.995, 0.9999):
            expected = float(t.ppf(probability, freedom))
            assert student_t_quantile(probability, freedom) == pytest.approx(
                expected, rel=1e-8, abs=1e-9
            )


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20))
@settings(max_examples=30)
def test_intervals_of_means_are_those_of_scipy(values: list[float]) -> None:
    from scipy.stats import t

    spread = sample(values).variance
    assert spread is not None
    mean, error = sum(values) / len(values), math.sqrt(spread / len(values))
    margin = float(t.ppf(0.975, len(values) - 1)) * error
    interval = sample(values).interval(0.95)
    assert interval == pytest.approx((mean - margin, mean + margin), abs=1e-6)


def test_intervals_of_shares_are_those_of_scipy() -> None:
    from scipy.stats import binomtest

    for successes, size in ((0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (400, 1000)):
        for confidence in CONFIDENCES:
            expected = binomtest(successes, size).proportion_ci(confidence, "wilson")
            interval = Sample(size, successes, successes).share_interval(confidence)
            assert interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_difference_of_separate_samples_is_that_of_welch() -> None:
    from scipy.stats import ttest_ind

    before, after = [1.0, 4.0, 2.0, 8.0], [6.0, 9.0, 12.0, 7.0, 30.0]
    expected = ttest_ind(after, before, equal_var=False).confidence_interval(0.9)
    difference = difference_of_means(sample(before), sample(after), 0.0, 0, 0.9)
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_contains_the_true_difference_about_as_often_as_it_says() -> None:
    """Half of the persons are in both samples, with values that correlate."""
    chance, hits, narrower = random.Random(5), 0, 0
    for _ in range(150):
        shared = [chance.gauss(0, 2) for _ in range(40)]
        x = [s + chance.gauss(10, 1) for s in shared]
        y = [s + chance.gauss(11, 1) for s in shared]
        before = x + [chance.gauss(10, math.sqrt(5)) for _ in range(40)]
        after = y + [chance.gauss(11, math.sqrt(5)) for _ in range(40)]
        mean_x, mean_y = sum(x) / 40, sum(y) / 40
        covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / 39
        found = difference_of_means(sample(before), sample(after), covariance, 40, 0.95)
        naive = difference_of_means(sample(before), sample(after), 0.0, 0, 0.95)
        assert found is not None
        assert naive is not None
        hits += found.low <= 1 <= found.high
        narrower += found.high - found.low < naive.high - naive.low
    assert 0.9 <= hits / 150 <= 0.99
    assert narrower == 150


def test_too_few_values_have_no_interval() -> None:
    empty, one = Sample(0, 0, 0), Sample(1, 3, 9)
    assert (empty.mean, empty.variance, empty.interval(0.9)) == (None, None, None)
    assert empty.share_interval(0.9) is None
    assert (one.mean, one.variance, one.interval(0.9)) == (3, None, None)
    assert difference_of_means(one, sample([1, 2]), 0.0, 0, 0.9) is None
