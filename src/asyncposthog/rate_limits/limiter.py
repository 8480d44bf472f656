"""The way of one call through the limits: a slot for the call, places for each attempt."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import anyio

from asyncposthog.errors import RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.stores.base import Store
from asyncposthog.rate_limits.stores.memory import MemoryStore
from asyncposthog.transport.clock import Clock, SystemClock
from asyncposthog.transport.encoding.request import PreparedRequest, request_info

from .adaptive import attribute, backoff, bounded
from .limits import (
    SERVER_QUEUE_TIMEOUT,
    SLOTS,
    UNENFORCED,
    Bucket,
    Limit,
    Limits,
    Plans,
    QueryPlan,
    candidate_windows,
    read_limits,
    read_plan,
    read_slots,
)
from .monotonic import MonotonicClock
from .resolver import Call, Router
from .scheduler import AcquireTimeout, Scheduler
from .status import BucketView, RateLimits, bucket_view, known_limits
from .wait_queue import WaitQueue

__all__ = ["Admission", "KeyLimiter", "RateLimiter"]

logger = logging.getLogger("asyncposthog")

_NOT_A_RATE_LIMIT: Final = "too_many_concurrent_"
"""How codes of 429s begin that say nothing about rates: too many exports run, for example."""


class Admission:
    """Entered for every attempt, left when it is answered or has failed."""

    __slots__ = (
        "_budget",
        "_open",
        "_operation",
        "_priority",
        "_queue",
        "_request",
        "_slots",
        "_ticket",
        "max_block_seconds",
        "timeout",
        "was_sent",
    )  # fmt: skip

    def __init__(self, budget: KeyLimiter, operation: Operation, request: PreparedRequest) -> None:
        """Nothing is taken yet."""
        self._budget = budget
        self._operation = operation
        self._request = request
        self._queue: WaitQueue | None = None
        self._slots: WaitQueue | None = None
        self._priority: int | None = None
        self._ticket = 0
        self._open = False
        self.was_sent = False
        """Whether the server may have received the attempt. One it has not costs nothing."""
        self.timeout: float | None = None
        """Seconds that the call has left to wait; None: no bound."""
        self.max_block_seconds = math.inf
        """Seconds for which the server may have closed a bucket before the call fails instead."""

    @property
    def _call(self) -> Call:
        return Call(self._operation, self._request.target, self._request.content)

    @property
    def buckets(self) -> str:
        """What the last attempt was charged to, for logs."""
        rules = () if self._queue is None else self._queue.windows.rules
        return "+".join(rule.name for rule in rules if rule.limit != UNENFORCED) or "no limit"

    @property
    def needs_query_slot(self) -> bool:
        """Whether the call runs a query, and so needs a slot."""
        self._slots = self._budget.slots(self._call)
        return self._slots is not None

    @property
    def extra_timeout(self) -> float:
        """Seconds for which the server may keep a query waiting, on top of its own time."""
        return 0.0 if self._slots is None else SERVER_QUEUE_TIMEOUT

    @asynccontextmanager
    async def query_slot(self) -> AsyncGenerator[None]:
        """Hold a slot for a whole call, its repeats included.

        Raises:
            RateLimitError: None becomes free in time.
        """
        lane = self._slots
        assert lane is not None
        ticket = await self._enter(lane)
        try:
            yield
        finally:
            await _shielded(lane, lane.windows.settle(ticket))
            self._budget.queue.changed(lane)

    async def __aenter__(self) -> Self:
        """Wait until the attempt may go.

        Raises:
            RateLimitError: It cannot in time, or the server has closed a bucket for longer than
                the call's patience. It is raised as soon as that is known.
        """
        budget = self._budget
        known = budget.fixed.get(id(self._operation))
        lane = budget.lane(self._call) if known is None else known[1]
        until = None if self.timeout is None else budget.ticker.now() + self.timeout
        ticket = budget.queue.try_acquire(lane) or await self._enter(lane)
        while lane.watched and (other := budget.lane(self._call)) is not lane:
            # The plan was learned while we waited.
            await _shielded(lane, lane.windows.release(ticket))
            budget.queue.changed(lane)
            if until is not None:
                self.timeout = max(0.0, until - budget.ticker.now())
            lane, ticket = other, await self._enter(other)
        self._queue, self._ticket = lane, ticket
        self._open, self.was_sent = True, False
        budget.requests += 1
        if self._priority is None:
            self._priority = ticket
        else:
            budget.retries += 1
        return self

    async def _enter(self, lane: WaitQueue) -> int:
        try:
            return await self._budget.queue.enter(
                lane, self.timeout, self._priority, self.max_block_seconds
            )
        except AcquireTimeout as error:
            raise self._deadline_error(lane.windows.rules[error.index], error) from None

    def _deadline_error(self, rule: Limit, late: AcquireTimeout) -> RateLimitError:
        span = f" in {rule.seconds:g} s" if rule.seconds else " at a time"
        limit = f"The rate limit {rule.name} ({rule.limit:,}{span})"
        seconds = late.seconds
        if late.closed:
            message = (
                f"{limit} was used up when the server was last asked: the call could go in "
                f"{seconds:,.1f} s."
            )
            suggestion = (
                f"That is longer than max_retry_after ({self.max_block_seconds:g} s): call again "
                "then, or raise that."
            )
        else:
            when = f"the call could go in {seconds:,.1f} s" if seconds else "nothing became free"
            message = f"{limit} leaves no room before the deadline: {when}."
            suggestion = "Give the call a longer deadline, or call again after that."
        error = RateLimitError(
            message,
            operation=self._operation.id,
            request=request_info(self._request),
            suggestion=suggestion,
        )
        error.retry_after = seconds
        return error

    async def on_response(self, status: int) -> None:
        """Note that an answer began. Its body may take as long as it likes."""
        if self._open and status != 429:
            await self._record_outcome(None)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Charge what the server charged, and learn from a 429."""
        if not self._open:
            return
        lane = self._queue
        assert lane is not None
        if not self.was_sent:
            self._open = False
            await _shielded(lane, lane.windows.release(self._ticket))
            self._budget.queue.changed(lane)
        elif isinstance(exc, RateLimitError):
            await _shielded(lane, self._refused(lane, exc))
        else:
            await self._record_outcome(None)

    async def _record_outcome(self, uncharged: int | None) -> None:
        lane = self._queue
        assert lane is not None
        self._open = False
        lane.failures = 0
        if self._slots is not None:
            self._slots.failures = 0
        if lane.memory_windows is not None and uncharged is None:
            lane.memory_windows.land(self._ticket)
        else:
            await _shielded(lane, lane.windows.settle(self._ticket, uncharged=uncharged))
        if lane.watched and uncharged is None:
            self._detect_plan(lane)
        self._budget.queue.changed(lane)

    def _detect_plan(self, lane: WaitQueue) -> None:
        """Find out that a project is not on the legacy plan: it was let do more than that."""
        budget = self._budget
        used = lane.windows.peek()[-1].used
        if used > budget.legacy.requests:
            budget.plans.learn(budget.project(self._call), "current")

    async def _refused(self, lane: WaitQueue, error: RateLimitError) -> None:
        """Learn from a 429: which window is full, for how long, and what others take of it."""
        budget, rules = self._budget, lane.windows.rules
        budget.refused += 1
        if not rules or (error.code or "").startswith(_NOT_A_RATE_LIMIT):
            await self._record_outcome(None)
            return
        usages = await lane.windows.usage()
        suspected = candidate_windows(rules, usages, budget.legacy)
        seconds = bounded(error.retry_after, max(rule.seconds for rule in rules))
        if seconds is None:
            await self._back_off(lane, attribute(*suspected, 0.0))
            return
        index = attribute(*suspected, seconds)
        await self._record_outcome(index)
        watched = rules[index].limit == UNENFORCED
        if watched:
            budget.plans.learn(budget.project(self._call), "legacy")
            budget.lane(self._call)  # it takes over what was counted
            logger.info("the project is on the legacy plan for queries, it seems")
        await lane.windows.close(index, seconds, learn=not watched)
        logger.info("429: nothing goes for %.0f s through %s", seconds, rules[index].name)
        budget.queue.changed(lane)

    async def _back_off(self, lane: WaitQueue, index: int) -> None:
        """Slow down after a 429 that says nothing of time."""
        learn = self._slots is not None
        if self._slots is not None:
            # All slots of the project are taken: the rate is not to blame.
            lane, index = self._slots, 0
        failures = lane.failures
        await self._record_outcome(None)
        lane.failures = failures + 1
        seconds = backoff(lane.failures, self._budget.ticker.random())
        await lane.windows.close(index, seconds, learn=learn)
        logger.info(
            "429: nothing goes for %.1f s through %s", seconds, lane.windows.rules[index].name
        )
        self._budget.queue.changed(lane)


