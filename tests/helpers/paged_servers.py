"""Small servers that page as the real one does, each in its style."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import anyio

from asyncposthog.operation import Operation, PageStyle, Pagination, Parameter, Result
from asyncposthog.pagination import Cursor, cursor
from asyncposthog.types import OMIT

JSON = Result(kind="json")


def operation(style: PageStyle, *, items: str | None = "results", **changes: Any) -> Operation:
    """A list operation of a style, its answers plain JSON."""
    settings: dict[str, Any] = {
        "id": "things.list",
        "method": "GET",
        "path": "/api/projects/{project_id}/things/",
        "result": JSON,
        "pagination": Pagination(style=style, items=items),
    }
    if style == "next_values":
        settings["parameters"] = parameters("cursor", "limit")
    return Operation(**{**settings, **changes})


def parameters(*names: str) -> tuple[Parameter, ...]:
    """Query parameters of these names."""
    return tuple(Parameter(name=n, python_name=n, location="query") for n in names)


def things(number: int) -> list[dict[str, Any]]:
    return [{"id": n} for n in range(number)]


class Server:
    """Keeps what it was asked."""

    base = "https://app.example.com/api/projects/7/things/"

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.queries: list[dict[str, Any]] = []
        self.bodies: list[Any] = []

    async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
        self.queries.append(dict(query or {}))
        self.bodies.append(body)
        return json.dumps(self.answer(dict(query or {}), body)).encode()

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        raise NotImplementedError

    def link(self, query: Mapping[str, Any]) -> str:
        return f"{self.base}?{urlencode(query, doseq=True)}"


class OffsetServer(Server):
    default = 100
    largest = 1000
    with_count = True
    with_next = True

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        offset = int(query.get("offset", 0))
        limit = min(int(query.get("limit", self.default)), self.largest)
        results = self.items[offset : offset + limit]
        after = offset + limit
        more = after < len(self.items)
        answer: dict[str, Any] = {"results": results, "previous": self.link(query)}
        if self.with_count:
            answer["count"] = len(self.items)
        if self.with_next:
            answer["next"] = self.link({**query, "limit": limit, "offset": after}) if more else None
        return answer


class PersonsServer(Server):
    """`next` is there whenever the page is full, so an empty page may come last."""

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 100))
        results = self.items[offset : offset + limit]
        full = len(results) >= limit
        return {
            "results": results,
            "next": self.link({**query, "limit": limit, "offset": offset + limit})
            if full
            else None,
            "previous": self.link({**query, "offset": offset}),
        }


class CursorServer(Server):
    size = 3

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        start = int(base64.b64decode(query["cursor"])) if "cursor" in query else 0
        end = start + self.size
        token = base64.b64encode(str(end).encode()).decode()
        link = self.link({**query, "cursor": token}) if end < len(self.items) else None
        return {"results": self.items[start:end], "next": link, "previous": self.link(query)}


class NumberServer(Server):
    def answer(self, query: dict[str, Any], body: Any) -> Any:
        page, size = int(query.get("page", 1)), int(query.get("page_size", 4))
        end = page * size
        link = self.link({**query, "page": page + 1}) if end < len(self.items) else None
        return {"count": len(self.items), "results": self.items[end - size : end], "next": link}


class EventServer(Server):
    """Newest first; `before` is exclusive, and the server's own end cannot be relied on."""

    says_end_early = False
    inclusive = False

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        before, limit = query.get("before"), int(query.get("limit", 5))
        rows = [
            e
            for e in self.items
            if before is None
            or _moment(e) < datetime.fromisoformat(before)
            or (self.inclusive and _moment(e) == datetime.fromisoformat(before))
        ]
        page = rows[:limit]
        more = len(rows) > limit and not self.says_end_early
        link = self.link({**query, "before": page[-1]["timestamp"]}) if more else None
        return {"results": page, "next": link}


def _moment(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


def events(number: int) -> list[dict[str, Any]]:
    last = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {"id": f"e{n}", "timestamp": (last - timedelta(minutes=n)).isoformat()}
        for n in range(number)
    ]


