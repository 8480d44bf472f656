"""`ph.rate_limits`: how much of each rate limit is used, and by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from .limits import SLOTS, Bucket, Limit, Usage, table

__all__ = ["BucketView", "RateLimits", "bucket_view", "known_limits"]

_PER_KEY: Final = frozenset({"key", "user"})
_OWNERS: Final = {"team": "project", "organization": "organization", "item": "object"}


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


def bucket_view(rule: Limit, usage: Usage, waiting: int) -> BucketView:
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


def _unused(bucket: Bucket) -> BucketView:
    return BucketView(
        limit=bucket.requests,
        seconds=bucket.seconds,
        share=bucket.requests,
        used=0,
        remaining=bucket.requests,
        reset=0.0,
        waiting=0,
        closed=0.0,
    )


def known_limits(
    buckets: Mapping[str, Bucket] | None = None, slots: int = SLOTS
) -> dict[str, Bucket]:
    """Return every limit that a client keeps, by name.

    Args:
        buckets: The limits of requests; None: the server's usual ones.
        slots: Queries of one project at a time.
    """
    return {**(table() if buckets is None else buckets), "slots": Bucket("slots", slots, 0, "team")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The rate limits of this key, at one moment. It prints as a table.

    Iteration, `len()` and the table have the limits that were used so far; `limits["burst"]`
    returns any limit there is, with zero usage if nothing was charged to it.
    """

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
    counted: bool = True
    """Whether the client counts requests; False with `limits=False`: every usage is zero."""
    known: Mapping[str, Bucket] = field(default_factory=known_limits, repr=False, compare=False)
    """Every limit there is, used or not."""

    def __getitem__(self, name: str) -> BucketView:
        """Return one bucket; one that was not used yet has zero usage.

        Raises:
            KeyError: There is no such limit; the message lists the names.
        """
        found = self.buckets.get(name)
        if found is not None:
            return found
        base, _, owner = name.partition(" of ")
        bucket = self.known.get(base)
        if bucket is None or (bucket.per in _PER_KEY) is bool(owner):
            raise KeyError(self._missing(name, bucket))
        return _unused(bucket)

    def _missing(self, name: str, bucket: Bucket | None) -> str:
        if bucket is not None and bucket.per not in _PER_KEY:
            owner = {"team": "project 1", "organization": "organization ID"}.get(bucket.per, "…")
            return f"{name!r} is a limit of each {_OWNERS[bucket.per]}: use '{name} of {owner}'"
        near = get_close_matches(name.partition(" of ")[0], self.known, n=3)
        hint = f": did you mean {' or '.join(map(repr, near))}?" if near else "."
        names = ", ".join(sorted({*self.buckets, *self.known}))
        return f"there is no rate limit {name!r}{hint} The limits are: {names}"

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
        if not self.counted:
            return "Rate limits are off (limits=False): requests are not counted."
        lines.append(
            f"{self.requests} requests, {self.retries} of them retries; "
            f"{self.waits} waited; {self.refused} were refused (429)"
        )
        return "\n".join(lines)
