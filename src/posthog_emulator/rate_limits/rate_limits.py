"""The server's rate limits: a log of moments for each bucket and caller.

Nothing here waits. `RateLimits` is told of requests and says which are refused; what time it is,
the given clock says.
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
    "Refusal",
    "Subject",
    "Usage",
    "charged_buckets",
    "costs",
]

QueryPlan: TypeAlias = Literal["current", "legacy"]
Subject: TypeAlias = Literal["key", "team", "user", "organization", "item"]

_QUERIES: Final = "/api/projects/{project_id}/query/"
_INVITES: Final = frozenset({"organization_invite_burst", "organization_invite_sustained"})


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests fit into a window."""

    requests: int | None
    """None: not known, and therefore not limited here."""
    seconds: float
    per: Subject = "key"
    """What the count is kept for; `item` is one resource of one project."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request counts for."""

    key: str = field(repr=False)
    """The API key itself; only its hash is kept."""
    user: str = "1"
    team: str | None = None
    """The project's number; None outside of projects."""
    organization: str | None = None
    item: str | None = None
    """The id of the resource in question, if the path names one."""

    def subject(self, per: Subject) -> str:
        """What stands for the caller in a bucket of that kind."""
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
class Refusal:
    """Why a request is answered with 429."""

    buckets: tuple[str, ...]
    """Those that refused; the others were charged."""
    wait: int | None
    """Whole seconds for `Retry-After`; None when none of them can tell."""

    @property
    def detail(self) -> str:
        """The server's sentence."""
        said = "Request was throttled."
        if self.wait is None:
            return said
        return f"{said} Expected available in {self.wait} second{'' if self.wait == 1 else 's'}."


@dataclass(frozen=True, slots=True)
class Usage:
    """The state of one bucket for one subject."""

    limit: int
    used: int
    remaining: int
    reset: float
    """Seconds until the oldest request counts no more; 0 when there is none."""


@dataclass(slots=True)
class _Log:
    """The requests of one subject in one bucket, the oldest first."""

    rate: Rate
    times: deque[float] = field(default_factory=deque[float])

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        times, edge = self.times, now - self.rate.seconds
        while times and times[0] <= edge:
            times.popleft()

    def usage(self, now: float) -> Usage:
        """Tell what is used of the rate."""
        self.forget(now)
        limit, used = self.rate.requests or 0, len(self.times)
        reset = self.times[0] + self.rate.seconds - now if self.times else 0.0
        return Usage(limit, used, max(0, limit - used), reset)


@dataclass(slots=True)
class _BackgroundTraffic:
    """Somebody else with the same key, who makes a request every so often."""

    buckets: tuple[str, ...]
    caller: Caller
    start: float
    interval: float
    made: int = 0

    @property
    def next(self) -> float:
        return self.start + self.made * self.interval


