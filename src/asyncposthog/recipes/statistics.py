"""Means, differences of means, and their confidence intervals. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Difference", "Sample", "difference_of_means", "student_t_quantile"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The size, the sum and the sum of squares of a sample."""

    size: int
    total: float
    squares: float

    @property
    def mean(self) -> float | None:
        """The mean; None if the sample is empty."""
        return self.total / self.size if self.size else None

    @property
    def variance(self) -> float | None:
        """The unbiased variance; None for fewer than two values."""
        if self.size < 2:
            return None
        return max(0.0, self.squares - self.total**2 / self.size) / (self.size - 1)

    def share_interval(self, confidence: float) -> tuple[float, float] | None:
        """Return Wilson's confidence interval of the mean of values that are 0 or 1.

        It stays between 0 and 1, and is right for small samples. None if the sample is empty.
        """
        mean, size = self.mean, self.size
        if mean is None:
            return None
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        centre = (mean + z * z / (2 * size)) / (1 + z * z / size)
        spread = math.sqrt(mean * (1 - mean) / size + z * z / (4 * size * size))
        margin = z / (1 + z * z / size) * spread
        return max(0.0, centre - margin), min(1.0, centre + margin)

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Return Student's confidence interval of the mean; None for fewer than two values."""
        mean, variance = self.mean, self.variance
        if mean is None or variance is None:
            return None
        quantile = student_t_quantile((1 + confidence) / 2, self.size - 1)
        margin = quantile * math.sqrt(variance / self.size)
        return mean - margin, mean + margin


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two means, with its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def difference_of_means(
    before: Sample, after: Sample, covariance: float, both: int, confidence: float
) -> Difference | None:
    """Return the mean of one sample minus that of another, for samples that may share members.

    Members of both samples make the means correlate; ignoring that makes the interval too wide. The
    degrees of freedom are those of Welch and Satterthwaite.

    Args:
        before: The sample whose mean is subtracted.
        after: The other sample.
        covariance: The covariance of the two values of the members of both samples.
        both: The number of members of both samples.
        confidence: The confidence, such as 0.95.

    Returns:
        The difference; None if a sample has fewer than two values.
    """
    first, second = before.variance, after.variance
    if first is None or second is None or before.mean is None or after.mean is None:
        return None
    value = after.mean - before.mean
    parts = first / before.size, second / after.size
    spread = max(0.0, sum(parts) - 2 * covariance * both / (before.size * after.size))
    weights = parts[0] ** 2 / (before.size - 1) + parts[1] ** 2 / (after.size - 1)
    freedom = sum(parts) ** 2 / weights if weights else before.size + after.size - 2
    margin = student_t_quantile((1 + confidence) / 2, freedom) * math.sqrt(spread)
    return Difference(value, value - margin, value + margin)


def student_t_quantile(probability: float, freedom: float) -> float:
    """Return the value below which Student's t is with a probability of at least one half.

    Args:
        probability: From 0.5 up to but not including 1.
        freedom: The degrees of freedom, which need not be a whole number.
    """
    low, high = 0.0, 1.0
    while _student_t(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if _student_t(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _student_t(value: float, freedom: float) -> float:
    """Return the probability that Student's t is below a value that is not negative."""
    tail = _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value))
    return 1 - tail / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, from its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # Where the fraction of the complement converges faster.
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz's method.
    tiny = 1e-300
    numerator, denominator = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    fraction = denominator
    for m in range(1, 1000):
        change = 1.0
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1 / _not_zero(1 + term * denominator, tiny)
            numerator = _not_zero(1 + term / numerator, tiny)
            change = numerator * denominator
            fraction *= change
        if abs(change - 1) < 1e-15:
            break
    return front * fraction


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
