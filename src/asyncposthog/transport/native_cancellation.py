"""Protect cleanup in httpcore from asyncio's own cancellation.

httpcore shields its cleanup with cancel scopes. `task.cancel()`, `asyncio.timeout` and Ctrl-C
bypass those, and a connection whose cleanup is interrupted stays in the pool forever. In a task
group, the cancelled task waits for its child, which is cancelled through a scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import anyio
from anyio.lowlevel import current_token

__all__ = ["in_other_event_loop", "on_asyncio", "shield_from_native_cancellation"]

T = TypeVar("T")


def on_asyncio() -> bool:
    """Return whether the running event loop is one of asyncio."""
    # asyncio takes 1.4 MiB, which a process that only constructs a client need not pay.
    import asyncio

    token: Any = current_token()
    return isinstance(getattr(token, "native_token", token), asyncio.AbstractEventLoop)


def in_other_event_loop() -> bool:
    """Return whether an event loop is running that is not one of asyncio."""
    try:
        return not on_asyncio()
    except RuntimeError:  # none is running
        return False


async def shield_from_native_cancellation(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` in a child task, so that only cancel scopes can cancel it.

    A native cancellation of the caller cancels the scope of `work`, waits for its end, and is then
    raised. The result of `work` is discarded in that case.
    """
    results: list[T] = []
    errors: list[Exception] = []

    async def child() -> None:
        try:
            results.append(await work())
        except Exception as error:
            errors.append(error)  # not through the group, which would wrap it

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
    except BaseExceptionGroup as group:
        # Ctrl-C in this task or in the child. Callers do not know of the group.
        raise _innermost(group) from group
    if errors:
        raise errors.pop()
    return results.pop()


def _innermost(error: BaseException) -> BaseException:
    """Return the first exception in a group that is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
