"""When something that was asked for on purpose happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

from posthog_emulator.http.messages import Request

__all__ = ["RequestMatcher"]


@dataclass(slots=True)
class RequestMatcher:
    """Which requests are meant, and how many of them.

    Raises:
        ValueError: A number is out of range.
    """

    times: int | None = None
    """How many more requests; None until `behave`."""
    path: str | None = None
    """A shell-style pattern the path has to match."""
    method: str | None = None
    rate: float = 1.0
    """The part of the fitting requests that is meant, by chance."""
    seed: int = 1
    """Makes another series."""
    burst: tuple[int, int] | None = None
    """(a, b): the last a of every b fitting requests."""
    chance: Random = field(init=False, repr=False, compare=False)
    """What else has to be chosen by chance."""
    _seen: int = field(init=False, default=0, repr=False)

    def __post_init__(self) -> None:
        """Refuse what can never happen."""
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1, not {self.times}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, not {self.rate}")
        if self.burst is not None and not 1 <= self.burst[0] <= self.burst[1]:
            raise ValueError("a burst must be of at least 1 request, and of no more than `every`")
        self.chance = Random(self.seed)  # noqa: S311

    def fits(self, request: Request) -> bool:
        """Whether it is still on and meant for requests like this one."""
        if self.times is not None and self.times <= 0:
            return False
        if self.method is not None and self.method.upper() != request.method:
            return False
        return self.path is None or fnmatchcase(request.path, self.path)

    def matches(self, request: Request) -> bool:
        """Whether this request is meant; it is counted if it is."""
        if not self.fits(request):
            return False
        self._seen += 1
        if self.burst is not None:
            size, every = self.burst
            if (self._seen - 1) % every < every - size:
                return False
        if self.rate < 1 and self.chance.random() >= self.rate:
            return False
        if self.times is not None:
            self.times -= 1
        return True
