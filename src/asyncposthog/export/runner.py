"""Windows are read side by side, and handed on in order.

At most `concurrency` are in flight, and no more than that wait to be handed on, fewer where they
are large: a slow consumer stops the reading, and memory does not grow with the export.

An export cannot stand still. Whatever is held waits for the first window in order, so that one may
always be started, however much is held. After `_start`, therefore, at least one of these is true:
the first result can be handed on; a window is being read, which ends; reading has failed. Each
window that is read to its end, continued behind its last row or divided leaves less to read.
Starting the first window does not exceed the bound of twice `concurrency` open windows either: a
window becomes the first that is not started only when the one before it is handed on, or is
itself divided or given back, and each of these closes one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from asyncposthog.errors import QueryTooLargeError, ResponseTooLargeError
from asyncposthog.export.engines.base import Consume, PreparedBatch

from .windows import Window, WindowQueue, WindowSlot

__all__ = ["Runner", "WindowResult"]

T = TypeVar("T")

_HELD: Final = 32 * 1024 * 1024
"""Bytes of answers that may wait to be handed on, beyond as many as are read at a time."""


@dataclass(frozen=True, slots=True)
class WindowResult(Generic[T]):
    """What reading a window once brought."""

    piece: PreparedBatch[T]
    rest: Window | None
    """The window behind the last row of the piece; None: it was read to its end."""
    size: int = 0
    """Bytes of the answer."""


class Runner(Generic[T]):
    """Reads the windows of a planner."""

    def __init__(
        self,
        planner: WindowQueue[PreparedBatch[T]],
        read: Callable[[Window], Awaitable[WindowResult[T]]],
        *,
        concurrency: int,
        ordered: bool,
        changed: Callable[[], None],
    ) -> None:
        """Read nothing yet.

        Args:
            planner: The windows.
            read: Reads one once.
            concurrency: How many are read at a time.
            ordered: Whether pieces are handed on in order, rather than as they come.
            changed: Told when windows were read or cut.
        """
        self._planner = planner
        self._read = read
        self._concurrency = concurrency
        self._ordered = ordered
        self._changed = changed
        self._progress_event = anyio.Event()
        self._running = 0
        self._largest = 1
        self._failure: Exception | None = None

    async def run(self, consume: Consume[T]) -> None:
        """Read everything, ahead of what consumes it.

        Raises:
            Exception: What reading a window raised, once all before it was consumed; or what
                consuming raised.
        """
        stopped: Exception | None = None
        async with anyio.create_task_group() as group:
            try:
                await self._deliver(group, consume)
            except Exception as error:
                stopped = error
            group.cancel_scope.cancel()
        if stopped is not None:
            raise stopped

    async def _deliver(self, group: TaskGroup, consume: Consume[T]) -> None:
        while not self._planner.finished:
            self._start(group, self._max_open_windows)
            ticket = self._planner.pop(ordered=self._ordered)
            if ticket is not None:
                assert ticket.result is not None
                await consume(ticket.result)
                continue
            if self._failure is not None and self._running == 0:
                raise self._failure
            assert self._running, "nothing is being read, and nothing can be handed on"
            self._progress_event = anyio.Event()
            await self._progress_event.wait()

    @property
    def _max_open_windows(self) -> int:
        """How many windows may be in flight or wait to be handed on; less after a large answer."""
        return self._concurrency + min(self._concurrency, _HELD // self._largest)

    async def step(self) -> list[PreparedBatch[T]]:
        """Read as many windows as may be read at a time, and return what is next in order.

        Whatever runs side by side has ended when it returns.

        Raises:
            Exception: What reading a window raised, once everything before it was returned.
        """
        pieces: list[PreparedBatch[T]] = []
        while not pieces and not self._planner.finished:
            if self._failure is None:
                async with anyio.create_task_group() as group:
                    self._start(group, self._concurrency)
            while (ticket := self._planner.pop(ordered=self._ordered)) is not None:
                assert ticket.result is not None
                pieces.append(ticket.result)
            if not pieces and self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
        return pieces

    def _start(self, group: TaskGroup, ahead: int) -> None:
        """Start reading as many windows as may be read now, the first in order in any case.

        `ahead` can have become smaller than what is held already: what is held then waits for the
        first window, which must not wait for room in turn.
        """
        planner = self._planner
        while (
            self._failure is None
            and self._running < self._concurrency
            and (planner.open < ahead or planner.first_waits)
            and (ticket := planner.take()) is not None
        ):
            self._running += 1
            group.start_soon(self._read_window, ticket)

    async def _read_window(self, ticket: WindowSlot[PreparedBatch[T]]) -> None:
        planner = self._planner
        try:
            reading = await self._read(ticket.window)
        except (QueryTooLargeError, ResponseTooLargeError) as error:
            if not planner.split(ticket):
                self._fail(error)
        except Exception as error:
            self._fail(error)
        else:
            self._largest = max(self._largest, reading.size)
            if reading.rest is None:
                planner.finish(ticket, reading.piece.rows, reading.piece)
            else:
                planner.go_on(ticket, reading.rest, reading.piece.rows, reading.piece)
        finally:
            self._running -= 1
            if ticket.state == "taken":
                planner.give_back(ticket)
            self._changed()
            self._progress_event.set()

    def _fail(self, error: Exception) -> None:
        """Keep a failure, and start nothing more: what is before it is still handed on."""
        self._failure = self._failure or error
