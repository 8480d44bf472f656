"""Load flag definitions, and load them again while local evaluation is in use."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
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

__all__ = ["DefinitionLoader", "Fetch"]

logger = logging.getLogger("asyncposthog")

_JITTER: Final = 0.1
"""Part of the interval by which loads are spread, so that processes do not load in step."""


class Fetch(Protocol):
    """Requests the definitions."""

    def __call__(self, etag: str | None) -> Awaitable[httpx.Response]:
        """Return the response: 200 with definitions, or 304 for an ETag that is current."""
        ...


class DefinitionLoader:
    """The definitions of one client, loaded once for all of its tasks."""

    def __init__(self, fetch: Fetch, clock: Callable[[], Clock]) -> None:
        """Keep how to request definitions. Nothing is requested yet."""
        self._fetch = fetch
        self._clock = clock
        self._lock: anyio.Lock | None = None
        self._due = float("-inf")
        self.current: Definitions | None = None
        """The definitions; None: not loaded, or withdrawn by the server."""
        self.loaded_at: float | None = None
        """When they were last found to be current, in seconds since 1970."""
        self.error: PostHogError | None = None
        """The error of the last load; None: it succeeded."""

    async def load(self, *, only_missing: bool = False) -> None:
        """Load the definitions, or learn that they have not changed.

        Args:
            only_missing: Do nothing if another task has loaded them.

        Raises:
            PostHogError: The load failed. 401 and 402 remove the definitions that there are;
                other errors leave them in use.
        """
        if self._lock is None:
            self._lock = anyio.Lock()
        async with self._lock:
            if not (only_missing and self.current is not None):
                await self._load()

    async def _load(self) -> None:
        current = self.current
        try:
            response = await self._fetch(None if current is None else current.etag)
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
        self.loaded_at = self._clock().time()

    async def poll(self, interval: float) -> None:
        """Load the definitions every `interval` seconds, until cancelled or the client is closed.

        Several tasks may poll: the load of one counts for all, so that there is one request in an
        interval.
        """
        clock = self._clock()
        self._due = clock.monotonic() + self._spread(interval)
        while True:
            wait = self._due - clock.monotonic()
            if wait > 0:
                await clock.sleep(wait)
                if self._due > clock.monotonic():
                    continue  # another task has loaded them meanwhile
            self._due = clock.monotonic() + self._spread(interval)
            try:
                await self.load()
            except ClosedError:
                return
            except PostHogError as error:
                retry_after = error.retry_after if isinstance(error, StatusError) else None
                if retry_after is not None:
                    self._due = max(self._due, clock.monotonic() + retry_after)
                logger.warning("feature flag definitions were not loaded: %s", error)
            except Exception:
                # What polls must not end because of one response.
                logger.exception("feature flag definitions were not loaded")

    def _spread(self, interval: float) -> float:
        return interval * (1 + _JITTER * (2 * self._clock().random() - 1))


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
