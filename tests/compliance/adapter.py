"""An adapter of this client for PostHog's public SDK test harness, as a server on loopback.

`python -m tests.compliance.adapter [--protocol v0|v1] [--port N]`: the harness asks it to capture,
to flush and to evaluate flags, and checks what arrives at its own mock of PostHog. Each `test_id`
has a client of its own, so that tests run in parallel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from asyncposthog import AsyncPostHog, CaptureSettings, LostEvents, __version__

__all__ = ["serve"]

_FLUSH_TIMEOUT = 25.0


@dataclass
class Session:
    """The client of one test, and what it has done."""

    client: AsyncPostHog
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    last_error: str | None = None


class Adapter:
    """Answers the requests of the harness."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.sessions: dict[str, Session] = {}

    async def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and the JSON of a response."""
        parts = urlsplit(target)
        test = parse_qs(parts.query).get("test_id", [""])[0]
        name = parts.path.strip("/")
        if name == "health":
            return 200, self._health()
        if name == "init":
            return 200, await self._init(test, body)
        if name == "reset":
            await self._close(test)
            return 200, {"success": True}
        session = self.sessions.get(test)
        if session is None:
            return 400, {"error": "init was not called"}
        actions: dict[str, Callable[[Session, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "capture": self._capture,
            "capture_ai": self._capture_ai,
            "flush": self._flush,
            "state": self._state,
            "get_feature_flag": self._flag,
        }
        if name not in actions:
            return 404, {"error": f"no action {name!r}"}
        return 200, await actions[name](session, body)

    def _health(self) -> dict[str, Any]:
        capabilities = [f"capture_{self.protocol}", "encoding_gzip"]
        if self.protocol == "v0":
            # The harness knows the AI endpoint of v0 only.
            capabilities.append("capture_ai_v0")
        return {
            "sdk_name": "asyncposthog",
            "sdk_version": __version__,
            "adapter_version": "1.0.0",
            "supports_parallel": True,
            "capabilities": capabilities,
        }

    async def _init(self, test: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._close(test)
        requests: list[dict[str, Any]] = []

        async def record(request: httpx.Request, call_next: Any) -> httpx.Response:
            if test:
                request.headers["X-Test-Id"] = test
            attempt = int(request.headers.get("PostHog-Attempt", "1"))
            response: httpx.Response = await call_next(request)
            requests.append({"status_code": response.status_code, "retry_attempt": attempt - 1})
            return response

        def lost(events: LostEvents) -> None:
            session.last_error = f"{events.reason}: {events.detail or events.error}"

        flush_at = int(body.get("flush_at") or 100)
        settings: dict[str, Any] = {
            "flush_at": flush_at,
            "max_batch_events": flush_at,
            "flush_interval": float(body.get("flush_interval_ms") or 5000) / 1000,
            "max_retries": int(body.get("max_retries", 3)),
            "compression": "gzip" if body.get("enable_compression") else "none",
            "disable_geoip": bool(body.get("disable_geoip", False)),
            "historical": bool(body.get("historical_migration", False)),
            "protocol": self.protocol,
            "close_timeout": 0.5,
            "on_error": lost,
        }
        client = AsyncPostHog(
            project_api_key=body["api_key"],
            host=body["host"],
            middleware=[record],
            capture=CaptureSettings(**settings),
        )
        session = self.sessions[test] = Session(client, requests)
        return {"success": True}

    async def _close(self, test: str) -> None:
        session = self.sessions.pop(test, None)
        if session is not None:
            await session.client.aclose(cancel=True, timeout=1)

    async def _capture(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        return await self._queue(session.client.capture, body)

    async def _capture_ai(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        return await self._queue(session.client.capture.ai, body)

    async def _queue(self, capture: Any, body: dict[str, Any]) -> dict[str, Any]:
        names = ("properties", "timestamp", "options", "uuid")
        arguments = {name: body[name] for name in names if body.get(name) is not None}
        uuid = await capture(body["event"], body["distinct_id"], **arguments)
        return {"success": uuid is not None, "uuid": uuid}

    async def _flush(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        capture = session.client.capture
        before = capture.stats.sent
        await capture.flush(_FLUSH_TIMEOUT)
        return {"success": True, "events_flushed": capture.stats.sent - before}

    async def _state(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        stats = session.client.capture.stats
        return {
            "pending_events": stats.queued + stats.in_flight,
            "total_events_captured": stats.accepted,
            "total_events_sent": stats.sent,
            "total_retries": stats.retried,
            "last_error": session.last_error,
            "requests_made": session.requests,
        }

    async def _flag(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        flags: Any = getattr(session.client, "flags", None)
        if flags is None:
            raise NotImplementedError("this version of the client evaluates no flags")
        names = ("person_properties", "groups", "group_properties", "disable_geoip")
        arguments = {name: body[name] for name in names if body.get(name) is not None}
        key = body["key"]
        snapshot = await flags.evaluate(body["distinct_id"], keys=[key], **arguments)
        value = snapshot.variant(key)
        return {"success": True, "value": snapshot.is_enabled(key) if value is None else value}


async def _serve_connection(
    adapter: Adapter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while line := await reader.readline():
            method, target, _ = line.decode("latin-1").split(" ", 2)
            length = 0
            while (header := (await reader.readline()).decode("latin-1").strip()) != "":
                name, _, value = header.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            body = json.loads(await reader.readexactly(length)) if length else {}
            try:
                status, result = await adapter.answer(method, target, body)
            except NotImplementedError as error:
                status, result = 501, {"error": str(error)}
            except Exception as error:
                logging.exception("%s %s", method, target)
                status, result = 500, {"error": f"{type(error).__name__}: {error}"}
            content = json.dumps(result).encode()
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def serve(protocol: str, port: int) -> None:
    """Serve until cancelled. The port is printed."""
    adapter = Adapter(protocol)
    server = await asyncio.start_server(
        lambda reader, writer: _serve_connection(adapter, reader, writer), "127.0.0.1", port
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve the adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=["v0", "v1"], default="v1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(options.protocol, options.port))


if __name__ == "__main__":
    main()
