"""Send the queries of an export: their form, retries, cancellation and statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final, TypeVar
from uuid import uuid4

import anyio
import httpx
from anyio import CapacityLimiter

from asyncposthog.call import Call, parse_options
from asyncposthog.core.executor import Executor
from asyncposthog.errors import DecodeError, PostHogError
from asyncposthog.export.engines.base import ExportStats
from asyncposthog.export.engines.query_page import UnexpectedResponseError, parse_json
from asyncposthog.registry.families import query as registry
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.middleware import CallNext
from asyncposthog.transport.retry import OnRetry, RetryDetails
from asyncposthog.types import OMIT, RequestOptions

from .malloc import heap_trimmed

__all__ = ["ExportQueryClient", "mark_ready_to_send", "with_stats"]

R = TypeVar("R")

_MIN_RETRIES: Final = 6
"""Retries of a query, at least: one transient error must not end an export of hours."""
_CANCEL_SECONDS: Final = 2.0
"""Seconds for telling the server that a query was cancelled."""
_LARGE_RESPONSE_BYTES: Final = 1 << 22
"""Size of a response after which free memory is returned to the system."""
_MIN_REPORTED_WAIT: Final = 0.05
"""Seconds of a wait from which on it is attributed to the rate limits rather than to a busy
machine."""
_ready_to_send: ContextVar[tuple[float, int]] = ContextVar("_ready_to_send", default=(0.0, 0))
"""When the current task was ready to send its request (monotonic seconds), and how many requests
the rate limits had delayed by then."""
_MAX_BAD_RESPONSES: Final = 3
"""How often a query is repeated after a response that is not one to a query."""


class ExportQueryClient:
    """Client for the queries of one export. It parses responses in a worker thread."""

    def __init__(
        self, executor: Executor, stats: ExportStats, *, name: str, options: RequestOptions | None
    ) -> None:
        """Store the arguments. Nothing is sent yet.

        Args:
            executor: Performs the calls.
            stats: Counts requests, retries and waits.
            name: The name of the queries in the server's query log; longer ones are cut.
            options: Options of the requests, in place of the client's settings.
        """
        self._executor = with_stats(executor, stats)
        self._stats = stats
        self._name = name[:128]
        call_options = parse_options(options or {}, executor.default_options)
        if "max_retries" not in (options or {}):
            retries = max(call_options.policy.max_retries, _MIN_RETRIES)
            call_options = replace(
                call_options, policy=replace(call_options.policy, max_retries=retries)
            )
        self._options = call_options
        # One at a time: parsing holds the GIL, so two threads would not be faster, and each has a
        # page in memory.
        self._decode_limiter = CapacityLimiter(1)

    async def run(self, sql: str, values: Mapping[str, Any], read: Callable[[object, int], R]) -> R:
        """Run a query and return what `read` returns for its response.

        Args:
            sql: The HogQL query.
            values: The values of its placeholders.
            read: Called in a worker thread with the JSON data of the response and its size in
                bytes.

        Raises:
            PostHogError: The query failed after all retries.
        """
        body = {
            "query": {"kind": "HogQLQuery", "query": sql, "values": values},
            "refresh": "force_blocking",
            "name": self._name,
        }
        for attempt in range(_MAX_BAD_RESPONSES + 1):
            bodies = [await self._send(body)]
            self._stats.bytes_received += len(bodies[0])
            try:
                return await run_in_thread(
                    _parse_and_read, read, bodies, limiter=self._decode_limiter
                )
            except UnexpectedResponseError as error:
                if attempt == _MAX_BAD_RESPONSES:
                    raise self.bad_response_error(error) from None
                self._stats.retries += 1
        raise AssertionError

    async def run_in_decode_thread(self, function: Callable[[], R]) -> R:
        """Run a function in a worker thread, never while a response is parsed."""
        return await run_in_thread(function, limiter=self._decode_limiter)

    async def wait(self, seconds: float) -> None:
        """Wait before a query is repeated. It counts as a wait in the statistics."""
        self._stats.waits += 1
        self._stats.waited_seconds += seconds
        await self._executor.transport.clock.sleep(seconds)

    async def _send(self, body: Mapping[str, Any]) -> bytes:
        # In a function of its own, so that no local variable keeps the response while it is parsed.
        executor, query_id = self._executor, uuid4().hex
        mark_ready_to_send(executor)
        # A new id for each attempt: the cancellation of one must not hit its repeat.
        body = {**body, "client_query_id": query_id}
        try:
            response = await executor.perform(
                Call(registry.CREATE, (), None, None, body, self._options)
            )
        except anyio.get_cancelled_exc_class():
            # Otherwise the server runs the query to its end, and it occupies one of the project's
            # slots.
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CANCEL_SECONDS):
                await self._cancel(query_id)
            raise
        # A response and its stream refer to each other: without this, its memory is only freed by
        # the garbage collector.
        response.stream = httpx.ByteStream(b"")
        return response.content

    async def _cancel(self, query_id: str) -> None:
        """Cancel a query on the server, which frees its slot."""
        mark_ready_to_send(self._executor)
        with suppress(PostHogError):
            await self._executor.perform(
                Call(registry.CANCEL, (query_id,), None, None, OMIT, self._options)
            )

    def bad_response_error(self, error: UnexpectedResponseError) -> PostHogError:
        """Return the error for a response that is not one to a query."""
        return DecodeError(
            f"The response to a query has no rows that can be read: {error}.",
            operation=registry.CREATE.id,
            status=200,
            suggestion="Run the export again; with a checkpoint it resumes where it stopped.",
        )


def _parse_and_read(read: Callable[[object, int], R], bodies: list[bytes]) -> R:
    # The list holds the only reference to the body, so that pop() frees it once it is parsed.
    size = len(bodies[0])
    # Before parsing, memory of batches that were written is returned; after it, that of the parser.
    with heap_trimmed() if size >= _LARGE_RESPONSE_BYTES else nullcontext():
        return read(parse_json(bodies.pop()), size)


def _wait_count(executor: Executor) -> int:
    """Return how many requests the rate limits have delayed so far."""
    settings = executor.settings
    limits = executor.transport.rate_limits_for(settings.host, settings.api_key.reveal())
    return 0 if limits is None else limits.status().waits


def mark_ready_to_send(executor: Executor, delay: float = 0.0) -> None:
    """Record that the current task can send a request in `delay` seconds, if no limit delays it."""
    _ready_to_send.set((executor.transport.clock.monotonic() + delay, _wait_count(executor)))


def with_stats(executor: Executor, stats: ExportStats) -> Executor:
    """Return an executor with the same settings that counts its requests, retries and waits."""
    caller_hook, clock = executor.on_retry, executor.transport.clock

    async def count_request(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        stats.requests += 1
        ready_at, waits = _ready_to_send.get()
        # The time alone is no proof of a rate limit: a busy event loop delays a request as well.
        waited_seconds = clock.monotonic() - ready_at
        if waited_seconds >= _MIN_REPORTED_WAIT and _wait_count(executor) > waits:
            stats.waits += 1
            stats.waited_seconds += waited_seconds
        return await call_next(request)

    def count_retry(details: RetryDetails) -> object:
        stats.retries += 1
        stats.waits += 1
        stats.waited_seconds += details.delay
        mark_ready_to_send(executor, details.delay)
        return None if caller_hook is None else caller_hook(details)

    on_retry: OnRetry = count_retry
    return Executor(
        executor.settings,
        executor.transport,
        owners=executor.owners,
        middleware=(count_request, *executor.middleware),
        on_retry=on_retry,
    )
