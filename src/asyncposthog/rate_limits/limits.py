"""The vocabulary between limiter and store: a window to keep, and how full it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from pydantic_core import from_json

from asyncposthog.errors import ConfigurationError
from asyncposthog.operation import Operation
from asyncposthog.registry import BUCKETS

__all__ = [
    "SERVER_QUEUE_TIMEOUT",
    "SLOTS",
    "UNENFORCED",
    "Bucket",
    "Limit",
    "Limits",
    "Per",
    "Plans",
    "QueryPlan",
    "Usage",
    "buckets_of",
    "candidate_windows",
    "depends_on_plan",
    "needs_slot",
    "read_limits",
    "read_plan",
    "read_slots",
    "runs_hogql",
    "slot_rule",
    "table",
]

UNENFORCED: Final = 1 << 60
"""A limit that holds nobody back, not even while the window is closed: requests are counted for
those to whom another one applies."""


@dataclass(frozen=True, slots=True)
class Limit:
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


Per: TypeAlias = Literal["key", "team", "user", "organization", "item"]
"""What a count is kept for: an API key, a project, the key's user, an organization, an object."""

QueryPlan: TypeAlias = Literal["current", "legacy", "auto"]
"""Which limits hold for `/query/`. It is a property of the project; `auto` finds out."""

Limits: TypeAlias = Mapping[str, tuple[int, float]]
"""Other limits than the usual ones: `{"burst": (960, 60)}`, requests and seconds by bucket."""

_CURRENT: Final = ("api_queries_burst", "api_queries_sustained")
_QUERY: Final = "/api/projects/{project_id}/query/"
# Where a rate is not published, the usual one is the most it can be.
_LONGEST: Final = 366 * 86400.0
_SUPPOSED: Final = {60: 480, 3600: 4800}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A rate limit of the server: so many requests in any span of so many seconds."""

    name: str
    requests: int
    seconds: float
    per: Per = "key"


@cache
def table() -> Mapping[str, Bucket]:
    """Return every bucket of the server, by name."""
    return MappingProxyType({name: _bucket(name, row) for name, row in BUCKETS.items()})


def _bucket(name: str, row: Mapping[str, Any]) -> Bucket:
    requests = row["requests"] or _SUPPOSED.get(row["seconds"], 4800)
    return Bucket(name, requests, float(row["seconds"]), row["per"])


def buckets_of(
    operation: Operation,
    plan: QueryPlan = "current",
    *,
    hogql: bool = True,
    buckets: Mapping[str, Bucket] | None = None,
) -> tuple[Bucket, ...]:
    """Return the buckets that one call of an operation is charged to.

    Args:
        operation: What is called. Paths outside `/api/` are not limited.
        plan: Which limits hold for `/query/`; `auto` stands for `current` here.
        hogql: Whether the body is a `HogQLQuery`. The legacy plan counts those apart.
        buckets: The table to look names up in.
    """
    known = table() if buckets is None else buckets
    if not operation.path.startswith("/api/"):
        return ()
    names = operation.buckets
    if plan == "legacy" and depends_on_plan(operation):
        if operation.method == "POST" and hogql:
            names = ("query",)
        else:
            names = ("clickhouse_burst", "clickhouse_sustained")
    return tuple(known[name] for name in names)


def depends_on_plan(operation: Operation) -> bool:
    """Tell whether the project's plan decides which buckets an operation is charged to."""
    return operation.buckets == _CURRENT and operation.path.startswith(_QUERY)


def read_plan(value: object) -> QueryPlan:
    """Check a `query_plan`.

    Raises:
        ConfigurationError: There is no such plan.
    """
    if value not in get_args(QueryPlan):
        raise ConfigurationError(
            f"query_plan must be 'current', 'legacy' or 'auto', not {value!r}.",
            suggestion="'auto' finds out from the server's answers.",
        )
    return cast("QueryPlan", value)


def read_limits(value: object) -> Mapping[str, Bucket]:
    """Put limits given by a user over the server's usual ones.

    Args:
        value: A mapping of bucket names to (requests, seconds), or None.

    Raises:
        ConfigurationError: A bucket is not known, or a number cannot be a limit.
        TypeError: It is no such mapping.
    """
    if value is None:
        return table()
    if not isinstance(value, Mapping):
        raise TypeError(
            f"limits must be a mapping such as {{'burst': (480, 60)}}, not {type(value).__name__}"
        )
    known = dict(table())
    for name, pair in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or name not in known:
            raise _unknown(name, known)
        known[name] = Bucket(name, *_pair(name, pair), known[name].per)
    return MappingProxyType(known)


