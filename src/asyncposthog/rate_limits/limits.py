"""Rate limits of the server: buckets, limits, query slots, and the query plan of a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from pydantic_core import from_json

from asyncposthog.errors import ConfigurationError
from asyncposthog.operation import Operation
from asyncposthog.registry import BUCKETS

__all__ = [
    "DEFAULT_QUERY_SLOTS",
    "SERVER_QUEUE_TIMEOUT",
    "UNENFORCED",
    "Bucket",
    "Limit",
    "LimitRules",
    "Limits",
    "Per",
    "PlanTracker",
    "QueryPlan",
    "Usage",
    "buckets_for",
    "candidate_windows",
    "default_buckets",
    "depends_on_plan",
    "is_hogql_query",
    "needs_query_slot",
    "parse_limits",
    "query_slot_limit",
    "validate_query_plan",
    "validate_query_slots",
]

UNENFORCED: Final = 1 << 60
"""The `requests` of a limit that is counted and not enforced, not even while its window is blocked.

A window can be shared by calls with different limits; this is the limit of calls that the server
may not count against it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A maximum of requests in any period of so many seconds, for one owner."""

    key: str
    """Identifies the window in every store: host, owner (a digest of the API key, or a project)
    and bucket. Limits with the same key share one window. It contains no secret."""
    name: str
    """The bucket name, such as `burst`. Shown in logs, errors and `rate_limits`."""
    requests: int
    """Requests allowed in the window, 1 or more."""
    seconds: float
    """The length of the window in seconds. 0: a slot, held only while its request is in flight."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The state of a window."""

    limit: int
    """Requests that the server grants."""
    share: int
    """Requests that this client uses: fewer than `limit` while other clients use the same key."""
    used: int
    """Requests answered within the window: the server has counted them."""
    in_flight: int
    """Requests in flight: the server may have counted them already."""
    reset: float
    """Seconds until the oldest request of `used` leaves the window; 0 if there is none."""
    blocked_for: float
    """Seconds for which no request is sent, after a 429; 0 if the window is not blocked."""

    @property
    def remaining(self) -> int:
        """Requests that can be sent now."""
        return 0 if self.blocked_for else max(0, self.share - self.used - self.in_flight)


Per: TypeAlias = Literal["key", "team", "user", "organization", "item"]
"""What a limit counts by: API key, project (`team`), user, organization, or object (`item`)."""

QueryPlan: TypeAlias = Literal["current", "legacy", "auto"]
"""Which limits the server applies to `/query/` of a project; `auto` detects it from responses."""

Limits: TypeAlias = Mapping[str, tuple[int, float]]
"""Limits that replace the defaults: requests and seconds by bucket, `{"burst": (960, 60)}`."""

_CURRENT_PLAN_BUCKETS: Final = ("api_queries_burst", "api_queries_sustained")
_QUERY_PATH: Final = "/api/projects/{project_id}/query/"
_MAX_WINDOW_SECONDS: Final = 366 * 86400.0
# The rate of some buckets is not published. The default of the same period is the most that it can
# be; if it is lower, a 429 reduces the share.
_ASSUMED_REQUESTS: Final = {60: 480, 3600: 4800}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A rate limit of the server: so many requests in any period of so many seconds."""

    name: str
    requests: int
    seconds: float
    per: Per = "key"


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The rate limits of a server in front of PostHog, which replace PostHog's own."""

    buckets: Mapping[str, Bucket]
    """The rate limits by name."""
    assign: Callable[[Operation, bool], tuple[str, ...]]
    """Returns the names of the limits that a call counts against: from its operation, and whether
    its body is a `HogQLQuery`."""


@cache
def default_buckets() -> Mapping[str, Bucket]:
    """Return the rate limits of the server by bucket name."""
    return MappingProxyType({name: _bucket(name, row) for name, row in BUCKETS.items()})


def _bucket(name: str, row: Mapping[str, Any]) -> Bucket:
    requests = row["requests"] or _ASSUMED_REQUESTS.get(row["seconds"], 4800)
    return Bucket(name, requests, float(row["seconds"]), row["per"])


