"""A clock whose time passes only as far as a test lets it."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from posthog_emulator import Emulator

__all__ = ["EmulatorClock", "ManualClock", "SleeplessClock", "StoppedClock"]


class ManualClock:
    """A clock of a client: time passes when a test changes `now`, or something sleeps.

    Calling it returns `now` too, which is the form of clock that the emulator's limits take.
    """

    def __init__(
        self,
        now: float = 1000.0,
        *,
        epoch: float = 1_750_000_000.0,
        chance: float = 1.0,
        sleep_factor: float = 1.0,
    ) -> None:
        """Set the clock.

        Args:
            now: Seconds on the monotonic clock.
            epoch: Seconds since 1970 when that clock was at zero.
            chance: What `random()` returns, from 0 to 1.
            sleep_factor: By how much of its seconds a sleep moves the clock.
        """
        self.now = now
        self.epoch = epoch
        self.chance = chance
        self.sleep_factor = sleep_factor
        self.slept: list[float] = []
        """The seconds of each sleep."""

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.epoch + self.now

    def random(self) -> float:
        return self.chance

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds * self.sleep_factor
        await anyio.lowlevel.checkpoint()


class SleeplessClock(ManualClock):
    """A clock for what never sleeps."""

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here may sleep, and it wanted to for {seconds} s")


class StoppedClock(ManualClock):
    """A clock on which a sleep never ends: a test waits for its start, and cancels it."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeping = anyio.Event()
        """Set when a sleep has started."""

    async def sleep(self, seconds: float) -> None:
        self.sleeping.set()
        await anyio.sleep_forever()


class EmulatorClock(ManualClock):
    """A clock of a client that starts at an emulator's time and advances it."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator.settings.clock().timestamp(), epoch=0.0)
        self._emulator = emulator

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self._emulator.advance(seconds)
