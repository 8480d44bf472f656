"""Time that passes only while all tasks wait for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

import anyio
import anyio.lowlevel
import anyio.to_thread

START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualTime:
    """A clock and a sleep for an emulator."""

    def __init__(self) -> None:
        self.now = 0.0
        """The seconds since the start."""
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = 0

    def clock(self) -> datetime:
        """Return the current time."""
        return START + timedelta(seconds=self.now)

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds of virtual time."""
        self._count += 1
        event = anyio.Event()
        heappush(self._sleepers, (self.now + seconds, self._count, event))
        await event.wait()

    async def pass_all(self) -> None:
        """Advance the time whenever all tasks wait, until none of them sleeps."""
        await self._quiet()
        while self._sleepers:
            self.now, _, event = heappop(self._sleepers)
            event.set()
            await self._quiet()

    async def _quiet(self) -> None:
        """Wait until all tasks wait, and no worker thread runs."""
        threads = anyio.to_thread.current_default_thread_limiter()
        await anyio.wait_all_tasks_blocked()
        while threads.borrowed_tokens:
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
