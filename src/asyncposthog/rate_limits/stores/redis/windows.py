"""Windows in Redis, drawn on by every process that uses them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakSet

from asyncposthog.errors import ConfigurationError
from asyncposthog.rate_limits.adaptive import CAUTIOUS, DROP, LEAST, RISE, max_probes, pace
from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.monotonic import MonotonicClock
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW

from .connection import Link
from .local_fallback import LocalFallback
from .pending import ACQUIRED, GONE, RELEASED, Ledger

__all__ = ["RedisWindows", "StoreSettings"]

_POLL_SECONDS: Final = 0.02
"""Seconds to the first look whether a request of another process has landed."""
_LONGEST_NAP: Final = 0.25
_LONGEST_CLOSURE: Final = 86400.0
_BATCH: Final = 200
_BATCHES: Final = 100
"""How many are sent at most before the next request: a Redis may forget as fast as it is told."""
_RENEWALS: Final = 4
"""How often a lease of a slot is renewed before it would end."""
_UNKNOWN_PARTS: Final = 4
"""Into how many parts a limit is divided when Redis has never answered."""
_SETTINGS: Final[dict[str, object]] = {
    "drop": DROP,
    "rise": RISE,
    "near": 1.0 - 2.0 * DROP,
    "cautious": CAUTIOUS,
    # Seconds:
    "patience": 5.0,  # at most until a waiting process asks again
    "grace": 1.0,  # by which it may be late before it loses its place
    "linger": 0.25,  # for which it keeps its place after a request
    "leave": 0.1,  # … after its first request has given up
    # Milliseconds, until keys expire:
    "forget": 60_000,
    "remember": 2 * 86_400_000,
}


@dataclass(slots=True)
class StoreSettings:
    """What the windows of one store have in common."""

    link: Link
    ticker: MonotonicClock
    prefix: str
    open: bool
    """Whether requests go while Redis is away."""
    lease: float
    slot_lease: float
    parts: int | None
    """Into how many parts a limit is divided while Redis is away; None: one for each process."""
    most: int = _UNKNOWN_PARTS - 1
    """The most processes that were seen to draw on one window."""
    unsynced: dict[RedisWindows, None] = field(default_factory=dict["RedisWindows", None])
    """Windows of which Redis has to be told something."""
    holders: dict[RedisWindows, None] = field(default_factory=dict["RedisWindows", None])
    """Windows of slots that this process holds some of."""
    members: WeakSet[RedisWindows] = field(default_factory=lambda: WeakSet[RedisWindows]())
    """All of them."""
    began: str | None = None
    """Since when Redis knows what it knows."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the script answers."""

    seconds: float
    index: int
    began: str
    usages: tuple[Usage, ...]
    processes: int


