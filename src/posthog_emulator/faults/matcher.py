"""Select the requests that a fault applies to."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

from posthog_emulator.http.messages import Request

__all__ = ["RequestMatcher"]


@dataclass(slots=True)
class RequestMatcher:
    """Selects requests by path, method, number and chance.

    Raises:
        ValueError: A number is out of range.
    """

    times: int | None = None
    """The number of requests still to select; None selects until the fault is removed."""
    path: str | None = None
    """A shell-style pattern of the path; None for any path."""
    method: str | None = None
    """The HTTP method; None for any method."""
    rate: float = 1.0
    """The probability with which a request is selected."""
    seed: int = 1
    """The seed of `rng`: the same seed selects the same requests."""
    burst: tuple[int, int] | None = None
    """(size, every): select the last `size` of every `every` requests."""
    rng: Random = field(init=False, repr=False, compare=False)
    """The random numbers of this fault. Faults do not share them, so that adding one does not
    change what another does."""
    _seen: int = field(init=False, default=0, repr=False)

    def __post_init__(self) -> None:
        """Validate the numbers, and seed the random numbers."""
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1, not {self.times}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, not {self.rate}")
        if self.burst is not None and not 1 <= self.burst[0] <= self.burst[1]:
            raise ValueError("the size of a burst must be at least 1 and at most `every`")
        self.rng = Random(self.seed)  # noqa: S311

    def matches(self, request: Request) -> bool:
        """Return whether a request is selected, and count it."""
        if not self._selects(request):
            return False
        self._seen += 1
        if self.burst is not None:
            # The burst is at the end of each cycle, so that the first requests of a test succeed.
            size, every = self.burst
            if (self._seen - 1) % every < every - size:
                return False
        if self.rate < 1 and self.rng.random() >= self.rate:
            return False
        # Only selected requests count: `times=2, rate=0.5` gives two faults, not one on average.
        if self.times is not None:
            self.times -= 1
        return True

    def _selects(self, request: Request) -> bool:
        if self.times is not None and self.times <= 0:
            return False
        if self.method is not None and self.method.upper() != request.method:
            return False
        return self.path is None or fnmatchcase(request.path, self.path)
