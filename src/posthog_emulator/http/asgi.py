"""The ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from .messages import ConnectionDropped, Request, Response

__all__ = ["IN_PROCESS", "App", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

IN_PROCESS = "posthog_emulator.in_process"
"""The ASGI extension that the in-process transport sets: exceptions may propagate to it."""


class App:
    """An ASGI application that reads a request, calls a handler and sends its response.

    Args:
        handle: Returns the response to a request.
        stall: Waits in the middle of a response body, for the fault `stall`.
    """

    def __init__(
        self,
        handle: Callable[[Request], Awaitable[Response]],
        stall: Callable[[], Awaitable[object]],
    ) -> None:
        self._handle = handle
        self._stall = stall
        self.connections: dict[tuple[str, int], Callable[[bool], None]] = {}
        """Closes a connection, by the client's address and port; True as argument resets it.

        Filled by the protocol class of `make_server`, because ASGI has no message for it.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the emulator serves http only, not {scope['type']}")
        content = await _read_body(receive)
        if content is None:
            return
        in_process = IN_PROCESS in (scope.get("extensions") or {})
        try:
            response = await self._handle(Request.from_scope(scope, content, in_process=in_process))
        except ConnectionDropped as dropped:
            if in_process:
                raise
            await self._drop(dropped, scope, receive, send)
            return
        content = b"" if scope["method"] == "HEAD" else response.content
        if response.transport_fault is None:
            await send(_start(response.status, response.raw_headers()))
            await send(_body(content))
        elif response.transport_fault == "stall":
            await send(_start(response.status, response.raw_headers()))
            await self._send_with_stall(content, send)
        elif in_process:
            raise ConnectionDropped(response_started=True)
        elif content:
            # uvicorn closes the connection when a response ends before its content-length.
            await send(_start(response.status, response.raw_headers()))
            await send(_body(content[: len(content) // 2], more=True))
        else:
            await self._drop(ConnectionDropped(), scope, receive, send)

    async def _drop(
        self, dropped: ConnectionDropped, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Close the connection without a response."""
        client = scope.get("client")
        close = self.connections.get((client[0], client[1])) if client else None
        if close is None:
            # Other ASGI servers give no access to the connection. A response whose body is
            # shorter than its content-length is the closest thing they let an application do.
            await send(_start(200, [(b"content-length", b"1")]))
            return
        close(dropped.reset)
        # uvicorn sends a 500 if the application returns without a response while the
        # connection is open, so wait until it has noticed that the connection is closed.
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _send_with_stall(self, content: bytes, send: Send) -> None:
        half = len(content) // 2
        await send(_body(content[:half], more=True))
        await self._stall()
        await send(_body(content[half:]))


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body; None if the client disconnected before its end."""
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