class RedisWindows:
    """Windows that are drawn on together, by every process that uses the same Redis."""

    def __init__(
        self, terms: StoreSettings, rules: tuple[Limit, ...], shadow: LocalFallback, number: int
    ) -> None:
        """Draw on these.

        Args:
            terms: What they have in common with others.
            rules: The budgets.
            shadow: What this process does to them.
            number: Tells them from others of this process.
        """
        self.rules = rules
        self._terms = terms
        self._shadow = shadow
        self._number = number
        self._keys = _keys(terms.prefix, rules)
        self._settings = _settings(terms, rules)
        leases = (max(r.seconds + CLOCK_SKEW, _lease(terms, r)) for r in rules)
        self._ledger = Ledger(max(leases, default=0.0))
        self._held: set[int] = set()
        """Tickets in flight."""
        self._waiting: set[int] = set()
        """Tickets that Redis has made wait."""
        self._unsure: set[int] = set()
        """Tickets whose `acquire` was not answered: Redis may take them to be in flight."""
        self._renewed = 0.0
        """When the leases of what is held began anew."""
        self._naps = 0
        self._processes = 0
        """How many drew on these windows when Redis last answered."""
        self._paying = False
        self._last: tuple[float, tuple[Usage, ...]] | None = None
        """What Redis last said, and when."""
        terms.members.add(self)

    async def acquire(self, ticket: int) -> float:
        """Take a place in every window, or in none; return the seconds to wait otherwise.

        Raises:
            ConfigurationError: Redis has refused us from the beginning.
        """
        if not self.rules:
            return 0.0
        if (unsettled := self._terms.link.unsettled()) and (
            wait := self._shadow.wait(self._fallback_divisor)
        ):
            # Redis does not know yet what the others did while it was away.
            return min(wait, unsettled)
        nap = min(_POLL_SECONDS * 1.5 ** min(self._naps, 16), _LONGEST_NAP)
        self._unsure.add(ticket)
        answer = await self._ask("acquire", self._name(ticket), self._who, f"{nap:.6f}")
        if answer is None:
            wait = self._decide(ticket)
        else:
            wait = answer.seconds
            self._unsure.discard(ticket)
        if wait:
            self._naps += 1
            self._waiting.add(ticket)
            return wait
        self._naps = 0
        self._waiting.discard(ticket)
        self._unsure.discard(ticket)
        self._hold(ticket)
        self._shadow.take()
        return 0.0

    async def settle(self, ticket: int, *, uncharged: int | None = None) -> None:
        """Log a request that was in flight."""
        if ticket in self._held:
            self._release(ticket)
            self._shadow.land(uncharged)
            await self._finish(ticket, "0" if uncharged is None else str(uncharged + 1))

    async def release(self, ticket: int) -> None:
        """Give the places back, if the ticket has any."""
        asked = ticket in self._waiting or ticket in self._unsure
        self._waiting.discard(ticket)
        if ticket in self._held:
            self._release(ticket)
            self._shadow.drop()
            await self._finish(ticket, RELEASED)
        elif ticket in self._unsure:
            self._unsure.remove(ticket)
            await self._finish(ticket, GONE)
        if asked and not self._waiting:
            self._naps = 0
            await self._send("leave", self._who)

    async def close(self, index: int, seconds: float, *, learn: bool) -> None:
        """Let nothing through a window for some time."""
        if not seconds > 0:  # nor for NaN
            return
        seconds = min(seconds, _LONGEST_CLOSURE)
        self._shadow.close(index, seconds, learn=learn)
        arguments = str(index + 1), f"{seconds:.6f}", "1" if learn else "0"
        if await self._send("close", *arguments) is None:
            self._terms.unsynced[self] = None

    async def usage(self) -> tuple[Usage, ...]:
        """Return how full each window is."""
        answer = await self._ask("look") if self.rules else None
        return self.peek() if answer is None else answer.usages

    def peek(self) -> tuple[Usage, ...]:
        """Return what Redis last said; while it is away, what this process uses of its part."""
        terms = self._terms
        if terms.link.away and terms.open:
            return self._shadow.usage(self._fallback_divisor)
        if self._last is None:
            return tuple(Usage(r.limit, r.limit, 0, 0, 0.0, 0.0) for r in self.rules)
        moment, usages = self._last
        past = terms.ticker.now() - moment
        return tuple(
            replace(u, reset=max(0.0, u.reset - past), closed=max(0.0, u.closed - past))
            for u in usages
        )

    async def forecast(self, ahead: int) -> tuple[float, int]:
        """Return when a request could go at the earliest, if `ahead` others go before it."""
        if not self.rules:
            return 0.0, 0
        answer = await self._ask("forecast", self._who, str(ahead))
        if answer is not None:
            return answer.seconds, answer.index
        if self._terms.open:
            return self._shadow.forecast(ahead, self._fallback_divisor)
        return 0.0, 0

    def idle(self) -> bool:
        """Whether no request of this process is in flight or waits, and Redis knows of all."""
        return not (self._held or self._waiting or self._unsure or self in self._terms.unsynced)

    def _hold(self, ticket: int) -> None:
        if not self._held and not self.rules[0].seconds:
            self._terms.holders[self] = None
            self._renewed = self._terms.ticker.now()
        self._held.add(ticket)

    def _release(self, ticket: int) -> None:
        self._held.remove(ticket)
        if not self._held:
            self._terms.holders.pop(self, None)

    def renew(self) -> None:
        """Go on holding slots: their queries may have to wait for longer than a lease."""
        now = self._terms.ticker.now()
        if now - self._renewed > self._terms.slot_lease / _RENEWALS:
            self._renewed = now
            for ticket in self._held:
                self._owe(ticket, ACQUIRED, now)

    @property
    def _fallback_divisor(self) -> int:
        """Into how many parts each limit is divided while Redis is away."""
        # One more than there are: another may start meanwhile. It is not known who uses a slot.
        return self._terms.parts or (self._processes or self._terms.most) + 1

    @property
    def _who(self) -> str:
        return f"{self._terms.link.process}.{self._number}"

    def _name(self, ticket: int) -> str:
        return f"{self._who}.{ticket}"

    def _decide(self, ticket: int) -> float:
        """Do what is configured while Redis is away."""
        link = self._terms.link
        if link.refusal is not None:
            raise ConfigurationError(
                link.refusal,
                suggestion="Check user, password, rights and database in its URL, and cluster=.",
            )
        if not self._terms.open:
            return link.pause()
        wait = self._shadow.wait(self._fallback_divisor)
        if not wait:
            self._owe(ticket, ACQUIRED, self._terms.ticker.now())
        # Redis may say otherwise when it is back.
        return min(wait, link.pause())

    async def _finish(self, ticket: int, what: str) -> None:
        """Tell Redis what became of a ticket, now or later."""
        if not self.rules:
            return
        moment = self._terms.ticker.now()
        try:
            # What is owed of a ticket may be on its way at this moment, and must not come last.
            if ticket not in self._ledger:
                name = self._name(ticket)
                if await self._send("finish", name, what, "0") is not None:
                    self._ledger.tell(ticket, moment, what)
                    return
        except BaseException:
            self._owe(ticket, what, moment)
            raise
        self._owe(ticket, what, moment)

    def _owe(self, ticket: int, what: str, moment: float) -> None:
        self._ledger.owe(ticket, moment, what)
        self._terms.unsynced[self] = None

    def recall(self) -> None:
        """Be ready to tell Redis everything again."""
        if self.rules:
            self._ledger.recall(self._held, self._terms.ticker.now())
            self._terms.unsynced[self] = None

    async def _ask(self, operation: str, *arguments: str) -> _Answer | None:
        """Run an operation after Redis has been told what it is to know for that."""
        for holder in tuple(self._terms.holders):
            holder.renew()
        for debtor in tuple(self._terms.unsynced):
            if not await debtor.pay():
                return None
        return await self._send(operation, *arguments)

    async def pay(self) -> bool:
        """Tell Redis what it has to be told; return False if it is away."""
        if self._paying:
            return not self._terms.link.away
        self._paying = True
        try:
            for _ in range(_BATCHES):
                batch = self._ledger.batch(_BATCH)
                if not batch:
                    break
                now = self._terms.ticker.now()
                arguments: list[str] = []
                for ticket, (moment, what) in batch:
                    arguments += self._name(ticket), what, f"{now - moment:.6f}"
                if await self._send("finish", *arguments) is None:
                    return False
                self._ledger.acknowledge(batch)
            for index, seconds in self._shadow.closures():
                if await self._send("close", str(index + 1), f"{seconds:.6f}", "0") is None:
                    return False
        finally:
            self._paying = False
        if not self._ledger:
            self._terms.unsynced.pop(self, None)
        return True

    async def _send(self, operation: str, *arguments: str) -> _Answer | None:
        """Run an operation, and note what Redis says of the windows."""
        values = await self._terms.link.run(self._keys, (operation, self._settings, *arguments))
        if values is None:
            return None
        answer = _read(values, self.rules)
        self._last = self._terms.ticker.now(), answer.usages
        terms = self._terms
        if not terms.link.unsettled():
            self._processes = answer.processes
            terms.most = max(terms.most, answer.processes)
        if terms.began != answer.began:
            if terms.began is not None:
                # It was started anew, or another one took over that knows nothing.
                for windows in tuple(terms.members):
                    windows.recall()
            terms.began = answer.began
        return answer


