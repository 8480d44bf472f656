"""Run blocking functions in worker threads that have always ended when the caller goes on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock
from typing import TypeVar

import anyio

__all__ = ["run_in_thread"]

T = TypeVar("T")


async def run_in_thread(
    function: Callable[[], T],
    *,
    interrupt: Callable[[], None] | None = None,
    shield: bool = False,
) -> T:
    """Run a function in a worker thread. Neither return nor raise while it runs.

    anyio waits for a thread in cancel scopes of its own. A native cancellation, such as
    `task.cancel()`, passes through it, and would let the caller close what the thread uses.

    Args:
        function: What to run.
        interrupt: Makes a running `function` end early; called from the event loop's thread.
        shield: Run it to its end even if the caller is cancelled, before or meanwhile.

    Returns:
        What the function returned.
    """
    lock, ended = Lock(), Event()
    started = given_up = False

    def work() -> T:
        nonlocal started
        with lock:
            if given_up:
                raise RuntimeError("cancelled before it started")
            started = True
        try:
            return function()
        finally:
            ended.set()

    results: list[T] = []
    try:
        with anyio.CancelScope(shield=shield):
            results.append(await anyio.to_thread.run_sync(work))
    except BaseException:
        with lock:
            given_up = True
        if started and not ended.is_set():
            if interrupt is not None and not shield:
                interrupt()
            # This blocks the event loop, only after a cancellation and until the thread ends.
            ended.wait()
        elif shield and not started:
            function()
        raise
    return results[0]
