"""An event loop in a thread of its own, for synchronous code: DuckDB, Polars, DB-API, notebooks.

Synchronous code cannot wait for the caller's event loop, which may be the one it blocks. So it gets
another one, with connections of its own; `Executor.for_other_event_loop` shares the rate limits.
The loop is asyncio's, whatever the caller uses.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context
from threading import Lock, Thread, current_thread, main_thread
from typing import Any, Final, Generic, TypeAlias, TypeVar, TypeVarTuple
from weakref import finalize

from asyncposthog.errors import ClosedError

__all__ = ["BackgroundIterator", "BackgroundLoop", "Emit"]

R = TypeVar("R")
T = TypeVar("T")
Args = TypeVarTuple("Args")
Emit: TypeAlias = Callable[[T], Awaitable[None]]
"""Passes an item on, and waits while there is no room for it."""
Close: TypeAlias = Callable[[], Awaitable[object]]

logger = logging.getLogger("asyncposthog")

_INTERRUPT_SECONDS: Final = 0.2
"""Seconds after which Ctrl-C is noticed at the latest."""
_MAX_WAITING: Final = 1
"""Items that wait for the reader, in addition to the one that is being made."""


class BackgroundLoop:
    """An asyncio event loop in a thread. It can be used from several threads.

    It ends with `close`, when this object is collected, or when the process ends: its tasks are
    cancelled, what `on_close` named is closed, and the thread is joined.
    """

    def __init__(self) -> None:
        """Start the thread."""
        self._thread = _LoopThread()
        self._finalizer = finalize(self, self._thread.stop)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return not self._finalizer.alive

    def on_close(self, close: Close) -> None:
        """Await a function in the loop before it ends; the last one first."""
        self._thread.closers.append(close)

    def run(self, function: Callable[[*Args], Awaitable[R]], *args: *Args) -> R:
        """Run an async function in the loop, and return its result.

        If Ctrl-C interrupts the wait, the function is cancelled, and has ended when this raises.

        Raises:
            ClosedError: The loop has ended, or ended while the function was running.
            RuntimeError: Called in the loop itself, or in a process that was forked.
            Exception: What the function raised.
        """
        job = _Job(function, args)
        try:
            self._thread.start(job)
            # A wait without a timeout cannot be interrupted everywhere: a signal may reach another
            # thread, and Python raises KeyboardInterrupt once the main thread runs again.
            while current_thread() is main_thread() and not job.outcome.done():
                wait([job.outcome], _INTERRUPT_SECONDS)
            return job.outcome.result()
        except KeyboardInterrupt:
            self._thread.cancel(job)
            job.outcome.exception()
            raise

    def start(self, function: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Start an async function in the loop. It has to handle its errors.

        Raises:
            ClosedError: The loop has ended.
        """
        self._thread.start(_Job(function, args))

    def close(self) -> None:
        """End the loop and join its thread. Does nothing the second time."""
        self._finalizer()


class _LoopThread:
    """The thread of an event loop. It does not refer to the object that users hold."""

    def __init__(self) -> None:
        self.closers: list[Close] = []
        self._pid = os.getpid()
        self._lock = Lock()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: the interpreter waits for other threads before the finalizer can end this one.
        self._thread = Thread(
            target=self._main, args=(ready,), name="asyncposthog event loop", daemon=True
        )
        self._thread.start()
        self.loop, self._stop_event = ready.result()

    def _main(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        # In an empty context: that of the caller may name another async library.
        Context().run(asyncio.run, self._serve(ready))

    async def _serve(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop_event = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop_event))
        await stop_event.wait()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        for close in reversed(self.closers):
            try:
                await close()
            except Exception as error:
                logger.warning(
                    "closing a background event loop: %s: %s", type(error).__name__, error
                )

    def start(self, job: _Job[Any]) -> None:
        """Start a function in the loop.

        Raises:
            ClosedError: The loop has ended.
            RuntimeError: Called in the loop itself, or in a process that was forked.
        """
        if current_thread() is self._thread:
            raise RuntimeError("synchronous code cannot wait for the event loop that it runs in")
        if self._pid != os.getpid():
            raise RuntimeError(
                "this was opened before the process was forked: open it in the child process"
            )
        with self._lock:
            if self._stopping:
                raise _closed_error()
            self.loop.call_soon_threadsafe(self._start, job, context=Context())

    def _start(self, job: _Job[Any]) -> None:
        if job.cancelled:
            return
        task = job.task = self.loop.create_task(job.call())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(job.on_done)

    def cancel(self, job: _Job[Any]) -> None:
        """Cancel a function that was started."""
        with self._lock:
            if not self._stopping:
                self.loop.call_soon_threadsafe(job.cancel, context=Context())
                return
        # The loop ends: it cancels its tasks, and a job that is none of them never starts.
        self._thread.join()
        job.cancel()

    def stop(self) -> None:
        """End the loop. Its own thread does not wait for the end."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self.loop.call_soon_threadsafe(self._stop_event.set, context=Context())
        # The garbage collector may run the finalizer in any thread, also in this one.
        if current_thread() is not self._thread:
            self._thread.join()


class _Job(Generic[R]):
    """An async function that runs in a background loop, and what it returned."""

    def __init__(self, function: Callable[[*Args], Awaitable[R]], args: tuple[*Args]) -> None:
        self._function: Callable[[], Awaitable[R]] | None = lambda: function(*args)
        self.outcome: Future[R] = Future()
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False

    async def call(self) -> None:
        """Run the function. Its exception is stored for the waiting thread."""
        function, self._function = self._function, None
        assert function is not None
        try:
            result = await function()
        except asyncio.CancelledError:
            self.outcome.set_exception(_closed_error())
        except BaseException as error:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)

    def on_done(self, task: asyncio.Task[None]) -> None:
        """Store that the task was cancelled before it started."""
        self.task = None
        if not self.outcome.done():
            self.outcome.set_exception(_closed_error())

    def cancel(self) -> None:
        """Cancel the task. Called in the loop."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        elif not self.outcome.done():  # Ctrl-C came before it was started
            self.outcome.set_exception(_closed_error())


