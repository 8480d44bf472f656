"""How long an answer takes: fixed, or drawn from a distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias, get_args

__all__ = ["Latency", "Law"]

Law: TypeAlias = Literal["fixed", "uniform", "normal", "lognormal"]
_FORMS = "`0.5`, `uniform LOW HIGH`, `normal MEAN DEVIATION` or `lognormal MEDIAN SIGMA`"


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of seconds; what is drawn below zero counts as zero."""

    law: Law
    first: float
    """Seconds: the value, the low end, the mean or the median."""
    second: float = 0.0
    """The high end or the deviation in seconds; of `lognormal`, that of the logarithm."""

    def __post_init__(self) -> None:
        """Refuse what is no distribution of waits."""
        if self.law not in get_args(Law):
            raise ValueError(f"a latency is {_FORMS}, not {self.law!r}")
        if not all(math.isfinite(n) and n >= 0 for n in (self.first, self.second)):
            raise ValueError("the seconds of a latency must be finite and not below 0")
        if self.law == "uniform" and self.second < self.first:
            raise ValueError(f"uniform from {self.first} to {self.second}: the ends are swapped")
        if self.law == "lognormal" and self.first == 0:
            raise ValueError("the median of a lognormal latency must be above 0")

    @classmethod
    def of(cls, given: Latency | float | str) -> Latency:
        """Read seconds, or a text such as `uniform 0.1 0.5`.

        Raises:
            ValueError: It is none of them.
        """
        if isinstance(given, Latency):
            return given
        if not isinstance(given, str):
            return cls("fixed", float(given))
        words = given.replace(",", " ").split()
        try:
            law, numbers = ("fixed", words) if _is_number(words[0]) else (words[0], words[1:])
            values = [float(number) for number in numbers]
        except (IndexError, ValueError):
            raise ValueError(f"a latency is {_FORMS}, not {given!r}") from None
        if len(values) != (1 if law == "fixed" else 2):
            raise ValueError(f"a latency is {_FORMS}, not {given!r}")
        return cls(law, *values)  # type: ignore[arg-type]  # the law is checked there

    def draw(self, chance: Random) -> float:
        """Seconds for one answer."""
        if self.law == "uniform":
            return chance.uniform(self.first, self.second)
        if self.law == "normal":
            return max(0.0, chance.gauss(self.first, self.second))
        if self.law == "lognormal":
            return chance.lognormvariate(math.log(self.first), self.second)
        return self.first


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
