"""Run blocking functions in threads that always end before the caller continues.

`anyio.to_thread.run_sync` waits for its thread if an anyio scope is cancelled, but not if an
asyncio task is. After `task.cancel()`, `asyncio.timeout`, `asyncio.TaskGroup` or Ctrl-C the
`finally` of the caller runs while the thread does, and closes what the thread is using.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import Any, Generic, TypeVar, TypeVarTuple, cast

import anyio
from anyio import CapacityLimiter, lowlevel, to_thread

__all__ = ["call_in_thread", "caller_event_loop", "join_threads", "run_in_thread"]

R = TypeVar("R")
Args = TypeVarTuple("Args")

logger = logging.getLogger("asyncposthog")

_running: set[_ThreadCall[Any]] = set()
"""Functions that run in threads for asyncio tasks. Only atomic methods of the set are used."""
_caller: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("caller", default=None)


async def run_in_thread(
    function: Callable[[*Args], R],
    *args: *Args,
    shield: bool = False,
    limiter: CapacityLimiter | None = None,
    interrupt: Callable[[], object] | None = None,
) -> R:
    """Run a blocking function in a worker thread, and return what it returns.

    Once the function has started, this neither returns nor raises before it has ended, no matter
    how often and by what means the task is cancelled. Cancellation of an asyncio task is raised
    when the function has ended; if the function failed as well, its exception is the cause of the
    cancellation. Cancellation by an anyio scope, or by trio, is raised at the next checkpoint, and
    the result or the exception of the function comes first. A function whose task is cancelled
    before it has started never runs.

    The thread holds a token of the limiter until it has ended. It sees the context variables of
    the caller.

    A result may be lost to a cancellation: a function that opens something has to store it where
    the caller's clean-up finds it.

    Args:
        function: The function.
        *args: Its arguments.
        shield: Run the function even if the task is cancelled before it has started: for clean-up.
            It does without a token of the limiter where none is free.
        limiter: Limits how many threads run at a time; by default anyio's limiter of threads.
        interrupt: Makes the function end soon. Called in the event loop when the task is
            cancelled; cancellation by anyio or trio is then raised as soon as the function ends.

    Raises:
        Exception: What the function raised.
    """
    if shield and not _has_event_loop():
        # The event loop has ended before this coroutine, so it cannot wait for a thread.
        return function(*args)
    if not _is_asyncio():
        return await _run_on_trio(function, args, shield, limiter, interrupt)
    job, tokens = _ThreadCall(function, args), limiter or to_thread.current_default_thread_limiter()
    if shield:
        # No await before the thread starts: it would be a point of cancellation.
        tokens = tokens if tokens.available_tokens >= 1 else CapacityLimiter(1)
        tokens.acquire_on_behalf_of_nowait(job)
    else:
        await tokens.acquire_on_behalf_of(job)
    try:
        return await job.run(interrupt, shield=shield)
    finally:
        if not job.loop.is_closed():
            tokens.release_on_behalf_of(job)
        del job  # its exception refers to this frame


def call_in_thread(function: Callable[[], object]) -> None:
    """Run a short blocking function in a thread, and wait for it without the event loop.

    Signals interrupt the main thread alone: Ctrl-C is raised when the function has ended. If it
    comes while a thread starts, the function may be called twice, one call after the other or both
    at a time.

    Args:
        function: Does nothing the second time.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        Exception: What the function raised.
    """
    outcomes: list[BaseException | None] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    interrupt_error: KeyboardInterrupt | None = None
    while not outcomes:
        thread = Thread(target=call, name="asyncposthog worker", daemon=False)
        try:
            thread.start()
            _join(thread)
        except KeyboardInterrupt as error:
            interrupt_error = error
    error = outcomes[0]
    try:
        if interrupt_error is not None:
            raise interrupt_error from error
        if error is not None:
            raise error
    finally:
        outcomes.clear()
        del error, interrupt_error  # they refer to this frame


def caller_event_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio event loop that waits for this thread; None if none does."""
    return _caller.get()


