"""The way of one call through the limits: a slot for the call, places for each attempt."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio

from asyncposthog.errors import RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.transport.request import PreparedRequest, request_info

from .feedback import attribute, backoff, bounded
from .lane import Lane
from .plans import suspects
from .queue import LateError
from .routes import Call
from .rules import WATCHED, Rule
from .slots import QUEUE_SECONDS

if TYPE_CHECKING:
    from .limiter import KeyLimiter

__all__ = ["Passage"]

logger = logging.getLogger("asyncposthog")

_OTHER: Final = "too_many_concurrent_"
"""How codes of 429s begin that say nothing about rates: too many exports run, for example."""


class Passage:
    """Entered for every attempt, left when it is answered or has failed."""

    __slots__ = (
        "_budget", "_lane", "_open", "_operation", "_place", "_request", "_slots", "_ticket",
        "patience", "sent", "within",
    )  # fmt: skip

    def __init__(self, budget: KeyLimiter, operation: Operation, request: PreparedRequest) -> None:
        """Nothing is taken yet."""
        self._budget = budget
        self._operation = operation
        self._request = request
        self._lane: Lane | None = None
        self._slots: Lane | None = None
        self._place: int | None = None
        self._ticket = 0
        self._open = False
        self.sent = False
        """Whether the server may have received the attempt. One it has not costs nothing."""
        self.within: float | None = None
        """Seconds that the call has left to wait; None: no bound."""
        self.patience = math.inf
        """Seconds for which the server may have closed a bucket before the call fails instead."""

    @property
    def _call(self) -> Call:
        return Call(self._operation, self._request.target, self._request.content)

    @property
    def buckets(self) -> str:
        """What the last attempt was charged to, for logs."""
        rules = () if self._lane is None else self._lane.windows.rules
        return "+".join(rule.name for rule in rules if rule.limit != WATCHED) or "no limit"

    @property
    def holds(self) -> bool:
        """Whether the call runs a query, and so needs a slot."""
        self._slots = self._budget.slots(self._call)
        return self._slots is not None

    @property
    def grace(self) -> float:
        """Seconds for which the server may keep a query waiting, on top of its own time."""
        return 0.0 if self._slots is None else QUEUE_SECONDS

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[None]:
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
        until = None if self.within is None else budget.ticker.now() + self.within
        ticket = budget.queue.enter_now(lane) or await self._enter(lane)
        while lane.watched and (other := budget.lane(self._call)) is not lane:
            # The plan was learned while we waited.
            await _shielded(lane, lane.windows.release(ticket))
            budget.queue.changed(lane)
            if until is not None:
                self.within = max(0.0, until - budget.ticker.now())
            lane, ticket = other, await self._enter(other)
        self._lane, self._ticket = lane, ticket
        self._open, self.sent = True, False
        budget.requests += 1
        if self._place is None:
            self._place = ticket
        else:
            budget.retries += 1
        return self

    async def _enter(self, lane: Lane) -> int:
        try:
            return await self._budget.queue.enter(lane, self.within, self._place, self.patience)
        except LateError as error:
            raise self._late(lane.windows.rules[error.index], error) from None

    def _late(self, rule: Rule, late: LateError) -> RateLimitError:
        span = f" in {rule.seconds:g} s" if rule.seconds else " at a time"
        limit = f"The rate limit {rule.name} ({rule.limit:,}{span})"
        seconds = late.seconds
        if late.closed:
            message = (
                f"{limit} was used up when the server was last asked: the call could go in "
                f"{seconds:,.1f} s."
            )
            suggestion = (
                f"That is longer than max_retry_after ({self.patience:g} s): call again then, or "
                "raise that."
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

    async def answered(self, status: int) -> None:
        """Note that an answer began. Its body may take as long as it likes."""
        if self._open and status != 429:
            await self._settle(None)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Charge what the server charged, and learn from a 429."""
        if not self._open:
            return
        lane = self._lane
        assert lane is not None
        if not self.sent:
            self._open = False
            await _shielded(lane, lane.windows.release(self._ticket))
            self._budget.queue.changed(lane)
        elif isinstance(exc, RateLimitError):
            await _shielded(lane, self._refused(lane, exc))
        else:
            await self._settle(None)

    async def _settle(self, uncharged: int | None) -> None:
        lane = self._lane
        assert lane is not None
        self._open = False
        lane.failures = 0
        if self._slots is not None:
            self._slots.failures = 0
        if lane.instant is not None and uncharged is None:
            lane.instant.land(self._ticket)
        else:
            await _shielded(lane, lane.windows.settle(self._ticket, uncharged=uncharged))
        if lane.watched and uncharged is None:
            self._look(lane)
        self._budget.queue.changed(lane)

    def _look(self, lane: Lane) -> None:
        """Find out that a project is not on the legacy plan: it was let do more than that."""
        budget = self._budget
        used = lane.windows.peek()[-1].used
        if used > budget.legacy.requests:
            budget.plans.learn(budget.project(self._call), "current")

    async def _refused(self, lane: Lane, error: RateLimitError) -> None:
        """Learn from a 429: which window is full, for how long, and what others take of it."""
        budget, rules = self._budget, lane.windows.rules
        budget.refused += 1
        if not rules or (error.code or "").startswith(_OTHER):
            await self._settle(None)
            return
        usages = await lane.windows.usage()
        suspected = suspects(rules, usages, budget.legacy)
        seconds = bounded(error.retry_after, max(rule.seconds for rule in rules))
        if seconds is None:
            await self._back_off(lane, attribute(*suspected, 0.0))
            return
        index = attribute(*suspected, seconds)
        await self._settle(index)
        watched = rules[index].limit == WATCHED
        if watched:
            budget.plans.learn(budget.project(self._call), "legacy")
            budget.lane(self._call)  # it takes over what was counted
            logger.info("the project is on the legacy plan for queries, it seems")
        await lane.windows.close(index, seconds, learn=not watched)
        logger.info("429: nothing goes for %.0f s through %s", seconds, rules[index].name)
        budget.queue.changed(lane)

    async def _back_off(self, lane: Lane, index: int) -> None:
        """Slow down after a 429 that says nothing of time."""
        learn = self._slots is not None
        if self._slots is not None:
            # All slots of the project are taken: the rate is not to blame.
            lane, index = self._slots, 0
        failures = lane.failures
        await self._settle(None)
        lane.failures = failures + 1
        seconds = backoff(lane.failures, self._budget.ticker.random())
        await lane.windows.close(index, seconds, learn=learn)
        logger.info(
            "429: nothing goes for %.1f s through %s", seconds, lane.windows.rules[index].name
        )
        self._budget.queue.changed(lane)


async def _shielded(lane: Lane, step: Awaitable[None]) -> None:
    """Take a step that must not be cancelled half-way."""
    if lane.instant is not None:
        await step
        return
    with anyio.CancelScope(shield=True):
        await step
