"""Retries: `decide` is the policy, without side effects; `retry_call` is the only retry loop."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from asyncposthog.call import Policy
from asyncposthog.errors import Attempt, PostHogError, RequestInfo

from .clock import Clock
from .retry_budget import RetryBudget

__all__ = [
    "Failure",
    "GiveUp",
    "OnRetry",
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

_BASE_DELAY: Final = 0.5
_MAX_DELAY: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What the retry policy has to know about a failed attempt."""

    kind: FailureKind
    """`status`: an error response. `not_sent`: the server did not get the request.
    `connection_lost`: it may have got it. `permanent`: a retry cannot help."""
    status: int | None = None
    retry_after: float | None = None
    """Seconds."""
    timed_out: bool = False
    """Whether the attempt was ended by a timeout."""
    not_executed: bool = False
    """Whether the response proves that the server did not execute the request."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Decision: retry after a delay."""

    delay: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Decision: do not retry."""

    reason: StopReason
    delay: float = 0.0
    """Seconds to wait that a retry would need; for `retry_after_too_long` and `deadline`."""


RetryDecision: TypeAlias = RetryAfter | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDetails:
    """The argument of `on_retry`, which is called before each retry wait."""

    operation: str
    """The operation's id, such as `feature_flags.get`."""
    request: RequestInfo
    attempt: int
    """The number of the failed attempt, from 1."""
    delay: float
    """Seconds until the next attempt."""
    elapsed: float
    """Seconds since the call started."""
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
    """Return whether to retry after a failed attempt, and when.

    Args:
        policy: Time limits and number of retries.
        failure: How the attempt failed.
        retry_safe: Whether making the call twice has the same effect as making it once.
        query: Whether the call runs a query. A 504 then means that the query is too slow.
        attempt: The number of the failed attempt, from 1.
        elapsed: Seconds since the call started.
        jitter: A random number, at least 0 and less than 1.
    """
    if not _is_retryable(policy, failure, retry_safe, query or not policy.retry_timeouts):
        return GiveUp("not_retryable")
    if failure.timed_out and not policy.retry_timeouts:
        return GiveUp("not_retryable")
    if attempt > policy.max_retries:
        return GiveUp("retries_exhausted")
    floor = failure.retry_after or 0.0
    # Full jitter: clients that failed at the same time must not retry at the same time. The
    # exponent is limited because 2.0 ** 1024 overflows.
    delay = max(floor, jitter * min(_MAX_DELAY, _BASE_DELAY * 2.0 ** min(attempt - 1, 16)))
    if floor > policy.max_retry_after:
        return GiveUp("retry_after_too_long", floor)
    if policy.deadline is not None and elapsed + delay >= policy.deadline:
        return GiveUp("deadline", delay)
    return RetryAfter(delay)


def _is_retryable(policy: Policy, failure: Failure, retry_safe: bool, query: bool) -> bool:
    if failure.kind == "permanent":
        return False
    if failure.kind == "not_sent":
        return True
    if failure.kind == "connection_lost":
        return retry_safe
    if failure.status not in policy.retry_statuses or (query and failure.status == 504):
        return False
    return retry_safe or failure.not_executed


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryContext:
    """What the retry loop has to know about a call."""

    policy: Policy
    classify_failure: Callable[[PostHogError], Failure]
    retry_safe: bool
    """Whether making the call twice has the same effect as making it once."""
    query: bool
    """Whether the call runs a query."""
    clock: Clock
    operation: str
    request: RequestInfo
    on_retry: OnRetry | None
    started_at: float
    """When the call started, on the clock."""
    retry_budget: RetryBudget | None = None
    """Retries left to all calls of the client together; None: no limit."""


