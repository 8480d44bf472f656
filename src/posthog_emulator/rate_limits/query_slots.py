"""The server's limit of concurrent queries: three per project."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, Final

from asyncposthog.operation import Operation
from posthog_emulator.http.errors import ApiError
from posthog_emulator.json_types import as_object

__all__ = [
    "LIMIT",
    "MAX_WAIT",
    "QUERY_OPERATIONS",
    "SLOT_TTL",
    "QuerySlots",
    "occupies_slot",
    "poll_delays",
]

LIMIT: Final = 3
"""Concurrent queries of one project."""
MAX_WAIT: Final = 30.0
"""Seconds after which a query that got no slot is rejected."""
SLOT_TTL: Final = 600.0
"""Seconds after which a slot is free although it was not released."""

QUERY_OPERATIONS: Final = frozenset(
    {"query.create", "query.run_kind", "endpoints.run", "endpoints.run_with_defaults"}
)
"""The operations that run a query in a slot, unless it runs in the background or is cached."""
_BACKGROUND_MODES: Final = frozenset({"async", "lazy_async", "force_async"})


def poll_delays() -> Iterator[float]:
    """Yield the seconds between the attempts to get a slot."""
    delay = 0.134
    while True:
        yield delay
        delay = min(delay * 1.5, 1.714)


def occupies_slot(operation: Operation, body: Any) -> bool:
    """Return whether a request runs a query before its response, and not in the background."""
    fields = as_object(body)
    if operation.id not in QUERY_OPERATIONS or fields.get("async") is True:
        return False
    return fields.get("refresh") not in _BACKGROUND_MODES


class QuerySlots:
    """The running queries by project.

    Args:
        clock: Returns the current time in seconds.
        sleep: Waits for some seconds.
    """

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._limits: dict[str, int] = {}
        self._running: dict[str, dict[str, float]] = {}
        """The time at which each query's slot expires, by project and query id."""
        # Of its own, because waiting for a slot must not hold the emulator's lock.
        self._lock = Lock()

    def clear(self) -> None:
        """Release all slots and remove all overrides."""
        with self._lock:
            self._limits.clear()
            self._running.clear()

    def override(self, team: int | str, limit: int) -> None:
        """Set the number of slots of a project.

        Args:
            team: The project's id.
            limit: The number of slots.

        Raises:
            ValueError: The number is less than 1.
        """
        if limit < 1:
            raise ValueError(f"a project must have at least 1 slot, not {limit}")
        self._limits[str(team)] = limit

    def limit(self, team: int | str) -> int:
        """Return the number of slots of a project."""
        return self._limits.get(str(team), LIMIT)

    def running(self, team: int | str) -> int:
        """Return the number of occupied slots of a project."""
        with self._lock:
            return len(self._unexpired(str(team)))

    def try_acquire(self, team: int | str, query_id: str) -> bool:
        """Occupy a slot if one is free; return whether it was.

        Args:
            team: The project's id.
            query_id: The id of the query. Queries with the same id share a slot, as on the server,
                which stores the ids in a set.
        """
        with self._lock:
            running = self._unexpired(str(team))
            if len(running) >= self.limit(team):
                return False
            running[query_id] = self._clock() + SLOT_TTL
            return True

    def release(self, team: int | str, query_id: str) -> None:
        """Release the slot of a query, if it has one."""
        with self._lock:
            self._running.get(str(team), {}).pop(query_id, None)

    @asynccontextmanager
    async def acquire(self, team: int | str, query_id: str) -> AsyncGenerator[None]:
        """Occupy a slot while the block runs, after waiting up to 30 s for a free one.

        Raises:
            ApiError: 429, no slot became free in time.
        """
        await self._wait_for_slot(team, query_id)
        try:
            yield
        finally:
            self.release(team, query_id)

    async def _wait_for_slot(self, team: int | str, query_id: str) -> None:
        # By polling, as the server does: its slots are in Redis, and no one is notified.
        deadline = self._clock() + MAX_WAIT
        # Counted in addition, because a frozen clock never reaches the deadline.
        waited = 0.0
        for delay in poll_delays():
            if self.try_acquire(team, query_id):
                return
            if self._clock() >= deadline or waited >= MAX_WAIT:
                break
            await self._sleep(delay)
            waited += delay
        raise ApiError(
            429,
            detail=(
                f"Exceeded maximum concurrency limit: {self.limit(team)} "
                f"for key: api:query:per-team:{team} and task: {query_id}"
            ),
        )

    def _unexpired(self, team: str) -> dict[str, float]:
        now = self._clock()
        running = self._running.get(team, {})
        self._running[team] = {key: expiry for key, expiry in running.items() if expiry > now}
        return self._running[team]
