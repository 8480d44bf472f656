"""How far a query in the background has come."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias, cast
from uuid import uuid4

import anyio
import httpx
from pydantic_core import to_json

from asyncposthog.core.executor import Executor
from asyncposthog.core.raw_response import response_json
from asyncposthog.core.resource import Resource, get_executor
from asyncposthog.errors import (
    DecodeError,
    NotFoundError,
    PostHogError,
    QueryError,
    RequestInfo,
    StatusError,
    TimeoutError,  # noqa: A004
)
from asyncposthog.operation import Operation
from asyncposthog.options import CallOptions, parse_options
from asyncposthog.redact import Redactor
from asyncposthog.registry.families import query as registry
from asyncposthog.transport.exchange import NOT_SENT_ERRORS
from asyncposthog.types import OMIT, RequestOptions

__all__ = [
    "OnProgress",
    "QueryCall",
    "QueryExecution",
    "QueryProgress",
    "expect_object",
    "new_execution",
    "parse_progress",
    "validate_timeout",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryProgress:
    """How far a query in the background has come."""

    query_id: str
    elapsed: float
    """Seconds since it was submitted."""
    started: bool
    """Whether it runs: until then it waits its turn."""
    rows_read: int = 0
    rows_total: int = 0
    """An estimate of how many will be read; 0: there is none yet."""
    bytes_read: int = 0


OnProgress: TypeAlias = Callable[[QueryProgress], "Awaitable[object] | object"]


def parse_progress(query_id: str, status: Mapping[str, Any], elapsed: float) -> QueryProgress:
    """Return what the server says of a job.

    Args:
        query_id: The job.
        status: The server's `query_status`.
        elapsed: Seconds since it was submitted.
    """
    given = status.get("query_progress")
    read: Mapping[str, Any] = (
        cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else dict[str, Any]()
    )
    return QueryProgress(
        query_id=query_id,
        elapsed=elapsed,
        started=bool(status.get("pickup_time") or read.get("rows_read")),
        rows_read=read.get("rows_read") or 0,
        rows_total=read.get("estimated_rows_total") or 0,
        bytes_read=read.get("bytes_read") or 0,
    )


_CANCEL_SECONDS: Final = 5.0
_MIN_POLL_SECONDS: Final = 0.5
_POLL_GROWTH: Final = 1.5
_MAX_POLL_SECONDS: Final = 8.0
"""Polls are charged like queries: a job of ten minutes takes 80 of them."""
_ASYNC_RETRY_STATUSES: Final = frozenset({504, 512})
"""What the server cuts short while we wait, and grants more time in the background."""


@dataclass(frozen=True, slots=True)
class QueryCall:
    """A call that computes: what it calls, and with what."""

    operation: Operation
    path: tuple[Any, ...] = ()
    query: Mapping[str, object] | None = None
    body: object = OMIT
    query_id: str | None = None
    """The id we gave the query."""
    result_field: str = "results"
    """Where its answer has the result."""


class QueryExecution:
    """One query on its way. It is cancelled on the server when its task is cancelled here."""

    def __init__(
        self,
        executor: Executor,
        options: CallOptions,
        make_call: Callable[[str, bool], QueryCall],
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Prepare. Nothing is sent.

        Args:
            executor: What performs calls.
            options: The settings of the call.
            make: Returns the call that computes, given an id for the query and whether to let it
                run in the background.
            timeout: Seconds it may take altogether; None: those of the call's deadline.
            on_progress: Told after every poll.
        """
        deadline = options.policy.deadline if timeout is None else timeout
        self._clock = executor.transport.clock
        self._executor = executor
        self._make_call = make_call
        self._options = options
        self._on_progress = on_progress
        self._started_at = self._clock.monotonic()
        self._deadline = deadline
        self._timeout = timeout
        self._call: QueryCall | None = None
        self._sent = False
        self.query_id: str | None = None
        """The id of the query on the server."""

    async def request(self, call: QueryCall) -> dict[str, Any]:
        """Make a call that computes nothing, within the time of the run."""
        self._call = call
        response = await self._perform(call.operation, call.path, call.query, call.body)
        return expect_object(call.operation, response)

    def is_fresh(self, moment: datetime | None, seconds: float | None) -> bool:
        """Tell whether a moment is not longer ago than that; None: anything is fresh enough."""
        if seconds is None:
            return True
        return moment is not None and self._clock.time() - moment.timestamp() <= seconds

    async def run(self, mode: str) -> Any:
        """Return the answer of the call that computes, as JSON data.

        What ran in the background is given as if it had been waited for.

        Args:
            mode: `blocking`, `async`, or `auto`: first the one, then the other if it helps.
        """
        try:
            if mode == "async":
                return await self._run_in_background()
            if mode == "blocking":
                self._extend_timeout()
            try:
                return await self._run_blocking()
            except PostHogError as error:
                if mode == "blocking" or not _should_run_async(error):
                    raise
                too_slow = error
            if isinstance(too_slow, TimeoutError):
                await self._cancel()  # it may be running still, in one of three slots
            return await self._run_in_background()
        except PostHogError as error:
            if isinstance(error, TimeoutError):
                await self._cancel()
            raise
        except GeneratorExit:  # nothing may be awaited any more
            raise
        except BaseException:
            await self._cancel()
            raise

    def _extend_timeout(self) -> None:
        """Let an attempt take as long as the caller waits: there will be no other."""
        policy = self._options.policy
        if self._timeout is not None and policy.timeout is not None:
            policy = replace(policy, timeout=max(policy.timeout, self._timeout))
            self._options = replace(self._options, policy=policy)

    async def _run_blocking(self) -> Any:
        """Ask, and wait for the answer in the same call."""
        answer = await self._submit(in_background=False)
        return await self._wait_for_result(answer)

    async def _run_in_background(self) -> Any:
        """Let the server run it, and ask until it has; twice if the job got lost."""
        try:
            return await self._wait_for_result(await self._submit(in_background=True))
        except NotFoundError as error:
            # A 404 of the first call is about something else.
            if error.operation != registry.GET.id:
                raise
        try:
            return await self._wait_for_result(await self._submit(in_background=True))
        except NotFoundError as error:
            if error.operation != registry.GET.id:
                raise
            lost = error
        raise self._lost_result_error(lost)

    def _lost_result_error(self, error: NotFoundError) -> QueryError:
        return QueryError(
            "The query was run twice in the background, and its result was gone both times.",
            status=error.status,
            detail=error.detail,
            operation=error.operation,
            request=error.request,
            response=error.response,
            suggestion="PostHog keeps results for 20 minutes, and may be under load: try later.",
        )

    async def _submit(self, *, in_background: bool) -> Any:
        query_id = uuid4().hex
        call = self._make_call(query_id, in_background)
        self._call, self._sent, self.query_id = call, False, call.query_id
        response = await self._perform(
            call.operation, call.path, call.query, call.body, on_sent=self._on_sent
        )
        return expect_object(call.operation, response)

    def _on_sent(self) -> None:
        self._sent = True

    async def _wait_for_result(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return an answer with results, once there are some."""
        status = answer.get("query_status")
        if not isinstance(status, dict):
            self._sent = False
            return self._raise_if_failed(answer)
        known = cast("dict[str, Any]", status)
        self.query_id = _nonempty_str(known.get("id")) or self.query_id
        started_at = self._clock.monotonic()
        delay = _MIN_POLL_SECONDS
        await self._report_progress(known, started_at)
        if known.get("complete") and not known.get("error") and self._has_result(answer):
            self._sent = False
            return answer
        while not known.get("complete"):
            await self._sleep(delay)
            delay = min(delay * _POLL_GROWTH, _MAX_POLL_SECONDS)
            known = await self._poll()
            await self._report_progress(known, started_at)
        if known.get("error"):
            raise self._query_error(known)
        if not isinstance(known.get("results"), dict):
            # An answer that says complete need not hold the result.
            known = await self._poll()
        self._sent = False
        found = known.get("results")
        if known.get("error") or not isinstance(found, dict):
            raise self._query_error(known)
        return self._raise_if_failed(
            {**answer, **cast("dict[str, Any]", found), "query_status": None}
        )

    def _has_result(self, answer: dict[str, Any]) -> bool:
        return self._call is not None and answer.get(self._call.result_field) is not None

    async def _poll(self) -> dict[str, Any]:
        # To know how far a query has come, the server asks its database.
        query = {"show_progress": True} if self._on_progress is not None else None
        response = await self._perform(registry.GET, (self.query_id or "",), query, OMIT)
        status = expect_object(registry.GET, response).get("query_status")
        if not isinstance(status, dict):
            raise DecodeError(
                "The answer about the query's status holds none.",
                operation=registry.GET.id,
                status=response.status_code,
            )
        return cast("dict[str, Any]", status)

    async def _report_progress(self, status: dict[str, Any], started_at: float) -> None:
        if self._on_progress is None:
            return
        elapsed = self._clock.monotonic() - started_at
        told = self._on_progress(parse_progress(self.query_id or "", status, elapsed))
        if inspect.isawaitable(told):
            await told

    async def _sleep(self, seconds: float) -> None:
        # Programs that began together do not poll together.
        seconds *= 0.75 + 0.5 * self._clock.random()
        remaining = self._remaining()
        await self._clock.sleep(seconds if remaining is None else min(seconds, remaining))

    def _remaining(self) -> float | None:
        """Return the seconds that are left.

        Raises:
            TimeoutError: None are.
        """
        if self._deadline is None:
            return None
        remaining = self._started_at + self._deadline - self._clock.monotonic()
        if remaining > 0:
            return remaining
        error = TimeoutError(
            f"The query took longer than {self._deadline:g} s.",
            operation=self._call.operation.id if self._call else None,
            suggestion="Give it more time (timeout=…), or ask for less: a shorter time range.",
        )
        error.deadline_exceeded = True
        raise error

    async def _perform(
        self,
        operation: Operation,
        path: tuple[Any, ...],
        query: Mapping[str, object] | None,
        body: object,
        on_sent: Callable[[], None] | None = None,
    ) -> httpx.Response:
        call = self._call
        assert call is not None
        policy = replace(
            self._options.policy, deadline=self._remaining(), retry_timeouts=on_sent is None
        )
        options = replace(self._options, policy=policy)
        if on_sent is None:  # what the caller adds is for the query, not for questions about it
            options = replace(options, query=None, body=None)
        return await self._executor.perform(
            operation,
            path,
            query,
            None,
            body,
            options,
            on_behalf_of=call.operation,
            on_sent=on_sent,
        )

    async def _cancel(self) -> None:
        """Cancel the query on the server, if it may be running. Takes five seconds at most."""
        query_id, call = self.query_id, self._call
        if not self._sent or query_id is None or call is None:
            return
        self._sent = False
        policy = replace(
            self._options.policy, timeout=_CANCEL_SECONDS, deadline=_CANCEL_SECONDS, max_retries=0
        )
        options = replace(self._options, policy=policy, query=None, body=None)
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
            # The query ends by itself soon, and what ends ours must not be covered up.
            with suppress(Exception):
                await self._executor.perform(
                    registry.CANCEL,
                    (query_id,),
                    None,
                    None,
                    OMIT,
                    options,
                    on_behalf_of=call.operation,
                )

    def _raise_if_failed(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return an answer unless it says that the query failed."""
        message = answer.get("error")
        if message and not answer.get("results"):
            raise self._query_error({"error_message": message})
        return answer

    def _query_error(self, status: dict[str, Any]) -> StatusError:
        """Return the exception for a query that failed in an answer that did not."""
        # Most queries do not fail.
        from asyncposthog.errors.from_response import error_from_response
        from asyncposthog.errors.suggestions import ErrorContext

        settings = self._executor.settings
        content = to_json(
            {"query_status": {"error_message": _nonempty_str(status.get("error_message"))}}
        )
        return error_from_response(
            registry.GET,
            RequestInfo("GET", registry.GET.path.replace("{id}", self.query_id or "")),
            400,
            {"Content-Type": "application/json"},
            content,
            ErrorContext(app=settings.host, redact=Redactor([settings.api_key.reveal()])),
        )


def new_execution(
    service: Resource,
    make_call: Callable[[str, bool], QueryCall],
    timeout: float | None,
    on_progress: OnProgress | None,
    options: RequestOptions | None,
) -> QueryExecution:
    """Return a run with the settings of a resource's client, and those of one call."""
    executor = get_executor(service)
    chosen = (
        executor.default_options
        if options is None
        else parse_options(options, executor.default_options)
    )
    return QueryExecution(executor, chosen, make_call, timeout=timeout, on_progress=on_progress)


def validate_timeout(timeout: object) -> float | None:
    """Check the seconds that a query may take.

    Raises:
        TypeError: It is no number.
        ValueError: It is not more than 0.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout:g}")
    return timeout


def expect_object(operation: Operation, response: httpx.Response) -> dict[str, Any]:
    """Return an answer that is a JSON object.

    Raises:
        DecodeError: It is none.
    """
    answer = response_json(operation, response)
    if not isinstance(answer, dict):
        raise DecodeError(
            f"The answer is a {type(answer).__name__}, no JSON object.",
            operation=operation.id,
            status=response.status_code,
        )
    return cast("dict[str, Any]", answer)


def _nonempty_str(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _should_run_async(error: PostHogError) -> bool:
    """Tell whether the background may succeed where waiting did not."""
    if isinstance(error, TimeoutError):
        return not error.deadline_exceeded and not isinstance(error.__cause__, NOT_SENT_ERRORS)
    return error.status in _ASYNC_RETRY_STATUSES
