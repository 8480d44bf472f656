"""The ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from asyncposthog.emulator.faults import ConnectionDropped
from asyncposthog.emulator.messages import Answer, Request

__all__ = ["IN_PROCESS", "App", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

IN_PROCESS = "asyncposthog.emulator.in_process"
"""The ASGI extension by which our own transport says that an exception reaches its caller."""


class App:
    """Reads a request, hands it over, sends the answer.

    Args:
        answer: Gives the answer to a request.
    """

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the emulator speaks http, not {scope['type']}")
        content = await _read(receive)
        if content is None:
            return
        try:
            answer = self._answer(Request.from_scope(scope, content))
        except ConnectionDropped:
            if IN_PROCESS in (scope.get("extensions") or {}):
                raise
            # A server closes the connection when an answer stays shorter than it promised.
            await send(_start(200, [(b"content-length", b"1")]))
            return
        await send(_start(answer.status, answer.raw_headers()))
        content = b"" if scope["method"] == "HEAD" else answer.content
        await send({"type": "http.response.body", "body": content})


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when the client has gone."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
