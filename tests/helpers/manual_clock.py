"""A clock whose time passes only as far as a test lets it."""

from __future__ import annotations

import anyio.lowlevel

__all__ = ["ManualClock", "SleeplessClock"]


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