class RateLimits:
    """Every bucket of a server.

    Args:
        clock: Gives the moment, in seconds.
        rates: The buckets by name; those of the generated registry by default.
    """

    def __init__(self, clock: Callable[[], float], rates: Mapping[str, Rate] | None = None) -> None:
        self._clock = clock
        self._given = rates
        self._known: Mapping[str, Rate] | None = None
        self._overrides: dict[tuple[str, str], Rate] = {}
        self._logs: dict[tuple[str, str], _Log] = {}
        self._strangers: list[_BackgroundTraffic] = []
        self._lock = Lock()

    @property
    def rates(self) -> Mapping[str, Rate]:
        """The buckets by name."""
        if self._known is None:
            self._known = _registered() if self._given is None else dict(self._given)
        return self._known

    def clear(self) -> None:
        """Forget every request, override and stranger."""
        with self._lock:
            self._overrides.clear()
            self._logs.clear()
            self._strangers.clear()

    def forget(self) -> None:
        """Forget every request, as after a journey into the past."""
        with self._lock:
            self._logs.clear()

    def admit(
        self, buckets: Iterable[str], caller: Caller, costs: Mapping[str, int] | None = None
    ) -> Refusal | None:
        """Tell of a request, and learn whether it is refused.

        Every bucket is asked, also after one has refused. One that refuses is not charged; one
        that does not is, whatever the others say.

        Args:
            buckets: The names of the buckets of the view.
            caller: Whom it counts for.
            costs: What it counts in a bucket, where that is not 1.

        Raises:
            KeyError: There is no such bucket.
        """
        with self._lock:
            now = self._clock()
            self._advance_background_traffic(now)
            return self._ask(buckets, caller, costs or {}, now)

    def override(
        self, bucket: str, team: int | str, requests: int | None, seconds: float | None = None
    ) -> None:
        """Give a project another rate for a bucket.

        Args:
            bucket: The bucket.
            team: The project's number.
            requests: How many; None for no limit.
            seconds: The window; that of the bucket by default.

        Raises:
            KeyError: There is no such bucket.
            ValueError: A number is not positive.
        """
        usual = self._rate(bucket)
        window = usual.seconds if seconds is None else seconds
        if (requests is not None and requests < 1) or not window > 0:
            raise ValueError(f"a rate must be positive, not {requests} in {window} s")
        self._overrides[bucket, str(team)] = Rate(requests, window, usual.per)

    def use_elsewhere(self, buckets: Iterable[str], caller: Caller, share: float) -> None:
        """Let a stranger use a share of what a caller has, evenly, from now on.

        The stranger's requests are charged, and refused, like any others. Of several buckets,
        the tightest gives the pace, and all are charged. Calling it again for the same buckets
        replaces the stranger.

        Args:
            buckets: The buckets of the stranger's requests.
            caller: Whom they count for.
            share: The part of the limit they would use, if none were refused; 0 for none.

        Raises:
            KeyError: There is no such bucket.
            ValueError: The share is negative, or no bucket has a limit.
        """
        names = tuple(buckets)
        rates = [self._rate_for(name, caller) for name in names]
        paces = [rate.requests / rate.seconds for rate in rates if rate.requests is not None]
        if not share >= 0 or not paces:
            raise ValueError(f"there is no share of {share:g} in {names}")
        with self._lock:
            now = self._clock()
            self._advance_background_traffic(now)
            kept = [s for s in self._strangers if (s.buckets, s.caller) != (names, caller)]
            if share > 0:
                interval = 1 / (min(paces) * share)
                kept.append(_BackgroundTraffic(names, caller, now, interval))
            self._strangers = kept

    def usage(self, subject: str | int) -> dict[str, Usage]:
        """Tell what is used, by bucket.

        Args:
            subject: An API key, the number of a project, the id of a user or an organization.
        """
        digest = _digest(str(subject))
        with self._lock:
            now = self._clock()
            self._advance_background_traffic(now)
            return {
                bucket: log.usage(now)
                for (bucket, whose), log in self._logs.items()
                if whose == digest and log.rate.requests is not None
            }

    def _rate(self, bucket: str) -> Rate:
        try:
            return self.rates[bucket]
        except KeyError:
            raise KeyError(f"the server has no bucket {bucket!r}") from None

    def _rate_for(self, bucket: str, caller: Caller) -> Rate:
        usual = self._rate(bucket)
        if not self._overrides or caller.team is None:
            return usual
        return self._overrides.get((bucket, caller.team), usual)

    def _ask(
        self, buckets: Iterable[str], caller: Caller, costs: Mapping[str, int], now: float
    ) -> Refusal | None:
        refused: list[str] = []
        longest: float | None = None
        digests: dict[Subject, str] = {}
        for bucket in buckets:
            rate = self._rate_for(bucket, caller)
            if rate.requests is None:
                continue
            digest = digests.get(rate.per)
            if digest is None:
                digest = digests[rate.per] = _digest(caller.subject(rate.per))
            log = self._logs.get((bucket, digest))
            if log is None:
                log = self._logs[bucket, digest] = _Log(rate)
            log.rate = rate
            log.forget(now)
            cost = costs.get(bucket, 1)
            if len(log.times) + cost <= rate.requests:
                log.times.extend([now] * cost)
                continue
            refused.append(bucket)
            wait = _wait(log, rate.requests, now)
            if wait is not None and (longest is None or wait > longest):
                longest = wait
        if not refused:
            return None
        # A wait of less than a second, or one lost in rounding, is said to be one second.
        whole = None if longest is None else max(1, math.ceil(longest))
        return Refusal(tuple(refused), whole)

    def _advance_background_traffic(self, now: float) -> None:
        """Make the requests that strangers have made up to now, in their order."""
        while self._strangers:
            stranger = min(self._strangers, key=_next)
            moment = stranger.next
            if moment > now:
                return
            self._ask(stranger.buckets, stranger.caller, {}, moment)
            stranger.made += 1


def _next(stranger: _BackgroundTraffic) -> float:
    return stranger.next


def _wait(log: _Log, limit: int, now: float) -> float | None:
    """Seconds a bucket that refused asks for; None when it holds more than it should.

    A full bucket says when its oldest entry leaves. One with room, but not for all that was asked
    of it, divides that; so does Django REST framework.
    """
    room = limit - len(log.times) + 1
    if room <= 0:
        return None
    oldest = log.times[0] if log.times else now
    return (log.rate.seconds - (now - oldest)) / room


def _digest(subject: str) -> str:
    return sha256(subject.encode()).hexdigest()


def _registered() -> dict[str, Rate]:
    registry = importlib.import_module("asyncposthog.registry")
    buckets = cast("Mapping[str, Mapping[str, Any]]", registry.BUCKETS)
    return {name: Rate(b["requests"], b["seconds"], b["per"]) for name, b in buckets.items()}


def charged_buckets(operation: Operation, body: Any, plan: QueryPlan) -> tuple[str, ...]:
    """The buckets of a request.

    On the legacy plan a HogQL query has a bucket of its own, and everything else below `/query/`
    counts as a view that reads from ClickHouse.
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
    """What a request counts, where that is not 1: invitations are counted one by one."""
    if not isinstance(body, list):
        return {}
    invites = max(1, len(cast("list[Any]", body)))
    return {bucket: invites for bucket in buckets if bucket in _INVITES}
