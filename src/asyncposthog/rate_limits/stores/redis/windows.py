"""Rate-limit windows in Redis, shared by every process that uses them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakSet

from asyncposthog.errors import ConfigurationError
from asyncposthog.rate_limits.adaptive import (
    BACKOFF_FRACTION,
    MAX_CONTENDED_IN_FLIGHT,
    MIN_SHARE_DIVISOR,
    PROBE_FRACTION,
    max_probes,
    recovery_seconds,
)
from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW

from .connection import RedisConnection
from .local_fallback import LocalFallback
from .pending import ABANDONED, ACQUIRED, RELEASED, PendingUpdates

__all__ = ["RedisWindows", "StoreSettings"]

_POLL_SECONDS: Final = 0.02
"""Seconds to the first check whether a request of another process has completed."""
_MAX_POLL_SECONDS: Final = 0.25
_MAX_BLOCK_SECONDS: Final = 86400.0
_BATCH_SIZE: Final = 200
_MAX_BATCHES: Final = 100
"""Batches sent before the next request: a Redis that keeps restarting empty adds updates as fast
as they are sent."""
_RENEWALS_PER_LEASE: Final = 4
_DEFAULT_PROCESSES: Final = 4
"""Into how many parts limits are divided during an outage if Redis has never answered."""
_SCRIPT_SETTINGS: Final[dict[str, object]] = {
    "backoff_fraction": BACKOFF_FRACTION,
    "probe_fraction": PROBE_FRACTION,
    "near_capacity": 1.0 - 2.0 * BACKOFF_FRACTION,
    "max_contended_in_flight": MAX_CONTENDED_IN_FLIGHT,
    # Seconds:
    "max_wait": 5.0,  # until a waiting process calls again, at most
    "grace": 1.0,  # by which it may be late before it loses its position
    "linger": 0.25,  # for which it keeps its position after a request
    "leave": 0.1,  # for which it keeps its position after its first request stopped waiting
    # Milliseconds until keys expire:
    "queue_expiry": 60_000,
    "state_expiry": 2 * 86_400_000,
}


@dataclass(slots=True)
class StoreSettings:
    """Settings and state that all windows of a store share."""

    connection: RedisConnection
    clock: MonotonicClock
    prefix: str
    fail_open: bool
    """Whether requests are sent while Redis is unavailable."""
    lease: float
    slot_lease: float
    processes: int | None
    """Into how many parts limits are divided during an outage; None: one per known process."""
    max_processes_seen: int = _DEFAULT_PROCESSES - 1
    """The highest number of processes that Redis reported for one window."""
    unsynced: dict[RedisWindows, None] = field(default_factory=dict["RedisWindows", None])
    """Windows with updates that Redis has not received."""
    slot_holders: dict[RedisWindows, None] = field(default_factory=dict["RedisWindows", None])
    """Windows of slots, of which this process holds at least one."""
    windows: WeakSet[RedisWindows] = field(default_factory=lambda: WeakSet[RedisWindows]())
    """All windows of the store."""
    epoch: str | None = None
    """When the data in Redis began. Another value means that Redis restarted empty."""


@dataclass(frozen=True, slots=True)
class _ScriptResult:
    seconds: float
    index: int
    epoch: str
    usages: tuple[Usage, ...]
    processes: int


class RedisWindows:
    """The windows of some limits, acquired together, by every process that uses the same Redis."""

    def __init__(
        self,
        settings: StoreSettings,
        limits: tuple[Limit, ...],
        fallback: LocalFallback,
        number: int,
    ) -> None:
        """Combine the windows of some limits.

        Args:
            settings: What they share with the other windows of the store.
            limits: The limits.
            fallback: The same windows as used by this process alone.
            number: Distinguishes them from other windows of this process.
        """
        self.limits = limits
        self._settings = settings
        self._fallback = fallback
        self._number = number
        self._keys = _redis_keys(settings.prefix, limits)
        self._script_config = _script_config(settings, limits)
        ages = (max(x.seconds + CLOCK_SKEW, _lease(settings, x)) for x in limits)
        self._pending = PendingUpdates(max(ages, default=0.0))
        self._in_flight: set[int] = set()
        """Tickets of requests in flight."""
        self._waiting: set[int] = set()
        """Tickets that were not granted yet."""
        self._unconfirmed: set[int] = set()
        """Tickets whose `acquire` got no response: Redis may count them as in flight."""
        self._renewed_at = 0.0
        """When the leases of held slots were last renewed."""
        self._polls = 0
        """Calls of `acquire` without success in a row."""
        self._processes = 0
        """How many processes used these windows when Redis last answered."""
        self._flushing = False
        self._last: tuple[float, tuple[Usage, ...]] | None = None
        """When Redis last answered, and the usage it reported."""
        settings.windows.add(self)

    def try_acquire_nowait(self, ticket: int) -> bool:
        """Return False: only Redis knows whether there is capacity."""
        return False

    async def acquire(self, ticket: int) -> float:
        """Acquire every window, or none. Return the seconds to wait, or 0.0 if acquired.

        Raises:
            ConfigurationError: Redis has never answered, because the settings are wrong.
        """
        if not self.limits:
            return 0.0
        if (recovery := self._settings.connection.recovery_window()) and (
            wait := self._fallback.wait_seconds(self._fallback_divisor)
        ):
            # Redis was unavailable until now, and does not know yet what other processes sent
            # meanwhile. Until all have told it, each keeps to its share.
            return min(wait, recovery)
        poll = min(_POLL_SECONDS * 1.5 ** min(self._polls, 16), _MAX_POLL_SECONDS)
        self._unconfirmed.add(ticket)
        result = await self._sync_and_run("acquire", self._name(ticket), self._owner, f"{poll:.6f}")
        if result is None:
            wait = self._acquire_locally(ticket)
        else:
            wait = result.seconds
            self._unconfirmed.discard(ticket)
        if wait:
            self._polls += 1
            self._waiting.add(ticket)
            return wait
        self._polls = 0
        self._waiting.discard(ticket)
        self._unconfirmed.discard(ticket)
        self._add_in_flight(ticket)
        self._fallback.acquire()
        return 0.0

    def complete_nowait(self, ticket: int) -> bool:
        """Return False: Redis has to be told."""
        return False

    async def complete(self, ticket: int, *, refused_by: int | None = None) -> None:
        """Record the completion of a request in every window but the one that refused it."""
        if ticket in self._in_flight:
            self._remove_in_flight(ticket)
            self._fallback.complete(refused_by)
            await self._update(ticket, "0" if refused_by is None else str(refused_by + 1))

    async def release(self, ticket: int) -> None:
        """Return the acquired capacity, if the ticket has any."""
        in_queue = ticket in self._waiting or ticket in self._unconfirmed
        self._waiting.discard(ticket)
        if ticket in self._in_flight:
            self._remove_in_flight(ticket)
            self._fallback.release()
            await self._update(ticket, RELEASED)
        elif ticket in self._unconfirmed:
            self._unconfirmed.remove(ticket)
            await self._update(ticket, ABANDONED)
        if in_queue and not self._waiting:
            self._polls = 0
            await self._run("leave", self._owner)

    async def block(self, index: int, seconds: float, *, adapt: bool) -> None:
        """Block a window for some seconds, at most a day."""
        if not seconds > 0:  # also true for NaN
            return
        seconds = min(seconds, _MAX_BLOCK_SECONDS)
        self._fallback.block(index, seconds, adapt=adapt)
        arguments = str(index + 1), f"{seconds:.6f}", "1" if adapt else "0"
        if await self._run("block", *arguments) is None:
            self._settings.unsynced[self] = None

    async def usage(self) -> tuple[Usage, ...]:
        """Return the usage of each window."""
        result = await self._sync_and_run("usage") if self.limits else None
        return self.snapshot() if result is None else result.usages

    def snapshot(self) -> tuple[Usage, ...]:
        """Return the usage that Redis last reported; during an outage, that of this process."""
        settings = self._settings
        if settings.connection.is_down and settings.fail_open:
            return self._fallback.usage(self._fallback_divisor)
        if self._last is None:
            return tuple(Usage(x.requests, x.requests, 0, 0, 0.0, 0.0) for x in self.limits)
        timestamp, usages = self._last
        past = settings.clock.now() - timestamp
        return tuple(
            replace(u, reset=max(0.0, u.reset - past), blocked_for=max(0.0, u.blocked_for - past))
            for u in usages
        )

    async def estimate_wait(self, ahead: int) -> tuple[float, int]:
        """Return a lower bound of the wait of a request, and the index of its window."""
        if not self.limits:
            return 0.0, 0
        result = await self._sync_and_run("estimate_wait", self._owner, str(ahead))
        if result is not None:
            return result.seconds, result.index
        if self._settings.fail_open:
            return self._fallback.estimate_wait(ahead, self._fallback_divisor)
        return 0.0, 0

    def is_idle(self) -> bool:
        """Return whether no request of this process is in flight, waits, or is unsynced."""
        return not (
            self._in_flight or self._waiting or self._unconfirmed or self in self._settings.unsynced
        )

    def _add_in_flight(self, ticket: int) -> None:
        if not self._in_flight and not self.limits[0].seconds:
            self._settings.slot_holders[self] = None
            self._renewed_at = self._settings.clock.now()
        self._in_flight.add(ticket)

    def _remove_in_flight(self, ticket: int) -> None:
        self._in_flight.remove(ticket)
        if not self._in_flight:
            self._settings.slot_holders.pop(self, None)

    def renew_leases(self) -> None:
        """Renew the leases of held slots, if it is time."""
        # A query that holds a slot may wait for its rate limit for longer than a lease, and it
        # sends nothing about the slot meanwhile.
        now = self._settings.clock.now()
        if now - self._renewed_at > self._settings.slot_lease / _RENEWALS_PER_LEASE:
            self._renewed_at = now
            for ticket in self._in_flight:
                self._add_pending(ticket, ACQUIRED, now)

    @property
    def _fallback_divisor(self) -> int:
        # One more than there are, because another process may start during the outage. For slots,
        # Redis reports no number of processes.
        settings = self._settings
        return settings.processes or (self._processes or settings.max_processes_seen) + 1

    @property
    def _owner(self) -> str:
        return f"{self._settings.connection.process_id}.{self._number}"

    def _name(self, ticket: int) -> str:
        return f"{self._owner}.{ticket}"

    def _acquire_locally(self, ticket: int) -> float:
        """Decide during an outage. Return the seconds to wait, or 0.0 if acquired."""
        connection = self._settings.connection
        if connection.configuration_error is not None:
            raise ConfigurationError(
                connection.configuration_error,
                suggestion="Check user, password, rights and database in its URL, and cluster=.",
            )
        if not self._settings.fail_open:
            return connection.retry_in()
        wait = self._fallback.wait_seconds(self._fallback_divisor)
        if not wait:
            self._add_pending(ticket, ACQUIRED, self._settings.clock.now())
        # Once Redis is available, it may grant more than the share of this process.
        return min(wait, connection.retry_in())

    async def _update(self, ticket: int, state: str) -> None:
        """Send the state of a ticket to Redis, or keep it to be sent later."""
        if not self.limits:
            return
        timestamp = self._settings.clock.now()
        try:
            # If an earlier update of the ticket is pending, another task may be sending it right
            # now, and it must not arrive after this one: leave this one to `flush_pending`.
            if ticket not in self._pending:
                name = self._name(ticket)
                if await self._run("update", name, state, "0") is not None:
                    self._pending.mark_sent(ticket, timestamp, state)
                    return
        except BaseException:
            # Cancelled: Redis may have received the update or not. Receiving it twice is harmless.
            self._add_pending(ticket, state, timestamp)
            raise
        self._add_pending(ticket, state, timestamp)

    def _add_pending(self, ticket: int, state: str, timestamp: float) -> None:
        self._pending.add(ticket, timestamp, state)
        self._settings.unsynced[self] = None

    def resync(self) -> None:
        """Send all updates again with the next request: Redis restarted empty."""
        if self.limits:
            self._pending.requeue_all(self._in_flight, self._settings.clock.now())
            self._settings.unsynced[self] = None

    async def _sync_and_run(self, operation: str, *arguments: str) -> _ScriptResult | None:
        """Send all pending updates, then run an operation. Return None if Redis is unavailable."""
        for windows in tuple(self._settings.slot_holders):
            windows.renew_leases()
        for windows in tuple(self._settings.unsynced):
            if not await windows.flush_pending():
                return None
        return await self._run(operation, *arguments)

    async def flush_pending(self) -> bool:
        """Send pending updates. Return False if Redis is unavailable."""
        if self._flushing:
            return not self._settings.connection.is_down
        self._flushing = True
        try:
            for _ in range(_MAX_BATCHES):
                batch = self._pending.batch(_BATCH_SIZE)
                if not batch:
                    break
                # Ages rather than timestamps: the clocks of this process and of Redis differ.
                now = self._settings.clock.now()
                arguments: list[str] = []
                for ticket, (timestamp, state) in batch:
                    arguments += self._name(ticket), state, f"{now - timestamp:.6f}"
                if await self._run("update", *arguments) is None:
                    return False
                self._pending.acknowledge(batch)
            for index, seconds in self._fallback.blocks():
                if await self._run("block", str(index + 1), f"{seconds:.6f}", "0") is None:
                    return False
        finally:
            self._flushing = False
        if not self._pending:
            self._settings.unsynced.pop(self, None)
        return True

    async def _run(self, operation: str, *arguments: str) -> _ScriptResult | None:
        """Run an operation of the script, and store the usage that it reports."""
        settings = self._settings
        values = await settings.connection.run(
            self._keys, (operation, self._script_config, *arguments)
        )
        if values is None:
            return None
        result = _parse_result(values, self.limits)
        self._last = settings.clock.now(), result.usages
        if not settings.connection.recovery_window():
            # Right after an outage, processes that have not noticed its end are missing here.
            self._processes = result.processes
            settings.max_processes_seen = max(settings.max_processes_seen, result.processes)
        if settings.epoch != result.epoch:
            if settings.epoch is not None:
                # Redis restarted without its data, or a replica without it took over.
                for windows in tuple(settings.windows):
                    windows.resync()
            settings.epoch = result.epoch
        return result


def _redis_keys(prefix: str, limits: Sequence[Limit]) -> tuple[str, ...]:
    # The hash tag in braces puts every key into one slot of a Redis Cluster, where a script may
    # not use several.
    tag = f"{{{prefix}}}"
    parts = ("completed", "in_flight", "processes", "waiters", "state")
    own = (f"{tag}:{limit.key}:{part}" for limit in limits for part in parts)
    return f"{tag}:clock", f"{tag}:abandoned", *own


def _lease(settings: StoreSettings, limit: Limit) -> float:
    return settings.lease if limit.seconds else settings.slot_lease


def _script_config(settings: StoreSettings, limits: Sequence[Limit]) -> str:
    entries: list[dict[str, object]] = []
    for limit in limits:
        retention = limit.seconds + CLOCK_SKEW if limit.seconds else 0.0
        lease = _lease(settings, limit)
        entries.append(
            {
                "requests": limit.requests,
                "unenforced": limit.requests == UNENFORCED,
                "seconds": limit.seconds,
                "retention": retention,
                "recovery_seconds": [recovery_seconds(limit.seconds, n) for n in range(8)],
                "min_share": max(1, min(limit.requests, limit.requests // MIN_SHARE_DIVISOR)),
                "max_probes": max_probes(limit.requests),
                "lease": lease,
                "expiry": math.ceil((retention + lease + 60.0) * 1000.0),
            }
        )
    return json.dumps({"limits": entries, **_SCRIPT_SETTINGS})


def _parse_result(values: Sequence[str], limits: Sequence[Limit]) -> _ScriptResult:
    numbers = tuple(map(float, values[3:]))
    usages: list[Usage] = []
    max_processes = 0
    for index, limit in enumerate(limits):
        used, in_flight, share, reset, blocked, processes = numbers[6 * index : 6 + 6 * index]
        usages.append(Usage(limit.requests, int(share), int(used), int(in_flight), reset, blocked))
        max_processes = max(max_processes, int(processes))
    return _ScriptResult(float(values[0]), int(values[1]), values[2], tuple(usages), max_processes)
