"""Queries of an export on their way to the server: their form, their repeats, their cost."""

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

from asyncposthog.core.executor import Executor
from asyncposthog.errors import DecodeError, PostHogError
from asyncposthog.export.engines.base import Tally
from asyncposthog.export.engines.query_page import UnexpectedResponseError, parse
from asyncposthog.options import parse_options
from asyncposthog.registry.families import query as registry
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.middleware import CallNext
from asyncposthog.transport.retry import OnRetry, RetryDetails
from asyncposthog.types import OMIT, RequestOptions

from .malloc import heap_trimmed

__all__ = ["Asker", "mark_ready_to_send", "with_stats"]

R = TypeVar("R")

_RETRIES: Final = 6
"""Repeats of a query: an export is long, and a hiccup must not end it."""
_CANCEL_SECONDS: Final = 2.0
_LARGE: Final = 1 << 22
"""Bytes of an answer that leaves much behind."""
_WORTH_TELLING: Final = 0.05
"""Seconds from which on the limits made a request wait, rather than the machine."""
_since: ContextVar[tuple[float, int]] = ContextVar("_since", default=(0.0, 0))
"""From when on the request of this task could have been sent, and how many the limits had made
wait until then."""
_MAX_BAD_RESPONSES: Final = 3
"""How often an answer that is none is asked for again."""


class Asker:
    """Sends the queries of one export, and has their answers read in a worker thread."""

    def __init__(
        self, executor: Executor, tally: Tally, *, name: str, options: RequestOptions | None
    ) -> None:
        """Send nothing yet.

        Args:
            executor: What performs the calls.
            tally: Counts them.
            name: What the queries are called in the server's query log.
            options: What to do differently from the client.
        """
        self._executor = with_stats(executor, tally)
        self._tally = tally
        self._name = name[:128]
        chosen = parse_options(options or {}, executor.default_options)
        if "max_retries" not in (options or {}):
            retries = max(chosen.policy.max_retries, _RETRIES)
            chosen = replace(chosen, policy=replace(chosen.policy, max_retries=retries))
        self._options = chosen
        # One at a time: they hold the GIL, and each has a page in memory.
        self._reading = CapacityLimiter(1)

    async def ask(self, sql: str, values: Mapping[str, Any], read: Callable[[object, int], R]) -> R:
        """Run a query and return what `read` makes of its answer: JSON, of so many bytes.

        Raises:
            PostHogError: It failed for good.
        """
        body = {
            "query": {"kind": "HogQLQuery", "query": sql, "values": values},
            "refresh": "force_blocking",
            "name": self._name,
        }
        for attempt in range(_MAX_BAD_RESPONSES + 1):
            answers = [await self._send(body)]
            self._tally.received += len(answers[0])
            try:
                return await run_in_thread(_read, read, answers, limiter=self._reading)
            except UnexpectedResponseError as error:
                if attempt == _MAX_BAD_RESPONSES:
                    raise self.misread(error) from None
                self._tally.retries += 1
        raise AssertionError

    async def work(self, function: Callable[[], R]) -> R:
        """Run a function in the worker thread that reads answers."""
        return await run_in_thread(function, limiter=self._reading)

    async def pause(self, seconds: float) -> None:
        """Wait before something is asked for again."""
        self._tally.waits += 1
        self._tally.waited += seconds
        await self._executor.transport.clock.sleep(seconds)

    async def _send(self, body: Mapping[str, Any]) -> bytes:
        # A function of its own, so that nothing keeps the response while it is read.
        executor, query_id = self._executor, uuid4().hex
        mark_ready_to_send(executor)
        body = {**body, "client_query_id": query_id}
        try:
            response = await executor.perform(registry.CREATE, (), None, None, body, self._options)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CANCEL_SECONDS):
                await self._cancel(query_id)
            raise
        # A response and its stream refer to each other, and would wait for the garbage collector.
        response.stream = httpx.ByteStream(b"")
        return response.content

    async def _cancel(self, query_id: str) -> None:
        """Free the slot of a query that nobody waits for any more."""
        mark_ready_to_send(self._executor)
        with suppress(PostHogError):
            await self._executor.perform(
                registry.CANCEL, (query_id,), None, None, OMIT, self._options
            )

    def misread(self, error: UnexpectedResponseError) -> PostHogError:
        """Return the error for an answer that cannot be read."""
        return DecodeError(
            f"The server did not answer a query with rows: {error}.",
            operation=registry.CREATE.id,
            status=200,
            suggestion="Run the export again; it goes on where it stopped if it has a checkpoint.",
        )


def _read(read: Callable[[object, int], R], answers: list[bytes]) -> R:
    # Tens of megabytes: nothing keeps the bytes once they are parsed.
    size = len(answers[0])
    # What was written meanwhile is free before as much is needed again, and what this leaves after.
    with heap_trimmed() if size >= _LARGE else nullcontext():
        return read(parse(answers.pop()), size)


def _waits(executor: Executor) -> int:
    """Return how many requests the limits have made wait."""
    settings = executor.settings
    budget = executor.transport.rate_limits_for(settings.host, settings.api_key.reveal())
    return 0 if budget is None else budget.view().waits


def mark_ready_to_send(executor: Executor, delay: float = 0.0) -> None:
    """Note that this task could send a request from now on, or from so many seconds on."""
    _since.set((executor.transport.clock.monotonic() + delay, _waits(executor)))


def with_stats(executor: Executor, tally: Tally) -> Executor:
    """Return an executor with the same settings that counts what it sends."""
    before, clock = executor.on_retry, executor.transport.clock

    async def count(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        tally.requests += 1
        since, waits = _since.get()
        waited = clock.monotonic() - since
        if waited >= _WORTH_TELLING and _waits(executor) > waits:
            tally.waits += 1
            tally.waited += waited
        return await call_next(request)

    def told(details: RetryDetails) -> object:
        tally.retries += 1
        tally.waits += 1
        tally.waited += details.delay
        mark_ready_to_send(executor, details.delay)
        return None if before is None else before(details)

    on_retry: OnRetry = told
    return Executor(
        executor.settings,
        executor.transport,
        owners=executor.owners,
        middleware=(count, *executor.middleware),
        on_retry=on_retry,
    )