async def _shielded(lane: WaitQueue, step: Awaitable[None]) -> None:
    """Take a step that must not be cancelled half-way."""
    if lane.memory_windows is not None:
        await step
        return
    with anyio.CancelScope(shield=True):
        await step


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
        self.ticker = MonotonicClock(clock or SystemClock())
        self.store: Store = MemoryStore(self.ticker) if store is None else store
        self.queue = Scheduler(self.ticker)
        self.lanes: dict[tuple[Limit, ...], WaitQueue] = {}
        self._most = _LANES
        self._keys: dict[tuple[str, str], KeyLimiter] = {}

    def for_key(self, base_url: str, api_key: str) -> KeyLimiter:
        """Return the budget of a key.

        Args:
            base_url: The base URL that it is used with.
            api_key: The API key. Only a digest of it is kept.
        """
        digest = hashlib.sha256(api_key.encode()).hexdigest()[:16]
        host = base_url.partition("://")[2].rstrip("/").replace("/", " ")
        known = self._keys.get((host, digest))
        if known is None:
            plans = Plans(self._plan)
            router = Router(host, digest, self._buckets, plans, self._slots)
            known = KeyLimiter(self, router, plans, self._buckets["query"])
            self._keys[host, digest] = known
        return known

    def lane(self, rules: tuple[Limit, ...]) -> WaitQueue:
        """Return where those wait that draw on some budgets."""
        lane = self.lanes.get(rules)
        if lane is None:
            if len(self.lanes) >= self._most:
                self._prune()
            lane = self.lanes[rules] = WaitQueue(self.store.windows(rules))
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
        self.fixed: dict[int, tuple[Operation, WaitQueue]] = {}
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

    def admission(self, operation: Operation, request: PreparedRequest) -> Admission:
        """Return the way of one call through the limits.

        Args:
            operation: What is called.
            request: What is sent: its path and body may decide what it is charged to.
        """
        return Admission(self, operation, request)

    def lane(self, call: Call) -> WaitQueue:
        """Return where a call waits."""
        operation = call.operation
        lane = self._limiter.lane(self._router.rules(call))
        if self._router.fixed(operation):
            self.fixed[id(operation)] = operation, lane
        return lane

    def slots(self, call: Call) -> WaitQueue | None:
        """Return where a call waits for a slot, if it runs a query."""
        rule = self._router.slot(call)
        return None if rule is None else self._limiter.lane((rule,))

    def project(self, call: Call) -> str:
        """Return what stands for the project of a call."""
        return self._router.project(call)

    def forget(self, lane: WaitQueue) -> None:
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
                if label is not None and rule.limit != UNENFORCED:
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
