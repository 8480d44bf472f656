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

from .call import (
    ClientContext,
    InFlightCall,
    attempt_timeout,
    httpx_timeouts,
    send_on_lease,
    set_deadline,
    timeout_error,
)
from .client_pool import ClientPool, Lease, LeasedStream, Sharing, close_all, hand_to_caller
from .clock import Clock, SystemClock
from .connection_gate import ConnectionGate
from .errors import classify_failure, from_httpx_error, redact_response
from .exchange import (
    NOT_SENT_ERRORS,
    TRUNCATED,
    Progress,
    build_request,
    close,
    read_bounded,
    read_error,
)
from .limiter import Admission, KeyRateLimits, Limiter
from .middleware import compose
from .native_cancellation import shield_from_native_cancellation
from .retry import Policy, RetryContext, retry_call
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
        self._event_loop_token: object = None
        self._closed = False
        self._cancelled = False
        self._active_calls = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._streams = 0
        self._idle_event: anyio.Event | None = None

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

    def rate_limits_for(self, base: str, key: str) -> KeyRateLimits | None:
        """Return the rate limits of a key on a host; None: there are none."""
        if self._limiter is None and self._make_limiter is not None:
            self._limiter = self._make_limiter()
        return None if self._limiter is None else self._limiter.for_key(base, key)

    def _check_loop(self) -> None:
        token = current_token()
        if self._event_loop_token is None:
            self._event_loop_token = token
        elif token != self._event_loop_token:
            raise EventLoopError(
                "The client was first used in another event loop, and its connections live there.",
                suggestion="Build one AsyncPostHog for each event loop.",
            )

    async def send(
        self,
        context: ClientContext,
        operation: Operation,
        request: PreparedRequest,
        policy: Policy,
        *,
        retry_safe: bool,
        stream: bool = False,
        on_sent: Callable[[], None] | None = None,
        started_at: float | None = None,
    ) -> httpx.Response:
        """Send a request, repeating it where that is sound, and return the successful answer.

        Args:
            context: The client's side of it.
            operation: What is called.
            request: What to send.
            policy: The call's patience.
            retry_safe: Whether doing it twice has the effect of doing it once.
            stream: Whether to leave the body unread. The caller then has to close the answer,
                and to call `finished`.
            on_sent: Told when an attempt goes on the wire.
            started_at: When the call began, by the clock; None: now.

        Raises:
            PostHogError: Anything that went wrong, after the last attempt.
        """
        self.check_open()
        self._check_loop()
        self._active_calls += 1
        call: InFlightCall | None = None
        try:
            if request.multipart is not None:
                request = await self._read_files(request)
            if started_at is None:
                started_at = self.clock.monotonic()
            call = InFlightCall(
                context, operation, request, policy, stream, started_at, on_sent=on_sent
            )
            if context.rate_limits is not None:
                call.admission = context.rate_limits.admission(operation, request)
                call.admission.max_block_seconds = policy.max_retry_after
            if call.admission is not None and call.admission.needs_query_slot:
                response = await self._send_in_query_slot(call, call.admission, retry_safe)
            else:
                response = await self._send_with_retries(call, retry_safe)
            if stream:
                await hand_to_caller(response, call.open_streams)
                self._streams += 1
            return response
        finally:
            self._active_calls -= 1
            self._notify_idle()
            if call is not None and call.open_streams:
                await close_all(call.open_streams)

    async def _send_in_query_slot(
        self, call: InFlightCall, admission: Admission, retry_safe: bool
    ) -> httpx.Response:
        """Make a call that holds something for as long as it takes."""
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                admission.timeout = self._remaining(call)
                async with admission.query_slot():
                    return await self._send_with_retries(call, retry_safe)
        finally:
            self._scopes.discard(scope)
        raise self._cancellation_error(call)

    async def _send_with_retries(self, call: InFlightCall, retry_safe: bool) -> httpx.Response:
        """Make a call: one attempt, and the repeats that follow from it."""
        try:
            return await self._attempt(call, 1)
        except PostHogError as error:
            first = error
        # Outside of the handler: later failures are not consequences of this one.
        return await self._retry(call, retry_safe, first)

    def release_stream(self) -> None:
        """Note that the answer of a call with `stream` was read, or given up."""
        self._streams -= 1
        self._notify_idle()

    def _notify_idle(self) -> None:
        if self._idle_event is not None:
            self._idle_event.set()

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

    def discard(self) -> None:
        """Refuse new calls, after the event loop of the earlier ones, and all it held, has gone."""
        self._closed = self._cancelled = True
        if self._owned:
            self._pool.discard()

    async def _wait_until_idle(self, *, streams: bool) -> None:
        """Wait until no call is under way, nor, if asked for, an answer being read."""
        while self._active_calls or (streams and self._streams):
            if self._idle_event is None or self._idle_event.is_set():
                self._idle_event = anyio.Event()
            await self._idle_event.wait()

    async def _read_files(self, request: PreparedRequest) -> PreparedRequest:
        assert request.multipart is not None
        content, media = await encode_multipart(request.multipart)
        headers = (*request.headers, ("Content-Type", media))
        return PreparedRequest(request.method, request.target, headers, content)

    async def _retry(
        self, call: InFlightCall, retry_safe: bool, first: PostHogError
    ) -> httpx.Response:
        from asyncposthog.errors.from_response import is_query

        context = RetryContext(
            policy=call.policy,
            classify_failure=lambda error: classify_failure(error, call.progress),
            retry_safe=retry_safe,
            query=is_query(call.operation),
            clock=self.clock,
            operation=call.operation.id,
            request=request_info(call.request),
            on_retry=call.context.on_retry,
            started_at=call.started_at,
            retry_budget=self._retry_budget,
        )
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                return await retry_call(partial(self._attempt, call), context, first)
        finally:
            self._scopes.discard(scope)
        raise self._cancellation_error(call)

    async def _attempt(self, call: InFlightCall, number: int) -> httpx.Response:
        """Make one attempt, within its own time and that of the call."""
        call.attempt = number
        call.progress = Progress()
        admission = call.admission
        # Waiting to be admitted takes of the call's time, not of the attempt's; and the limiter
        # knows earlier than a deadline does that it cannot be met.
        bound = self._attempt_timeout(call) if admission is None else inf
        scope = call.scope = anyio.CancelScope(deadline=anyio.current_time() + bound)
        call.queue_position = None
        self._scopes.add(scope)
        try:
            with scope:
                if admission is None:
                    return await self._perform(call)
                admission.timeout = self._remaining(call)
                async with admission:
                    scope.deadline = anyio.current_time() + self._attempt_timeout(call)
                    return await self._perform(call)
        except httpx.HTTPError as error:
            error_to_raise = self._translate_error(error, call)
        except PostHogError:
            if call.open_streams:
                # Middleware returned an error in place of an answer it has had.
                await close_all(call.open_streams)
            raise
        else:
            error_to_raise = self._cancellation_error(call)
        finally:
            self._scopes.discard(scope)
        if call.open_streams:
            # Middleware failed with an answer in hand: nobody else will close it.
            await close_all(call.open_streams)
        try:
            raise error_to_raise
        finally:
            del error_to_raise

    def _translate_error(self, error: httpx.HTTPError, call: InFlightCall) -> PostHogError:
        info, context = request_info(call.request), call.context
        return from_httpx_error(error, context.hosts.app, context.redactor, call.operation.id, info)

    def _remaining(self, call: InFlightCall) -> float | None:
        """Return the seconds that are left of the call's own time."""
        deadline = call.policy.deadline
        return deadline and max(0.0, call.started_at + deadline - self.clock.monotonic())

    def _attempt_timeout(self, call: InFlightCall) -> float:
        """Return the seconds an attempt has: its own, or what is left of the call's."""
        bound, left = attempt_timeout(call), self._remaining(call)
        call.deadline_first = left is not None and (bound is None or left <= bound)
        if left is not None and call.deadline_first:
            return left
        return inf if bound is None else bound

    async def _perform(self, call: InFlightCall) -> httpx.Response:
        """Send one attempt through the middleware, and raise what its answer stands for."""
        context = call.context
        if context.middleware:
            request = self._build(call)
            request.read()
            operation = call.operation
            request.extensions["asyncposthog"] = {
                "operation": operation.id,
                "path": operation.path,
                "attempt": call.attempt,
            }
            response = await compose(context.middleware, partial(self._transmit, call))(request)
        else:
            response = await self._transmit(call)
        if response.status_code < 300 or response.status_code == 304:
            if self._retry_budget is not None:
                self._retry_budget.deposit()
            return response
        raise await self._status_error(call, response)

    def _build(self, call: InFlightCall) -> httpx.Request:
        prepared = call.request
        headers = call.context.headers
        if prepared.headers:
            headers = headers.copy()
            headers.update(prepared.headers)
        return build_request(
            prepared.method,
            call.context.hosts.app + prepared.target,
            headers,
            prepared.content,
            {"timeout": httpx_timeouts(attempt_timeout(call))},
        )

    async def _transmit(
        self, call: InFlightCall, request: httpx.Request | None = None
    ) -> httpx.Response:
        """Send a request when there is a connection for it.

        Args:
            call: The call.
            request: What middleware has sent on; None: it is still to be built.
        """
        while call.open_streams:
            # Middleware asks for another answer: the call never holds two connections, lest it
            # waits for itself.
            await call.open_streams[-1].close_for_replacement()
            call.open_streams.pop()
        # The permit for a connection is taken last. Whoever holds one waits for nothing else, so
        # that no two calls can wait for each other: not for a query slot, the limiter, middleware
        # (which may make calls of its own), or the pause before a repeat. The limiter counts an
        # admitted attempt as in flight from its admission to its answer, and forgets one that was
        # not sent: waiting here after the admission cannot make it send too many.
        if self._gate is not None and not self._gate.try_acquire():
            await self._wait_for_connection(call, self._gate)
        lease = await self._lease(call)
        if lease.guarded:
            return await shield_from_native_cancellation(
                partial(self._exchange, call, lease, request)
            )
        return await self._exchange(call, lease, request)

    async def _exchange(
        self, call: InFlightCall, lease: Lease, request: httpx.Request | None
    ) -> httpx.Response:
        """Put a request on the wire, and read the answer unless it is to be streamed."""
        context, prepared, admission = call.context, call.request, call.admission
        verbose = logger.isEnabledFor(logging.DEBUG)
        started_at = self.clock.monotonic() if verbose else 0.0
        default_request = request is None and prepared.method == "GET" and not prepared.headers
        response: httpx.Response | None = None
        reusable = False
        held: LeasedStream | None = None
        try:
            if self._pool.fixed:
                await self._pool.close_discarded()  # what is to be closed still takes a place
            if request is None:
                request = self._build(call)  # not earlier: a call that is not sent costs little
            if admission is not None:
                admission.was_sent = True
            if call.on_sent is not None:
                call.on_sent()
            response = await send_on_lease(lease, call, request, default_request=default_request)
            if admission is not None:
                await admission.on_response(response.status_code)
            if response.status_code >= 300:
                response = await read_error(response, context.max_bytes)
            elif not call.stream:
                response = await read_bounded(
                    response, context.max_bytes, call.request, call.operation.id
                )
            else:
                held = LeasedStream(cast("httpx.AsyncByteStream", response.stream), lease)
                response.stream = held
                call.open_streams.append(held)
            reusable = True
        except BaseException as error:
            if admission is not None and isinstance(error, NOT_SENT_ERRORS):
                admission.was_sent = call.progress.sent
            if verbose:
                self._log_attempt(call, request, started_at, type(error).__name__)
            if response is not None and not response.is_closed:
                with anyio.CancelScope(shield=True):
                    await close(response)
            raise
        finally:
            if held is None or not reusable:
                lease.release(reusable)
            await self._pool.close_discarded()
        if verbose:
            self._log_attempt(call, request, started_at, str(response.status_code))
        return response

    async def _wait_for_connection(self, call: InFlightCall, gate: ConnectionGate) -> None:
        """Wait for a permit; the attempt's own time starts when there is one.

        The wait takes of the call's time. Without a deadline it goes on as long as calls are
        answered: it ends when none was for as long as an attempt may take.

        Raises:
            TimeoutError: None was.
        """
        call.queue_position = gate.waiting
        left, wait = self._remaining(call), attempt_timeout(call)
        if left == 0:
            call.deadline_first = True
            raise self._cancellation_error(call)
        if left is None:
            call.deadline_first = False
            set_deadline(call, inf)  # until there is a permit
        elif (not call.deadline_first or call.admission is not None) and set_deadline(call, left):
            call.deadline_first = True
        if left is not None and (wait is None or left <= wait):
            wait = None  # the deadline comes first: a second timer would only cost
        if not await gate.acquire(wait):
            call.deadline_first = False
            raise self._cancellation_error(call)
        call.queue_position = None
        set_deadline(call, self._attempt_timeout(call))

    async def _lease(self, call: InFlightCall) -> Lease:
        """Return a client for an attempt that has a permit; without one, give that back."""
        try:
            lease = await self._pool.acquire(call.context.hosts.app, exclusive=call.downloads)
        except BaseException:
            if self._gate is not None:
                self._gate.release()
            raise
        if lease.client.is_closed:
            lease.release(reusable=True)
            raise ClosedError(
                "The http_client given to AsyncPostHog was closed.",
                suggestion="Keep it open as long as the AsyncPostHog that uses it.",
            )
        return lease

    def _log_attempt(
        self, call: InFlightCall, request: httpx.Request | None, started_at: float, outcome: str
    ) -> None:
        """Write a line about an attempt: no header, no body, and no words of an exception."""
        method, path = call.request.method, call.request.target
        if request is not None:
            method, path = request.method, request.url.raw_path.decode("ascii", "replace")
        logger.debug(
            "%s %s: %s in %.0f ms, attempt %d, %s",
            method,
            call.context.redactor(mask_target(path)),
            outcome,
            (self.clock.monotonic() - started_at) * 1000,
            call.attempt,
            "no limit" if call.admission is None else call.admission.buckets,
        )

    def accept_encoding(self) -> str:
        """Return the compressions that the httpx client understands."""
        return self._pool.sample.headers.get("Accept-Encoding", "identity")

    async def _status_error(self, call: InFlightCall, response: httpx.Response) -> StatusError:
        # Most programs meet no error: what explains them is loaded when one comes.
        from asyncposthog.errors.from_response import error_from_response
        from asyncposthog.errors.suggestions import ErrorContext

        context, hosts = call.context, call.context.hosts
        if not response.is_closed:  # a middleware's own
            response = await read_error(response, context.max_bytes)
        error_context = ErrorContext(
            app=hosts.app,
            region=hosts.region,
            key_kind=context.key_kind,
            redact=context.redactor,
        )
        error = error_from_response(
            call.operation,
            request_info(call.request),
            response.status_code,
            response.headers,
            response.content,
            error_context,
            now=self.clock.time(),
        )
        error.response = redact_response(
            response, call.request, context.hosts.app, context.redactor
        )
        if TRUNCATED in response.extensions:
            cut = f"Only the first {response.extensions[TRUNCATED]:,} bytes of its body were read."
            error.suggestion = f"{cut} {error.suggestion}"
        return error

    def _cancellation_error(self, call: InFlightCall) -> PostHogError:
        """Return the exception for an attempt that was cancelled by us, not by its caller."""
        info = request_info(call.request)
        if self._cancelled:
            return ClosedError(
                "The client was closed while the call was running.",
                operation=call.operation.id,
                request=info,
            )
        return timeout_error(call, None if self._gate is None else self._gate.size)
