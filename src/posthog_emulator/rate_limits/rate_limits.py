"""The server's rate limits: sliding windows, as a log of timestamps per bucket and caller.

`RateLimits` decides which requests are throttled. It does not wait, and takes the time from a clock
that is passed in.
"""

from __future__ import annotations

import importlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any, Final, Literal, TypeAlias, cast

from asyncposthog.operation import Operation
from posthog_emulator.json_types import is_object

__all__ = [
    "Caller",
    "QueryPlan",
    "Rate",
    "RateLimits",
    "RateScope",
    "Throttled",
    "Usage",
    "charged_buckets",
    "costs",
]

QueryPlan: TypeAlias = Literal["current", "legacy"]
RateScope: TypeAlias = Literal["key", "team", "user", "organization", "item"]

_QUERIES: Final = "/api/projects/{project_id}/query/"
_INVITES: Final = frozenset({"organization_invite_burst", "organization_invite_sustained"})


@dataclass(frozen=True, slots=True)
class Rate:
    """The limit of a bucket: requests per time window."""

    requests: int | None
    """The number of requests; None if it is unknown, and so not limited here."""
    seconds: float
    """The length of the window."""
    per: RateScope = "key"
    """What requests are counted by; `item` is one resource of one project."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The key, user and project that a request is counted for."""

    key: str = field(repr=False)
    """The API key; only its hash is stored."""
    user: str = "1"
    team: str | None = None
    """The project's id; None for requests outside of projects."""
    organization: str | None = None
    item: str | None = None
    """The id of the resource in the path, if there is one."""

    def scope_key(self, per: RateScope) -> str:
        """Return the key under which the caller is counted in a bucket of a scope.

        The fallbacks are the server's: outside of projects, a bucket per project counts by user.
        """
        if per == "team":
            return self.user if self.team is None else self.team
        if per == "item" and self.team is not None and self.item is not None:
            return f"{self.team}_{self.item}"
        if per == "user":
            return self.user
        if per == "organization" and self.organization is not None:
            return self.organization
        return self.key


