"""The data of the status page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.messages import Request
from posthog_emulator.recorder import RecordedRequest
from posthog_emulator.state import EmulatorState
from posthog_emulator.timestamps import from_micros

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = [
    "BucketUsage",
    "DashboardData",
    "EventsPerMinute",
    "LatestEvent",
    "ResourceCount",
    "collect",
]

MINUTES: Final = 60
_MAX_REQUESTS: Final = 40
_MAX_EVENTS: Final = 50
_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class ResourceCount:
    """The number of objects of a resource, over all parents."""

    name: str
    live: int
    deleted: int


@dataclass(frozen=True, slots=True)
class EventsPerMinute:
    """The number of events by the minute of their arrival."""

    until: datetime
    """The end of the last minute."""
    counts: tuple[int, ...]
    """One per minute, the oldest first."""


@dataclass(frozen=True, slots=True)
class LatestEvent:
    """A captured event."""

    uuid: str
    event: str
    distinct_id: str
    timestamp: datetime
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BucketUsage:
    """The usage of a rate limit."""

    name: str
    owner: str
    used: int
    limit: int
    reset: float
    """Seconds until the oldest request leaves the window."""


@dataclass(frozen=True, slots=True)
class DashboardData:
    """The data of the status page."""

    now: datetime
    frozen: bool
    """Whether the clock stands still."""
    url: str
    """The address of the emulator, as the browser knows it."""
    project: str
    token: str
    """The project token, which is public: it is in every page that sends events."""
    resources: tuple[ResourceCount, ...]
    requests: tuple[RecordedRequest, ...]
    """The latest requests, the newest first."""
    request_count: int
    """The number of requests in the log."""
    events: int
    persons: int
    latest: tuple[LatestEvent, ...]
    """The latest captured events, the newest first."""
    minutes: EventsPerMinute
    rate_limits: bool
    """Whether rate limits are applied."""
    buckets: tuple[BucketUsage, ...]
    running_queries: int
    query_slots: int


def collect(emulator: EmulatorCore, request: Request) -> DashboardData:
    """Return the current data of the status page, for a request of it."""
    state, now = emulator.state, emulator.now
    project = emulator.project_id
    events, persons, minutes = _events(state, project, now)
    return DashboardData(
        now=now,
        frozen=emulator.is_frozen,
        url=f"{request.scheme}://{request.host}",
        project=f"{state.accounts.account.project_name} ({project})",
        token=state.accounts.account.project_token,
        resources=tuple(_resource_counts(state)),
        requests=tuple(reversed(emulator.requests[-_MAX_REQUESTS:])),
        request_count=len(emulator.requests),
        events=events,
        persons=persons,
        latest=tuple(_latest_events(emulator)) if events else (),
        minutes=minutes,
        rate_limits=emulator.settings.rate_limits,
        buckets=tuple(_buckets(emulator)),
        running_queries=emulator.query_slots.running(project),
        query_slots=emulator.query_slots.limit(project),
    )


def _latest_events(emulator: EmulatorCore) -> Iterable[LatestEvent]:
    for event in reversed(emulator.captured_events(limit=_MAX_EVENTS)):
        yield LatestEvent(
            event["uuid"], event["event"], event["distinct_id"], event["timestamp"],
            event["properties"],
        )  # fmt: skip


def _resource_counts(state: EmulatorState) -> Iterable[ResourceCount]:
    live, deleted = Counter[str](), Counter[str]()
    for path, collection in state.store.collections.items():
        name = _resource_name(state, path)
        live[name] += sum(not row.deleted for row in collection)
        deleted[name] += sum(row.deleted for row in collection)
    for name in sorted(live, key=lambda name: (-live[name], name)):
        if live[name] or deleted[name]:
            yield ResourceCount(name, live[name], deleted[name])


def _resource_name(state: EmulatorState, path: str) -> str:
    """Return the name of the resource at a path, as the client calls it."""
    match = state.router.find(path)
    if match is None:
        return path
    return next(iter(match.methods.values()))[0].operation.resource


def _events(state: EmulatorState, project: int, now: datetime) -> tuple[int, int, EventsPerMinute]:
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    store = state.events_if_available
    # Without ClickHouse nothing can have been captured.
    if store is None:
        return 0, 0, EventsPerMinute(end, (0,) * MINUTES)
    ((events, last),) = store.read(
        "SELECT count(), toUnixTimestamp64Micro(max(created_at)) FROM events WHERE team_id = ?",
        [project],
    )
    ((persons,),) = store.read(
        "SELECT count() FROM person FINAL WHERE team_id = ? AND is_deleted = 0", [project]
    )
    if events:
        latest = from_micros(last)
        if not now - timedelta(minutes=MINUTES) < latest <= now:
            # Demo data ends in the past: show the last hour with events, not an empty one.
            end = latest.replace(second=0, microsecond=0) + timedelta(minutes=1)
    start = end - timedelta(minutes=MINUTES)
    counts = [0] * MINUTES
    for minute, count in store.read(
        "SELECT dateDiff('second', ?, created_at) DIV 60 AS minute, count() FROM events "
        "WHERE team_id = ? AND created_at >= ? AND created_at < ? GROUP BY minute",
        [start, project, start, end],
    ):
        counts[minute] = count
    return events, persons, EventsPerMinute(end, tuple(counts))


def _buckets(emulator: EmulatorCore) -> Iterable[BucketUsage]:
    account = emulator.state.accounts.account
    scopes = [(key, f"key {_masked(key)}") for key in emulator.state.accounts.keys]
    scopes += [
        (str(account.project_id), f"project {account.project_id}"),
        (account.organization_id, "organization"),
    ]
    for scope_key, owner in scopes:
        for name, usage in sorted(emulator.rate_limits.usage(scope_key).items()):
            yield BucketUsage(name, owner, usage.used, usage.limit, usage.reset)


def _masked(key: str) -> str:
    # Of a short key, the first and last characters would be most of it.
    return f"{key[:4]}…{key[-3:]}" if len(key) > 10 else "…"
