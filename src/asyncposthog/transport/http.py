"""The HTTP layer: one httpx client for a family of clients, attempts, retries, and closing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import inf
from typing import cast

import anyio
import httpx
from anyio.lowlevel import current_token

from asyncposthog.errors import ClosedError, EventLoopError, PostHogError, StatusError
from asyncposthog.operation import Operation
from asyncposthog.redact import mask_target
from asyncposthog.transport.encoding.multipart import encode_multipart
from asyncposthog.transport.encoding.request import PreparedRequest, request_info

from .call import Context, Job, httpx_timeouts, out_of_time, patience, send_with, set_deadline
from .client_pool import ClientPool, HeldStream, Lease, Sharing, close_all, hand_over
from .clock import Clock, SystemClock
from .connection_gate import ConnectionGate
from .errors import classify, redact_response, translate
from .exchange import CUT, UNSENT, Progress, build_request, close, read_bounded, read_error
from .limiter import KeyRateLimits, Limiter, Passage
from .middleware import compose
from .native_cancellation import scoped
from .retry import Course, Policy, run
from .retry_budget import RetryBudget

__all__ = ["Transport"]

logger = logging.getLogger("asyncposthog")


class Transport:
    """Shared by a client and its copies: connections, the limiter, and what is under way."""

    def __init__(
        self,
        *,
        build: Callable[[], httpx.AsyncClient],
        owned: bool = True,
        sharing: Sharing = "fixed",
        max_connections: int | None = None,
        limiter: Callable[[], Limiter] | None = None,
        limiter_owned: bool = True,
        clock: Clock | None = None,
        retry_budget: int | None = None,
    ) -> None:
        """Keep how httpx clients are made; the first one is made by the first call.

        Args:
            build: Returns an httpx client.
            owned: Whether closing this closes that.
            sharing: Whether each call has a client of its own.
            max_connections: Calls that may use a connection at a time; None: no bound.
            limiter: Returns what decides when attempts may go; called for the first request.
            limiter_owned: Whether closing this closes that.
            clock: Time and chance.
            retry_budget: Repeats that all calls may make while none succeeds; None: no bound.
        """
        self._pool = ClientPool(build, sharing, max_connections)
        self._gate = self._pool.gate
        self._owned = owned
        self._make_limiter = limiter
        self._limiter: Limiter | None = None
        self._limiter_owned = limiter_owned
        self.clock = clock or SystemClock()
        self._retry_budget = None if retry_budget is None else RetryBudget(retry_budget, self.clock)
        self._token: object = None
        self._closed = False
        self._cancelled = False
        self._active_calls = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._streams = 0
        self._ended: anyio.Event | None = None

    @property
    def is_closed(self) -> bool:
        """Whether new calls are refused."""
        return self._closed

    def check_open(self) -> None:
        """Refuse a call after closing.

        Raises:
            ClosedError: The client is closed.
        """
        if self._closed:
            raise ClosedError(
                "The client is closed.",
                suggestion="Make the call inside `async with`, or build a new AsyncPostHog.",
            )

    def budget(self, base: str, key: str) -> KeyRateLimits | None:
        """Return the rate limits of a key on a host; None: there are none."""
        if self._limiter is None and self._make_limiter is not None:
            self._limiter = self._make_limiter()
        return None if self._limiter is None else self._limiter.budget(base, key)

    def _check_loop(self) -> None:
        token = current_token()
        if self._token is None:
            self._token = token
        elif token != self._token:
            raise EventLoopError(
                "The client was first used in another event loop, and its connections live there.",
                suggestion="Build one AsyncPostHog for each event loop.",
            )

    async def send(
        self,
        context: Context,
        operation: Operation,
        request: PreparedRequest,
        policy: Policy,
        *,
        repeatable: bool,
        stream: bool = False,
        on_sent: Callable[[], None] | None = None,
        began: float | None = None,
    ) -> httpx.Response:
        """Send a request, repeating it where that is sound, and return the successful answer.

        Args:
            context: The client's side of it.
            operation: What is called.
            request: What to send.
            policy: The call's patience.
            repeatable: Whether doing it twice has the effect of doing it once.
            stream: Whether to leave the body unread. The caller then has to close the answer,
                and to call `finished`.
            on_sent: Told when an attempt goes on the wire.
            began: When the call began, by the clock; None: now.

        Raises:
            PostHogError: Anything that went wrong, after the last attempt.
        """
        self.check_open()
        self._check_loop()
        self._active_calls += 1
        job: Job | None = None
        try:
            if request.multipart is not None:
                request = await self._read_files(request)
            if began is None:
                began = self.clock.monotonic()
            job = Job(context, operation, request, policy, stream, began, on_sent=on_sent)
            if context.budget is not None:
                job.passage = context.budget.passage(operation, request)
                job.passage.patience = policy.max_retry_after
            if job.passage is not None and job.passage.holds:
                response = await self._held(job, job.passage, repeatable)
            else:
                response = await self._send_with_retries(job, repeatable)
            if stream:
                await hand_over(response, job.held)
                self._streams += 1
            return response
        finally:
            self._active_calls -= 1
            self._notify_idle()
            if job is not None and job.held:
                await close_all(job.held)

    async def _held(self, job: Job, passage: Passage, repeatable: bool) -> httpx.Response:
        """Make a call that holds something for as long as it takes."""
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                passage.within = self._remaining(job)
                async with passage.hold():
                    return await self._send_with_retries(job, repeatable)
        finally:
            self._scopes.discard(scope)
        raise self._cancellation_error(job)

    async def _send_with_retries(self, job: Job, repeatable: bool) -> httpx.Response:
        """Make a call: one attempt, and the repeats that follow from it."""
        try:
            return await self._attempt(job, 1)
        except PostHogError as error:
            first = error
        # Outside of the handler: later failures are not consequences of this one.
        return await self._repeat(job, repeatable, first)

    def finished(self) -> None:
        """Note that the answer of a call with `stream` was read, or given up."""
        self._streams -= 1
        self._notify_idle()

    def _notify_idle(self) -> None:
        if self._ended is not None:
            self._ended.set()

    async def aclose(self, *, cancel: bool = False, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Refuse new calls, wait for running ones, and close the connections.

        Args:
            cancel: Cancel running calls (they raise `ClosedError`) rather than wait.
            timeout: Seconds to wait before they are cancelled after all; None waits for ever.
        """
        self._check_loop()
        self._closed = True
        try:
            if not cancel:
                with anyio.move_on_after(timeout):
                    await self._wait_until_idle(streams=True)
            self._cancelled = True
            for scope in tuple(self._scopes):
                scope.cancel()
            # A call that does not heed its cancellation must not keep us for ever.
            with anyio.move_on_after(5.0):
                await self._wait_until_idle(streams=False)
        finally:
            if self._owned:
                with anyio.move_on_after(5.0, shield=True):
                    await self._pool.aclose()
            if self._limiter_owned and self._limiter is not None:
                with anyio.move_on_after(5.0, shield=True):
                    await self._limiter.aclose()

    def abandon(self) -> None:
        """Refuse new calls, after the event loop of the earlier ones, and all it held, has gone."""
        self._closed = self._cancelled = True
        if self._owned:
            self._pool.forget()

    async def _wait_until_idle(self, *, streams: bool) -> None:
        """Wait until no call is under way, nor, if asked for, an answer being read."""
        while self._active_calls or (streams and self._streams):
            if self._ended is None or self._ended.is_set():
                self._ended = anyio.Event()
            await self._ended.wait()

    async def _read_files(self, request: PreparedRequest) -> PreparedRequest:
        assert request.multipart is not None
        content, media = await encode_multipart(request.multipart)
        headers = (*request.headers, ("Content-Type", media))
        return PreparedRequest(request.method, request.target, headers, content)

    async def _repeat(self, job: Job, repeatable: bool, first: PostHogError) -> httpx.Response:
        from asyncposthog.errors.from_response import is_query

        course = Course(
            policy=job.policy,
            classify=lambda error: classify(error, job.progress),
            repeatable=repeatable,
            query=is_query(job.operation),
            clock=self.clock,
            operation=job.operation.id,
            request=request_info(job.request),
            on_retry=job.context.on_retry,
            began=job.began,
            budget=self._retry_budget,
        )
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                return await run(partial(self._attempt, job), course, first)
        finally:
            self._scopes.discard(scope)
        raise self._cancellation_error(job)

    async def _attempt(self, job: Job, number: int) -> httpx.Response:
        """Make one attempt, within its own time and that of the call."""
        job.attempt = number
        job.progress = Progress()
        passage = job.passage
        # Waiting to be admitted takes of the call's time, not of the attempt's; and the limiter
        # knows earlier than a deadline does that it cannot be met.
        bound = self._attempt_timeout(job) if passage is None else inf
        scope = job.scope = anyio.CancelScope(deadline=anyio.current_time() + bound)
        job.queued = None
        self._scopes.add(scope)
        try:
            with scope:
                if passage is None:
                    return await self._perform(job)
                passage.within = self._remaining(job)
                async with passage:
                    scope.deadline = anyio.current_time() + self._attempt_timeout(job)
                    return await self._perform(job)
        except httpx.HTTPError as error:
            failed = self._translated(error, job)
        except PostHogError:
            if job.held:
                # Middleware returned an error in place of an answer it has had.
                await close_all(job.held)
            raise
        else:
            failed = self._cancellation_error(job)
        finally:
            self._scopes.discard(scope)
        if job.held:
            # Middleware failed with an answer in hand: nobody else will close it.
            await close_all(job.held)
        try:
            raise failed
        finally:
            del failed

    def _translated(self, error: httpx.HTTPError, job: Job) -> PostHogError:
        info, context = request_info(job.request), job.context
        return translate(error, context.hosts.app, context.redactor, job.operation.id, info)

    def _remaining(self, job: Job) -> float | None:
        """Return the seconds that are left of the call's own time."""
        deadline = job.policy.deadline
        return deadline and max(0.0, job.began + deadline - self.clock.monotonic())

    def _attempt_timeout(self, job: Job) -> float:
        """Return the seconds an attempt has: its own, or what is left of the call's."""
        bound, left = patience(job), self._remaining(job)
        job.overall = left is not None and (bound is None or left <= bound)
        if left is not None and job.overall:
            return left
        return inf if bound is None else bound

    async def _perform(self, job: Job) -> httpx.Response:
        """Send one attempt through the middleware, and raise what its answer stands for."""
        context = job.context
        if context.middleware:
            request = self._build(job)
            request.read()
            operation = job.operation
            request.extensions["asyncposthog"] = {
                "operation": operation.id,
                "path": operation.path,
                "attempt": job.attempt,
            }
            response = await compose(context.middleware, partial(self._transmit, job))(request)
        else:
            response = await self._transmit(job)
        if response.status_code < 300 or response.status_code == 304:
            if self._retry_budget is not None:
                self._retry_budget.deposit()
            return response
        raise await self._failure(job, response)

    def _build(self, job: Job) -> httpx.Request:
        prepared = job.request
        headers = job.context.headers
        if prepared.headers:
            headers = headers.copy()
            headers.update(prepared.headers)
        return build_request(
            prepared.method,
            job.context.hosts.app + prepared.target,
            headers,
            prepared.content,
            {"timeout": httpx_timeouts(patience(job))},
        )

    async def _transmit(self, job: Job, request: httpx.Request | None = None) -> httpx.Response:
        """Send a request when there is a connection for it.

        Args:
            job: The call.
            request: What middleware has sent on; None: it is still to be built.
        """
        while job.held:
            # Middleware asks for another answer: the call never holds two connections, lest it
            # waits for itself.
            await job.held[-1].supersede()
            job.held.pop()
        # The permit for a connection is taken last. Whoever holds one waits for nothing else, so
        # that no two calls can wait for each other: not for a query slot, the limiter, middleware
        # (which may make calls of its own), or the pause before a repeat. The limiter counts an
        # admitted attempt as in flight from its admission to its answer, and forgets one that was
        # not sent: waiting here after the admission cannot make it send too many.
        if self._gate is not None and not self._gate.try_acquire():
            await self._wait_for_connection(job, self._gate)
        lease = await self._lease(job)
        if lease.guarded:
            return await scoped(partial(self._exchange, job, lease, request))
        return await self._exchange(job, lease, request)

    async def _exchange(
        self, job: Job, lease: Lease, request: httpx.Request | None
    ) -> httpx.Response:
        """Put a request on the wire, and read the answer unless it is to be streamed."""
        context, prepared, passage = job.context, job.request, job.passage
        verbose = logger.isEnabledFor(logging.DEBUG)
        began = self.clock.monotonic() if verbose else 0.0
        usual = request is None and prepared.method == "GET" and not prepared.headers
        response: httpx.Response | None = None
        intact = False
        held: HeldStream | None = None
        try:
            if self._pool.fixed:
                await self._pool.sweep()  # what is to be closed still takes a place
            if request is None:
                request = self._build(job)  # not earlier: a call that is not sent costs little
            if passage is not None:
                passage.sent = True
            if job.on_sent is not None:
                job.on_sent()
            response = await send_with(lease, job, request, usual=usual)
            if passage is not None:
                await passage.answered(response.status_code)
            if response.status_code >= 300:
                response = await read_error(response, context.max_bytes)
            elif not job.stream:
                response = await read_bounded(
                    response, context.max_bytes, job.request, job.operation.id
                )
            else:
                held = HeldStream(cast("httpx.AsyncByteStream", response.stream), lease)
                response.stream = held
                job.held.append(held)
            intact = True
        except BaseException as error:
            if passage is not None and isinstance(error, UNSENT):
                passage.sent = job.progress.sent
            if verbose:
                self._log_attempt(job, request, began, type(error).__name__)
            if response is not None and not response.is_closed:
                with anyio.CancelScope(shield=True):
                    await close(response)
            raise
        finally:
            if held is None or not intact:
                lease.end(intact)
            await self._pool.sweep()
        if verbose:
            self._log_attempt(job, request, began, str(response.status_code))
        return response

    async def _wait_for_connection(self, job: Job, gate: ConnectionGate) -> None:
        """Wait for a permit; the attempt's own time starts when there is one.

        The wait takes of the call's time. Without a deadline it goes on as long as calls are
        answered: it ends when none was for as long as an attempt may take.

        Raises:
            TimeoutError: None was.
        """
        job.queued = gate.waiting
        left, wait = self._remaining(job), patience(job)
        if left == 0:
            job.overall = True
            raise self._cancellation_error(job)
        if left is None:
            job.overall = False
            set_deadline(job, inf)  # until there is a permit
        elif (not job.overall or job.passage is not None) and set_deadline(job, left):
            job.overall = True
        if left is not None and (wait is None or left <= wait):
            wait = None  # the deadline comes first: a second timer would only cost
        if not await gate.acquire(wait):
            job.overall = False
            raise self._cancellation_error(job)
        job.queued = None
        set_deadline(job, self._attempt_timeout(job))

    async def _lease(self, job: Job) -> Lease:
        """Return a client for an attempt that has a permit; without one, give that back."""
        try:
            lease = await self._pool.take(job.context.hosts.app, alone=job.downloads)
        except BaseException:
            if self._gate is not None:
                self._gate.release()
            raise
        if lease.client.is_closed:
            lease.end(intact=True)
            raise ClosedError(
                "The http_client given to AsyncPostHog was closed.",
                suggestion="Keep it open as long as the AsyncPostHog that uses it.",
            )
        return lease

    def _log_attempt(
        self, job: Job, request: httpx.Request | None, began: float, outcome: str
    ) -> None:
        """Write a line about an attempt: no header, no body, and no words of an exception."""
        method, path = job.request.method, job.request.target
        if request is not None:
            method, path = request.method, request.url.raw_path.decode("ascii", "replace")
        logger.debug(
            "%s %s: %s in %.0f ms, attempt %d, %s",
            method,
            job.context.redactor(mask_target(path)),
            outcome,
            (self.clock.monotonic() - began) * 1000,
            job.attempt,
            "no limit" if job.passage is None else job.passage.buckets,
        )

    def accept_encoding(self) -> str:
        """Return the compressions that the httpx client understands."""
        return self._pool.sample.headers.get("Accept-Encoding", "identity")

    async def _failure(self, job: Job, response: httpx.Response) -> StatusError:
        # Most programs meet no error: what explains them is loaded when one comes.
        from asyncposthog.errors.from_response import failure
        from asyncposthog.errors.suggestions import Facts

        context, hosts = job.context, job.context.hosts
        if not response.is_closed:  # a middleware's own
            response = await read_error(response, context.max_bytes)
        facts = Facts(
            app=hosts.app,
            region=hosts.region,
            key_kind=context.key_kind,
            redact=context.redactor,
        )
        error = failure(
            job.operation,
            request_info(job.request),
            response.status_code,
            response.headers,
            response.content,
            facts,
            now=self.clock.time(),
        )
        error.response = redact_response(response, job.request, context.hosts.app, context.redactor)
        if CUT in response.extensions:
            cut = f"Only the first {response.extensions[CUT]:,} bytes of its body were read."
            error.suggestion = f"{cut} {error.suggestion}"
        return error

    def _cancellation_error(self, job: Job) -> PostHogError:
        """Return the exception for an attempt that was cancelled by us, not by its caller."""
        info = request_info(job.request)
        if self._cancelled:
            return ClosedError(
                "The client was closed while the call was running.",
                operation=job.operation.id,
                request=info,
            )
        return out_of_time(job, None if self._gate is None else self._gate.size)
