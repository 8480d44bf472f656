"""The vocabulary between limiter and store: a window to keep, and how full it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["WATCHED", "Rule", "Usage"]

WATCHED: Final = 1 << 60
"""A limit that holds nobody back, not even while the window is closed: requests are counted for
those to whom another one applies."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One budget: so many requests in any span of so many seconds."""

    key: str
    """Names the budget wherever it is kept: host, owner (a digest of the key, or a project) and
    bucket. Rules with one key are one budget. It holds no secret."""
    name: str
    """The bucket: `burst`. What people are told."""
    limit: int
    """Requests in a window, 1 or more."""
    seconds: float
    """The length of the window. 0: a slot, which counts only while its request is in flight."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a window is."""

    limit: int
    """What the server grants."""
    share: int
    """What we allow ourselves of it: less than `limit` when others use the same key."""
    used: int
    """Requests answered within the window: the server surely counted them."""
    flying: int
    """Requests in flight: the server may have counted them already."""
    reset: float
    """Seconds until the oldest of `used` leaves the window; 0 where there is none."""
    closed: float
    """Seconds for which nothing is let through, because the server said so; 0 when open."""

    @property
    def remaining(self) -> int:
        """Requests that may go now."""
        return 0 if self.closed else max(0, self.share - self.used - self.flying)
