"""What is tried again, when, and for how long.

`decide` is the whole policy, and pure. `run` is the only retry loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from asyncposthog.errors import Attempt, PostHogError, RequestInfo

from .clock import Clock
from .retry_budget import RetryBudget

__all__ = [
    "Failure",
    "GiveUp",
    "OnRetry",
    "Policy",
    "RetryAfter",
    "RetryContext",
    "RetryDecision",
    "RetryDetails",
    "decide",
    "retry_call",
]

T = TypeVar("T")

FailureKind: TypeAlias = Literal["status", "not_sent", "connection_lost", "permanent"]
StopReason: TypeAlias = Literal[
    "not_retryable", "retries_exhausted", "retry_after_too_long", "deadline", "budget_exhausted"
]

_BASE: Final = 0.5
_CAP: Final = 8.0
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient one call is."""

    timeout: float | None = 60.0
    deadline: float | None = None
    max_retries: int = 3
    max_retry_after: float = 120.0
    retry_timeouts: bool = True
    """Whether to try again what took too long: an attempt's time was over, or the server said 504.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of a failed attempt."""

    kind: FailureKind
    """`status`: the server answered. `unsent`: it never got the request. `broken`: it may have.
    `final`: trying again cannot help."""
    status: int | None = None
    retry_after: float | None = None
    timed_out: bool = False
    """Whether it took longer than it may, rather than broke."""
    not_executed: bool = False
    """Whether the answer proves that nothing was done: anything may be repeated."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again."""

    reason: StopReason
    delay: float = 0.0
    """The wait that would have been needed, for `too_long` and `deadline`."""


RetryDecision: TypeAlias = RetryAfter | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDetails:
    """What `on_retry` is told before each wait."""

    operation: str
    request: RequestInfo
    attempt: int
    """The attempt that failed, counted from 1."""
    delay: float
    """Seconds until the next one."""
    elapsed: float
    """Seconds since the call began."""
    error: PostHogError


OnRetry: TypeAlias = Callable[[RetryDetails], "Awaitable[object] | object"]


def decide(
    policy: Policy,
    failure: Failure,
    *,
    retry_safe: bool,
    query: bool = False,
    attempt: int,
    elapsed: float,
    jitter: float,
) -> RetryDecision:
    """Decide whether a failed attempt is followed by another.

    Args:
        policy: The call's patience.
        failure: What went wrong.
        retry_safe: Whether doing the call twice has the effect of doing it once.
        query: Whether it runs a query: a 504 then says that the query is too slow.
        attempt: The attempt that failed, counted from 1.
        elapsed: Seconds since the call began.
        jitter: A random number from 0 up to 1.
    """
    if not _worth_repeating(failure, retry_safe, query or not policy.retry_timeouts):
        return GiveUp("not_retryable")
    if failure.timed_out and not policy.retry_timeouts:
        return GiveUp("not_retryable")
    if attempt > policy.max_retries:
        return GiveUp("retries_exhausted")
    floor = failure.retry_after or 0.0
    # Full jitter: clients that failed together do not come back together.
    delay = max(floor, jitter * min(_CAP, _BASE * 2.0 ** min(attempt - 1, 16)))
    if floor > policy.max_retry_after:
        return GiveUp("retry_after_too_long", floor)
    if policy.deadline is not None and elapsed + delay >= policy.deadline:
        return GiveUp("deadline", delay)
    return RetryAfter(delay)


def _worth_repeating(failure: Failure, retry_safe: bool, query: bool) -> bool:
    if failure.kind == "permanent":
        return False
    if failure.kind == "not_sent":
        return True
    if failure.kind == "connection_lost":
        return retry_safe
    if failure.status not in _RETRIED or (query and failure.status == 504):
        return False
    return retry_safe or failure.not_executed


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryContext:
    """What the retry loop knows of one call."""

    policy: Policy
    classify_failure: Callable[[PostHogError], Failure]
    retry_safe: bool
    """Whether doing the call twice has the effect of doing it once."""
    query: bool
    """Whether it runs a query."""
    clock: Clock
    operation: str
    request: RequestInfo
    on_retry: OnRetry | None
    started_at: float
    """When the call began, by the clock."""
    retry_budget: RetryBudget | None = None
    """What all calls together may still repeat; None: it is not bounded."""


