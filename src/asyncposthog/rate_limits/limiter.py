"""The rate limiter of a client: admits each attempt of a call, and reacts to 429 responses."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import anyio

from asyncposthog.errors import ConfigurationError, RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.stores.base import Store
from asyncposthog.rate_limits.stores.memory import MemoryStore
from asyncposthog.transport.clock import Clock, SystemClock
from asyncposthog.transport.encoding.request import PreparedRequest, request_info

from .adaptive import backoff, likely_window, valid_retry_after
from .limits import (
    DEFAULT_QUERY_SLOTS,
    SERVER_QUEUE_TIMEOUT,
    UNENFORCED,
    Bucket,
    Limit,
    LimitRules,
    Limits,
    PlanTracker,
    QueryPlan,
    candidate_windows,
    default_buckets,
    parse_limits,
    validate_query_plan,
    validate_query_slots,
)
from .monotonic import MonotonicClock
from .resolver import LimitedCall, LimitResolver
from .scheduler import AcquireTimeout, Scheduler
from .status import BucketStatus, RateLimits, all_limits, bucket_status
from .wait_queue import WaitQueue

__all__ = ["Admission", "KeyLimiter", "RateLimiter"]

logger = logging.getLogger("asyncposthog")

_NOT_A_RATE_LIMIT: Final = "too_many_concurrent_"
"""Prefix of error codes of 429 responses that are not about request rates, such as too many
exports at a time."""


@dataclass(slots=True, eq=False)
class Admission:
    """The admission of one call, as a context manager that is entered for each of its attempts.

    Entering waits until the attempt can be sent. Leaving records whether it counted.
    """

    _limits: KeyLimiter
    _operation: Operation
    _request: PreparedRequest
    timeout: float | None = None
    """Seconds that the call may still wait; None: no limit."""
    max_block_seconds: float = math.inf
    """Fail instead of waiting if a limit is blocked for longer than these seconds."""
    was_sent: bool = False
    """Whether the server may have received the attempt. Otherwise, it does not count."""
    _queue: WaitQueue | None = None
    _slot_queue: WaitQueue | None = None
    _priority: int | None = None
    _ticket: int = 0
    _admitted: bool = False

    @property
    def _call(self) -> LimitedCall:
        return LimitedCall(self._operation, self._request.target, self._request.content)

    @property
    def buckets(self) -> str:
        """The names of the limits that the last attempt counted against, for logs."""
        limits = () if self._queue is None else self._queue.windows.limits
        names = (limit.name for limit in limits if limit.requests != UNENFORCED)
        return "+".join(names) or "no limit"

    @property
    def needs_query_slot(self) -> bool:
        """Whether the call runs a query, and has to be made within `query_slot()`."""
        without, operation = self._limits.operations_without_slot, self._operation
        if without.get(id(operation)) is operation:
            return False
        needed = self._limits.slot_limit(self._call) is not None
        if not needed and operation.id != "request":  # one id, but every path has its own operation
            without[id(operation)] = operation
        return needed

    @property
    def extra_timeout(self) -> float:
        """Seconds that the server may add to an attempt, by queueing a query before it runs."""
        return 0.0 if self._slot_queue is None else SERVER_QUEUE_TIMEOUT

    @asynccontextmanager
    async def query_slot(self) -> AsyncGenerator[None]:
        """Hold a query slot of the project for a whole call, its retries included.

        Raises:
            RateLimitError: No slot becomes free in time.
        """
        limit = self._limits.slot_limit(self._call)
        assert limit is not None
        queue = self._slot_queue = self._limits.queue_for((limit,))
        ticket = await self._acquire(queue)
        try:
            yield
        finally:
            if not queue.windows.complete_nowait(ticket):
                await _shielded(queue.windows.complete(ticket))
            self._limits.scheduler.notify(queue)

    async def __aenter__(self) -> Self:
        """Wait until the attempt can be sent.

        Raises:
            RateLimitError: It cannot be sent within `timeout`, or a limit is blocked for longer
                than `max_block_seconds`. Raised as soon as that is certain.
        """
        limits = self._limits
        static = limits.static_queues.get(id(self._operation))
        queue = limits.queue_of(self._call) if static is None else static[1]
        deadline = None if self.timeout is None else limits.clock.now() + self.timeout
        ticket = limits.scheduler.try_acquire(queue) or await self._acquire(queue)
        while queue.plan_unknown and (current := limits.queue_of(self._call)) is not queue:
            # The query plan was detected during the wait, so other limits apply now.
            await _shielded(queue.windows.release(ticket))
            limits.scheduler.notify(queue)
            if deadline is not None:
                self.timeout = max(0.0, deadline - limits.clock.now())
            queue, ticket = current, await self._acquire(current)
        self._queue, self._ticket = queue, ticket
        self._admitted, self.was_sent = True, False
        limits.requests += 1
        if self._priority is None:
            self._priority = ticket
        else:
            limits.retries += 1
        return self

    async def _acquire(self, queue: WaitQueue) -> int:
        try:
            return await self._limits.scheduler.acquire(
                queue, self.timeout, self._priority, self.max_block_seconds
            )
        except AcquireTimeout as error:
            raise self._timeout_error(queue.windows.limits[error.index], error) from None

    def _timeout_error(self, limit: Limit, timeout: AcquireTimeout) -> RateLimitError:
        period = f"per {limit.seconds:g} s" if limit.seconds else "at a time"
        name = f"Rate limit {limit.name!r} ({limit.requests:,} {period})"
        seconds = timeout.available_in
        if timeout.blocked:
            message = f"{name} is exhausted; retry in {seconds:,.1f} s."
            suggestion = (
                f"That is longer than max_retry_after ({self.max_block_seconds:g} s): retry later, "
                "or raise max_retry_after."
            )
        else:
            when = f"retry in {seconds:,.1f} s" if seconds else "all are in use"
            message = f"{name} has no capacity before the deadline; {when}."
            suggestion = "Give the call a longer deadline, or retry later."
        error = RateLimitError(
            message,
            operation=self._operation.id,
            request=request_info(self._request),
            suggestion=suggestion,
        )
        error.retry_after = seconds
        return error

    async def on_response(self, status: int) -> None:
        """Record that the attempt counted, once the response headers have arrived.

        Args:
            status: The HTTP status. A 429 is handled when the context is left.
        """
        # The body may stream for minutes. The server counted the request before it responded, so
        # waiting for the end of the body would keep the capacity for too long.
        if self._admitted and status != 429:
            await self._record_outcome(None)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record whether the attempt counted, and react to a 429."""
        if not self._admitted:
            return
        queue = self._queue
        assert queue is not None
        if not self.was_sent:
            self._admitted = False
            await _shielded(queue.windows.release(self._ticket))
            self._limits.scheduler.notify(queue)
        elif isinstance(exc, RateLimitError):
            await _shielded(self._on_429(queue, exc))
        else:
            # Also after a cancellation or a connection error: the server may have counted it.
            await self._record_outcome(None)

    async def _record_outcome(self, refused_by: int | None) -> None:
        queue = self._queue
        assert queue is not None
        self._admitted = False
        queue.failures = 0
        if self._slot_queue is not None:
            self._slot_queue.failures = 0
        # Nearly every request takes the first way, which saves a cancel scope and a coroutine.
        if refused_by is not None or not queue.windows.complete_nowait(self._ticket):
            await _shielded(queue.windows.complete(self._ticket, refused_by=refused_by))
        if queue.plan_unknown and refused_by is None:
            self._detect_current_plan(queue)
        scheduler = self._limits.scheduler
        if scheduler.queues:
            scheduler.notify(queue)

    def _detect_current_plan(self, queue: WaitQueue) -> None:
        # The legacy limit is counted but not enforced while the plan is unknown. More accepted
        # requests than it allows are a proof that the project is not on the legacy plan.
        limits = self._limits
        used = queue.windows.snapshot()[-1].used
        if used > limits.legacy_bucket.requests:
            limits.plans.set(limits.project(self._call), "current")

    async def _on_429(self, queue: WaitQueue, error: RateLimitError) -> None:
        """Block the window that probably caused a 429, and adapt its share."""
        key_limits, limits = self._limits, queue.windows.limits
        key_limits.throttled += 1
        if not limits or (error.code or "").startswith(_NOT_A_RATE_LIMIT):
            await self._record_outcome(None)
            return
        usages = await queue.windows.usage()
        candidates = candidate_windows(limits, usages, key_limits.legacy_bucket)
        seconds = valid_retry_after(error.retry_after, max(limit.seconds for limit in limits))
        if seconds is None:
            await self._back_off(queue, likely_window(*candidates, 0.0))
            return
        index = likely_window(*candidates, seconds)
        await self._record_outcome(index)
        is_legacy = limits[index].requests == UNENFORCED
        if is_legacy:
            project = key_limits.project(self._call)
            key_limits.plans.set(project, "legacy")
            # Create the enforced queue before the block below: it shares the window by its key,
            # and so takes over the requests that were counted without being enforced.
            key_limits.queue_of(self._call)
            logger.info("%s: detected legacy query rate limit", project)
        await queue.windows.block(index, seconds, adapt=not is_legacy)
        _log_block(limits[index], seconds)
        key_limits.scheduler.notify(queue)

    async def _back_off(self, queue: WaitQueue, index: int) -> None:
        """Block a window with exponential backoff, after a 429 without a usable `Retry-After`."""
        adapt = self._slot_queue is not None
        if self._slot_queue is not None:
            # PostHog's throttles always send the header; its check of concurrent queries does
            # not. So other clients use the query slots, and the rate limit is not the cause.
            queue, index = self._slot_queue, 0
        failures = queue.failures
        await self._record_outcome(None)
        queue.failures = failures + 1
        seconds = backoff(queue.failures, self._limits.clock.random())
        await queue.windows.block(index, seconds, adapt=adapt)
        _log_block(queue.windows.limits[index], seconds)
        self._limits.scheduler.notify(queue)


