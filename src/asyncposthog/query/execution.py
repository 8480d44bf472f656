"""Execution of a query: blocking, or as a background job with polling and progress."""

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

from asyncposthog.call import Call, CallOptions, parse_options
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
    """The progress of a query that runs in the background."""

    query_id: str
    """The id of the query on the server."""
    elapsed: float
    """Seconds since it was submitted."""
    started: bool
    """Whether it has started; False while it is queued."""
    rows_read: int = 0
    """Rows read so far."""
    rows_total: int = 0
    """An estimate of the rows to read; 0 if there is none yet."""
    bytes_read: int = 0
    """Bytes read so far."""


OnProgress: TypeAlias = Callable[[QueryProgress], "Awaitable[object] | object"]


def parse_progress(query_id: str, status: Mapping[str, Any], elapsed: float) -> QueryProgress:
    """Return the progress of a background query.

    Args:
        query_id: The id of the query.
        status: The `query_status` of the response.
        elapsed: Seconds since the query was submitted.
    """
    value = status.get("query_progress")
    progress: Mapping[str, Any] = (
        cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else dict[str, Any]()
    )
    return QueryProgress(
        query_id=query_id,
        elapsed=elapsed,
        started=bool(status.get("pickup_time") or progress.get("rows_read")),
        rows_read=progress.get("rows_read") or 0,
        rows_total=progress.get("estimated_rows_total") or 0,
        bytes_read=progress.get("bytes_read") or 0,
    )


_CANCEL_SECONDS: Final = 5.0
_MIN_POLL_SECONDS: Final = 0.5
_POLL_GROWTH: Final = 1.5
_MAX_POLL_SECONDS: Final = 8.0
"""Polls count against the same rate limits as queries: ten minutes take about 80 of them."""
_ASYNC_RETRY_STATUSES: Final = frozenset({504, 512})
"""Statuses of queries that exceeded a limit which is higher for background queries."""


@dataclass(frozen=True, slots=True)
class QueryCall:
    """An API call that runs a query."""

    operation: Operation
    path: tuple[Any, ...] = ()
    query: Mapping[str, object] | None = None
    body: object = OMIT
    query_id: str | None = None
    """The id that the client gave the query."""
    result_field: str = "results"
    """The field of the response that holds the result."""


