"""The way out of a sandbox: Unix sockets, each of which leads to one server and to no other."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteStream, SocketStream

from .backend import Origin

__all__ = ["serve_origins", "socket_names"]

_CHUNK: Final = 65536
_CONNECT_SECONDS: Final = 15.0
_MAX_CONNECTIONS: Final = 100
_LOST: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


def socket_names(origins: tuple[Origin, ...]) -> list[str]:
    """Return the name of the socket of each origin."""
    return [f"{number}.sock" for number in range(len(origins))]


@asynccontextmanager
async def serve_origins(origins: tuple[Origin, ...], folder: Path) -> AsyncGenerator[None]:
    """Serve a socket for each origin in a folder.

    A connection to one is forwarded to that origin. No address is read from it, so there is nothing
    to check. The body must raise nothing but cancellation: it would come in a group.
    """
    names = socket_names(origins)
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        # The path of a socket has 107 bytes at most, which folders of temporary files can exceed.
        opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, opened)
        for name, origin in zip(names, origins, strict=True):
            listener = await stack.enter_async_context(
                await anyio.create_unix_listener(f"/proc/self/fd/{opened}/{name}")
            )
            os.chmod(folder / name, 0o666)  # noqa: S103 - the folder above is private
            slots = anyio.CapacityLimiter(_MAX_CONNECTIONS)
            tasks.start_soon(listener.serve, _handler(origin, slots))
        yield
        tasks.cancel_scope.cancel()


def _handler(origin: Origin, slots: anyio.CapacityLimiter) -> _Forward:
    return _Forward(origin, slots)


class _Forward:
    """Forwards a connection to an origin."""

    def __init__(self, origin: Origin, slots: anyio.CapacityLimiter) -> None:
        self._origin = origin
        self._slots = slots

    async def __call__(self, near: SocketStream) -> None:
        async with near, self._slots:
            try:
                with anyio.fail_after(_CONNECT_SECONDS):
                    far = await anyio.connect_tcp(self._origin.host, self._origin.port)
            except OSError:  # TimeoutError is one
                return
            async with far, anyio.create_task_group() as tasks:
                tasks.start_soon(_pump, near, far)
                tasks.start_soon(_pump, far, near)


async def _pump(source: ByteStream, target: ByteStream) -> None:
    with suppress(*_LOST):
        while True:
            await target.send(await source.receive(_CHUNK))
    with suppress(*_LOST):
        await target.send_eof()