def _closed_error() -> ClosedError:
    return ClosedError("This was closed, or cancelled.", suggestion="Open it again.")


class BackgroundIterator(Iterator[T]):
    """The items that an async function makes in a background loop, for synchronous code.

    At most one item waits to be read. The iterator closes the loop at the end, after an error, with
    `close`, and when it is collected.
    """

    def __init__(
        self,
        loop: BackgroundLoop,
        produce: Callable[[Emit[T]], Awaitable[None]],
        *,
        close_loop: bool = True,
    ) -> None:
        """Start making items.

        Args:
            loop: The loop.
            produce: Makes the items, and passes each to the function that it gets.
            close_loop: Whether the loop is closed with the iterator. If not, the function is
                cancelled.
        """
        self._loop = loop
        self._channel: _Channel[T] = _Channel()
        self._is_finished = False
        loop.start(self._channel.fill, produce)
        self._close = loop.close if close_loop else finalize(self, _stop, loop, self._channel)

    def __next__(self) -> T:
        """Return the next item.

        Raises:
            Exception: The error of the function, after all items before it.
        """
        if self._is_finished:
            raise StopIteration
        try:
            items = self._loop.run(self._channel.receive)
        except BaseException:
            self.close()
            raise
        if not items:
            self.close()
            raise StopIteration
        return items[0]

    def cancel(self) -> None:
        """Cancel the function. A thread that waits for an item gets a ClosedError."""
        _stop(self._loop, self._channel)

    def close(self) -> None:
        """Cancel the function, or close the loop with it."""
        self._is_finished = True
        self._close()


def _stop(loop: BackgroundLoop, channel: _Channel[Any]) -> None:
    # Not waited for: the garbage collector may call this, in any thread.
    with suppress(ClosedError):
        loop.start(channel.stop)


class _Channel(Generic[T]):
    """A bounded queue between two tasks of one event loop."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._has_items, self._has_room = asyncio.Event(), asyncio.Event()

    async def fill(self, produce: Callable[[Emit[T]], Awaitable[None]]) -> None:
        """Run the function that makes the items."""
        self._task = None if self._stopped else asyncio.current_task()
        try:
            if not self._stopped:
                await produce(self._emit)
        except Exception as error:
            self._error = error
        except asyncio.CancelledError:
            self._error = _closed_error()
            raise
        finally:
            self._ended, self._task = True, None
            self._has_items.set()

    async def stop(self) -> None:
        """Cancel the function."""
        self._stopped = True
        self._has_items.set()
        if self._task is not None:
            self._task.cancel()

    async def _emit(self, item: T) -> None:
        while len(self._items) >= _MAX_WAITING:
            self._has_room.clear()
            await self._has_room.wait()
        self._items.append(item)
        self._has_items.set()

    async def receive(self) -> tuple[T, ...]:
        """Return the next item; an empty tuple at the end."""
        while not (self._items or self._ended or self._stopped):
            self._has_items.clear()
            await self._has_items.wait()
        if self._stopped:
            raise _closed_error()
        if self._items:
            self._has_room.set()
            return (self._items.popleft(),)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return ()
