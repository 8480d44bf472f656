"""What is used of redis-py, which is imported by `load` and not before."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from asyncposthog.errors import ConfigurationError

from .redis_url import Address

__all__ = ["Client", "Driver", "load", "refuse_trio"]


class Client(Protocol):
    """A client of redis-py: for one server, or for a cluster."""

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: str) -> Any:
        """Run a script that the server knows."""
        ...

    async def eval(self, script: str, numkeys: int, /, *keys_and_args: str) -> Any:
        """Run a script."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True, slots=True)
class Driver:
    """How to talk to one Redis."""

    connect: Callable[[], Client]
    """Return a new client. It does no I/O."""
    failures: tuple[type[Exception], ...]
    """What is raised when Redis is away, or answers with an error."""
    unknown: type[Exception]
    """What is raised when the server does not know a script."""
    refused: Callable[[Exception], bool]
    """Whether a failure is a matter of wrong settings, and not of time."""


def load(address: Address, timeout: float, *, cluster: bool) -> Driver:
    """Import redis-py and prepare clients.

    Args:
        address: Where Redis is.
        timeout: Seconds to connect within, and to get each answer within.
        cluster: Whether it is a Redis Cluster.

    Raises:
        ConfigurationError: redis-py is missing, or does not take the URL.
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
    # A connection may have been closed since it was last used: that is worth a second try.
    again = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": again,
        "retry_on_error": [exceptions.ConnectionError],
    }
    kind = cast("Any", RedisCluster if cluster else Redis)

    def connect() -> Client:
        return kind.from_url(address.url.reveal(), **options)

    def refused(error: Exception) -> bool:
        if type(error) is exceptions.ResponseError:
            # Those that pass have codes of their own, such as BUSY and MISCONF.
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

    _try_out(connect, cluster=cluster)
    return Driver(
        connect,
        (exceptions.RedisError, exceptions.RedisClusterException, OSError, EOFError),
        exceptions.NoScriptError,
        refused,
    )


def _try_out(connect: Callable[[], Any], *, cluster: bool) -> None:
    """Raise if redis-py does not take the URL: parts of it are looked at by a connection only."""
    try:
        client = connect()
        if not cluster:
            client.connection_pool.make_connection()
    except (TypeError, ValueError, AttributeError):
        pass
    else:
        return
    raise ConfigurationError(
        "The URL of Redis has options after ? that redis-py does not take.",
        suggestion="See its documentation of Connection for those it takes.",
    )


def refuse_trio() -> None:
    """Raise if the running event loop is trio's.

    Raises:
        ConfigurationError: It is.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        raise ConfigurationError(
            "RedisStore does not work on trio: redis-py knows asyncio only.",
            suggestion="Run on asyncio, or go without: limits then hold for each process alone.",
        )
