"""The server's slots for queries: three at a time for each project."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, Final

from asyncposthog.operation import Operation
from posthog_emulator.http.errors import ApiError
from posthog_emulator.json_types import as_object

__all__ = ["LIMIT", "PATIENCE", "TTL", "Slots", "naps", "occupies_slot"]

LIMIT: Final = 3
"""Queries of one project that run at a time."""
PATIENCE: Final = 30.0
"""Seconds after which a query that found no slot is not tried again."""
TTL: Final = 600.0
"""Seconds after which a slot is free even though nobody gave it back."""

_RUNNING: Final = frozenset(
    {"query.create", "query.create_for_kind", "endpoints.run", "endpoints.get_run"}
)
_BACKGROUND: Final = frozenset({"async", "lazy_async", "force_async"})


def naps() -> Iterator[float]:
    """Seconds between one look for a free slot and the next."""
    nap = 0.134
    while True:
        yield nap
        nap = min(nap * 1.5, 1.714)


def occupies_slot(operation: Operation, body: Any) -> bool:
    """Whether a request runs a query before it is answered, and not in the background."""
    fields = as_object(body)
    if operation.id not in _RUNNING or fields.get("async") is True:
        return False
    return fields.get("refresh") not in _BACKGROUND


class Slots:
    """Who runs a query.

    Args:
        clock: Gives the moment, in seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._limits: dict[str, int] = {}
        self._running: dict[str, dict[str, float]] = {}
        self._lock = Lock()

    def clear(self) -> None:
        """Forget every query and override."""
        with self._lock:
            self._limits.clear()
            self._running.clear()

    def override(self, team: int | str, limit: int) -> None:
        """Give a project another number of slots.

        Raises:
            ValueError: The number is less than 1.
        """
        if limit < 1:
            raise ValueError(f"a project must have at least 1 slot, not {limit}")
        self._limits[str(team)] = limit

    def limit(self, team: int | str) -> int:
        """How many slots a project has."""
        return self._limits.get(str(team), LIMIT)

    def running(self, team: int | str) -> int:
        """How many slots of a project are taken."""
        with self._lock:
            return len(self._of(str(team)))

    def take(self, team: int | str, task: str) -> bool:
        """Take a slot, if there is one.

        Args:
            team: The project's number.
            task: The id of the query. Two of one id are in one slot.
        """
        with self._lock:
            taken = self._of(str(team))
            if len(taken) >= self.limit(team):
                return False
            taken[task] = self._clock() + TTL
            return True

    def release(self, team: int | str, task: str) -> None:
        """Give a slot back."""
        with self._lock:
            self._running.get(str(team), {}).pop(task, None)

    @asynccontextmanager
    async def hold(self, team: int | str, task: str) -> AsyncGenerator[None]:
        """Be in a slot while the block runs, after waiting for it if need be.

        Raises:
            Problem: 429, none became free in time.
        """
        await self._wait(team, task)
        try:
            yield
        finally:
            self.release(team, task)

    async def _wait(self, team: int | str, task: str) -> None:
        deadline = self._clock() + PATIENCE
        waited = 0.0  # Beside the clock, which may have been stopped.
        for nap in naps():
            if self.take(team, task):
                return
            if self._clock() >= deadline or waited >= PATIENCE:
                break
            await self._sleep(nap)
            waited += nap
        raise ApiError(
            429,
            detail=(
                f"Exceeded maximum concurrency limit: {self.limit(team)} "
                f"for key: api:query:per-team:{team} and task: {task}"
            ),
        )

    def _of(self, team: str) -> dict[str, float]:
        now = self._clock()
        kept = {t: until for t, until in self._running.get(team, {}).items() if until > now}
        self._running[team] = kept
        return kept
