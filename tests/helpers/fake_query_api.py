"""A fake of PostHog's query endpoint for exports, with injected errors."""

from __future__ import annotations

import json
import random
import re
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import httpx

from asyncposthog import AsyncPostHog
from tests.helpers.manual_clock import ManualClock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = ["timestamp", "created_at"]

Fault: TypeAlias = Callable[["ReceivedQuery"], "httpx.Response | None"]


def to_datetime(value: int) -> datetime:
    return EPOCH + timedelta(microseconds=value)


def to_micros(value: datetime) -> int:
    return (value - EPOCH) // timedelta(microseconds=1)


def text(value: int) -> str:
    return to_datetime(value).replace(tzinfo=None).isoformat(" ", "microseconds")


def read(value: str) -> int:
    return to_micros(datetime.fromisoformat(value).replace(tzinfo=UTC))


@dataclass(frozen=True, order=True)
class Event:
    """One row. Events compare in the order of an export."""

    time: int
    uuid: str
    event: str = "$pageview"
    properties: str = "{}"

    # Stored, because servers send most rows several times.
    @cached_property
    def time_text(self) -> str:
        return text(self.time)

    @cached_property
    def values(self) -> dict[str, str]:
        """The values of columns; all other columns are empty."""
        # To the millisecond: an export must not rely on the time in a JSON value.
        time = to_datetime(self.time).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            **dict.fromkeys(TIMES, time),
            **dict.fromkeys(("uuid", "person_id"), self.uuid),
            "event": self.event,
            "properties": self.properties,
        }


def events(
    count: int, *, seed: int = 0, spread: int = 86_400_000_000, ties: int = 1
) -> list[Event]:
    """Return events at random times within `spread` microseconds, `ties` of them at each time."""
    return list(_events(count, seed, spread, ties))


@lru_cache(maxsize=64)
def _events(count: int, seed: int, spread: int, ties: int) -> tuple[Event, ...]:
    rng = random.Random(seed)
    begin = to_micros(START)
    made: list[Event] = []
    while len(made) < count:
        time = begin + rng.randrange(spread)
        for _ in range(min(ties, count - len(made))):
            name = rng.choice(["$pageview", "signed up", 'a "quoted" näme'])
            properties = json.dumps({"n": len(made), "path": "/ä", "nested": {"a": [1, None]}})
            made.append(Event(time, str(uuid.UUID(int=rng.getrandbits(128))), name, properties))
    return tuple(made)


@dataclass
class ReceivedQuery:
    """A query that the server received."""

    number: int
    sql: str
    values: dict[str, Any]
    body: dict[str, Any]

    @property
    def counts(self) -> bool:
        return "GROUP BY bucket" in self.sql

    @property
    def span(self) -> tuple[int, int]:
        return read(self.values["export_from"]), read(self.values["export_to"])


@dataclass
class Server:
    """Server that answers the queries of an export of events."""

    rows: list[Event]
    """Sorted; so are those that a test puts in their place."""
    fault: Fault = field(default=lambda query: None)
    clamp: int = 50_000
    change_rows: Callable[[ReceivedQuery, list[Any]], list[Any]] = field(
        default=lambda query, rows: rows
    )
    """Changes the rows of a response before they are sent."""
    queries: list[ReceivedQuery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = sorted(self.rows)

    @property
    def pages(self) -> list[ReceivedQuery]:
        return [query for query in self.queries if not query.counts]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.url.path == "/api/projects/1/query/"
        assert body["refresh"] == "force_blocking"
        assert body["name"]
        node = body["query"]
        query = ReceivedQuery(len(self.queries), node["query"], node["values"], body)
        self.queries.append(query)
        return self.fault(query) or self.answer(query)

    def answer(self, query: ReceivedQuery) -> httpx.Response:
        start, end = query.span
        first, last = (bisect_left(self.rows, time, key=_time) for time in (start, end))
        found = self.rows[first:last]
        if "events.event IN" in query.sql:
            found = [row for row in found if row.event in query.values["export_events"]]
        if query.counts:
            step = query.values["export_step"]
            counts: dict[int, int] = {}
            for row in found:
                bucket = row.time // 1_000_000 // step
                counts[bucket] = counts.get(bucket, 0) + 1
            rows: list[Any] = [list(item) for item in sorted(counts.items())]
            rows = self.change_rows(query, rows)
            return reply(["bucket", "rows"], rows, ["Int64", "UInt64"])
        if "export_after_key" in query.values:
            after = (read(query.values["export_after"]), query.values["export_after_key"])
            found = found[bisect_right(found, after, key=_time_and_uuid) :]
        limit = re.search(r"LIMIT (\d+)$", query.sql)
        assert limit is not None
        found = found[: min(int(limit[1]), self.clamp)]
        columns = [c.strip() for c in query.sql.split("\n")[0].removeprefix("SELECT ").split(",")]
        names = [c for c in columns if re.fullmatch(r"\w+", c)]
        rows = [
            [*(row.values.get(name, "") for name in names), row.time_text, row.uuid]
            for row in found
        ]
        rows = self.change_rows(query, rows)
        return reply(
            [*names, "export_time", "export_key"],
            rows,
            [*(_TYPES.get(name, "String") for name in names), "String", "String"],
        )


def _time(row: Event) -> int:
    return row.time


def _time_and_uuid(row: Event) -> tuple[int, str]:
    return row.time, row.uuid


_TYPES = {
    "uuid": "UUID",
    "person_id": "UUID",
    "timestamp": "DateTime64(6, 'UTC')",
    "created_at": "DateTime64(6, 'UTC')",
}


def reply(columns: Iterable[str], rows: Iterable[Any], types: Iterable[str]) -> httpx.Response:
    names = list(columns)
    pairs = [list(pair) for pair in zip(names, types, strict=True)]
    return httpx.Response(
        200, json={"columns": names, "types": pairs, "results": list(rows), "hasMore": None}
    )


def refusal(
    status: int, code: str = "error", detail: str = "No.", **headers: str
) -> httpx.Response:
    body = {"type": "server_error", "code": code, "detail": detail, "attr": None}
    return httpx.Response(status, json=body, headers=headers)


def export_clock(now: float = 1_800_000_000.0) -> ManualClock:
    """Return a clock that is at `now`, in seconds since 1970."""
    return ManualClock(now, epoch=0.0, chance=0.5)


@asynccontextmanager
async def client(server: Any, **settings: Any) -> AsyncGenerator[AsyncPostHog]:
    given: dict[str, Any] = {"project_id": 1, "limits": False, "clock": export_clock(), **settings}
    async with AsyncPostHog("phx_x", transport=httpx.MockTransport(server), **given) as ph:
        yield ph
