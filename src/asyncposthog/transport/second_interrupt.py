"""Raise a second Ctrl-C between two callbacks of the event loop.

`asyncio.run()` cancels the main task at the first Ctrl-C, and raises `KeyboardInterrupt` at the
second one, wherever the program is: possibly inside the event loop or a library, whose state is
then inconsistent, so that tasks never end or end with other errors.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from .native_cancellation import on_asyncio

if TYPE_CHECKING:
    import asyncio

__all__ = ["safe_second_interrupt"]


@contextmanager
def safe_second_interrupt() -> Generator[None]:
    """Within the context, let the event loop raise the second Ctrl-C. A third is raised at once.

    Changes the signal handler of `asyncio.run()` and `asyncio.Runner` only: handlers of the
    program, of servers and of trio stay as they are.
    """
    current = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not on_asyncio():
        yield
        return
    if isinstance(current, _Handler):
        handler = current
    elif _belongs_to_asyncio_runner(current):
        handler = _Handler(current)
        signal.signal(signal.SIGINT, handler)
    else:
        yield
        return
    handler.contexts += 1
    try:
        yield
    finally:
        handler.contexts -= 1
        # Contexts overlap if exports run at the same time: the last one restores the handler.
        if handler.contexts == 0 and signal.getsignal(signal.SIGINT) is handler:
            # A runner that was interrupted restores Python's handler, but only in place of its own.
            then = signal.default_int_handler if handler.interrupted else handler.original
            signal.signal(signal.SIGINT, then)


def _belongs_to_asyncio_runner(handler: Any) -> bool:
    """Return whether a signal handler is the method of a runner, with its main task bound."""
    import asyncio  # see on_asyncio()

    return isinstance(handler, partial) and isinstance(
        getattr(cast("partial[Any]", handler).func, "__self__", None), asyncio.Runner
    )


class _Handler:
    """A signal handler that defers the first `KeyboardInterrupt` of another one."""

    def __init__(self, original: Any) -> None:
        import asyncio

        self.original = original
        self.contexts = 0
        """The number of contexts that need the handler."""
        self._loop = asyncio.get_running_loop()
        self._deferred: asyncio.Handle | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the original handler has raised."""
        return self._deferred is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.original(number, frame)
        except KeyboardInterrupt as error:
            if self._deferred is not None:
                self._deferred.cancel()
                raise
            if self._loop.is_closed():
                raise
            self._deferred = self._loop.call_soon_threadsafe(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
