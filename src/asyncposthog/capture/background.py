"""Tasks that no task group of the caller owns.

A client is opened and closed in any task, and events are captured in all of them, so a task group
of the client's own is impossible: it would have to be left in the task that has entered it. These
tasks end when they are cancelled, and at the latest when their event loop ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

import anyio
from anyio.lowlevel import current_token

from asyncposthog.transport.native_cancellation import on_asyncio

__all__ = ["BackgroundTask", "loop_caller"]


class BackgroundTask:
    """A function that runs in a task of its own until it ends or is cancelled."""

    def __init__(self, function: Callable[[], Awaitable[None]], name: str) -> None:
        """Start the task in the running event loop, without the context variables of the caller.

        Args:
            function: An async function that handles its exceptions.
            name: The name of the task.
        """
        self._function = function
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._task: object = None
        if on_asyncio():
            import asyncio

            task = asyncio.get_running_loop().create_task(self._run(), name=name, context=Context())
            # For a task that is cancelled before it has started.
            task.add_done_callback(lambda _: self._ended.set())
            self._task = task  # the loop has weak references to tasks only
        else:
            import trio

            self._task = trio.lowlevel.spawn_system_task(self._run, name=name)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._function()
        finally:
            self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return self._ended.is_set()

    async def stop(self) -> None:
        """Cancel the task, and wait for its end."""
        self._scope.cancel()
        await self._ended.wait()


def loop_caller() -> Callable[[Callable[[], object]], None]:
    """Return a function for other threads, which calls a function in the running event loop.

    It does nothing if the event loop has ended.
    """
    token: Any = current_token()
    loop: Any = getattr(token, "native_token", token)
    # The first is the method of asyncio, the second the one of trio.
    call_soon: Callable[[Callable[[], object]], object] = (
        getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    )

    def call(function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # trio.RunFinishedError is one as well
            call_soon(function)

    return call