def _unknown(name: object, known: Mapping[str, Bucket]) -> ConfigurationError:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3) if isinstance(name, str) else []
    return ConfigurationError(
        f"limits: there is no bucket {name!r}.",
        suggestion=f"Did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"The most used ones are 'burst', 'sustained', {', '.join(map(repr, _CURRENT))}.",
    )


def _pair(name: str, value: object) -> tuple[int, float]:
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
            f"limits[{name!r}]: {requests} requests would let nothing through, ever.",
            suggestion="Give 1 or more. To switch operations off, use allow= or read_only=.",
        )
    if not 0 < seconds <= _LONGEST:  # nor NaN
        raise ConfigurationError(
            f"limits[{name!r}]: the window must be more than 0 seconds long, and at most a year, "
            f"not {seconds}.",
            suggestion="(480, 60) stands for 480 requests a minute.",
        )
    return requests, float(seconds)


SLOTS: Final = 3
"""Queries of one project that the server runs at a time."""
SERVER_QUEUE_TIMEOUT: Final = 30.0
"""Seconds for which the server keeps one more waiting, before it refuses it."""

_BUCKET: Final = "api_queries_burst"
# POSTs charged as queries that do not run one.
_NON_QUERY_ACTIONS: Final = ("endpoints", "upgrade", "check_auth_for_async", "last_execution_times",
                "materialization_preview")  # fmt: skip


def needs_slot(operation: Operation) -> bool:
    """Tell whether an operation runs a query while its caller waits."""
    return (
        operation.method == "POST"
        and _BUCKET in operation.buckets
        and operation.path.rstrip("/").rpartition("/")[2] not in _NON_QUERY_ACTIONS
    )


def slot_rule(owner: str, slots: int) -> Limit:
    """Return the budget that queries of one project hold while they run."""
    return Limit(f"{owner}/slots", "slots", slots, 0.0)


def read_slots(value: object) -> int:
    """Check how many queries may run at a time.

    Raises:
        ConfigurationError: It is less than 1.
        TypeError: It is no int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"query_slots must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(
            f"query_slots must be 1 or more, not {value}: no query could ever run.",
            suggestion="PostHog runs 3 queries of a project at a time.",
        )
    return value


_SURE: Final = 0.9
"""The part of the legacy limit that has to be used before a 429 is taken for it."""


class Plans:
    """What is known of each project."""

    def __init__(self, plan: QueryPlan) -> None:
        """Begin with what the user says."""
        self._plan: QueryPlan = plan
        self._learned: dict[str, QueryPlan] = {}

    def of(self, project: str) -> QueryPlan:
        """Return the plan of a project; `auto` as long as it is not known."""
        return self._learned.get(project, self._plan)

    def learn(self, project: str, plan: QueryPlan) -> None:
        """Note what the server's answers say."""
        self._learned[project] = plan


def runs_hogql(content: bytes | None) -> bool:
    """Tell whether a body is a `HogQLQuery`, which the legacy plan counts apart."""
    if not content:
        return False
    try:
        kind = from_json(content)["query"]["kind"]
    except (ValueError, TypeError, KeyError):
        return False
    return bool(kind == "HogQLQuery")


def candidate_windows(
    rules: Sequence[Limit], usages: Sequence[Usage], legacy: Bucket
) -> tuple[list[Limit], list[Usage]]:
    """Return the windows that may have refused a query, the legacy one among them.

    While the plan is not known, the legacy window is counted without being kept to. It is
    suspected only when it is about as full as the legacy plan lets it be.
    """
    checked, full = list(rules), list(usages)
    for index, rule in enumerate(rules):
        if rule.name == legacy.name and rule.limit == UNENFORCED:
            used = usages[index].used
            limit = legacy.requests if used >= _SURE * legacy.requests else UNENFORCED
            checked[index] = replace(rule, limit=limit)
            full[index] = replace(usages[index], limit=limit, share=limit)
    return checked, full