class RecordingServer(Server):
    cursors = False

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        limit = int(query.get("limit", 4))
        start = int(query["after"]) if "after" in query else 0
        start += int(query.get("offset", 0))
        end = start + limit
        answer: dict[str, Any] = {
            "results": self.items[start:end],
            "has_next": end < len(self.items),
            "version": 4,
        }
        if self.cursors:
            answer["next_cursor"] = str(end) if answer["has_next"] else None
        return answer


class LogServer(Server):
    def answer(self, query: dict[str, Any], body: Any) -> Any:
        inner = body["query"]
        start = int(inner.get("after", 0))
        end = start + int(inner.get("limit", 4))
        more = end < len(self.items)
        return {
            "query": inner,
            "results": self.items[start:end],
            "hasMore": more,
            "nextCursor": str(end) if more else None,
        }


class MoreServer(Server):
    """`flag` says whether there are more; there is no link."""

    flag = "has_more"
    largest = 1000

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        start = int(query.get("offset", 0))
        end = start + min(int(query.get("limit", 4)), self.largest)
        results = self.items[start:end]
        return {"results": results, self.flag: end < len(self.items), "count": len(results)}


class ValueServer(Server):
    """`next_<parameter>` has the value of that parameter for the next page."""

    parameter = "cursor"
    field = "next_cursor"

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        start = int(query.get(self.parameter, 0))
        end = start + int(query.get("limit", 4))
        return {
            "results": self.items[start:end],
            self.field: str(end) if end < len(self.items) else None,
        }


class SilentServer(Server):
    """Says nothing about other pages."""

    largest = 1000

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        start = int(query.get("offset", 0))
        return {
            "results": self.items[start : start + min(int(query.get("limit", 4)), self.largest)]
        }


class BodyOffsetServer(Server):
    """A search whose offset is in the body."""

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        inner = body.get("query", body)
        start = int(inner.get("offset", 0))
        end = start + int(inner.get("limit", 4))
        answer: dict[str, Any] = {
            "results": self.items[start:end],
            "hasMore": end < len(self.items),
        }
        return {**answer, "nextOffset": end} if answer["hasMore"] else answer


def listing(server: Server, op: Operation, query: Any = None, body: Any = OMIT) -> Cursor[Any]:
    return cursor(server, op, query, body)


class Fixed(Server):
    """Answers with the same text, whatever is asked."""

    def __init__(self, *answers: Any) -> None:
        super().__init__([])
        self.answers = answers

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        return self.answers[min(len(self.queries), len(self.answers)) - 1]


def page_of(*ids: int, **more: Any) -> dict[str, Any]:
    return {"results": [{"id": n} for n in ids], **more}


class Gate(OffsetServer):
    """Holds requests until they are let through, and counts those that wait."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__(items)
        self.open = anyio.Event()
        self.running = 0
        self.most = 0
        self.finished = 0

    async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if (query or {}).get("offset"):
                await self.open.wait()
            await anyio.lowlevel.checkpoint()
            self.finished += 1
            return await super().__call__(query, body)
        finally:
            self.running -= 1


SERVERS: dict[PageStyle, tuple[type[Server], Any]] = {
    "offset": (OffsetServer, OMIT),
    "persons": (PersonsServer, OMIT),
    "cursor": (CursorServer, OMIT),
    "page": (NumberServer, OMIT),
    "events": (EventServer, OMIT),
    "recordings": (RecordingServer, OMIT),
    "body_cursor": (LogServer, {"query": {}}),
    "body_offset": (BodyOffsetServer, {"searchQuery": "x"}),
    "has_more": (MoreServer, OMIT),
    "next_values": (ValueServer, OMIT),
    "until_empty": (SilentServer, OMIT),
}


async def drain(iterable: AsyncIterable[Any], into: list[Any]) -> None:
    """Collect items, keeping those that came before an error."""
    async for item in iterable:
        into.append(item)  # noqa: PERF401 - a comprehension would lose them
