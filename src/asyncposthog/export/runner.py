"""Read windows concurrently and deliver their results in order.

At most `concurrency` windows are read at a time, and at most as many results wait for delivery,
fewer if they are large: a slow consumer stops the reading, and memory does not grow with the
export.

An export cannot deadlock. Buffered results wait for the first window in order, so that window may
always be started, however much is buffered. After `_start`, therefore, at least one of these holds:
the first result can be delivered; a window is being read, which ends; reading has failed. Each
window that is read to its end, continued after its last row or divided leaves less to read.
Starting the first window does not exceed the bound of twice `concurrency` open windows either: a
window becomes the first that is not started only when the one before it is delivered, or is itself
divided or requeued, and each of these closes one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from asyncposthog.errors import QueryTooLargeError, ResponseTooLargeError
from asyncposthog.export.engines.base import PreparedBatch

from .windows import Window, WindowQueue, WindowSlot

__all__ = ["Runner", "WindowResult"]

T = TypeVar("T")

_MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024
"""Bytes of responses that may wait for delivery, in addition to those being read."""


@dataclass(frozen=True, slots=True)
class WindowResult(Generic[T]):
    """Result of reading a window once."""

    batch: PreparedBatch[T]
    rest: Window | None
    """The window after the last row of the batch; None: it was read to its end."""
    response_bytes: int = 0


class Runner(Generic[T]):
    """Reader of a queue of windows; the `BatchReader` of exports by queries."""

    def __init__(
        self,
        queue: WindowQueue[PreparedBatch[T]],
        read_window: Callable[[Window], Awaitable[WindowResult[T]]],
        *,
        concurrency: int,
        ordered: bool,
        on_change: Callable[[], None],
        tasks: TaskGroup | None = None,
    ) -> None:
        """Store the arguments. Nothing is read yet.

        Args:
            queue: The windows.
            read_window: Reads a window once.
            concurrency: The number of windows read at a time.
            ordered: Whether results are delivered in order of time, rather than as they arrive.
            on_change: Called after windows were read or split.
            tasks: Reads windows in the background, also between calls of `read`. None: windows are
                read during calls of `read` only.
        """
        self._queue = queue
        self._read_window = read_window
        self._concurrency = concurrency
        self._ordered = ordered
        self._on_change = on_change
        self._tasks = tasks
        self._progress_event = anyio.Event()
        self._running = 0
        self._largest_response = 1
        self._error: Exception | None = None

    async def read(self) -> list[PreparedBatch[T]]:
        """Return the next batches in order; an empty list at the end.

        Raises:
            Exception: The error that reading a window raised, after all batches before it were
                returned.
        """
        if self._tasks is not None:
            return await self._read_ahead(self._tasks)
        return await self._read_now()

    async def _read_ahead(self, tasks: TaskGroup) -> list[PreparedBatch[T]]:
        """Return the next batch; windows after it are read in the background."""
        while not self._queue.finished:
            self._start(tasks, self._max_open_windows)
            slot = self._queue.pop(ordered=self._ordered)
            if slot is not None:
                assert slot.result is not None
                return [slot.result]
            # Windows that were being read when another failed may still come before it in order.
            if self._error is not None and self._running == 0:
                raise self._error
            assert self._running, "no window is being read, and no result can be delivered"
            self._progress_event = anyio.Event()
            await self._progress_event.wait()
        return []

    async def _read_now(self) -> list[PreparedBatch[T]]:
        """Read up to `concurrency` windows; no task is left running when this returns."""
        batches: list[PreparedBatch[T]] = []
        while not batches and not self._queue.finished:
            if self._error is None:
                async with anyio.create_task_group() as tasks:
                    self._start(tasks, self._concurrency)
            while (slot := self._queue.pop(ordered=self._ordered)) is not None:
                assert slot.result is not None
                batches.append(slot.result)
            if not batches and self._error is not None:
                # Cleared, so that a caller can retry from the window that failed.
                error, self._error = self._error, None
                raise error
        return batches

    async def close(self, *, complete: bool) -> None:
        """Release nothing: the task group that was passed ends the background reading."""

    @property
    def _max_open_windows(self) -> int:
        """Windows that may be read or wait for delivery; fewer after a large response."""
        buffered = min(self._concurrency, _MAX_BUFFERED_BYTES // self._largest_response)
        return self._concurrency + buffered

    def _start(self, tasks: TaskGroup, max_open: int) -> None:
        """Start reading as many windows as allowed, and the first in order in any case.

        `max_open` can drop below the number of open windows after a large response. The buffered
        results then wait for the first window, which therefore must not wait for a free place.
        """
        queue = self._queue
        while (
            self._error is None
            and self._running < self._concurrency
            and (queue.open_count < max_open or queue.is_head_waiting)
            and (slot := queue.next_slot()) is not None
        ):
            # Counted here, not in the task: the task starts later, and this loop would go on.
            self._running += 1
            tasks.start_soon(self._run_slot, slot)

    async def _run_slot(self, slot: WindowSlot[PreparedBatch[T]]) -> None:
        queue = self._queue
        try:
            result = await self._read_window(slot.window)
        except (QueryTooLargeError, ResponseTooLargeError) as error:
            if not queue.split(slot):
                self._record_error(error)
        except Exception as error:
            # Not raised: the task group would cancel windows whose results come before this one.
            self._record_error(error)
        else:
            self._largest_response = max(self._largest_response, result.response_bytes)
            if result.rest is None:
                queue.finish(slot, result.batch.rows, result.batch)
            else:
                queue.continue_after(slot, result.rest, result.batch.rows, result.batch)
        finally:
            self._running -= 1
            if slot.state == "reading":  # it failed or was cancelled
                queue.requeue(slot)
            self._on_change()
            self._progress_event.set()

    def _record_error(self, error: Exception) -> None:
        """Store the first error. No window is started any more; earlier ones are delivered."""
        self._error = self._error or error
