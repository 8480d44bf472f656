"""Read an export batch by batch, also from synchronous code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from asyncposthog.core.background import BackgroundIterator, BackgroundLoop, Emit
from asyncposthog.core.executor import Executor

from .batch import Batch
from .engines.base import ExportStats
from .request import Request

__all__ = ["iterate_in_background", "read_all"]


async def read_all(
    request: Request,
    executor: Executor,
    prepare: Callable[[Batch], Any],
    stats: ExportStats,
    emit: Emit[Any],
) -> None:
    """Read all batches, and some of them ahead, and pass each on as `prepare` returns it."""
    bounds = request.resolve_bounds(int(executor.transport.clock.time() * 1_000_000))
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            reader = await request.open(executor, bounds, None, prepare, stats, tasks)
            complete = False
            try:
                while batches := await reader.read():
                    for batch in batches:
                        await emit(batch.content)
                complete = True
            finally:
                await reader.close(complete=complete)
        except Exception as raised:
            # Raised outside of the group, which would wrap it in an ExceptionGroup.
            error = raised
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error


def iterate_in_background(
    executor: Executor, request: Request, prepare: Callable[[Batch], Any], stats: ExportStats
) -> BackgroundIterator[Any]:
    """Return an iterator over the batches of a run, for synchronous code.

    The run has an event loop in a thread of its own, which ends with the iterator.

    Args:
        executor: The executor of the client, whose event loop is not used.
        request: The rows to export.
        prepare: Converts each batch, in a worker thread.
        stats: Updated while reading.

    Raises:
        ConfigurationError: The client cannot be used in another event loop.
    """
    other = executor.for_other_event_loop()
    loop = BackgroundLoop()
    loop.on_close(partial(other.transport.aclose, cancel=True))
    produce = partial(read_all, request.with_executor(other), other, prepare, stats)
    return BackgroundIterator(loop, produce)