def buckets_for(
    operation: Operation,
    plan: QueryPlan = "current",
    *,
    hogql: bool = True,
    buckets: Mapping[str, Bucket] | None = None,
) -> tuple[Bucket, ...]:
    """Return the buckets that one call of an operation counts against.

    Args:
        operation: The called operation. Paths outside `/api/` are not limited.
        plan: The query plan of the project; `auto` means `current` here.
        hogql: Whether the body is a `HogQLQuery`. The legacy plan counts those separately.
        buckets: The buckets by name; None: the defaults of the server.
    """
    available = default_buckets() if buckets is None else buckets
    if not operation.path.startswith("/api/"):
        return ()
    names = operation.buckets
    if plan == "legacy" and depends_on_plan(operation):
        if operation.method == "POST" and hogql:
            names = ("query",)
        else:
            names = ("clickhouse_burst", "clickhouse_sustained")
    return tuple(available[name] for name in names)


def depends_on_plan(operation: Operation) -> bool:
    """Return whether the buckets of an operation depend on the query plan of the project."""
    return operation.buckets == _CURRENT_PLAN_BUCKETS and operation.path.startswith(_QUERY_PATH)


def validate_query_plan(value: object) -> QueryPlan:
    """Return a valid `query_plan`.

    Raises:
        ConfigurationError: It is not `current`, `legacy` or `auto`.
    """
    if value not in get_args(QueryPlan):
        raise ConfigurationError(
            f"query_plan must be 'current', 'legacy' or 'auto', not {value!r}.",
            suggestion="'auto' detects the plan from the responses of the server.",
        )
    return cast("QueryPlan", value)


def parse_limits(
    value: object, defaults: Mapping[str, Bucket] | None = None
) -> Mapping[str, Bucket]:
    """Return the default buckets, with those that a user configured replaced.

    Args:
        value: A mapping of bucket names to (requests, seconds), or None.
        defaults: The buckets by name; None: those of PostHog.

    Raises:
        ConfigurationError: A bucket does not exist, or a number is out of range.
        TypeError: The value is not such a mapping.
    """
    defaults = default_buckets() if defaults is None else defaults
    if value is None:
        return defaults
    if not isinstance(value, Mapping):
        raise TypeError(
            f"limits must be a mapping such as {{'burst': (480, 60)}}, not {type(value).__name__}"
        )
    buckets = dict(defaults)
    for name, pair in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or name not in buckets:
            raise _unknown_bucket_error(name, buckets)
        buckets[name] = Bucket(name, *_parse_limit(name, pair), buckets[name].per)
    return MappingProxyType(buckets)


def _unknown_bucket_error(name: object, buckets: Mapping[str, Bucket]) -> ConfigurationError:
    from difflib import get_close_matches

    similar = get_close_matches(name, buckets, n=3) if isinstance(name, str) else []
    names = ("burst", "sustained", *_CURRENT_PLAN_BUCKETS)
    common = ", ".join(repr(n) for n in (names if "burst" in buckets else buckets))
    return ConfigurationError(
        f"limits: there is no bucket {name!r}.",
        suggestion=f"Did you mean {' or '.join(map(repr, similar))}?"
        if similar
        else f"The most used ones are {common}.",
    )


