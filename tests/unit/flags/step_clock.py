"""A clock for tasks that sleep until a test lets time pass, on asyncio and trio."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from tests.helpers.manual_clock import ManualClock


class StepClock(ManualClock):
    """A clock whose sleepers wait until `advance` has moved it far enough."""

    def __init__(self) -> None:
        super().__init__(chance=0.5)
        self._sleepers: list[tuple[float, anyio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = (self.now + seconds, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    @property
    def sleeping(self) -> int:
        """The number of tasks that sleep."""
        return len(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the tasks that wake up run until they wait again."""
        await settle()
        self.now += seconds
        for until, event in list(self._sleepers):
            if until <= self.now:
                event.set()
        await settle()


async def settle() -> None:
    """Let all tasks run until they wait, if nothing but events and locks is waited for.

    Much faster than `wait_all_tasks_blocked`, which sleeps on asyncio.
    """
    for _ in range(200):
        await anyio.lowlevel.checkpoint()
