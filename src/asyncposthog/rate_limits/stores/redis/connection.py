"""What is used of redis-py, which is imported by `load` and not before."""

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

__all__ = ["Client", "Driver", "Link", "load", "refuse_trio"]


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


logger = logging.getLogger("asyncposthog")

_CONNECTIONS: Final = 8
_SHORTEST: Final = 0.1
"""Seconds until the first look whether Redis is back."""
_LONGEST: Final = 5.0


class Link:
    """Runs the script. Nothing here raises because Redis is away, or waits for it for long."""

    def __init__(
        self,
        address: Address,
        ticker: MonotonicClock,
        *,
        timeout: float,
        cluster: bool,
        meanwhile: str,
    ) -> None:
        """Connect later.

        Args:
            address: Where Redis is.
            ticker: The clock.
            timeout: Seconds that an answer may take.
            cluster: Whether it is a Redis Cluster.
            meanwhile: What is done while Redis is away, for the log.

        Raises:
            ConfigurationError: redis-py is missing, or does not take the URL.
        """
        self.refusal: str | None = None
        """Why Redis has never served us, where that lies in the settings."""
        self._shown = address.shown
        self._ticker = ticker
        self._timeout = timeout
        self._meanwhile = meanwhile
        self._driver = load(address, timeout, cluster=cluster)
        script = files("asyncposthog.rate_limits.stores.redis") / "script.lua"
        self._script = script.read_text(encoding="utf-8")
        self._sha = sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._owner = 0
        self._process = ""
        self._client: Client | None = None
        self._places: anyio.Semaphore | None = None
        self._heard = False
        self._lost_at: float | None = None
        self._next = 0.0
        """When to look again whether Redis is back."""
        self._step = _SHORTEST
        self._settled = 0.0
        self._turn = 0
        """How often Redis went or came: a failure that began earlier is old news."""

    @property
    def process(self) -> str:
        """The name of this process. A fork has another one, and connections of its own."""
        if self._owner != os.getpid():
            self._owner, self._process = os.getpid(), uuid4().hex[:16]
            self._client = self._places = None
        return self._process

    @property
    def away(self) -> bool:
        """Whether Redis did not answer when it was last asked."""
        return self._lost_at is not None

    def unsettled(self) -> float:
        """Return the seconds within which other processes may find out that Redis is back."""
        return max(0.0, self._settled - self._ticker.now())

    def pause(self) -> float:
        """Return the seconds until Redis is asked again, while it is away."""
        return max(0.01, self._next - self._ticker.now())

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> list[str] | None:
        """Run the script and return its answer, or None if Redis is away."""
        refuse_trio()
        if self._in_backoff():
            return None
        _ = self.process
        if self._places is None:
            self._places = anyio.Semaphore(_CONNECTIONS)
        async with self._places:
            if self._in_backoff():  # since this one waited
                return None
            if self._lost_at is not None:
                # One request looks; the others do not wait for it.
                self._next = self._ticker.now() + self._timeout + self._step
            turn = self._turn
            try:
                with anyio.fail_after(self._timeout):
                    answer = await self._evaluate(keys, arguments)
            except self._driver.failures as error:
                if turn == self._turn:
                    self._mark_down(error)
                return None
        self._mark_up()
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is None or self._owner != os.getpid():
            return
        with anyio.move_on_after(self._timeout, shield=True):
            try:
                await client.aclose()
            except self._driver.failures as error:
                logger.debug("Redis at %s: %s while closing", self._shown, _reason(error))

    async def _evaluate(self, keys: Sequence[str], arguments: Sequence[str]) -> list[str]:
        client = self._client
        if client is None:
            client = self._client = self._driver.connect()
        try:
            answer = await client.evalsha(self._sha, len(keys), *keys, *arguments)
        except self._driver.unknown:
            answer = await client.eval(self._script, len(keys), *keys, *arguments)
        return cast("list[str]", answer)

    def _in_backoff(self) -> bool:
        return self._lost_at is not None and self._ticker.now() < self._next

    def _mark_down(self, error: Exception) -> None:
        now, reason = self._ticker.now(), _reason(error)
        if self._lost_at is None:
            self._lost_at, self._step = now, _SHORTEST
            logger.warning("Redis at %s is away (%s). %s", self._shown, reason, self._meanwhile)
        else:
            self._step = min(2 * self._step, _LONGEST)
        if not self._heard and self._driver.refused(error):
            self.refusal = f"Redis at {self._shown} refuses to serve ({reason})."
        self._next = now + self._step * (0.5 + self._ticker.random() / 2)
        self._turn += 1

    def _mark_up(self) -> None:
        self._heard, self.refusal = True, None
        if self._lost_at is not None:
            now = self._ticker.now()
            seconds = now - self._lost_at
            self._settled = now + 2.0 * self._step
            self._lost_at = None
            self._turn += 1
            logger.warning("Redis at %s is back, after %.1f s.", self._shown, seconds)


def _reason(error: Exception) -> str:
    """Name what went wrong, without the server's words: they may repeat what it was sent."""
    if re.search("unauthenticated|^Authentication required", str(error)):
        # Redis refuses longer commands as `unauthenticated` before it asks for the password with
        # NOAUTH, of which redis-py drops the code; Valkey always does the latter.
        return "AuthenticationError, NOAUTH"
    name, code = type(error).__name__, str(error).partition(" ")[0]
    return f"{name}, {code}" if re.fullmatch(r"[A-Z]{3,20}", code) else name
