"""One clock for the whole emulator, that can be put forward, put back, and stopped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import RLock

from posthog_emulator.rate_limits.rate_limits import RateLimits

from .state import Settings

__all__ = ["Clock", "ClockControl"]


class Clock:
    """A clock that goes with another, some time apart, or stands still.

    Args:
        base: The clock it goes with.
    """

    def __init__(self, base: Callable[[], datetime]) -> None:
        self.base = base
        self._offset = timedelta(0)
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        """The moment."""
        return self.base() + self._offset if self._stopped is None else self._stopped

    def shift(self, by: timedelta) -> None:
        """Put it forward, or back."""
        if self._stopped is None:
            self._offset += by
        else:
            self._stopped += by

    def stop(self, at: datetime) -> None:
        """Let it stand still."""
        self._stopped = at

    def start(self) -> None:
        """Let it go on from where it stands."""
        if self._stopped is not None:
            self._offset = self._stopped - self.base()
            self._stopped = None


class ClockControl:
    """What changes the emulator's time; a part of `Emulator`.

    Times of objects, rate limits, caches, jobs and expiry all follow `settings.clock`. Waits do
    not: they are `settings.sleep`'s.
    """

    settings: Settings
    throttles: RateLimits
    _lock: RLock

    @property
    def now(self) -> datetime:
        """The moment inside the emulator, in UTC."""
        return self.settings.clock().astimezone(UTC)

    def travel(self, by: float | timedelta) -> datetime:
        """Let time pass at once.

        Args:
            by: Seconds, or a `timedelta`. A negative one goes back.

        Returns:
            The moment it is now.
        """
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._lock:
            self._clock().shift(step)
            if step < timedelta(0):
                self.throttles.forget()
            return self.now

    def freeze(self, at: datetime | str | None = None) -> datetime:
        """Stop the clock, until `thaw`. `travel` still moves it.

        Args:
            at: Where it is to stand: a `datetime` with a time zone, or ISO 8601 text; now by
                default.

        Returns:
            The moment it is now.

        Raises:
            ValueError: It is no moment, or has no time zone.
        """
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
        if moment is not None and moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no time zone; add one, as in ...+00:00")
        with self._lock:
            before = self.now
            self._clock().stop(before if moment is None else moment.astimezone(UTC))
            if self.now < before:
                self.throttles.forget()
            return self.now

    def thaw(self) -> None:
        """Let the clock go on from where it stands."""
        with self._lock:
            self._clock().start()

    def _clock(self) -> Clock:
        if not isinstance(self.settings.clock, Clock):
            self.settings.clock = Clock(self.settings.clock)
        return self.settings.clock

    def _reset(self) -> None:
        """Undo all time travel."""
        if isinstance(self.settings.clock, Clock):
            self.settings.clock = self.settings.clock.base