async def retry_call(
    attempt: Callable[[int], Awaitable[T]], context: RetryContext, first: PostHogError
) -> T:
    """Repeat a call whose first attempt has failed, as long as `decide` says so.

    The first attempt is made outside, without any of this machinery: most calls succeed.

    Args:
        attempt: Makes one attempt, given its number.
        context: The call, and its patience.
        first: How the first attempt failed.

    Raises:
        PostHogError: The last failure, with all attempts in its history.
    """
    log = _RetryState(context)
    if not log.record_failure(first):
        raise first

    from tenacity import RetryCallState  # not before something is to be repeated
    from tenacity.asyncio import AsyncRetrying

    async def step() -> T:
        if log.started:
            return await attempt(len(log.history) + 1)
        log.started = True
        raise first

    def record_failure(state: RetryCallState) -> bool:
        error = state.outcome and state.outcome.exception()
        return error is first or (isinstance(error, PostHogError) and log.record_failure(error))

    def wait(state: RetryCallState) -> float:
        return log.decision.delay

    async def notify(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, PostHogError):
            await log.notify(error)

    retrying = AsyncRetrying(
        sleep=context.clock.sleep,
        retry=record_failure,
        wait=wait,
        before_sleep=notify,
        reraise=True,
    )
    return await retrying(step)


class _RetryState:
    """The attempts of one call so far."""

    def __init__(self, context: RetryContext) -> None:
        self.context = context
        self.history: list[Attempt] = []
        self.decision: RetryDecision = GiveUp("not_retryable")
        self.started = False
        self.ambiguous = False
        """Whether an earlier attempt may have had its effect although it failed."""

    def record_failure(self, error: PostHogError) -> bool:
        """Note a failure, and decide."""
        context = self.context
        elapsed = context.clock.monotonic() - context.started_at
        number = len(self.history) + 1
        failure = context.classify_failure(error)
        self.decision = decision = decide(
            context.policy,
            failure,
            retry_safe=context.retry_safe,
            query=context.query,
            attempt=number,
            elapsed=elapsed,
            jitter=context.clock.random(),
        )
        # A 429 is no outage: the rate limits see to it that it is not asked again too early.
        if isinstance(decision, RetryAfter) and error.status != 429 and not self._has_budget():
            self.decision = decision = GiveUp("budget_exhausted")
        delay = decision.delay if isinstance(decision, RetryAfter) else None
        self.history.append(Attempt(number, _reason(error), error.status, elapsed, delay))
        error.attempts = tuple(self.history)
        if isinstance(decision, RetryAfter):
            self.ambiguous |= failure.kind != "not_sent" and not failure.not_executed
            return True
        _add_suggestion(error, decision, context.policy)
        if self.ambiguous and error.status in {404, 410} and context.request.method == "DELETE":
            lost = "An earlier attempt, whose answer was lost, may have deleted it."
            error.suggestion = f"{lost} {error.suggestion}" if error.suggestion else lost
        return False

    def _has_budget(self) -> bool:
        retry_budget = self.context.retry_budget
        return retry_budget is None or retry_budget.try_withdraw()

    async def notify(self, error: PostHogError) -> None:
        """Tell the user's hook what is about to be repeated."""
        context = self.context
        if context.on_retry is None:
            return
        last = self.history[-1]
        result = context.on_retry(
            RetryDetails(
                operation=context.operation,
                request=context.request,
                attempt=last.number,
                delay=self.decision.delay,
                elapsed=last.elapsed,
                error=error,
            )
        )
        if inspect.isawaitable(result):
            await result


def _reason(error: PostHogError) -> str:
    if error.status is not None:
        return f"{error.status} {error.code}" if error.code else str(error.status)
    return type(error).__name__


def _add_suggestion(error: PostHogError, stop: GiveUp, policy: Policy) -> None:
    """Say why a failure that is usually repeated was not."""
    if stop.reason == "retry_after_too_long":
        text = (
            f"The server asks to wait {stop.delay:g} s, longer than max_retry_after "
            f"({policy.max_retry_after:g} s): call again after that."
        )
    elif stop.reason == "deadline":
        text = (
            f"The next attempt would come {stop.delay:.3g} s later, after the deadline of "
            f"{policy.deadline:g} s."
        )
    elif stop.reason == "budget_exhausted":
        text = (
            "It was not tried again: so many calls fail that repeating them all would only add "
            "to the trouble (retry_budget)."
        )
    else:
        return
    error.suggestion = f"{text} {error.suggestion}" if error.suggestion else text
