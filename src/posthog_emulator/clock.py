"""The emulator's clock: it can be moved forwards and backwards, and frozen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import RLock

from posthog_emulator.rate_limits.rate_limits import RateLimits

from .state import Settings

__all__ = ["Clock", "ClockControl"]


class Clock:
    """A clock that runs at an offset to another one, or stands still.

    Args:
        base: The other clock.
    """

    def __init__(self, base: Callable[[], datetime]) -> None:
        self.base = base
        self._offset = timedelta(0)
        self._frozen_at: datetime | None = None

    def __call__(self) -> datetime:
        """Return the current time."""
        return self.base() + self._offset if self._frozen_at is None else self._frozen_at

    @property
    def is_frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen_at is not None

    def shift(self, by: timedelta) -> None:
        """Move the clock forwards, or backwards by a negative amount."""
        if self._frozen_at is None:
            self._offset += by
        else:
            self._frozen_at += by

    def freeze(self, at: datetime) -> None:
        """Stop the clock at a time."""
        self._frozen_at = at

    def unfreeze(self) -> None:
        """Let the clock run again, from the time at which it stands."""
        if self._frozen_at is not None:
            self._offset = self._frozen_at - self.base()
            self._frozen_at = None


class ClockControl:
    """The methods of `Emulator` that change its time.

    Timestamps of objects, rate limits, caches, jobs and expiry all follow `settings.clock`. Delays
    do not: they use `settings.sleep`.
    """

    settings: Settings
    rate_limits: RateLimits
    _lock: RLock

    @property
    def now(self) -> datetime:
        """The current time inside the emulator, in UTC."""
        return self.settings.clock().astimezone(UTC)

    @property
    def is_frozen(self) -> bool:
        """Whether `freeze` has stopped the clock."""
        clock = self.settings.clock
        return isinstance(clock, Clock) and clock.is_frozen

    def advance(self, by: float | timedelta) -> datetime:
        """Move the clock, without waiting.

        Args:
            by: Seconds, or a `timedelta`. A negative amount moves the clock backwards.

        Returns:
            The new time.
        """
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._lock:
            self._clock().shift(step)
            if step < timedelta(0):
                self._discard_future_usage()
            return self.now

    def freeze(self, at: datetime | str | None = None) -> datetime:
        """Stop the clock until `unfreeze`. `advance` still moves it.

        Args:
            at: The time to stop at: a `datetime` with a time zone, or ISO 8601 text; the current
                time by default.

        Returns:
            The new time.

        Raises:
            ValueError: The text is not ISO 8601, or the time has no time zone.
        """
        stop_at = datetime.fromisoformat(at) if isinstance(at, str) else at
        if stop_at is not None and stop_at.tzinfo is None:
            raise ValueError(f"{stop_at.isoformat()} has no time zone; add one, as in ...+00:00")
        with self._lock:
            before = self.now
            self._clock().freeze(before if stop_at is None else stop_at.astimezone(UTC))
            if self.now < before:
                self._discard_future_usage()
            return self.now

    def unfreeze(self) -> None:
        """Let the clock run again, from the time at which it stands."""
        with self._lock:
            self._clock().unfreeze()

    def _discard_future_usage(self) -> None:
        # Requests logged in what is now the future would count against every window until the
        # clock gets there again.
        self.rate_limits.clear_usage()

    def _clock(self) -> Clock:
        # Wrapped on first use, so that a clock that users assign to `settings.clock` is honoured.
        if not isinstance(self.settings.clock, Clock):
            self.settings.clock = Clock(self.settings.clock)
        return self.settings.clock

    def _reset_clock(self) -> None:
        """Return to the base clock."""
        if isinstance(self.settings.clock, Clock):
            self.settings.clock = self.settings.clock.base
