"""Stores on one Redis whose time a test moves by hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, cast

from asyncposthog.limits.redis import RedisStore
from asyncposthog.limits.redis_windows import RedisWindows
from asyncposthog.limits.rules import Rule
from tests.limits.redis_server import Server

__all__ = ["SLOT", "WINDOW", "Fleet", "fleet"]

WINDOW: Final = Rule("host/key/burst", "burst", 4, 60.0)
SLOT: Final = Rule("host/project 1/slots", "slots", 3, 0.0)
_prefixes = (f"test-{number}" for number in count())


class Fleet:
    """Several stores, each standing for a process: nothing but Redis connects them."""

    def __init__(self, server: Server, admin: Any) -> None:
        self.server = server
        self.admin = admin
        self.prefix = next(_prefixes)
        self.stores: list[RedisStore] = []

    def store(self, **options: Any) -> RedisStore:
        """Start another process, so to speak."""
        options.setdefault("timeout", 30.0)
        store = RedisStore(self.server.url, prefix=self.prefix, **options)
        self.stores.append(store)
        return store

    def windows(self, *rules: Rule, **options: Any) -> RedisWindows:
        """Let another process draw on some budgets."""
        return self.store(**options).windows(rules)

    def pass_time(self, seconds: float) -> None:
        """Move the time of the script; the wall clock stays where it is."""
        self.admin.hincrbyfloat(self._clock, "shift", seconds)

    def set_back(self, seconds: float) -> None:
        """Make the server's clock look as if it had been ahead until now, and was set back."""
        self.admin.hincrbyfloat(self._clock, "last", seconds)
        self.admin.hincrbyfloat(self._clock, "shift", -seconds)

    def now(self) -> float:
        """Return the time that the script saw last."""
        values = cast("list[str]", self.admin.hmget(self._clock, ["last", "shift"]))
        return sum(map(float, values))

    def names(self) -> Iterator[str]:
        """Return every key there is."""
        return self.admin.scan_iter(match=f"{{{self.prefix}}}:*")

    @property
    def _clock(self) -> str:
        return f"{{{self.prefix}}}:clock"


@asynccontextmanager
async def fleet(server: Server) -> AsyncGenerator[Fleet]:
    """Make stores, and close them."""
    with server.client() as admin:
        members = Fleet(server, admin)
        try:
            yield members
        finally:
            for store in members.stores:
                await store.aclose()


async def fly(windows: RedisWindows, *tickets: int) -> None:
    """Take a place for each ticket."""
    for ticket in tickets:
        assert await windows.acquire(ticket) == 0.0


async def fill(windows: RedisWindows, *tickets: int) -> None:
    """Make requests that are answered at once."""
    await fly(windows, *tickets)
    for ticket in tickets:
        await windows.settle(ticket)
