"""The connection to Redis. That Redis is away is an answer here, not an error."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Final, cast
from uuid import uuid4

import anyio

from .redis_driver import Client, load, refuse_trio
from .redis_url import Address
from .ticking import Ticker

__all__ = ["Link"]

logger = logging.getLogger("asyncposthog")

_CONNECTIONS: Final = 8
_SHORTEST: Final = 0.1
"""Seconds until the first look whether Redis is back."""
_LONGEST: Final = 5.0


class Link:
    """Runs the script. Nothing here raises because Redis is away, or waits for it for long."""

    def __init__(
        self, address: Address, ticker: Ticker, *, timeout: float, cluster: bool, meanwhile: str
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
        self._script = (files("asyncposthog.limits") / "redis.lua").read_text(encoding="utf-8")
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
        if self._resting():
            return None
        _ = self.process
        if self._places is None:
            self._places = anyio.Semaphore(_CONNECTIONS)
        async with self._places:
            if self._resting():  # since this one waited
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
                    self._lost(error)
                return None
        self._found()
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

    def _resting(self) -> bool:
        return self._lost_at is not None and self._ticker.now() < self._next

    def _lost(self, error: Exception) -> None:
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

    def _found(self) -> None:
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
    if "unauthenticated" in str(error):
        # A Redis that wants a password refuses longer commands before it asks for it.
        return "AuthenticationError, NOAUTH"
    name, code = type(error).__name__, str(error).partition(" ")[0]
    return f"{name}, {code}" if re.fullmatch(r"[A-Z]{3,20}", code) else name
