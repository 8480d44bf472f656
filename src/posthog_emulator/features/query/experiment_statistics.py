"""Statistics of experiments, as pure functions: how a variant compares with the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from posthog_emulator.http.errors import ApiError, invalid

__all__ = [
    "Posterior", "Sample", "Test", "bayesian_test", "beta_posterior", "chances", "expected_loss",
    "gamma_posterior", "mean_sample", "proportion_sample", "ratio_sample", "student_quantile",
    "student_tails", "t_test",
]  # fmt: skip

_TINY = 1e-300
_LEAST = 1e-10
"""A mean closer to zero than this counts as zero."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of a metric in a variant."""

    count: int
    mean: float
    variance: float
    """The variance of one value."""


class Test(NamedTuple):
    """The comparison of a variant with the baseline."""

    probability: float
    """The p-value, or the chance to win."""
    interval: tuple[float, float]
    """The interval of the difference."""
    is_significant: bool


def mean_sample(count: int, total: float, squares: float) -> Sample:
    """Return the sample of a mean.

    Args:
        count: The number of values.
        total: Their sum.
        squares: The sum of their squares.
    """
    variance = (squares - total**2 / count) / (count - 1) if count > 1 else 0.0
    return Sample(count, total / count, max(variance, 0.0))


def proportion_sample(count: int, successes: float) -> Sample:
    """Return the sample of a share of successes."""
    share = successes / count
    return Sample(count, share, share * (1 - share))


def ratio_sample(
    count: int, over: tuple[float, float], under: tuple[float, float], products: float
) -> Sample:
    """Return the sample of a ratio of two sums, with the variance of the delta method.

    Args:
        count: The number of pairs of values.
        over: The sum of the numerators, and the sum of their squares.
        under: The same of the denominators.
        products: The sum of the products of numerator and denominator.

    Raises:
        ApiError: 400, the denominators are zero.
    """
    m, d = mean_sample(count, *over), mean_sample(count, *under)
    if abs(d.mean) < _LEAST:
        raise _failed("The mean of the denominator is zero.")
    shared = (products - over[0] * under[0] / count) / (count - 1) if count > 1 else 0.0
    return Sample(count, over[0] / under[0], _ratio_variance(m, d, shared))


def _ratio_variance(m: Sample, d: Sample, shared: float = 0.0) -> float:
    """Return the variance of a ratio of means; `shared` is the covariance of the values."""
    return (
        m.variance / d.mean**2
        + m.mean**2 * d.variance / d.mean**4
        - 2 * m.mean * shared / d.mean**3
    )


def _difference(test: Sample, control: Sample, relative: bool) -> tuple[float, float]:
    """Return the difference of the means, and the variance of it."""
    # The variances of the means, not of single values.
    m, d = (
        Sample(sample.count, sample.mean, sample.variance / sample.count)
        for sample in (test, control)
    )
    if not relative:
        return m.mean - d.mean, m.variance + d.variance
    if abs(d.mean) < _LEAST:
        raise _failed("The mean of the control variant is zero.")
    return (m.mean - d.mean) / d.mean, _ratio_variance(m, d)


def t_test(test: Sample, control: Sample, alpha: float = 0.05, *, relative: bool = True) -> Test:
    """Compare a variant with the baseline by Welch's t-test of two sides.

    Args:
        test: The variant.
        control: The baseline.
        alpha: The level of significance.
        relative: Whether the difference is relative to the baseline.

    Raises:
        ApiError: 400, the values do not vary, or the mean of the baseline is zero.
    """
    effect, variance = _difference(test, control, relative)
    if variance <= 0:
        raise _failed("The values of the metric do not vary.")
    parts = [(sample.variance / sample.count, sample.count - 1) for sample in (test, control)]
    freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / rest for part, rest in parts)
    error = math.sqrt(variance)
    p = student_tails(effect / error, freedom)
    margin = student_quantile(alpha, freedom) * error
    return Test(p, (effect - margin, effect + margin), p < alpha)


