"""Load flag definitions, and load them again while local evaluation is in use."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Protocol

import anyio
import httpx
from pydantic_core import from_json

from asyncposthog.errors import (
    AuthenticationError,
    ClosedError,
    DecodeError,
    PostHogError,
    QuotaError,
    StatusError,
)
from asyncposthog.transport.clock import Clock

from .matcher import Definitions, parse_definitions

__all__ = ["DefinitionLoader", "Fetch", "LocalDefinitions"]

logger = logging.getLogger("asyncposthog")

_JITTER: Final = 0.1
"""Part of the interval by which loads are spread, so that processes do not load in step."""


class Fetch(Protocol):
    """Requests the definitions."""

    def __call__(self, etag: str | None) -> Awaitable[httpx.Response]:
        """Return the response: 200 with definitions, or 304 for an ETag that is current."""
        ...


class DefinitionLoader:
    """The definitions of a project, loaded once for all tasks that use them."""

    def __init__(self, clock: Clock) -> None:
        """Keep the clock. Nothing is requested yet."""
        self._clock = clock
        self._lock: anyio.Lock | None = None
        self._attempted_at = self._not_before = float("-inf")
        self._spread = 1.0
        self.users = 0
        """How many clients share it."""
        self.current: Definitions | None = None
        """The definitions; None: not loaded, or withdrawn by the server."""
        self.loaded_at: float | None = None
        """When they were last found to be current, in seconds since 1970."""
        self.error: PostHogError | None = None
        """The error of the last load; None: it succeeded."""

    async def load(self, fetch: Fetch, *, only_missing: bool = False) -> None:
        """Load the definitions, or learn that they have not changed.

        Args:
            fetch: Requests them.
            only_missing: Do nothing if another task has loaded them.

        Raises:
            PostHogError: The load failed. 401 and 402 remove the definitions that there are;
                other errors leave them in use.
        """
        if self._lock is None:
            self._lock = anyio.Lock()
        async with self._lock:
            if not (only_missing and self.current is not None):
                await self._load(fetch)

    async def _load(self, fetch: Fetch) -> None:
        self._attempt()
        current = self.current
        try:
            response = await fetch(None if current is None else current.etag)
            loaded = current
            if response.status_code != 304:
                loaded = _parse(response)
            elif current is None:
                raise DecodeError(
                    "The server answered 304 to a request for flag definitions without an ETag."
                )
        except PostHogError as error:
            self.error = error
            if isinstance(error, AuthenticationError | QuotaError):
                # The key is not, or no longer, entitled to the definitions.
                self.current = None
            raise
        self.current, self.error = loaded, None
        self.loaded_at = self._clock.time()

    async def poll(self, fetch: Fetch, interval: float, check_open: Callable[[], None]) -> None:
        """Load the definitions every `interval` seconds, until cancelled or the client is closed.

        Several tasks may poll, of several clients: the load of one counts for all, so that there
        is one request in an interval, which is the shortest of them.

        Args:
            fetch: Requests the definitions.
            interval: Seconds between loads.
            check_open: Raises `ClosedError` if the client is closed.
        """
        while True:
            due = max(self._attempted_at + interval * self._spread, self._not_before)
            wait = due - self._clock.monotonic()
            if wait > 0:
                await self._clock.sleep(wait)
                continue  # another task may have loaded them meanwhile
            try:
                check_open()
                self._attempt()  # before the first wait, so that other tasks do not load as well
                await self.load(fetch)
            except ClosedError:
                return
            except PostHogError as error:
                retry_after = error.retry_after if isinstance(error, StatusError) else None
                if retry_after is not None:
                    self._not_before = self._clock.monotonic() + retry_after
                logger.warning("feature flag definitions were not loaded: %s", error)
            except Exception:
                # What polls must not end because of one response.
                logger.exception("feature flag definitions were not loaded")

    def _attempt(self) -> None:
        self._attempted_at = self._clock.monotonic()
        self._spread = 1 + _JITTER * (2 * self._clock.random() - 1)


_shared: Final[dict[Hashable, DefinitionLoader]] = {}
"""The loaders that are in use, by what makes their definitions the same."""


class LocalDefinitions:
    """The definitions that a client and its copies use, and how many blocks use them.

    While a block is open, the loader is that of all clients of the process with the same key.
    """

    def __init__(self) -> None:
        """Start without definitions."""
        self._key: Hashable = None
        self._loader: DefinitionLoader | None = None
        self._error: PostHogError | None = None
        self._users = 0
        self.strict_users = 0
        """How many blocks are strictly local."""

    @property
    def current(self) -> Definitions | None:
        """The definitions in use; None: there are none."""
        return None if self._loader is None else self._loader.current

    @property
    def error(self) -> PostHogError | None:
        """The error of the last load; None: it succeeded, or there was none."""
        return self._error if self._loader is None else self._loader.error

    def enter(self, key: Hashable, clock: Clock) -> DefinitionLoader:
        """Count a block, and return the loader.

        Args:
            key: Equal for clients whose definitions are the same.
            clock: The clock of the client.
        """
        if not self._users:
            self._key, self._loader = key, _shared.setdefault(key, DefinitionLoader(clock))
            self._loader.users += 1
        self._users += 1
        assert self._loader is not None
        return self._loader

    def leave(self) -> None:
        """Count a block no longer. The last one drops the definitions.

        Without polling they would become outdated without notice.
        """
        self._users -= 1
        loader = self._loader
        if self._users or loader is None:
            return
        self._error, self._loader = loader.error, None
        loader.users -= 1
        if not loader.users:
            del _shared[self._key]

    def loader(self, clock: Clock) -> DefinitionLoader:
        """Return the loader; outside of blocks, one of the client's own."""
        if self._loader is None:
            self._loader = DefinitionLoader(clock)
        return self._loader


def _parse(response: httpx.Response) -> Definitions:
    try:
        body: object = from_json(response.content)
    except ValueError:
        body = None
    definitions = parse_definitions(body, response.headers.get("ETag"))
    if definitions is None:
        raise DecodeError(
            "The response with flag definitions has no flags.",
            operation="flags.definitions",
            status=response.status_code,
            suggestion="Check that host is a PostHog instance, without a login page in front.",
        )
    return definitions