def _log_block(limit: Limit, seconds: float) -> None:
    logger.info("rate limit %s: blocked for %.1f s after HTTP 429", limit.name, seconds)


async def _shielded(step: Awaitable[None]) -> None:
    # A step that is cancelled half-way would leave a request in flight forever.
    with anyio.CancelScope(shield=True):
        await step


_MAX_QUEUES: Final = 256
"""Number of wait queues from which on idle ones are dropped."""


class RateLimiter:
    """The rate limits of every API key that a family of clients uses.

    Clients of one event loop may share a limiter: `AsyncPostHog(limiter=limiter)`. They do not
    close it; `async with RateLimiter(…) as limiter:` does.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        query_plan: QueryPlan = "auto",
        query_slots: int = DEFAULT_QUERY_SLOTS,
        clock: Clock | None = None,
        store: Store | None = None,
        rules: LimitRules | None = None,
    ) -> None:
        """Create a limiter. Nothing is connected yet.

        Args:
            limits: Limits that replace PostHog's defaults, as requests and seconds by bucket:
                `{"burst": (960, 60)}`.
            query_plan: The rate limits of `/query/`: `current`, `legacy`, or `auto` to detect them.
            query_slots: Queries of one project that may run at a time.
            clock: Clock and random source, replaceable in tests.
            store: Where the windows are stored; None: in this process.
            rules: The limits of a gateway, its `rules`; None: those of PostHog.

        Raises:
            ConfigurationError: A setting is out of range.
            TypeError: A setting is of the wrong type.
        """
        self._rules = rules
        self._buckets = parse_limits(limits, None if rules is None else rules.buckets)
        self._query_plan: QueryPlan = validate_query_plan(query_plan)
        self._query_slots = validate_query_slots(query_slots)
        self.available = all_limits(self._buckets, self._query_slots)
        self.clock = MonotonicClock(clock or SystemClock())
        self.store: Store = MemoryStore(self.clock) if store is None else store
        self.scheduler = Scheduler(self.clock)
        self.queues: dict[tuple[Limit, ...], WaitQueue] = {}
        self._max_queues = _MAX_QUEUES
        self._key_limiters: dict[tuple[str, str], KeyLimiter] = {}

    def for_other_event_loop(self) -> RateLimiter:
        """Return a limiter for another event loop, in any thread, that shares the windows.

        What each of them sends counts for both. Close it in its event loop.

        Raises:
            ConfigurationError: The store cannot be used in another event loop.
        """
        make_store = getattr(self.store, "for_other_event_loop", None)
        if make_store is None:
            raise ConfigurationError(
                f"{type(self.store).__name__} cannot be used in another event loop.",
                suggestion="Give it a method for_other_event_loop() that returns such a store.",
            )
        other = copy.copy(self)
        other.store = make_store()
        other.scheduler, other.queues, other._key_limiters = Scheduler(self.clock), {}, {}
        return other

    def for_key(self, base_url: str, api_key: str) -> KeyLimiter:
        """Return the limits of an API key.

        Args:
            base_url: The base URL that the key is used with.
            api_key: The API key. Only a digest of it is stored.
        """
        digest = hashlib.sha256(api_key.encode()).hexdigest()[:16]
        host = base_url.partition("://")[2].rstrip("/").replace("/", " ")
        key_limiter = self._key_limiters.get((host, digest))
        if key_limiter is None:
            plans = PlanTracker(self._query_plan)
            resolver = LimitResolver(
                host, digest, self._buckets, plans, self._query_slots, self._rules
            )
            # With rules, no plan of a project is detected, and this bucket is not used.
            legacy = self._buckets.get("query") or default_buckets()["query"]
            key_limiter = KeyLimiter(self, resolver, plans, legacy)
            self._key_limiters[host, digest] = key_limiter
        return key_limiter

    def queue_for(self, limits: tuple[Limit, ...]) -> WaitQueue:
        """Return the wait queue of some limits."""
        queue = self.queues.get(limits)
        if queue is None:
            if len(self.queues) >= self._max_queues:
                self._drop_idle_queues()
            queue = self.queues[limits] = WaitQueue(self.store.windows(limits))
        return queue

    def _drop_idle_queues(self) -> None:
        # Only queues with a limit that keys share (see `LimitResolver.display_name`): those of
        # projects and single objects are without number. The queues of a key are few, and
        # `KeyLimiter.static_queues` refers to them.
        for limits, queue in tuple(self.queues.items()):
            if not len(queue) and queue.windows.is_idle() and any(" " in key for key in queue.keys):
                del self.queues[limits]
                for key_limiter in self._key_limiters.values():
                    key_limiter.retire(queue)
        # Doubled, so that a client which really needs that many does not scan them on each call.
        self._max_queues = max(_MAX_QUEUES, 2 * len(self.queues))

    async def aclose(self) -> None:
        """Close the store."""
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
        """Close the store. Close the clients that use the limiter first."""
        await self.aclose()


class KeyLimiter:
    """The rate limits of one API key on one host."""

    def __init__(
        self,
        limiter: RateLimiter,
        resolver: LimitResolver,
        plans: PlanTracker,
        legacy_bucket: Bucket,
    ) -> None:
        """Share the scheduler, the queues and the store of a limiter with its other keys."""
        self._limiter = limiter
        self._resolver = resolver
        # By identity: hashing an operation, a large dataclass, costs more than the rest of an
        # admission. The entry refers to the operation, so that its id is not used again.
        self.operations_without_slot: dict[int, Operation] = {}
        """Operations that run no query, by identity: looking at their path once is enough."""
        self.static_queues: dict[int, tuple[Operation, WaitQueue]] = {}
        """The queues of operations whose calls all count against the same limits, by `id()`."""
        self.plans = plans
        self.legacy_bucket = legacy_bucket
        self.scheduler = limiter.scheduler
        self.clock = limiter.clock
        self.requests = 0
        self.retries = 0
        self.throttled = 0
        self._retired_waits = 0
        """Waits in queues that were dropped."""

    def admission(self, operation: Operation, request: PreparedRequest) -> Admission:
        """Return the admission of one call.

        Args:
            operation: The called operation.
            request: The request: its path and body may decide which limits it counts against.
        """
        return Admission(self, operation, request)

    def queue_of(self, call: LimitedCall) -> WaitQueue:
        """Return the wait queue of a call."""
        operation = call.operation
        queue = self._limiter.queue_for(self._resolver.limits_for(call))
        if self._resolver.is_static(operation):
            self.static_queues[id(operation)] = operation, queue
        return queue

    def queue_for(self, limits: tuple[Limit, ...]) -> WaitQueue:
        """Return the wait queue of some limits."""
        return self._limiter.queue_for(limits)

    def slot_limit(self, call: LimitedCall) -> Limit | None:
        """Return the query slots of the project, or None if the call runs no query."""
        return self._resolver.slot_limit(call)

    def project(self, call: LimitedCall) -> str:
        """Return a name for the project of a call."""
        return self._resolver.project(call)

    def retire(self, queue: WaitQueue) -> None:
        """Keep the number of waits in a queue that is dropped."""
        if any(self._resolver.display_name(key) is not None for key in queue.keys):
            self._retired_waits += queue.wait_count

    def status(self) -> RateLimits:
        """Return the usage of each limit, as far as this process knows."""
        buckets: dict[str, BucketStatus] = {}
        waits = self._retired_waits
        for queue in self._limiter.queues.values():
            names = [self._resolver.display_name(key) for key in queue.keys]
            if any(name is not None for name in names):
                waits += queue.wait_count
            rows = zip(names, queue.windows.limits, queue.windows.snapshot(), strict=True)
            for name, limit, usage in rows:
                if name is not None and limit.requests != UNENFORCED:
                    previous = buckets.get(name)
                    waiting = len(queue) + (previous.waiting if previous else 0)
                    buckets[name] = bucket_status(limit, usage, waiting)
        return RateLimits(
            buckets=dict(sorted(buckets.items())),
            requests=self.requests,
            retries=self.retries,
            waits=waits,
            throttled=self.throttled,
            available=self._limiter.available,
        )
