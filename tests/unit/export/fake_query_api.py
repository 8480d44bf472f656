"""A model of PostHog's query endpoint, as far as exports use it, that can be told to misbehave."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import httpx

from asyncposthog import AsyncPostHog

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = ["timestamp", "created_at"]

Fault: TypeAlias = Callable[["Ask"], "httpx.Response | None"]


def moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def micros(value: datetime) -> int:
    return (value - EPOCH) // timedelta(microseconds=1)


def text(value: int) -> str:
    return moment(value).replace(tzinfo=None).isoformat(" ", "microseconds")


def read(value: str) -> int:
    return micros(datetime.fromisoformat(value).replace(tzinfo=UTC))


@dataclass(frozen=True, order=True)
class Event:
    """One row: ordered as an export is."""

    time: int
    uuid: str
    event: str = "$pageview"
    properties: str = "{}"


def events(
    count: int, *, seed: int = 0, spread: int = 86_400_000_000, ties: int = 1
) -> list[Event]:
    """Make events at random moments of `spread` microseconds, each moment used `ties` times."""
    dice = random.Random(seed)
    begin = micros(START)
    made: list[Event] = []
    while len(made) < count:
        time = begin + dice.randrange(spread)
        for _ in range(min(ties, count - len(made))):
            name = dice.choice(["$pageview", "signed up", 'a "quoted" näme'])
            properties = json.dumps({"n": len(made), "path": "/ä", "nested": {"a": [1, None]}})
            made.append(Event(time, str(uuid.UUID(int=dice.getrandbits(128))), name, properties))
    return made


@dataclass
class Ask:
    """One query that arrived."""

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
    """Answers the queries of an export of events."""

    rows: list[Event]
    fault: Fault = field(default=lambda ask: None)
    clamp: int = 50_000
    asks: list[Ask] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = sorted(self.rows)

    @property
    def pages(self) -> list[Ask]:
        return [ask for ask in self.asks if not ask.counts]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.url.path == "/api/projects/1/query/"
        assert body["refresh"] == "force_blocking"
        assert body["name"]
        query = body["query"]
        ask = Ask(len(self.asks), query["query"], query["values"], body)
        self.asks.append(ask)
        return self.fault(ask) or self.answer(ask)

    def answer(self, ask: Ask) -> httpx.Response:
        start, end = ask.span
        found = [row for row in self.rows if start <= row.time < end]
        if "events.event IN" in ask.sql:
            found = [row for row in found if row.event in ask.values["export_events"]]
        if ask.counts:
            step = ask.values["export_step"]
            counts: dict[int, int] = {}
            for row in found:
                bucket = row.time // 1_000_000 // step
                counts[bucket] = counts.get(bucket, 0) + 1
            return reply(["bucket", "rows"], sorted(counts.items()), ["Int64", "UInt64"])
        if "export_after_key" in ask.values:
            last = (read(ask.values["export_after"]), ask.values["export_after_key"])
            found = [row for row in found if (row.time, row.uuid) > last]
        limit = re.search(r"LIMIT (\d+)$", ask.sql)
        assert limit is not None
        found = found[: min(int(limit[1]), self.clamp)]
        columns = [c.strip() for c in ask.sql.split("\n")[0].removeprefix("SELECT ").split(",")]
        names = [c for c in columns if re.fullmatch(r"\w+", c)]
        rows = [[*(_value(row, name) for name in names), text(row.time), row.uuid] for row in found]
        return reply(
            [*names, "export_time", "export_key"],
            rows,
            [*(_TYPES.get(name, "String") for name in names), "String", "String"],
        )


_TYPES = {
    "uuid": "UUID",
    "person_id": "UUID",
    "timestamp": "DateTime64(6, 'UTC')",
    "created_at": "DateTime64(6, 'UTC')",
}


def _value(row: Event, name: str) -> Any:
    if name in TIMES:
        # As lossy as JSON encoders get: to the millisecond.
        return moment(row.time).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if name in {"uuid", "person_id"}:
        return row.uuid
    return {"event": row.event, "properties": row.properties}.get(name, "")


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


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@asynccontextmanager
async def client(server: Any, **settings: Any) -> AsyncGenerator[AsyncPostHog]:
    given: dict[str, Any] = {"project_id": 1, "limits": False, "clock": Clock(), **settings}
    async with AsyncPostHog("phx_x", transport=httpx.MockTransport(server), **given) as ph:
        yield ph