async def retry_call(
    attempt: Callable[[int], Awaitable[T]], context: RetryContext, first_error: PostHogError
) -> T:
    """Retry a call whose first attempt has failed, for as long as the policy permits.

    Args:
        attempt: Makes one attempt; its argument is the number of the attempt.
        context: The call and its policy.
        first_error: The error of the first attempt.

    Raises:
        PostHogError: The error of the last attempt, with all attempts in its history.
    """
    state = _RetryState(context)
    if not state.record_failure(first_error):
        raise first_error

    # The first attempt is made by the caller, and tenacity is imported here: most calls succeed
    # at once, and need not pay for either.
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

    def should_retry(error: BaseException) -> bool:
        return isinstance(error, PostHogError) and state.record_failure(error)

    async def notify(_: RetryCallState) -> None:
        await state.notify()

    await state.notify()
    await context.clock.sleep(state.delay)
    retrying = AsyncRetrying(
        retry=retry_if_exception(should_retry),
        wait=lambda _: state.delay,
        before_sleep=notify,
        sleep=context.clock.sleep,
        reraise=True,
    )

    async def next_attempt() -> T:  # tenacity awaits coroutine functions only
        return await attempt(state.failures + 1)

    return await retrying(next_attempt)


class _RetryState:
    """The failed attempts of one call."""

    def __init__(self, context: RetryContext) -> None:
        self.context = context
        self.delay = 0.0
        """Seconds to wait before the next attempt."""
        self._error: PostHogError | None = None
        self._history: list[Attempt] = []
        self._maybe_executed = False
        """Whether the server may have executed an earlier attempt although it failed."""

    @property
    def failures(self) -> int:
        """The number of failed attempts."""
        return len(self._history)

    def record_failure(self, error: PostHogError) -> bool:
        """Add a failed attempt to the history; return whether to retry."""
        context = self.context
        elapsed = context.clock.monotonic() - context.started_at
        number = len(self._history) + 1
        failure = context.classify_failure(error)
        decision = decide(
            context.policy,
            failure,
            retry_safe=context.retry_safe,
            query=context.query,
            attempt=number,
            elapsed=elapsed,
            jitter=context.clock.random(),
        )
        # The budget limits retries during an outage. A 429 is none: the rate limiter already
        # spaces those retries.
        if isinstance(decision, RetryAfter) and error.status != 429 and not self._has_budget():
            decision = GiveUp("budget_exhausted")
        delay = decision.delay if isinstance(decision, RetryAfter) else None
        self._history.append(Attempt(number, _reason(error), error.status, elapsed, delay))
        error.attempts = tuple(self._history)
        if isinstance(decision, RetryAfter):
            self.delay, self._error = decision.delay, error
            self._maybe_executed |= failure.kind != "not_sent" and not failure.not_executed
            return True
        _add_suggestion(error, decision, context.policy)
        if (
            self._maybe_executed
            and error.status in {404, 410}
            and context.request.method == "DELETE"
        ):
            lost = "An earlier attempt, whose response was lost, may have deleted it."
            error.suggestion = f"{lost} {error.suggestion}" if error.suggestion else lost
        return False

    def _has_budget(self) -> bool:
        budget = self.context.retry_budget
        return budget is None or budget.try_withdraw()

    async def notify(self) -> None:
        """Call the user's `on_retry`."""
        context, error = self.context, self._error
        if context.on_retry is None or error is None:
            return
        last = self._history[-1]
        result = context.on_retry(
            RetryDetails(
                operation=context.operation,
                request=context.request,
                attempt=last.number,
                delay=self.delay,
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
    """Add to an error why it was not retried, if that is not obvious."""
    if stop.reason == "retry_after_too_long":
        text = (
            f"The server asks to wait {stop.delay:g} s, longer than max_retry_after "
            f"({policy.max_retry_after:g} s): call again after that."
        )
    elif stop.reason == "deadline":
        text = (
            f"The next attempt would start {stop.delay:.3g} s later, after the deadline of "
            f"{policy.deadline:g} s."
        )
    elif stop.reason == "budget_exhausted":
        text = "Not retried: the retry budget of the client is exhausted (retry_budget)."
    else:
        return
    error.suggestion = f"{text} {error.suggestion}" if error.suggestion else text
