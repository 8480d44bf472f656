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
    "Course",
    "Failure",
    "GiveUp",
    "OnRetry",
    "Policy",
    "RetryAfter",
    "RetryDecision",
    "RetryDetails",
    "decide",
    "run",
]

T = TypeVar("T")

FailureKind: TypeAlias = Literal["status", "unsent", "broken", "final"]
StopReason: TypeAlias = Literal["final", "exhausted", "too_long", "deadline", "spent"]

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
    undone: bool = False
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
    repeatable: bool,
    query: bool = False,
    attempt: int,
    elapsed: float,
    chance: float,
) -> RetryDecision:
    """Decide whether a failed attempt is followed by another.

    Args:
        policy: The call's patience.
        failure: What went wrong.
        repeatable: Whether doing the call twice has the effect of doing it once.
        query: Whether it runs a query: a 504 then says that the query is too slow.
        attempt: The attempt that failed, counted from 1.
        elapsed: Seconds since the call began.
        chance: A random number from 0 up to 1.
    """
    if not _worth_repeating(failure, repeatable, query or not policy.retry_timeouts):
        return GiveUp("final")
    if failure.timed_out and not policy.retry_timeouts:
        return GiveUp("final")
    if attempt > policy.max_retries:
        return GiveUp("exhausted")
    floor = failure.retry_after or 0.0
    # Full jitter: clients that failed together do not come back together.
    delay = max(floor, chance * min(_CAP, _BASE * 2.0 ** min(attempt - 1, 16)))
    if floor > policy.max_retry_after:
        return GiveUp("too_long", floor)
    if policy.deadline is not None and elapsed + delay >= policy.deadline:
        return GiveUp("deadline", delay)
    return RetryAfter(delay)


def _worth_repeating(failure: Failure, repeatable: bool, query: bool) -> bool:
    if failure.kind == "final":
        return False
    if failure.kind == "unsent":
        return True
    if failure.kind == "broken":
        return repeatable
    if failure.status not in _RETRIED or (query and failure.status == 504):
        return False
    return repeatable or failure.undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the retry loop knows of one call."""

    policy: Policy
    classify: Callable[[PostHogError], Failure]
    repeatable: bool
    """Whether doing the call twice has the effect of doing it once."""
    query: bool
    """Whether it runs a query."""
    clock: Clock
    operation: str
    request: RequestInfo
    on_retry: OnRetry | None
    began: float
    """When the call began, by the clock."""
    budget: RetryBudget | None = None
    """What all calls together may still repeat; None: it is not bounded."""


async def run(attempt: Callable[[int], Awaitable[T]], course: Course, first: PostHogError) -> T:
    """Repeat a call whose first attempt has failed, as long as `decide` says so.

    The first attempt is made outside, without any of this machinery: most calls succeed.

    Args:
        attempt: Makes one attempt, given its number.
        course: The call, and its patience.
        first: How the first attempt failed.

    Raises:
        PostHogError: The last failure, with all attempts in its history.
    """
    log = _RetryState(course)
    if not log.goes_on(first):
        raise first

    from tenacity import RetryCallState  # not before something is to be repeated
    from tenacity.asyncio import AsyncRetrying

    async def step() -> T:
        if log.started:
            return await attempt(len(log.history) + 1)
        log.started = True
        raise first

    def goes_on(state: RetryCallState) -> bool:
        error = state.outcome and state.outcome.exception()
        return error is first or (isinstance(error, PostHogError) and log.goes_on(error))

    def wait(state: RetryCallState) -> float:
        return log.verdict.delay

    async def tell(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, PostHogError):
            await log.tell(error)

    retrying = AsyncRetrying(
        sleep=course.clock.sleep, retry=goes_on, wait=wait, before_sleep=tell, reraise=True
    )
    return await retrying(step)


class _RetryState:
    """The attempts of one call so far."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.history: list[Attempt] = []
        self.verdict: RetryDecision = GiveUp("final")
        self.started = False
        self.ambiguous = False
        """Whether an earlier attempt may have had its effect although it failed."""

    def goes_on(self, error: PostHogError) -> bool:
        """Note a failure, and decide."""
        course = self.course
        elapsed = course.clock.monotonic() - course.began
        number = len(self.history) + 1
        failure = course.classify(error)
        self.verdict = verdict = decide(
            course.policy,
            failure,
            repeatable=course.repeatable,
            query=course.query,
            attempt=number,
            elapsed=elapsed,
            chance=course.clock.random(),
        )
        # A 429 is no outage: the rate limits see to it that it is not asked again too early.
        if isinstance(verdict, RetryAfter) and error.status != 429 and not self._has_budget():
            self.verdict = verdict = GiveUp("spent")
        delay = verdict.delay if isinstance(verdict, RetryAfter) else None
        self.history.append(Attempt(number, _reason(error), error.status, elapsed, delay))
        error.attempts = tuple(self.history)
        if isinstance(verdict, RetryAfter):
            self.ambiguous |= failure.kind != "unsent" and not failure.undone
            return True
        _explain(error, verdict, course.policy)
        if self.ambiguous and error.status in {404, 410} and course.request.method == "DELETE":
            lost = "An earlier attempt, whose answer was lost, may have deleted it."
            error.suggestion = f"{lost} {error.suggestion}" if error.suggestion else lost
        return False

    def _has_budget(self) -> bool:
        budget = self.course.budget
        return budget is None or budget.try_withdraw()

    async def tell(self, error: PostHogError) -> None:
        """Tell the user's hook what is about to be repeated."""
        course = self.course
        if course.on_retry is None:
            return
        last = self.history[-1]
        result = course.on_retry(
            RetryDetails(
                operation=course.operation,
                request=course.request,
                attempt=last.number,
                delay=self.verdict.delay,
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


def _explain(error: PostHogError, stop: GiveUp, policy: Policy) -> None:
    """Say why a failure that is usually repeated was not."""
    if stop.reason == "too_long":
        text = (
            f"The server asks to wait {stop.delay:g} s, longer than max_retry_after "
            f"({policy.max_retry_after:g} s): call again after that."
        )
    elif stop.reason == "deadline":
        text = (
            f"The next attempt would come {stop.delay:.3g} s later, after the deadline of "
            f"{policy.deadline:g} s."
        )
    elif stop.reason == "spent":
        text = (
            "It was not tried again: so many calls fail that repeating them all would only add "
            "to the trouble (retry_budget)."
        )
    else:
        return
    error.suggestion = f"{text} {error.suggestion}" if error.suggestion else text