class QueryExecution:
    """One execution of a query. Cancelling its task cancels the query on the server."""

    def __init__(
        self,
        executor: Executor,
        options: CallOptions,
        make_call: Callable[[str, bool], QueryCall],
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Prepare an execution. Nothing is sent.

        Args:
            executor: The executor of the client.
            options: The options of the call.
            make_call: Returns the API call, given an id for the query and whether to run it in the
                background.
            timeout: Seconds for the whole execution; None: the deadline of the call.
            on_progress: Called after every poll.
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
        """Make an API call that runs no query, and return the JSON object of its response."""
        self._call = call
        response = await self._perform(call.operation, call.path, call.query, call.body)
        return expect_object(call.operation, response)

    def is_fresh(self, computed_at: datetime | None, max_age: float | None) -> bool:
        """Return whether a result is young enough.

        Args:
            computed_at: When it was computed; None: unknown, which is never fresh.
            max_age: The maximum age in seconds; None: any.
        """
        if max_age is None:
            return True
        return computed_at is not None and self._clock.time() - computed_at.timestamp() <= max_age

    async def run(self, mode: str) -> Any:
        """Run the query, and return the response as JSON data.

        The response of a background query has the form of a blocking one.

        Args:
            mode: `blocking`, `async`, or `auto`: blocking, then async if that may help.

        Raises:
            QueryError: The query failed.
            PostHogError: A call failed.
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
                blocking_error = error
            if isinstance(blocking_error, TimeoutError):
                # It may still be running, and hold one of the three query slots.
                await self._cancel()
            return await self._run_in_background()
        except PostHogError as error:
            if isinstance(error, TimeoutError):
                await self._cancel()
            raise
        except GeneratorExit:  # Nothing can be awaited any more.
            raise
        except BaseException:
            await self._cancel()
            raise

    def _extend_timeout(self) -> None:
        """Let an attempt take as long as the whole execution."""
        # A blocking query is not repeated after a timeout: a second run would take as long.
        policy = self._options.policy
        if self._timeout is not None and policy.timeout is not None:
            policy = replace(policy, timeout=max(policy.timeout, self._timeout))
            self._options = replace(self._options, policy=policy)

    async def _run_blocking(self) -> Any:
        """Run the query within one API call."""
        data = await self._submit(in_background=False)
        return await self._wait_for_result(data)

    async def _run_in_background(self) -> Any:
        """Submit the query, and poll until it is complete; submit it again if it is lost."""
        try:
            return await self._wait_for_result(await self._submit(in_background=True))
        except NotFoundError as error:
            # Only a 404 of the status means that PostHog has dropped the query or its result; one
            # of the submission is about something else, such as the project.
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
            "The query ran twice in the background, and its result was lost both times.",
            status=error.status,
            detail=error.detail,
            operation=error.operation,
            request=error.request,
            response=error.response,
            suggestion="PostHog keeps results for 20 minutes, and may be overloaded: retry later.",
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

    async def _wait_for_result(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return a response with results, polling until the query is complete."""
        status = data.get("query_status")
        if not isinstance(status, dict):
            self._sent = False
            return self._raise_if_failed(data)
        status = cast("dict[str, Any]", status)
        self.query_id = _nonempty_str(status.get("id")) or self.query_id
        started_at = self._clock.monotonic()
        delay = _MIN_POLL_SECONDS
        await self._report_progress(status, started_at)
        # A result may be the stale one from the cache, sent along with the status of the query that
        # recomputes it: it counts only if that query is complete.
        if status.get("complete") and not status.get("error") and self._has_result(data):
            self._sent = False
            return data
        while not status.get("complete"):
            await self._sleep(delay)
            delay = min(delay * _POLL_GROWTH, _MAX_POLL_SECONDS)
            status = await self._poll()
            await self._report_progress(status, started_at)
        if status.get("error"):
            raise self._query_error(status)
        if not isinstance(status.get("results"), dict):
            # The response of the submission may say `complete` without the result.
            status = await self._poll()
        self._sent = False
        results = status.get("results")
        if status.get("error") or not isinstance(results, dict):
            raise self._query_error(status)
        return self._raise_if_failed(
            {**data, **cast("dict[str, Any]", results), "query_status": None}
        )

    def _has_result(self, data: dict[str, Any]) -> bool:
        return self._call is not None and data.get(self._call.result_field) is not None

    async def _poll(self) -> dict[str, Any]:
        # Only on demand: the server queries ClickHouse for the progress.
        query = {"show_progress": True} if self._on_progress is not None else None
        response = await self._perform(registry.GET, (self.query_id or "",), query, OMIT)
        status = expect_object(registry.GET, response).get("query_status")
        if not isinstance(status, dict):
            raise DecodeError(
                "The response has no `query_status`.",
                operation=registry.GET.id,
                status=response.status_code,
            )
        return cast("dict[str, Any]", status)

    async def _report_progress(self, status: dict[str, Any], started_at: float) -> None:
        if self._on_progress is None:
            return
        elapsed = self._clock.monotonic() - started_at
        result = self._on_progress(parse_progress(self.query_id or "", status, elapsed))
        if inspect.isawaitable(result):
            await result

    async def _sleep(self, seconds: float) -> None:
        # Jitter, so that programs that started together do not poll at the same time.
        seconds *= 0.75 + 0.5 * self._clock.random()
        remaining = self._remaining()
        await self._clock.sleep(seconds if remaining is None else min(seconds, remaining))

    def _remaining(self) -> float | None:
        """Return the seconds left for the execution; None if it is not limited.

        Raises:
            TimeoutError: No time is left.
        """
        if self._deadline is None:
            return None
        remaining = self._started_at + self._deadline - self._clock.monotonic()
        if remaining > 0:
            return remaining
        error = TimeoutError(
            f"The query took longer than {self._deadline:g} s.",
            operation=self._call.operation.id if self._call else None,
            suggestion="Give it more time (timeout=…), or query a shorter time range.",
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
        if on_sent is None:
            # What the caller adds to query string and body is for the query, not for its status.
            options = replace(options, query=None, body=None)
        return await self._executor.perform(
            Call(operation, path, query, None, body, options),
            on_behalf_of=call.operation,
            on_sent=on_sent,
        )

    async def _cancel(self) -> None:
        """Cancel the query on the server if it may be running. Take at most five seconds."""
        query_id, call = self.query_id, self._call
        if not self._sent or query_id is None or call is None:
            return
        self._sent = False
        policy = replace(
            self._options.policy, timeout=_CANCEL_SECONDS, deadline=_CANCEL_SECONDS, max_retries=0
        )
        options = replace(self._options, policy=policy, query=None, body=None)
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
            # An error here must not replace the exception that ended the execution; and without
            # the cancellation, the query ends by itself soon.
            with suppress(Exception):
                await self._executor.perform(
                    Call(registry.CANCEL, (query_id,), None, None, OMIT, options),
                    on_behalf_of=call.operation,
                )

    def _raise_if_failed(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return a response, or raise if it says that the query failed."""
        message = data.get("error")
        if message and not data.get("results"):
            raise self._query_error({"error_message": message})
        return data

    def _query_error(self, status: dict[str, Any]) -> StatusError:
        """Return the exception for a failed query whose response has the status 200."""
        # Imported here: most queries do not fail.
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
    """Return an execution with the options of a resource's client and those of one call."""
    executor = get_executor(service)
    chosen = (
        executor.default_options
        if options is None
        else parse_options(options, executor.default_options)
    )
    return QueryExecution(executor, chosen, make_call, timeout=timeout, on_progress=on_progress)


def validate_timeout(timeout: object) -> float | None:
    """Return a valid timeout of a query, in seconds.

    Raises:
        TypeError: It is not a number.
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
    """Return the JSON object of a response.

    Raises:
        DecodeError: The response is not a JSON object.
    """
    data = response_json(operation, response)
    if not isinstance(data, dict):
        raise DecodeError(
            f"The response is a {type(data).__name__}, not a JSON object.",
            operation=operation.id,
            status=response.status_code,
        )
    return cast("dict[str, Any]", data)


def _nonempty_str(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _should_run_async(error: PostHogError) -> bool:
    """Return whether a query that failed while blocking may succeed in the background."""
    if isinstance(error, TimeoutError):
        return not error.deadline_exceeded and not isinstance(error.__cause__, NOT_SENT_ERRORS)
    return error.status in _ASYNC_RETRY_STATUSES
