"""Run blocking functions in worker threads that have ended when the caller continues."""

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
    """Run a function in a worker thread, and neither return nor raise while it runs.

    anyio waits for a thread only in its own cancel scopes. A native cancellation, such as
    `task.cancel()`, passes through it, and would let the caller close what the thread uses.

    Args:
        function: The function to run.
        interrupt: Makes a running `function` end early; called from the event loop's thread.
        shield: Run it to its end even if the caller is cancelled, before or meanwhile.

    Returns:
        The result of the function.
    """
    lock, ended = Lock(), Event()
    started = given_up = False

    def work() -> T:
        nonlocal started
        with lock:
            # A cancelled caller has returned: the function must not start behind its back.
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
            # This blocks the event loop, but only after a cancellation and until the thread ends.
            ended.wait()
        elif shield and not started:
            # Cancelled while waiting for a free worker thread: keep the promise of `shield` here.
            function()
        raise
    return results[0]
