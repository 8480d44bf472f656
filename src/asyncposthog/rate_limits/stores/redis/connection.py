"""Connection to Redis through redis-py, which is imported by `load_driver` and not before."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, Protocol, cast
from uuid import uuid4

import anyio

from asyncposthog.errors import ConfigurationError
from asyncposthog.rate_limits.monotonic import MonotonicClock

from .address import Address

__all__ = ["RedisClient", "RedisConnection", "RedisDriver", "load_driver", "require_asyncio"]


class RedisClient(Protocol):
    """The used methods of a redis-py client, for one server or for a cluster."""

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: str) -> Any:
        """Run a script that the server has cached."""
        ...

    async def eval(self, script: str, numkeys: int, /, *keys_and_args: str) -> Any:
        """Send a script and run it."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True, slots=True)
class RedisDriver:
    """What the connection uses of redis-py, for one address."""

    connect: Callable[[], RedisClient]
    """Return a new client, without I/O."""
    errors: tuple[type[Exception], ...]
    """Exceptions raised when Redis is unavailable or answers with an error."""
    unknown_script_error: type[Exception]
    """Exception raised when the server has not cached a script."""
    is_configuration_error: Callable[[Exception], bool]
    """Return whether an exception comes from wrong settings, and will not pass by itself."""


def load_driver(address: Address, timeout: float, *, cluster: bool) -> RedisDriver:
    """Import redis-py and prepare clients.

    Args:
        address: The address of the server.
        timeout: Seconds for connecting, and for each response.
        cluster: Whether the server is part of a Redis Cluster.

    Raises:
        ConfigurationError: redis-py is not installed, or does not accept the URL.
    """
    try:
        from redis import exceptions
        from redis.asyncio import Redis, RedisCluster
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise ConfigurationError(
            "RedisStore needs redis-py, which is not installed.",
            suggestion="Run: pip install 'asyncposthog[redis]'.",
        ) from None
    # One immediate retry: the server may have closed a pooled connection since it was last used.
    retry = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": retry,
        "retry_on_error": [exceptions.ConnectionError],
    }
    client_class = cast("Any", RedisCluster if cluster else Redis)

    def connect() -> RedisClient:
        return client_class.from_url(address.url.reveal(), **options)

    def is_configuration_error(error: Exception) -> bool:
        if type(error) is exceptions.ResponseError:
            # Errors that pass by themselves have codes of their own, such as BUSY and MISCONF.
            return re.match(r"(?!ERR )[A-Z]{3,} ", str(error)) is None
        if isinstance(error, exceptions.RedisClusterException):
            return "not enabled" in str(error)
        return isinstance(
            error,
            exceptions.AuthenticationError
            | exceptions.AuthenticationWrongNumberOfArgsError
            | exceptions.AuthorizationError
            | exceptions.MovedError
            | exceptions.NoPermissionError,
        )

    _check_url_options(connect, cluster=cluster)
    return RedisDriver(
        connect,
        (exceptions.RedisError, exceptions.RedisClusterException, OSError, EOFError),
        exceptions.NoScriptError,
        is_configuration_error,
    )


def _check_url_options(connect: Callable[[], Any], *, cluster: bool) -> None:
    try:
        client = connect()
        if not cluster:
            # redis-py looks at some options only when it creates a connection. This does no I/O.
            client.connection_pool.make_connection()
    except (TypeError, ValueError, AttributeError):
        pass
    else:
        return
    # Raised outside the handler: the original exception may contain the URL with its password.
    raise ConfigurationError(
        "The URL of Redis has options after ? that redis-py does not accept.",
        suggestion="redis-py's documentation of Connection lists the options.",
    )


