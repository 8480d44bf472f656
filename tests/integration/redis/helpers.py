"""Stores on one Redis server, whose time a test advances.

Otherwise the time stands still, except for one millisecond per reading, so that no two operations
happen at the same time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha1
from itertools import count
from typing import Any, Final, cast

from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.stores.redis import RedisStore
from asyncposthog.rate_limits.stores.redis.windows import RedisWindows

from .redis_server import Server

__all__ = ["SLOT", "WINDOW", "Fleet", "fleet"]

WINDOW: Final = Limit("host/key/burst", "burst", 4, 60.0)
SLOT: Final = Limit("host/project 1/slots", "slots", 3, 0.0)
_prefixes = (f"test-{number}" for number in count())
_TIME: Final = "redis.call('TIME')"
_HAND: Final = "{0, redis.call('INCRBY', 'hand:' .. clock, 1000)}"


class Fleet:
    """Several stores, each of which represents a process: only Redis connects them."""

    def __init__(self, server: Server, admin: Any) -> None:
        self.server = server
        self.admin = admin
        self.prefix = next(_prefixes)
        self.stores: list[RedisStore] = []
        self.pass_time(1_000_000.0)

    def store(self, **options: Any) -> RedisStore:
        """Return the store of another process."""
        options.setdefault("timeout", 30.0)
        store = RedisStore(self.server.url, prefix=self.prefix, **options)
        # The real script, except that it reads the time from a key.
        connection = store._settings.connection
        assert connection._script.count(_TIME) == 1
        connection._script = connection._script.replace(_TIME, _HAND)
        connection._sha = sha1(connection._script.encode(), usedforsecurity=False).hexdigest()
        self.stores.append(store)
        return store

    def windows(self, *limits: Limit, **options: Any) -> RedisWindows:
        """Return the windows of some limits in another process."""
        return self.store(**options).windows(limits)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock of the server."""
        self.admin.incrby(f"hand:{self._clock}", round(seconds * 1_000_000))

    def set_back(self, seconds: float) -> None:
        """Set the clock of the server back."""
        self.pass_time(-seconds)

    def now(self) -> float:
        """Return the last time that the script has read."""
        values = cast("list[str]", self.admin.hmget(self._clock, ["last", "offset"]))
        return sum(map(float, values))

    def names(self) -> Iterator[str]:
        """Return the names of all keys."""
        return self.admin.scan_iter(match=f"{{{self.prefix}}}:*")

    @property
    def _clock(self) -> str:
        return f"{{{self.prefix}}}:clock"


@asynccontextmanager
async def fleet(server: Server) -> AsyncGenerator[Fleet]:
    """Create processes, and close their stores."""
    with server.client() as admin:
        members = Fleet(server, admin)
        try:
            yield members
        finally:
            for store in members.stores:
                await store.aclose()


async def acquire_all(windows: RedisWindows, *tickets: int) -> None:
    """Acquire the windows for each ticket."""
    for ticket in tickets:
        assert await windows.acquire(ticket) == 0.0


async def fill(windows: RedisWindows, *tickets: int) -> None:
    """Make requests that complete at once."""
    await acquire_all(windows, *tickets)
    for ticket in tickets:
        await windows.complete(ticket)
