"""Rate limits shared by processes and machines through Redis.

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

from .address import parse_url, validate_prefix
from .connection import RedisConnection, require_asyncio
from .local_fallback import LocalFallback
from .windows import RedisWindows, StoreSettings

__all__ = ["RedisStore"]

_FALLBACK_MESSAGES: Final = {
    "open": "Until it is available, this process uses only its share of each limit.",
    "closed": "Until it is available, requests wait.",
}


class RedisStore:
    """Storage of rate-limit windows in Redis, for every process that uses the same API key.

    `RateLimiter(store=RedisStore("redis://host:6379/0"))` is a limiter with it. Close the limiter
    when it is not needed any more.

    Processes take turns: each waiting process gets an equal share of a window, and none waits
    forever because of others. Requests of a process that died count until their lease ends.
    `repr`, logs and errors show neither user nor password.
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
        """Create a store. It connects with the first request.

        Args:
            url: `redis://host:6379/0`, `rediss://user:password@host:6379/0` or `unix:///socket`.
            prefix: Prefix of the names of keys. Clients with the same prefix, API key and host
                share their limits.
            on_failure: What happens while Redis is unavailable. `open`: each process uses its
                share of the limits by itself. `closed`: requests wait until Redis is available,
                or until their deadline. The beginning and the end of an outage are each logged
                once.
            processes: How many processes share the limits during an outage. None: one more than
                Redis last reported; 4 if it never did.
            timeout: Seconds without a response after which Redis counts as unavailable.
            lease: Seconds after which a request whose process does not report its end counts as
                completed. More than a request takes to reach PostHog.
            slot_lease: The same for a query slot: more than any query takes.
            cluster: Whether the URL is that of a Redis Cluster. All keys then share one hash slot.
            clock: The clock that measures outages, replaceable in tests.

        Raises:
            ConfigurationError: An argument is out of range, or redis-py is not installed.
            TypeError: An argument is of the wrong type.
        """
        address = parse_url(url)
        if on_failure not in _FALLBACK_MESSAGES:
            raise ConfigurationError(
                f"on_failure must be 'open' or 'closed', not {on_failure!r}.",
                suggestion="'open' sends requests while Redis is unavailable, 'closed' does not.",
            )
        monotonic = MonotonicClock(SystemClock() if clock is None else clock)
        connection = RedisConnection(
            address,
            monotonic,
            timeout=_validate_seconds("timeout", timeout),
            cluster=_validate_bool("cluster", cluster),
            fallback_message=_FALLBACK_MESSAGES[on_failure],
        )

        def copy_store() -> RedisStore:
            # A partial would show the URL, which may hold a password, in its repr.
            return RedisStore(
                url,
                prefix=prefix,
                on_failure=on_failure,
                processes=processes,
                timeout=timeout,
                lease=lease,
                slot_lease=slot_lease,
                cluster=cluster,
                clock=clock,
            )

        self._copy_store = copy_store
        self._display = address.display
        self._on_failure = on_failure
        self._numbers = count(1)
        self._clock = monotonic
        self._registry = WindowRegistry()
        self._settings = StoreSettings(
            connection=connection,
            clock=monotonic,
            prefix=validate_prefix(prefix),
            fail_open=on_failure == "open",
            lease=_validate_seconds("lease", lease),
            slot_lease=_validate_seconds("slot_lease", slot_lease),
            processes=_validate_count("processes", processes),
        )

    def __repr__(self) -> str:
        """Return the address of Redis, without user and password."""
        return f"RedisStore({self._display!r}, on_failure={self._on_failure!r})"

    def for_other_event_loop(self) -> RedisStore:
        """Return a store for another event loop, with a connection of its own to Redis."""
        return self._copy_store()

    def windows(self, limits: Sequence[Limit]) -> RedisWindows:
        """Return the windows of some limits. Limits with the same key share one window.

        Raises:
            ConfigurationError: The running event loop is trio's.
        """
        require_asyncio()
        limits = tuple(limits)
        fallback = LocalFallback(self._clock, limits, self._registry.get(limits))
        return RedisWindows(self._settings, limits, fallback, next(self._numbers))

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self._settings.connection.aclose()


def _validate_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds as a number, not {type(value).__name__}")
    if not math.isfinite(value) or not 0 < value <= 86400:
        raise ConfigurationError(
            f"{name} must be more than 0 seconds and at most a day, not {value}."
        )
    return float(value)


def _validate_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return value


def _validate_count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"{name} must be 1 or more, not {value}.")
    return value