def bayesian_test(
    test: Sample, control: Sample, level: float = 0.95, *, relative: bool = True
) -> Test:
    """Compare a variant with the baseline by a normal posterior without prior knowledge.

    Args:
        test: The variant.
        control: The baseline.
        level: The level of the credible interval, and of the chance to win that is significant.
        relative: Whether the difference is relative to the baseline.

    Raises:
        ApiError: 400, the values do not vary, or the mean of the baseline is not positive.
    """
    if relative and control.mean <= 0:
        raise _failed("The mean of the control variant is not positive.")
    effect, variance = _difference(test, control, relative)
    if variance <= 0:
        raise _failed("The values of the metric do not vary.")
    error = math.sqrt(variance)
    chance = math.erfc(-effect / error / math.sqrt(2)) / 2
    margin = NormalDist().inv_cdf((1 + level) / 2) * error
    return Test(chance, (effect - margin, effect + margin), chance > level or chance < 1 - level)


def student_tails(t: float, freedom: float) -> float:
    """Return the probability of a value as far from zero as `t`, on both sides.

    Args:
        t: A value of Student's t-distribution.
        freedom: Its degrees of freedom.
    """
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def student_quantile(alpha: float, freedom: float) -> float:
    """Return the value that is exceeded, on both sides together, with probability `alpha`."""
    low, high = 0.0, 2.0
    while student_tails(high, freedom) > alpha:
        low, high = high, 2 * high
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_tails(middle, freedom) > alpha else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function of `x`, from 0 to 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    # The continued fraction converges fast on this side of the mean only.
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(b, a, 1 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    above, below = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    result = below
    for n in range(1, 1000):
        even = n * (b - n) * x / ((a + 2 * n - 1) * (a + 2 * n))
        odd = -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1))
        factor = 1.0
        for step in (even, odd):
            below = 1 / _nonzero(1 + step * below)
            above = _nonzero(1 + step / above)
            factor = above * below
            result *= factor
        if abs(factor - 1) < 1e-15:
            break
    return result


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of the rate of a variant: the distribution of a number that is not negative."""

    below: Callable[[float], float]
    """The probability that the rate is below a number."""
    most: float
    """A number that the rate is practically never above."""

    def quantile(self, share: float) -> float:
        """Return the number that the rate is below with a probability."""
        low, high = 0.0, self.most
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.below(middle) < share else (low, middle)
        return (low + high) / 2


def beta_posterior(successes: float, failures: float) -> Posterior:
    """Return the posterior of a share of successes; any share is as likely before."""
    return Posterior(lambda x: _incomplete_beta(1 + successes, 1 + failures, x), 1.0)


def gamma_posterior(count: float, exposure: float) -> Posterior:
    """Return the posterior of a rate of events; its prior has one event in one exposure."""
    shape, rate = 1 + count, 1 + exposure
    most = (shape + 12 * math.sqrt(shape) + 30) / rate
    return Posterior(lambda x: _incomplete_gamma(shape, x * rate), most)


def _incomplete_gamma(shape: float, x: float) -> float:
    """Return the regularized lower incomplete gamma function, by its power series."""
    if x <= 0:
        return 0.0
    term = total = 1 / shape
    for n in range(1, 100_000):
        term *= x / (shape + n)
        total += term
        if term < total * 1e-16:
            break
    return min(total * math.exp(shape * math.log(x) - x - math.lgamma(shape)), 1.0)


_CELLS: Final = 1_000


def _grid(posteriors: Sequence[Posterior]) -> list[float]:
    low = min(posterior.quantile(1e-9) for posterior in posteriors)
    high = max(posterior.quantile(1 - 1e-9) for posterior in posteriors)
    return [low + (high - low) * n / _CELLS for n in range(_CELLS + 1)]


def chances(posteriors: Sequence[Posterior]) -> list[float]:
    """Return the probability of each variant to have the highest rate."""
    edges = _grid(posteriors)
    columns = [[posterior.below(x) for x in edges] for posterior in posteriors]
    probabilities: list[float] = []
    for number, own in enumerate(columns):
        total = 0.0
        others = [column for place, column in enumerate(columns) if place != number]
        for n in range(_CELLS):
            beaten = math.prod((column[n] + column[n + 1]) / 2 for column in others)
            total += (own[n + 1] - own[n]) * beaten
        probabilities.append(total)
    return probabilities


def expected_loss(chosen: Posterior, others: Sequence[Posterior]) -> float:
    """Return by how much the highest of other rates is expected to exceed the chosen one."""
    edges = _grid([chosen, *others])
    values = [
        chosen.below(x) * (1 - math.prod(posterior.below(x) for posterior in others)) for x in edges
    ]
    return sum(values) * (edges[1] - edges[0])


def _failed(reason: str) -> ApiError:
    return invalid(f"The statistical test cannot be computed. {reason}")