def require_asyncio() -> None:
    """Raise if the running event loop is trio's.

    Raises:
        ConfigurationError: The running event loop is trio's.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        raise ConfigurationError(
            "RedisStore does not work on trio: redis-py supports only asyncio.",
            suggestion="Run on asyncio, or leave out the store: limits then apply per process.",
        )


logger = logging.getLogger("asyncposthog")

_MAX_CONNECTIONS: Final = 8
_MIN_RETRY_SECONDS: Final = 0.1
"""Seconds until the first attempt to reach Redis again."""
_MAX_RETRY_SECONDS: Final = 5.0


class RedisConnection:
    """Runs the script. Its methods neither raise because Redis is unavailable nor wait long."""

    def __init__(
        self,
        address: Address,
        clock: MonotonicClock,
        *,
        timeout: float,
        cluster: bool,
        fallback_message: str,
    ) -> None:
        """Prepare a connection, without I/O.

        Args:
            address: The address of the server.
            clock: The clock of the store.
            timeout: Seconds that a response may take.
            cluster: Whether the server is part of a Redis Cluster.
            fallback_message: What happens while Redis is unavailable, for the log.

        Raises:
            ConfigurationError: redis-py is not installed, or does not accept the URL.
        """
        self.configuration_error: str | None = None
        """The error if the settings are wrong, so that Redis has never answered."""
        self._display = address.display
        self._clock = clock
        self._timeout = timeout
        self._fallback_message = fallback_message
        self._driver = load_driver(address, timeout, cluster=cluster)
        script = files("asyncposthog.rate_limits.stores.redis") / "script.lua"
        self._script = script.read_text(encoding="utf-8")
        self._sha = sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._pid = 0
        self._process_id = ""
        self._client: RedisClient | None = None
        self._semaphore: anyio.Semaphore | None = None
        self._was_connected = False
        self._down_since: float | None = None
        self._next_retry_at = 0.0
        self._retry_delay = _MIN_RETRY_SECONDS
        self._recovered_at = 0.0
        """When every process must have noticed that Redis is available again."""
        self._generation = 0
        """How often the availability changed: an error of an earlier generation is ignored."""

    @property
    def process_id(self) -> str:
        """The id of this process in Redis."""
        # A fork must not use its parent's sockets, nor its tickets: it gets an id and a client.
        if self._pid != os.getpid():
            self._pid, self._process_id = os.getpid(), uuid4().hex[:16]
            self._client = self._semaphore = None
        return self._process_id

    @property
    def is_down(self) -> bool:
        """Whether the last attempt to reach Redis failed."""
        return self._down_since is not None

    def recovery_window(self) -> float:
        """Return the seconds for which other processes may not have noticed a recovery yet."""
        return max(0.0, self._recovered_at - self._clock.now())

    def retry_in(self) -> float:
        """Return the seconds until the next attempt to reach Redis, while it is down."""
        return max(0.01, self._next_retry_at - self._clock.now())

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> list[str] | None:
        """Run the script. Return its result, or None if Redis is unavailable."""
        require_asyncio()
        if self._in_backoff():
            return None
        _ = self.process_id
        if self._semaphore is None:
            self._semaphore = anyio.Semaphore(_MAX_CONNECTIONS)
        async with self._semaphore:
            if self._in_backoff():  # It failed while this call waited for the semaphore.
                return None
            if self._down_since is not None:
                # This call tries to reach Redis; others must fall back at once meanwhile, rather
                # than wait for the timeout as well.
                self._next_retry_at = self._clock.now() + self._timeout + self._retry_delay
            generation = self._generation
            try:
                with anyio.fail_after(self._timeout):
                    result = await self._evaluate(keys, arguments)
            except self._driver.errors as error:
                if generation == self._generation:
                    self._mark_down(error)
                return None
        self._mark_up()
        return result

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is None or self._pid != os.getpid():
            return
        with anyio.move_on_after(self._timeout, shield=True):
            try:
                await client.aclose()
            except self._driver.errors as error:
                logger.debug("Redis at %s: %s while closing", self._display, _reason(error))

    async def _evaluate(self, keys: Sequence[str], arguments: Sequence[str]) -> list[str]:
        client = self._client
        if client is None:
            client = self._client = self._driver.connect()
        try:
            result = await client.evalsha(self._sha, len(keys), *keys, *arguments)
        except self._driver.unknown_script_error:
            # The script cache is empty after a restart or SCRIPT FLUSH. EVAL fills it.
            result = await client.eval(self._script, len(keys), *keys, *arguments)
        return cast("list[str]", result)

    def _in_backoff(self) -> bool:
        return self._down_since is not None and self._clock.now() < self._next_retry_at

    def _mark_down(self, error: Exception) -> None:
        now, reason = self._clock.now(), _reason(error)
        if self._down_since is None:
            self._down_since, self._retry_delay = now, _MIN_RETRY_SECONDS
            logger.warning(
                "Redis at %s is unavailable (%s). %s", self._display, reason, self._fallback_message
            )
        else:
            self._retry_delay = min(2 * self._retry_delay, _MAX_RETRY_SECONDS)
        # Once Redis has answered, the settings are right: a later authentication error is an
        # outage (a changed password, a failover), which must not end calls that can fall back.
        if not self._was_connected and self._driver.is_configuration_error(error):
            self.configuration_error = (
                f"Redis at {self._display} cannot be used with these settings ({reason})."
            )
        self._next_retry_at = now + self._retry_delay * (0.5 + self._clock.random() / 2)
        self._generation += 1

    def _mark_up(self) -> None:
        self._was_connected, self.configuration_error = True, None
        if self._down_since is not None:
            now = self._clock.now()
            seconds = now - self._down_since
            # Other processes notice at their next retry; their delay may be one doubling longer.
            self._recovered_at = now + 2.0 * self._retry_delay
            self._down_since = None
            self._generation += 1
            logger.warning("Redis at %s is available again after %.1f s.", self._display, seconds)


def _reason(error: Exception) -> str:
    """Return the type and code of an error, without its text: that may repeat what was sent."""
    if re.search("unauthenticated|^Authentication required", str(error)):
        # Redis rejects long commands as `unauthenticated` before it asks for the password with
        # NOAUTH, of which redis-py drops the code; Valkey always does the latter.
        return "AuthenticationError, NOAUTH"
    name, code = type(error).__name__, str(error).partition(" ")[0]
    return f"{name}, {code}" if re.fullmatch(r"[A-Z]{3,20}", code) else name
