"""The limiter: one budget for each API key and host, kept to by everything that uses the key."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Final, Self

import anyio

from asyncposthog.errors import RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.transport.clock import Clock, SystemClock

from .buckets import Limits, QueryPlan, read_limits, read_plan
from .feedback import attribute, backoff, bounded
from .lane import Lane
from .memory import MemoryStore, MemoryWindows
from .plans import WATCHED, Plans, suspects
from .queue import LateError, Queue
from .routes import Call, Router
from .rules import Rule
from .slots import SLOTS, read_slots
from .store import Store
from .ticking import Ticker
from .view import BucketView, RateLimits

__all__ = ["KeyLimiter", "Passage", "RateLimiter"]

logger = logging.getLogger("asyncposthog")

_LANES: Final = 256
"""Lanes beyond which those that hold nothing are dropped."""


class RateLimiter:
    """The limits of every key that a family of clients uses.

    Clients of one event loop may share one: `AsyncPostHog(limiter=limiter)`.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        query_plan: QueryPlan = "auto",
        query_slots: int = SLOTS,
        clock: Clock | None = None,
        store: Store | None = None,
    ) -> None:
        """Keep the settings.

        Args:
            limits: Other limits than PostHog's usual ones: `{"burst": (960, 60)}`.
            query_plan: Which limits hold for `/query/`: `current`, `legacy`, or `auto`.
            query_slots: Queries of one project in flight at a time.
            clock: Time and chance.
            store: Where the windows are kept; None: in this process.

        Raises:
            ConfigurationError: A setting cannot be.
            TypeError: A setting is of the wrong type.
        """
        self._buckets = read_limits(limits)
        self._plan: QueryPlan = read_plan(query_plan)
        self._slots = read_slots(query_slots)
        self.ticker = Ticker(clock or SystemClock())
        self.store: Store = MemoryStore(self.ticker) if store is None else store
        self.queue = Queue(self.ticker)
        self.lanes: dict[tuple[Rule, ...], Lane] = {}
        self._most = _LANES
        self._keys: dict[tuple[str, str], KeyLimiter] = {}

    def budget(self, base: str, key: str) -> KeyLimiter:
        """Return the budget of a key.

        Args:
            base: The base URL that it is used with.
            key: The API key. Only a digest of it is kept.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        host = base.partition("://")[2].rstrip("/").replace("/", " ")
        known = self._keys.get((host, digest))
        if known is None:
            plans = Plans(self._plan)
            router = Router(host, digest, self._buckets, plans, self._slots)
            known = self._keys[host, digest] = KeyLimiter(self, router, plans, self._buckets)
        return known

    def lane(self, rules: tuple[Rule, ...]) -> Lane:
        """Return where those wait that draw on some budgets."""
        lane = self.lanes.get(rules)
        if lane is None:
            if len(self.lanes) >= self._most:
                self._prune()
            lane = self.lanes[rules] = Lane(self.store.windows(rules))
        return lane

    def _prune(self) -> None:
        """Drop lanes that hold nothing: budgets of single objects come and go."""
        for rules, lane in tuple(self.lanes.items()):
            if not len(lane) and lane.windows.idle() and any(" " in key for key in lane.keys):
                del self.lanes[rules]
        self._most = max(_LANES, 2 * len(self.lanes))

    async def aclose(self) -> None:
        """Give back what the store holds open."""
        await self.store.aclose()


class KeyLimiter:
    """The budget of one API key on one host."""

    def __init__(
        self, limiter: RateLimiter, router: Router, plans: Plans, buckets: Mapping[str, Bucket]
    ) -> None:
        """Share queue, lanes and store with the other keys."""
        self._limiter = limiter
        self._router = router
        self._plans = plans
        self._legacy = buckets["query"]
        self._fixed: dict[tuple[str, str], Lane] = {}
        self.queue = limiter.queue
        self.requests = 0
        self.retries = 0
        self.refused = 0
