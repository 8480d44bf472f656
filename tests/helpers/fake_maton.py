"""An emulator of the Maton gateway: connections, and PostHog behind a path, a key and limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid5

from posthog_emulator import Emulator

__all__ = ["FakeMaton"]

Send = Callable[[Mapping[str, Any]], Any]

_SPACE = UUID("ce2b0840-4e39-4b58-b607-7290fa7a3595")


class FakeMaton:
    """An ASGI application for both hosts of Maton, in front of an emulator of PostHog.

    Paths below `/posthog/` go to PostHog, with its key instead of Maton's, as requests to
    us.posthog.com. `/connections` manages connections.
    """

    def __init__(self, emulator: Emulator, key: str = "maton-key-0123456789") -> None:
        self.emulator = emulator
        self.key = key
        self.found: list[dict[str, Any]] = []
        """The connections, the oldest first."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of each request."""
        self.connections: dict[Any, Any] = {}  # of the server, which the emulator's code fills

    @property
    def app(self) -> Any:
        return self

    def connect(self, status: str = "ACTIVE") -> str:
        """Add a connection and return its id."""
        number = len(self.found)
        identifier = str(uuid5(_SPACE, str(number)))
        self.found.append(
            {
                "connection_id": identifier,
                "status": status,
                "creation_time": f"2026-02-23T09:37:{number:02}.686121Z",
                "last_updated_time": f"2026-02-23T09:39:{number:02}.851118Z",
                "url": f"https://connect.maton.ai/?session_token=secret-{number}",
                "app": "posthog",
                "metadata": {},
            }
        )
        return identifier

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.emulator.app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        self.requests.append((method, path, headers))
        if headers.get("authorization") != f"Bearer {self.key}":
            await _answer(send, 401, {"error": "Invalid or missing Maton API key"})
        elif path.startswith("/posthog/"):
            await self._proxy(scope, receive, send, headers)
        else:
            status, body = self._control(method, path, scope["query_string"].decode())
            await _answer(send, status, body)

    async def _proxy(self, scope: Any, receive: Any, send: Any, headers: dict[str, str]) -> None:
        wanted = headers.get("maton-connection")
        active = [c for c in self.found if c["status"] == "ACTIVE"]
        if not any(wanted in {None, c["connection_id"]} for c in active):
            await _answer(send, 400, {"message": "Missing PostHog connection"})
            return
        path = scope["path"].removeprefix("/posthog")
        kept = [
            (k, v)
            for k, v in scope["headers"]
            if k.lower() not in {b"authorization", b"host", b"maton-connection"}
        ]
        added = [
            (b"host", b"us.posthog.com"),
            (b"authorization", f"Bearer {self.emulator.key}".encode()),
        ]
        inner = {
            **scope,
            "path": path,
            "raw_path": scope["raw_path"].removeprefix(b"/posthog"),
            "scheme": "https",
            "server": ("us.posthog.com", 443),
            "headers": kept + added,
        }
        await self.emulator.app(inner, receive, send)

    def _control(self, method: str, path: str, query: str) -> tuple[int, Any]:
        segments = path.strip("/").split("/")
        if segments[0] != "connections" or len(segments) > 2:
            return 404, {"error": "no such page"}
        if len(segments) == 1 and method == "GET":
            status = next((p[7:] for p in query.split("&") if p.startswith("status=")), None)
            return 200, {"connections": [c for c in self.found if status in {None, c["status"]}]}
        if len(segments) == 1 and method == "POST":
            identifier = self.connect("PENDING")
            return 200, {"connection_id": identifier}
        found = [c for c in self.found if c["connection_id"] == segments[1]]
        if not found:
            return 404, {"error": "Connection not found"}
        if method == "DELETE":
            self.found.remove(found[0])
            return 200, {}
        return 200, {"connection": found[0]}


async def _answer(send: Any, status: int, body: Any) -> None:
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
