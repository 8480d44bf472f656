"""A client whose capture requests are answered by a function, without a network."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx

from asyncposthog import AsyncPostHog, CaptureSettings
from tests.helpers.manual_clock import ManualClock

TOKEN = "phc_tests"

Responder = Callable[["Sent"], httpx.Response]


class Sent:
    """A request, decoded."""

    def __init__(self, request: httpx.Request) -> None:
        self.path = request.url.path
        self.headers = request.headers
        content = request.content
        if self.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        self.body: dict[str, Any] = json.loads(content)
        self.events: list[dict[str, Any]] = self.body["batch"]

    @property
    def uuids(self) -> list[str]:
        return [event["uuid"] for event in self.events]

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


def accept(sent: Sent, **results: tuple[str, str | None]) -> httpx.Response:
    """Answer as v1 does: `ok`, or what `results` has for the name of an event."""
    answers: dict[str, Any] = {}
    for event in sent.events:
        result, details = results.get(event["event"], ("ok", None))
        answers[event["uuid"]] = {"result": result, **({"details": details} if details else {})}
    return httpx.Response(200, json={"results": answers})


def error(status: int, tag: str = "error", **headers: str) -> httpx.Response:
    return httpx.Response(
        status,
        json={"error": tag, "error_description": "…", "error_uri": "…"},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


class StoppedClock(ManualClock):
    """A clock on which a wait never ends."""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep_forever()


def settings_of(settings: dict[str, Any]) -> CaptureSettings:
    # `Sent` reads gzip only, and `auto` means zstd where a module for it is installed.
    readable: dict[str, Any] = {"compression": "gzip", **settings}
    return CaptureSettings(**readable)


class Server:
    """Answers requests by a function, and keeps them."""

    def __init__(self, respond: Responder = accept, clock: ManualClock | None = None) -> None:
        self.respond = respond
        self.sent: list[Sent] = []
        self.clock = clock or ManualClock()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        sent = Sent(request)
        self.sent.append(sent)
        return self.respond(sent)

    def client(self, **settings: Any) -> AsyncPostHog:
        """Return a client that sends each event at once."""
        return AsyncPostHog(
            project_api_key=TOKEN,
            region="eu",
            transport=httpx.MockTransport(self._answer),
            clock=self.clock,
            capture=settings_of({"flush_at": 1, **settings}),
        )

    @property
    def delivered(self) -> list[str]:
        """The names of the events of all requests."""
        return [name for sent in self.sent for name in sent.names]


def out_of_service() -> Server:
    """Return a server that accepts nothing; its client waits after the first attempt."""
    return Server(lambda sent: error(503), StoppedClock())