def join_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Wait for the threads of an event loop that was closed while they ran."""
    for job in _running.copy():
        if job.loop is loop:
            job.join()


class _ThreadCall(Generic[R]):
    """A function that runs in a thread, and the asyncio task that waits for it."""

    # Not a worker thread of anyio: that may or may not run a function whose future is cancelled,
    # and prevents the end of the process if its event loop was not shut down properly.

    def __init__(self, function: Callable[[*Args], R], args: tuple[*Args]) -> None:
        self.loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._context.run(_caller.set, self.loop)
        self._call: Callable[[], R] | None = lambda: function(*args)
        self._thread = self._new_thread()
        self._starting = Lock()
        self._started = False
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._result: R | None = None
        self._error: BaseException | None = None

    def _new_thread(self) -> Thread:
        return Thread(target=self._work, name="asyncposthog worker", daemon=False)

    def _work(self) -> None:
        with self._starting:
            if not self._started or self._thread is not current_thread():
                return
        call, self._call = self._call, None
        assert call is not None
        try:
            self._result = self._context.run(call)
        except BaseException as error:
            self._error = error
        del call
        self._ended = True
        _running.discard(self)
        with suppress(RuntimeError):  # the event loop is closed: the thread is joined instead
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _start(self, shield: bool) -> None:
        """Start the thread.

        Ctrl-C that comes meanwhile is raised by the event loop instead: a task group would wrap an
        exception of its task, and asyncio would report that as not handled.

        Raises:
            CancelledError: Ctrl-C came, and the function will not run; unless `shield` is set.
        """
        while not self._started:
            try:
                # The thread waits meanwhile: it would take the GIL from start(), which waits for
                # it; and if start() is interrupted by a signal, this thread does nothing.
                with self._starting:
                    self._thread.start()
                    self._started = True
            except KeyboardInterrupt as error:
                self.loop.call_soon(_raise, error)
                if not self._started and not shield:
                    raise asyncio.CancelledError from None
                if not self._started:
                    self._thread = self._new_thread()

    async def run(self, interrupt: Callable[[], object] | None, *, shield: bool) -> R:
        """Start the thread, and wait until it has ended."""
        cancellation: BaseException | None = None
        _running.add(self)
        try:
            self._start(shield)
            if interrupt is not None:
                cancellation = await self._wait()
                if cancellation is not None:
                    interrupt()
            with _Shield():
                while not self._ended:
                    # Task.uncancel() is not called: the task stays as cancelled as it is.
                    cancellation = _prefer_interrupt(cancellation, await self._wait())
        finally:
            # At once, unless the coroutine was closed, or interrupted in between by a signal.
            _join(self._thread)
            _running.discard(self)
        error, self._error = self._error, None
        result, self._result = self._result, None
        try:
            if cancellation is None:
                if error is not None:
                    raise error
                return cast("R", result)
            if error is None:
                raise cancellation
            if interrupt is None:
                logger.warning(
                    "a worker thread ended with %s while its task was cancelled",
                    type(error).__name__,
                )
            raise cancellation from error
        finally:
            del cancellation, error  # they refer to this frame

    def join(self) -> None:
        """Wait for the thread without the event loop."""
        _join(self._thread)

    async def _wait(self) -> BaseException | None:
        """Wait for the end of the thread; return the exception that ended the wait, if any.

        Raises:
            GeneratorExit: The coroutine is closed, and must not wait again.
        """
        if self._ended:
            return None
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        except GeneratorExit:
            raise
        except BaseException as error:
            return error
        finally:
            self._waiter = None
        return None


class _Shield:
    """Shields from the cancellation of anyio, which repeats in every cycle of the event loop."""

    def __enter__(self) -> None:
        self._scope = anyio.CancelScope(shield=True)
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not GeneratorExit:  # then there is no task, without which a scope cannot be left
            self._scope.__exit__(kind, error, traceback)


async def _run_on_trio(
    function: Callable[[*Args], R],
    args: tuple[*Args],
    shield: bool,
    limiter: CapacityLimiter | None,
    interrupt: Callable[[], object] | None,
) -> R:
    """Run a function in a thread of trio, which waits for it despite cancellation."""
    outcomes: list[tuple[R | None, BaseException | None]] = []

    tokens = limiter or to_thread.current_default_thread_limiter()
    if shield and tokens.available_tokens < 1:
        tokens = CapacityLimiter(1)

    async def call() -> None:
        try:
            outcomes.append((await to_thread.run_sync(function, *args, limiter=tokens), None))
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            outcomes.append((None, error))

    async def watch(interrupt: Callable[[], object]) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            if not outcomes:
                interrupt()
            raise

    with anyio.CancelScope(shield=shield):
        if interrupt is None:
            await call()
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(watch, interrupt)
                await call()
                group.cancel_scope.cancel()
    result, error = outcomes.pop()
    try:
        if interrupt is not None:
            await lowlevel.checkpoint_if_cancelled()
        if error is not None:
            raise error
        return cast("R", result)
    finally:
        del error  # it refers to this frame


def _is_asyncio() -> bool:
    """Return whether this runs in an asyncio task."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _has_event_loop() -> bool:
    """Return whether this runs in a task of asyncio or trio."""
    try:
        anyio.get_current_task()
    except RuntimeError:
        return False
    return True


def _raise(error: BaseException) -> None:
    raise error


def _prefer_interrupt(
    first: BaseException | None, then: BaseException | None
) -> BaseException | None:
    """Return which of two exceptions to raise: Ctrl-C, or otherwise the latest cancellation."""
    if then is None or (first is not None and not isinstance(first, asyncio.CancelledError)):
        return first
    return then


def _join(thread: Thread) -> None:
    """Wait for the end of a thread without the event loop. Ctrl-C is raised afterwards."""
    interrupt_error: KeyboardInterrupt | None = None
    while thread.ident is not None and thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            interrupt_error = error
    if interrupt_error is not None:
        raise interrupt_error