@dataclass(frozen=True, slots=True)
class Throttled:
    """The reason of a 429."""

    buckets: tuple[str, ...]
    """The exhausted buckets. The others were charged."""
    wait: int | None
    """Whole seconds for `Retry-After`; None if the server would send none."""

    @property
    def detail(self) -> str:
        """The `detail` of the error envelope."""
        text = "Request was throttled."
        if self.wait is None:
            return text
        return f"{text} Expected available in {self.wait} second{'' if self.wait == 1 else 's'}."


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of one bucket by one key, project, user or organization."""

    limit: int
    used: int
    remaining: int
    reset: float
    """Seconds until the oldest request leaves the window; 0 if there is none."""


@dataclass(slots=True)
class _Log:
    """The timestamps of the requests in one bucket, the oldest first."""

    rate: Rate
    times: deque[float] = field(default_factory=deque[float])

    def evict(self, now: float) -> None:
        """Drop the timestamps that have left the window."""
        times, start = self.times, now - self.rate.seconds
        while times and times[0] <= start:
            times.popleft()

    def usage(self, now: float) -> Usage:
        """Return the usage of the rate."""
        self.evict(now)
        limit, used = self.rate.requests or 0, len(self.times)
        reset = self.times[0] + self.rate.seconds - now if self.times else 0.0
        return Usage(limit, used, max(0, limit - used), reset)


@dataclass(slots=True)
class _BackgroundTraffic:
    """Another client that sends a request at a fixed interval."""

    buckets: tuple[str, ...]
    caller: Caller
    start: float
    interval: float
    sent: int = 0

    @property
    def next_at(self) -> float:
        """The time of its next request. A product, not a sum, so that errors do not add up."""
        return self.start + self.sent * self.interval


class RateLimits:
    """The rate limits of a server.

    Args:
        clock: Returns the current time in seconds.
        rates: The rate of each bucket by name; those of the generated registry by default.
    """

    def __init__(self, clock: Callable[[], float], rates: Mapping[str, Rate] | None = None) -> None:
        self._clock = clock
        self._rates = None if rates is None else dict(rates)
        self._overrides: dict[tuple[str, str], Rate] = {}
        self._logs: dict[tuple[str, str], _Log] = {}
        self._other_clients: list[_BackgroundTraffic] = []
        self._lock = Lock()

    @property
    def rates(self) -> Mapping[str, Rate]:
        """The rate of each bucket by name."""
        # Loaded on first use: most emulators run without rate limits.
        if self._rates is None:
            self._rates = _registry_rates()
        return self._rates

    def clear(self) -> None:
        """Remove all usage, overrides and simulated clients."""
        with self._lock:
            self._overrides.clear()
            self._logs.clear()
            self._other_clients.clear()

    def clear_usage(self) -> None:
        """Remove all usage, for a clock that was moved backwards."""
        with self._lock:
            self._logs.clear()

    def charge(
        self, buckets: Iterable[str], caller: Caller, costs: Mapping[str, int] | None = None
    ) -> Throttled | None:
        """Charge a request to its buckets; return why it is throttled, or None.

        Each bucket is checked by itself, even after another one is exhausted: an exhausted bucket
        is not charged, and all others are. Django REST framework does the same.

        Args:
            buckets: The names of the buckets of the operation.
            caller: The caller that the request is counted for.
            costs: The number of requests it counts as, by bucket, where that is not 1.

        Raises:
            KeyError: A bucket does not exist.
        """
        with self._lock:
            now = self._clock()
            self._advance_background_traffic(now)
            return self._charge(buckets, caller, costs or {}, now)

    def override(
        self, bucket: str, team: int | str, requests: int | None, seconds: float | None = None
    ) -> None:
        """Set the rate of a bucket for one project.

        Args:
            bucket: The name of the bucket.
            team: The project's id.
            requests: The number of requests; None for no limit.
            seconds: The length of the window; that of the bucket by default.

        Raises:
            KeyError: The bucket does not exist.
            ValueError: A number is not positive.
        """
        default = self._default_rate(bucket)
        window = default.seconds if seconds is None else seconds
        if (requests is not None and requests < 1) or not window > 0:
            raise ValueError(f"a rate must be positive, not {requests} in {window} s")
        self._overrides[bucket, str(team)] = Rate(requests, window, default.per)

    def simulate_other_client(self, buckets: Iterable[str], caller: Caller, share: float) -> None:
        """Simulate another client that uses a share of a caller's limits at a steady rate.

        Its requests are charged and throttled like any others. All buckets are charged, and the
        lowest limit of them gives the rate. Another call with the same buckets and caller
        replaces the client.

        Args:
            buckets: The names of the buckets that its requests are charged to.
            caller: The caller that its requests are counted for.
            share: The share of the limit that it uses while it is not throttled; 0 stops it.

        Raises:
            KeyError: A bucket does not exist.
            ValueError: The share is negative, or none of the buckets has a limit.
        """
        names = tuple(buckets)
        rates = [self._rate_for(name, caller) for name in names]
        per_second = [rate.requests / rate.seconds for rate in rates if rate.requests is not None]
        if not share >= 0 or not per_second:
            raise ValueError(
                f"cannot simulate a share of {share:g} of {names}: the share must not be negative, "
                "and one of the buckets must have a limit"
            )
        with self._lock:
            now = self._clock()
            self._advance_background_traffic(now)
            clients = [
                client
                for client in self._other_clients
                if (client.buckets, client.caller) != (names, caller)
            ]
            if share > 0:
                interval = 1 / (min(per_second) * share)
                clients.append(_BackgroundTraffic(names, caller, now, interval))
            self._other_clients = clients

    def usage(self, scope_key: str | int) -> dict[str, Usage]:
        """Return the usage by bucket.

        Args:
            scope_key: An API key, or the id of a project, a user or an organization.
        """
        digest = _digest(str(scope_key))
        with self._lock:
            now = self._clock()
            self._advance_background_traffic(now)
            return {
                bucket: log.usage(now)
                for (bucket, log_digest), log in self._logs.items()
                if log_digest == digest and log.rate.requests is not None
            }

    def _default_rate(self, bucket: str) -> Rate:
        try:
            return self.rates[bucket]
        except KeyError:
            raise KeyError(f"there is no rate limit bucket {bucket!r}") from None

    def _rate_for(self, bucket: str, caller: Caller) -> Rate:
        default = self._default_rate(bucket)
        if not self._overrides or caller.team is None:
            return default
        return self._overrides.get((bucket, caller.team), default)

    def _charge(
        self, buckets: Iterable[str], caller: Caller, costs: Mapping[str, int], now: float
    ) -> Throttled | None:
        exhausted: list[str] = []
        longest: float | None = None
        # One digest per scope, not per bucket: most buckets of an operation share the scope.
        digests: dict[RateScope, str] = {}
        for bucket in buckets:
            rate = self._rate_for(bucket, caller)
            if rate.requests is None:
                continue
            digest = digests.get(rate.per)
            if digest is None:
                digest = digests[rate.per] = _digest(caller.scope_key(rate.per))
            log = self._logs.get((bucket, digest))
            if log is None:
                log = self._logs[bucket, digest] = _Log(rate)
            # An override may have been set since the last request.
            log.rate = rate
            log.evict(now)
            # All or nothing: a request whose cost does not fit is not charged in part.
            cost = costs.get(bucket, 1)
            if len(log.times) + cost <= rate.requests:
                log.times.extend([now] * cost)
                continue
            exhausted.append(bucket)
            wait = _retry_after(log, rate.requests, now)
            if wait is not None and (longest is None or wait > longest):
                longest = wait
        if not exhausted:
            return None
        # At least 1: a wait of 0 would invite a retry within the same window.
        whole = None if longest is None else max(1, math.ceil(longest))
        return Throttled(tuple(exhausted), whole)

    def _advance_background_traffic(self, now: float) -> None:
        """Charge the requests that simulated clients would have sent until now, in order of time.

        On demand, and not by a task, so that it works with any clock.
        """
        while self._other_clients:
            client = min(self._other_clients, key=_next_at)
            at = client.next_at
            if at > now:
                return
            self._charge(client.buckets, client.caller, {}, at)
            client.sent += 1


def _next_at(client: _BackgroundTraffic) -> float:
    return client.next_at


def _retry_after(log: _Log, limit: int, now: float) -> float | None:
    """Return the seconds that an exhausted bucket asks to wait; None if it is over its limit.

    The formula of Django REST framework: a full bucket asks to wait until its oldest request
    leaves the window. One with room, but not for the whole cost, divides that by the room.
    """
    room = limit - len(log.times) + 1
    if room <= 0:
        return None
    oldest = log.times[0] if log.times else now
    return (log.rate.seconds - (now - oldest)) / room


def _digest(scope_key: str) -> str:
    return sha256(scope_key.encode()).hexdigest()


def _registry_rates() -> dict[str, Rate]:
    registry = importlib.import_module("asyncposthog.registry")
    buckets = cast("Mapping[str, Mapping[str, Any]]", registry.BUCKETS)
    return {name: Rate(b["requests"], b["seconds"], b["per"]) for name, b in buckets.items()}


def charged_buckets(operation: Operation, body: Any, plan: QueryPlan) -> tuple[str, ...]:
    """Return the buckets that a request is charged to.

    On the legacy plan a HogQL query has a bucket of its own, and everything else below `/query/`
    is charged to the buckets of views that read from ClickHouse.
    """
    if plan == "current" or not operation.path.startswith(_QUERIES):
        return operation.buckets
    if "api_queries_burst" not in operation.buckets:
        return operation.buckets
    query = body.get("query") if is_object(body) else None
    if operation.method == "POST" and is_object(query) and query.get("kind") == "HogQLQuery":
        return ("query",)
    return ("clickhouse_burst", "clickhouse_sustained")


def costs(buckets: Iterable[str], body: Any) -> dict[str, int]:
    """Return the cost of a request by bucket, where it is not 1: each invitation counts."""
    if not isinstance(body, list):
        return {}
    invites = max(1, len(cast("list[Any]", body)))
    return {bucket: invites for bucket in buckets if bucket in _INVITES}
