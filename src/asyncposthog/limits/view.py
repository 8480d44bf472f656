"""`ph.rate_limits`: how much of each rate limit is used, and by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .rules import Rule, Usage

__all__ = ["BucketView", "RateLimits", "bucket_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketView:
    """One rate limit, as far as this client knows."""

    limit: int
    """Requests the server grants in a window."""
    seconds: float
    """The length of the window; 0 for slots, which are held while a query runs."""
    share: int
    """Requests we allow ourselves: fewer than `limit` once others were found to use the key."""
    used: int
    """Requests that count now, those in flight included."""
    remaining: int
    """Requests that may go at once."""
    reset: float
    """Seconds until the oldest request leaves the window."""
    waiting: int
    """Requests that wait for it, or for another one they need as well."""
    closed: float
    """Seconds for which nothing goes, because the server refused a request; 0: it is open."""


def bucket_view(rule: Rule, usage: Usage, waiting: int) -> BucketView:
    """Return what people are shown of a window."""
    return BucketView(
        limit=usage.limit,
        seconds=rule.seconds,
        share=usage.share,
        used=usage.used + usage.flying,
        remaining=usage.remaining,
        reset=usage.reset,
        waiting=waiting,
        closed=usage.closed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The rate limits that this key has met, at one moment. It prints as a table."""

    buckets: Mapping[str, BucketView] = field(default_factory=dict[str, BucketView])
    """By name: `burst`; those of a project as `slots of project 1`."""
    requests: int = 0
    """Requests that were let go."""
    retries: int = 0
    """Those of them that were repeats."""
    waits: int = 0
    """Requests that had to wait."""
    refused: int = 0
    """Requests that the server answered with 429."""

    def __getitem__(self, name: str) -> BucketView:
        """Return one bucket."""
        return self.buckets[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the buckets."""
        return iter(self.buckets)

    def __len__(self) -> int:
        """Count the buckets."""
        return len(self.buckets)

    def __str__(self) -> str:
        """Read as a table."""
        width = max(map(len, self.buckets), default=6)
        lines = [f"{'bucket':<{width}}   used  limit  share  waiting   reset  closed"]
        lines += [
            f"{name:<{width}}  {b.used:>5}  {b.limit:>5}  {b.share:>5}  {b.waiting:>7}  "
            f"{b.reset:>5.0f}s  {b.closed:>5.0f}s"
            for name, b in self.buckets.items()
        ]
        lines.append(
            f"{self.requests} requests, {self.retries} of them retries; "
            f"{self.waits} waited; {self.refused} were refused (429)"
        )
        return "\n".join(lines)
