"""The ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from .messages import Answer, ConnectionDropped, Request

__all__ = ["IN_PROCESS", "App", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

IN_PROCESS = "posthog_emulator.in_process"
"""The ASGI extension by which our own transport says that an exception reaches its caller."""


class App:
    """Reads a request, hands it over, sends the answer.

    Args:
        answer: Gives the answer to a request.
        stall: Lets time pass, in the middle of an answer that hangs.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        stall: Callable[[], Awaitable[object]],
    ) -> None:
        self._answer = answer
        self._hang = stall
        self.connections: dict[tuple[str, int], Callable[[bool], None]] = {}
        """What ends a connection, by a reset if told so, by the client's address; our own server
        fills it in."""

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
        inside = IN_PROCESS in (scope.get("extensions") or {})
        try:
            answer = await self._answer(Request.from_scope(scope, content))
        except ConnectionDropped as dropped:
            if inside:
                raise
            await self._drop(dropped, scope, receive, send)
            return
        content = b"" if scope["method"] == "HEAD" else answer.content
        if answer.breaks is None:
            await send(_start(answer.status, answer.raw_headers()))
            await send(_body(content))
        elif answer.breaks == "stall":
            await send(_start(answer.status, answer.raw_headers()))
            await self._send_with_stall(content, send)
        elif inside:
            raise ConnectionDropped(begun=True)
        elif content:
            # The server closes a connection when an answer stays shorter than it promised.
            await send(_start(answer.status, answer.raw_headers()))
            await send(_body(content[: len(content) // 2], more=True))
        else:
            await self._drop(ConnectionDropped(), scope, receive, send)

    async def _drop(
        self, dropped: ConnectionDropped, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Lose the connection without an answer."""
        client = scope.get("client")
        hang_up = self.connections.get((client[0], client[1])) if client else None
        if hang_up is None:
            # Under another server than ours, the nearest to it is an answer without its body.
            await send(_start(200, [(b"content-length", b"1")]))
            return
        hang_up(dropped.reset)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _send_with_stall(self, content: bytes, send: Send) -> None:
        half = len(content) // 2
        await send(_body(content[:half], more=True))
        await self._hang()
        await send(_body(content[half:]))


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


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
