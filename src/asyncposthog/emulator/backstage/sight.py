"""What the status page shows, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from asyncposthog.emulator.state.world import World
from asyncposthog.emulator.web.recording import RecordedRequest

if TYPE_CHECKING:
    from asyncposthog.emulator.core import Emulator

__all__ = ["Bucket", "Minutes", "Resource", "Sight", "look"]

MINUTES: Final = 60
_REQUESTS: Final = 40


@dataclass(frozen=True, slots=True)
class Resource:
    """How many objects a resource has, over all parents."""

    name: str
    live: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Minutes:
    """Events by the minute in which they came."""

    until: datetime
    """The end of the last minute."""
    counts: tuple[int, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is used of a rate limit."""

    name: str
    whose: str
    used: int
    limit: int
    reset: float
    """Seconds until it is one less."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything there is to see."""

    now: datetime
    project: str
    resources: tuple[Resource, ...]
    requests: tuple[RecordedRequest, ...]
    """The latest, the newest first."""
    seen: int
    """How many requests are remembered."""
    events: int
    persons: int
    minutes: Minutes
    limited: bool
    """Whether rate limits are on."""
    buckets: tuple[Bucket, ...]
    running: int
    slots: int


def look(emulator: Emulator) -> Sight:
    """Take everything in, at one moment."""
    world, now = emulator.world, emulator.now
    events, persons, minutes = _events(world, now)
    project = emulator.project_id
    return Sight(
        now=now,
        project=f"{world.accounts.account.project_name} ({project})",
        resources=tuple(_resources(world)),
        requests=tuple(reversed(emulator.requests[-_REQUESTS:])),
        seen=len(emulator.requests),
        events=events,
        persons=persons,
        minutes=minutes,
        limited=emulator.settings.rate_limits,
        buckets=tuple(_buckets(emulator)),
        running=emulator.slots.running(project),
        slots=emulator.slots.limit(project),
    )


def _resources(world: World) -> Iterable[Resource]:
    live, deleted = Counter[str](), Counter[str]()
    for address, bucket in world.store.buckets.items():
        name = _name(world, address)
        live[name] += sum(not row.deleted for row in bucket)
        deleted[name] += sum(row.deleted for row in bucket)
    for name in sorted(live, key=lambda name: (-live[name], name)):
        if live[name] or deleted[name]:
            yield Resource(name, live[name], deleted[name])


def _name(world: World, address: str) -> str:
    """The resource whose objects are at an address, as the client calls it."""
    match = world.router.find(address)
    if match is None:
        return address
    return next(iter(match.methods.values()))[0].resource


def _events(world: World, now: datetime) -> tuple[int, int, Minutes]:
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    try:
        store = world.events
    except ImportError:
        return 0, 0, Minutes(end, (0,) * MINUTES)
    ((events, latest),) = store.read("SELECT count(*), max(created_at) FROM events")
    ((persons,),) = store.read("SELECT count(*) FROM persons")
    if latest is not None:
        latest = latest.replace(tzinfo=UTC)
        if not now - timedelta(minutes=MINUTES) < latest <= now:
            # All is long ago, as demo data is: show the last hour there was.
            end = latest.replace(second=0, microsecond=0) + timedelta(minutes=1)
    start = end - timedelta(minutes=MINUTES)
    counts = [0] * MINUTES
    for at, count in store.read(
        "SELECT CAST(floor(epoch(created_at - ?::TIMESTAMP) / 60) AS INTEGER), count(*) "
        "FROM events WHERE created_at >= ?::TIMESTAMP AND created_at < ?::TIMESTAMP GROUP BY 1",
        [start.replace(tzinfo=None), start.replace(tzinfo=None), end.replace(tzinfo=None)],
    ):
        counts[at] = count
    return events, persons, Minutes(end, tuple(counts))


def _buckets(emulator: Emulator) -> Iterable[Bucket]:
    account = emulator.world.accounts.account
    subjects = [(key, f"key {_masked(key)}") for key in emulator.world.accounts.keys]
    subjects += [
        (str(account.project_id), f"project {account.project_id}"),
        (account.organization_id, "organization"),
    ]
    for subject, whose in subjects:
        for name, usage in sorted(emulator.throttles.usage(subject).items()):
            yield Bucket(name, whose, usage.used, usage.limit, usage.reset)


def _masked(key: str) -> str:
    return f"{key[:4]}…{key[-3:]}" if len(key) > 10 else "…"