def _keys(prefix: str, rules: Sequence[Limit]) -> tuple[str, ...]:
    # The braces put every key into one slot of a cluster: a script may not touch several.
    tag = f"{{{prefix}}}"
    parts = ("log", "flights", "holders", "waiters", "state")
    own = (f"{tag}:{rule.key}:{part}" for rule in rules for part in parts)
    return f"{tag}:clock", f"{tag}:gone", *own


def _lease(terms: StoreSettings, rule: Limit) -> float:
    return terms.lease if rule.seconds else terms.slot_lease


def _settings(terms: StoreSettings, rules: Sequence[Limit]) -> str:
    listed: list[dict[str, object]] = []
    for rule in rules:
        stay = rule.seconds + CLOCK_SKEW if rule.seconds else 0.0
        lease = _lease(terms, rule)
        listed.append(
            {
                "limit": rule.limit,
                "watched": rule.limit == UNENFORCED,
                "seconds": rule.seconds,
                "stay": stay,
                "paces": [pace(rule.seconds, cycles) for cycles in range(8)],
                "least": max(1, min(rule.limit, rule.limit // LEAST)),
                "probes": max_probes(rule.limit),
                "lease": lease,
                "expiry": math.ceil((stay + lease + 60.0) * 1000.0),
            }
        )
    return json.dumps({"rules": listed, **_SETTINGS})


def _read(values: Sequence[str], rules: Sequence[Limit]) -> _Answer:
    numbers = tuple(map(float, values[3:]))
    usages: list[Usage] = []
    processes = 0
    for index, rule in enumerate(rules):
        used, flying, share, reset, closed, holders = numbers[6 * index : 6 + 6 * index]
        usages.append(Usage(rule.limit, int(share), int(used), int(flying), reset, closed))
        processes = max(processes, int(holders))
    return _Answer(float(values[0]), int(values[1]), values[2], tuple(usages), processes)
