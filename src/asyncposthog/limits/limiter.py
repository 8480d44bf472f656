"""The limiter: one budget for each API key and host, kept to by everything that uses the key."""

from __future__ import annotations

import hashlib
from types import TracebackType
from typing import Final, Self

from asyncposthog.operation import Operation
from asyncposthog.transport.clock import Clock, SystemClock
from asyncposthog.transport.request import PreparedRequest

from .buckets import Bucket, Limits, QueryPlan, read_limits, read_plan
from .lane import Lane
from .memory import MemoryStore
from .passage import Passage
from .plans import Plans
from .queue import Queue
from .routes import Call, Router
from .rules import WATCHED, Rule
from .slots import SLOTS, read_slots
from .store import Store
from .ticking import Ticker
from .view import BucketView, RateLimits, bucket_view, known_limits

__all__ = ["KeyLimiter", "RateLimiter"]

_LANES: Final = 256
"""Lanes beyond which those that hold nothing are dropped."""


class RateLimiter:
    """The limits of every key that a family of clients uses.

    Clients of one event loop may share one: `AsyncPostHog(limiter=limiter)`. They do not close it;
    `async with RateLimiter(…) as limiter:` does.
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
        self.known = known_limits(self._buckets, self._slots)
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
            known = KeyLimiter(self, router, plans, self._buckets["query"])
            self._keys[host, digest] = known
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
                for budget in self._keys.values():
                    budget.forget(lane)
        self._most = max(_LANES, 2 * len(self.lanes))

    async def aclose(self) -> None:
        """Give back what the store holds open."""
        await self.store.aclose()

    async def __aenter__(self) -> Self:
        """Return the limiter."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store. Clients that use the limiter have to be closed before."""
        await self.aclose()


class KeyLimiter:
    """The budget of one API key on one host."""

    def __init__(self, limiter: RateLimiter, router: Router, plans: Plans, legacy: Bucket) -> None:
        """Share queue, lanes and store with the other keys."""
        self._limiter = limiter
        self._router = router
        self.fixed: dict[int, tuple[Operation, Lane]] = {}
        """The lanes of operations that always take the same, by the operation's identity."""
        self.plans = plans
        self.legacy = legacy
        self.queue = limiter.queue
        self.ticker = limiter.ticker
        self.requests = 0
        self.retries = 0
        self.refused = 0
        self._waits = 0
        """Waits in lanes that were dropped."""

    def passage(self, operation: Operation, request: PreparedRequest) -> Passage:
        """Return the way of one call through the limits.

        Args:
            operation: What is called.
            request: What is sent: its path and body may decide what it is charged to.
        """
        return Passage(self, operation, request)

    def lane(self, call: Call) -> Lane:
        """Return where a call waits."""
        operation = call.operation
        lane = self._limiter.lane(self._router.rules(call))
        if self._router.fixed(operation):
            self.fixed[id(operation)] = operation, lane
        return lane

    def slots(self, call: Call) -> Lane | None:
        """Return where a call waits for a slot, if it runs a query."""
        rule = self._router.slot(call)
        return None if rule is None else self._limiter.lane((rule,))

    def project(self, call: Call) -> str:
        """Return what stands for the project of a call."""
        return self._router.project(call)

    def forget(self, lane: Lane) -> None:
        """Note that a lane is dropped: how many had to wait in it still counts."""
        if any(self._router.label(key) is not None for key in lane.keys):
            self._waits += lane.waits

    def view(self) -> RateLimits:
        """Return how much of each limit is used, as far as is known here."""
        buckets: dict[str, BucketView] = {}
        waits = self._waits
        for lane in self._limiter.lanes.values():
            labels = [self._router.label(key) for key in lane.keys]
            if any(label is not None for label in labels):
                waits += lane.waits
            rows = zip(labels, lane.windows.rules, lane.windows.peek(), strict=True)
            for label, rule, usage in rows:
                if label is not None and rule.limit != WATCHED:
                    before = buckets.get(label)
                    waiting = len(lane) + (before.waiting if before else 0)
                    buckets[label] = bucket_view(rule, usage, waiting)
        return RateLimits(
            buckets=dict(sorted(buckets.items())),
            requests=self.requests,
            retries=self.retries,
            waits=waits,
            refused=self.refused,
            known=self._limiter.known,
        )