def _parse_limit(name: str, value: object) -> tuple[int, float]:
    pair = tuple(cast("tuple[object, ...]", value)) if isinstance(value, tuple | list) else ()
    if len(pair) != 2:
        raise TypeError(f"limits[{name!r}] must be (requests, seconds), such as (480, 60)")
    requests, seconds = pair
    if isinstance(requests, bool) or not isinstance(requests, int):
        raise TypeError(f"limits[{name!r}]: requests must be an int, not {requests!r}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"limits[{name!r}]: seconds must be a number, not {seconds!r}")
    if requests < 1:
        raise ConfigurationError(
            f"limits[{name!r}]: {requests} requests would block every call.",
            suggestion="Give 1 or more. To forbid operations, use allow= or read_only=.",
        )
    if not 0 < seconds <= _MAX_WINDOW_SECONDS:  # also rejects NaN
        raise ConfigurationError(
            f"limits[{name!r}]: the window must be more than 0 seconds long, and at most a year, "
            f"not {seconds}.",
            suggestion="(480, 60) means 480 requests per minute.",
        )
    return requests, float(seconds)


DEFAULT_QUERY_SLOTS: Final = 3
"""Queries of one project that the server runs at a time."""
SERVER_QUEUE_TIMEOUT: Final = 30.0
"""Seconds for which the server queues a query without a free slot before it answers 429."""

_QUERY_BUCKET: Final = "api_queries_burst"
# POST actions that count against the query limits and run no query.
_NON_QUERY_ACTIONS: Final = ("endpoints", "upgrade", "check_auth_for_async", "last_execution_times",
                "materialization_preview", "materialization_suggestion")  # fmt: skip


def needs_query_slot(operation: Operation) -> bool:
    """Return whether an operation runs a query while the caller waits."""
    return (
        operation.method == "POST"
        and _QUERY_BUCKET in operation.buckets
        and operation.path.rstrip("/").rpartition("/")[2] not in _NON_QUERY_ACTIONS
    )


def query_slot_limit(owner: str, slots: int) -> Limit:
    """Return the limit on queries of one project that run at a time."""
    return Limit(f"{owner}/slots", "slots", slots, 0.0)


def validate_query_slots(value: object) -> int:
    """Return a valid `query_slots`: how many queries of a project may run at a time.

    Raises:
        ConfigurationError: It is less than 1.
        TypeError: It is not an int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"query_slots must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(
            f"query_slots must be 1 or more, not {value}: no query could run.",
            suggestion="PostHog runs 3 queries of a project at a time.",
        )
    return value


_LEGACY_FILL_FRACTION: Final = 0.9
"""Fraction of the legacy limit that must be used before a 429 is attributed to it."""


class PlanTracker:
    """The query plan of each project: as configured, or as detected from responses."""

    def __init__(self, plan: QueryPlan) -> None:
        """Start with the configured plan for every project."""
        self._plan: QueryPlan = plan
        self._detected: dict[str, QueryPlan] = {}

    def get(self, project: str) -> QueryPlan:
        """Return the plan of a project; `auto` until it is detected."""
        return self._detected.get(project, self._plan)

    def set(self, project: str, plan: QueryPlan) -> None:
        """Record the detected plan of a project."""
        self._detected[project] = plan


def is_hogql_query(content: bytes | None) -> bool:
    """Return whether a body is a `HogQLQuery`, which the legacy plan counts separately."""
    if not content:
        return False
    try:
        kind = from_json(content)["query"]["kind"]
    except (ValueError, TypeError, KeyError):
        return False
    return bool(kind == "HogQLQuery")


def candidate_windows(
    limits: Sequence[Limit], usages: Sequence[Usage], legacy: Bucket
) -> tuple[list[Limit], list[Usage]]:
    """Return the windows that may have caused a 429, with the legacy limit put in if it fits.

    Args:
        limits: The limits that the request counted against.
        usages: Their usage, in the same order.
        legacy: The bucket that the legacy plan counts HogQL queries against.
    """
    candidates, candidate_usages = list(limits), list(usages)
    for index, limit in enumerate(limits):
        if limit.name == legacy.name and limit.requests == UNENFORCED:
            # The plan is unknown. With few queries in the hour, the legacy limit cannot be the
            # cause; left unenforced, it looks nearly empty and is not chosen.
            used = usages[index].used
            nearly_full = used >= _LEGACY_FILL_FRACTION * legacy.requests
            requests = legacy.requests if nearly_full else UNENFORCED
            candidates[index] = replace(limit, requests=requests)
            candidate_usages[index] = replace(usages[index], limit=requests, share=requests)
    return candidates, candidate_usages
