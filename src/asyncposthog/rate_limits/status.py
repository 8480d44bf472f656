"""`ph.rate_limits`: the usage of each rate limit, as a snapshot that prints as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from .limits import DEFAULT_QUERY_SLOTS, Bucket, Limit, Usage, default_buckets

__all__ = ["BucketStatus", "RateLimits", "all_limits", "bucket_status"]

_KEY_SCOPES: Final = frozenset({"key", "user"})
_OWNERS: Final = {"team": "project", "organization": "organization", "item": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketStatus:
    """The state of one rate limit, as far as this client knows."""

    limit: int
    """Requests that the server grants in a window."""
    seconds: float
    """The length of the window in seconds; 0 for query slots, which are held while a query runs."""
    share: int
    """Requests that this client uses: fewer than `limit` while other clients use the same key."""
    used: int
    """Requests that count now, those in flight included."""
    remaining: int
    """Requests that can be sent at once."""
    reset: float
    """Seconds until the oldest request leaves the window."""
    waiting: int
    """Requests that wait for this limit, or for another one that they need as well."""
    blocked_for: float
    """Seconds for which no request is sent, after a 429; 0 if the limit is not blocked."""


def bucket_status(limit: Limit, usage: Usage, waiting: int) -> BucketStatus:
    """Return the public status of a window.

    Args:
        limit: The limit of the window.
        usage: Its usage.
        waiting: How many requests wait for it.
    """
    return BucketStatus(
        limit=usage.limit,
        seconds=limit.seconds,
        share=usage.share,
        used=usage.used + usage.in_flight,
        remaining=usage.remaining,
        reset=usage.reset,
        waiting=waiting,
        blocked_for=usage.blocked_for,
    )


def _unused(bucket: Bucket) -> BucketStatus:
    return BucketStatus(
        limit=bucket.requests,
        seconds=bucket.seconds,
        share=bucket.requests,
        used=0,
        remaining=bucket.requests,
        reset=0.0,
        waiting=0,
        blocked_for=0.0,
    )


def all_limits(
    buckets: Mapping[str, Bucket] | None = None, slots: int = DEFAULT_QUERY_SLOTS
) -> dict[str, Bucket]:
    """Return every limit that a client can apply, by name.

    Args:
        buckets: The request limits; None: the defaults of the server.
        slots: Queries of one project that may run at a time.
    """
    buckets = default_buckets() if buckets is None else buckets
    return {**buckets, "slots": Bucket("slots", slots, 0, "team")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The rate limits of an API key at one point in time. `str()` gives a table.

    Iteration, `len()` and the table cover the limits that were used so far; `limits["burst"]`
    returns any limit, with zero usage if no request counted against it.
    """

    buckets: Mapping[str, BucketStatus] = field(default_factory=dict[str, BucketStatus])
    """The used limits by name: `burst`, and for those of a project `slots of project 1`."""
    requests: int = 0
    """Requests that were admitted, retries included."""
    retries: int = 0
    """Retries among `requests`."""
    waits: int = 0
    """Requests that had to wait."""
    throttled: int = 0
    """Requests that the server answered with 429."""
    enabled: bool = True
    """Whether the client counts requests. False with `limits=False`: every usage is zero."""
    available: Mapping[str, Bucket] = field(default_factory=all_limits, repr=False, compare=False)
    """Every limit by name, used or not."""

    def __getitem__(self, name: str) -> BucketStatus:
        """Return the status of one limit; zero usage if it was not used yet.

        Raises:
            KeyError: There is no such limit; the message lists the names.
        """
        status = self.buckets.get(name)
        if status is not None:
            return status
        base, _, owner = name.partition(" of ")
        bucket = self.available.get(base)
        if bucket is None or (bucket.per in _KEY_SCOPES) is bool(owner):
            raise KeyError(self._unknown_name(name, bucket))
        return _unused(bucket)

    def _unknown_name(self, name: str, bucket: Bucket | None) -> str:
        if bucket is not None and bucket.per not in _KEY_SCOPES:
            owner = {"team": "project 1", "organization": "organization ID"}.get(bucket.per, "…")
            return f"{name!r} is a limit of each {_OWNERS[bucket.per]}: use '{name} of {owner}'"
        similar = get_close_matches(name.partition(" of ")[0], self.available, n=3)
        hint = f": did you mean {' or '.join(map(repr, similar))}?" if similar else "."
        names = ", ".join(sorted({*self.buckets, *self.available}))
        return f"there is no rate limit {name!r}{hint} The limits are: {names}"

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the used limits."""
        return iter(self.buckets)

    def __len__(self) -> int:
        """Return the number of used limits."""
        return len(self.buckets)

    def __str__(self) -> str:
        """Return a table of the used limits, and the counts of requests."""
        if not self.enabled:
            return "Rate limits are off (limits=False): requests are not counted."
        width = max(map(len, self.buckets), default=6)
        lines = [f"{'bucket':<{width}}   used  limit  share  waiting   reset  blocked"]
        lines += [
            f"{name:<{width}}  {b.used:>5}  {b.limit:>5}  {b.share:>5}  {b.waiting:>7}  "
            f"{b.reset:>5.0f}s  {b.blocked_for:>6.0f}s"
            for name, b in self.buckets.items()
        ]
        lines.append(
            f"{self.requests} requests, {self.retries} of them retries; "
            f"{self.waits} waited; {self.throttled} throttled (429)"
        )
        return "\n".join(lines)
