"""Limits that many processes and machines share, through Redis.

Needs `asyncposthog[redis]` and Redis 5 or newer; works on asyncio. Every decision is made by one
atomic script, by the clock of the Redis server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Final, Literal

from asyncposthog.errors import ConfigurationError
from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import WindowRegistry
from asyncposthog.transport.clock import Clock, SystemClock

from .address import read_prefix, read_url
from .connection import Link, refuse_trio
from .local_fallback import LocalFallback
from .windows import RedisWindows, StoreSettings

__all__ = ["RedisStore"]

_MEANWHILE: Final = {
    "open": "Until it is back, this process keeps to its part of each limit.",
    "closed": "Until it is back, requests wait.",
}


class RedisStore:
    """Keeps windows in Redis, for every process that uses the same API key.

    `RateLimiter(store=RedisStore("redis://host:6379/0"))` is a limiter that keeps to them; close
    it when it is not needed any more.

    Processes take turns: one that waits gets its even part of a window, and none is kept waiting
    for ever by others. What a process took and never accounted for, because it died, is free
    again after some time. `repr`, logs and errors show neither user nor password.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "asyncposthog",
        on_failure: Literal["open", "closed"] = "open",
        processes: int | None = None,
        timeout: float = 2.0,
        lease: float = 120.0,
        slot_lease: float = 600.0,
        cluster: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Connect with the first request.

        Args:
            url: `redis://host:6379/0`, `rediss://user:password@host:6379/0` or `unix:///socket`.
            prefix: What the names of keys begin with. Clients with one prefix, API key and host
                share their limits.
            on_failure: What happens while Redis is away. `open`: each process keeps to its part of
                the limits by itself. `closed`: requests wait until Redis is back, or until their
                deadline. Either is logged once, and so is the return of Redis.
            processes: How many processes share the limits: their parts while Redis is away. None:
                one more than were there when Redis was last heard of; 4 if it never was.
            timeout: Seconds after which Redis is taken to be away when it does not answer.
            lease: Seconds after which a request that its process never accounted for counts as
                answered. More than a request takes to reach PostHog.
            slot_lease: The same for a query's slot: more than any query takes.
            cluster: Whether the URL is of a Redis Cluster. All keys are then in one of its slots.
            clock: Measures what happens while Redis is away.

        Raises:
            ConfigurationError: An argument makes no sense, or redis-py is not installed.
            TypeError: An argument is of the wrong type.
        """
        address = read_url(url)
        if on_failure not in _MEANWHILE:
            raise ConfigurationError(
                f"on_failure must be 'open' or 'closed', not {on_failure!r}.",
                suggestion="'open' lets requests go on while Redis is away, 'closed' does not.",
            )
        ticker = MonotonicClock(SystemClock() if clock is None else clock)
        link = Link(
            address,
            ticker,
            timeout=_seconds("timeout", timeout),
            cluster=_boolean("cluster", cluster),
            meanwhile=_MEANWHILE[on_failure],
        )
        self._shown = address.shown
        self._on_failure = on_failure
        self._numbers = count(1)
        self._ticker = ticker
        self._shelf = WindowRegistry()
        self._terms = StoreSettings(
            link=link,
            ticker=ticker,
            prefix=read_prefix(prefix),
            open=on_failure == "open",
            lease=_seconds("lease", lease),
            slot_lease=_seconds("slot_lease", slot_lease),
            parts=_count("processes", processes),
        )

    def __repr__(self) -> str:
        """Show where Redis is, without user and password."""
        return f"RedisStore({self._shown!r}, on_failure={self._on_failure!r})"

    def windows(self, rules: Sequence[Limit]) -> RedisWindows:
        """Return the windows of some rules. Rules with the same key share one window.

        Raises:
            ConfigurationError: The event loop is trio's.
        """
        refuse_trio()
        listed = tuple(rules)
        shadow = LocalFallback(self._ticker, listed, self._shelf.of(listed))
        return RedisWindows(self._terms, listed, shadow, next(self._numbers))

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self._terms.link.aclose()


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds as a number, not {type(value).__name__}")
    if not math.isfinite(value) or not 0 < value <= 86400:
        raise ConfigurationError(
            f"{name} must be more than 0 seconds and at most a day, not {value}."
        )
    return float(value)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return value


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"{name} must be 1 or more, not {value}.")
    return value
