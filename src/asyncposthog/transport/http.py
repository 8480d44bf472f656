"""Attempts, retries and closing: what happens between an encoded request and its response."""

from __future__ import annotations

# Python 3.15 imports these when they are first used: for failed calls and uploads.
__lazy_modules__ = [
    "asyncposthog.transport.encoding.multipart",
    "asyncposthog.transport.errors",
    "asyncposthog.transport.retry",
]

import logging
from collections.abc import Callable
from functools import lru_cache, partial
from math import inf
from typing import Final, Literal, cast

import anyio
import httpx
from anyio.lowlevel import current_token

from asyncposthog.call import Call
from asyncposthog.errors import (
    ClosedError,
    ConfigurationError,
    EventLoopError,
    PostHogError,
    StatusError,
)
from asyncposthog.redact import mask_target
from asyncposthog.transport.encoding.multipart import encode_multipart
from asyncposthog.transport.encoding.request import PreparedRequest

from .client_pool import (
    ClientPool,
    Lease,
    LeasedStream,
    Sharing,
    close_all,
    hand_to_caller,
    in_any_event_loop,
)
from .clock import Clock, SystemClock
from .connection_gate import ConnectionGate
from .errors import classify_failure, from_httpx_error, redact_response
from .exchange import (
    NOT_SENT_ERRORS,
    REDIRECTS,
    TRUNCATED,
    Progress,
    build_request,
    close,
    read_bounded,
    read_error,
    send_directly,
    send_following_redirects,
)
from .http_client import DirectClient, HttpClient
from .in_flight_call import ClientContext, InFlightCall, timeout_error
from .limiter import Admission, KeyRateLimits, Limiter
from .middleware import compose
from .native_cancellation import shield_from_native_cancellation
from .retry import RetryContext, retry_call
from .retry_budget import RetryBudget
from .second_interrupt import safe_second_interrupt

__all__ = ["Transport"]

logger = logging.getLogger("asyncposthog")

_CONNECT_TIMEOUT: Final = 10.0
_CLOSE_TIMEOUT: Final = 5.0
_MAX_CACHED_TARGET: Final = 1000
"""Characters of a path and query whose parsed URL is kept."""


class Transport:
    """Makes calls. A client and its copies share one, and with it connections and rate limits."""

    def __init__(
        self,
        *,
        build: Callable[[], HttpClient],
        owned: bool = True,
        sharing: Sharing = "fixed",
        max_connections: int | None = None,
        limiter: Callable[[], Limiter] | None = None,
        limiter_owned: bool = True,
        clock: Clock | None = None,
        retry_budget: int | None = None,
        network: object = None,
    ) -> None:
        """Keep the factories. The first httpx client is built by the first call.

        Args:
            build: Returns an HTTP client; with `direct`, a `DirectClient`.
            owned: Whether closing the transport closes the httpx clients.
            sharing: How many calls may use one httpx client at the same time.
            max_connections: Calls that may use a connection at the same time; None: no limit.
            limiter: Returns the rate limiter; called for the first request. None: no limiter.
            limiter_owned: Whether closing the transport closes the limiter.
            clock: Clock and random source, replaceable in tests.
            retry_budget: Retries of all calls together while none succeeds; None: no limit.
            network: The httpx client or transport that was passed to the client; None: none was,
                so that the same host is the same server for all such clients.
        """
        self._build_client, self._max_connections = build, max_connections
        self._sharing: Sharing = sharing
        self.network = network
        self._new_pool = partial(ClientPool, build, sharing, max_connections)
        self._pool = self._new_pool()
        self._gate = self._pool.gate
        self._owned = owned
        self._make_limiter = limiter
        self._limiter: Limiter | None = None
        self._limiter_owned = limiter_owned
        self.clock = clock or SystemClock()
        self._retry_budget_size = retry_budget
        self._retry_budget = None if retry_budget is None else RetryBudget(retry_budget, self.clock)
        self._event_loop: object = None
        self._closed = False
        self._cancelled = False
        self._active_calls = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._streams = 0
        self._idle_event: anyio.Event | None = None

    @property
    def http_library(self) -> Literal["httpx", "aiohttp", "own"]:
        """What sends requests; `own`: a client or transport that the user gave."""
        if self._pool.direct:
            return "aiohttp"
        return "own" if self._pool.fixed else "httpx"

    @property
    def is_closed(self) -> bool:
        """Whether new calls are refused."""
        return self._closed

    def check_open(self) -> None:
        """Raise an error after `aclose`.

        Raises:
            ClosedError: The client is closed.
        """
        if self._closed:
            raise ClosedError(
                "The client is closed.",
                suggestion="Make the call inside `async with`, or build a new AsyncPostHog.",
            )

    def rate_limits_for(self, base_url: str, api_key: str) -> KeyRateLimits | None:
        """Return the rate limits of an API key on a host; None: there are none."""
        if self._limiter is None and self._make_limiter is not None:
            self._limiter = self._make_limiter()
        return None if self._limiter is None else self._limiter.for_key(base_url, api_key)

    def for_other_event_loop(self) -> Transport:
        """Return a transport for another event loop, in any thread, that shares the rate limits.

        Close it in its event loop.

        Raises:
            ClosedError: The client is closed.
            ConfigurationError: The httpx client or the limiter belongs to one event loop.
        """
        self.check_open()
        if self._sharing == "fixed" and not (self._owned and in_any_event_loop(self._pool.sample)):
            raise ConfigurationError(
                "The client has an http_client or a transport of its own, whose connections belong "
                "to one event loop; synchronous code uses another one.",
                suggestion="Build the client without http_client and transport.",
            )
        if self._limiter is None and self._make_limiter is not None:
            self._limiter = self._make_limiter()
        limiter = None
        if self._limiter is not None:
            make_limiter = getattr(self._limiter, "for_other_event_loop", None)
            if make_limiter is None:
                raise ConfigurationError(
                    f"{type(self._limiter).__name__} cannot be used in another event loop, which "
                    "synchronous code needs.",
                    suggestion="Give it a method for_other_event_loop() that returns a limiter.",
                )
            limiter = make_limiter()
        return Transport(
            build=self._build_client,
            owned=self._owned,
            sharing=self._sharing,
            max_connections=self._max_connections,
            limiter=None if limiter is None else lambda: limiter,
            clock=self.clock,
            retry_budget=self._retry_budget_size,
            network=self.network,
        )

    def accept_encoding(self) -> str:
        """Return the compressions that the httpx client supports."""
        return self._pool.sample.headers.get("Accept-Encoding", "identity")

    def _check_event_loop(self) -> None:
        token = current_token()
        if self._event_loop is None:
            self._event_loop = token
        elif token != self._event_loop:
            raise EventLoopError(
                "The client was first used in another event loop, and its connections live there.",
                suggestion="Build one AsyncPostHog for each event loop.",
            )

    async def send(
        self,
        context: ClientContext,
        call: Call,
        request: PreparedRequest,
        *,
        stream: bool = False,
        on_sent: Callable[[], None] | None = None,
        started_at: float | None = None,
    ) -> httpx.Response:
        """Send a request, retry it where that is safe, and return the successful response.

        Args:
            context: The client's settings.
            call: The call that is made.
            request: Its encoded request.
            stream: Whether to leave the body unread. The caller then has to close the response,
                and to call `release_stream`.
            on_sent: Called when an attempt is sent.
            started_at: When the call started, on the transport's clock; None: now.

        Raises:
            PostHogError: The error of the last attempt.
        """
        if self._closed:
            self.check_open()
        if current_token() != self._event_loop:
            self._check_event_loop()
        self._active_calls += 1
        state: InFlightCall | None = None
        try:
            if request.multipart is not None:
                request = await _read_files(request)
            if started_at is None:
                started_at = self.clock.monotonic()
            policy, operation = call.options.policy, call.operation
            state = InFlightCall(context, call, request, stream, started_at, on_sent)
            state.timeout = policy.timeout
            state.download = operation.result.status == 302
            admission = None
            if context.rate_limits is not None:
                admission = state.admission = context.rate_limits.admission(operation, request)
                admission.max_block_seconds = policy.max_retry_after
            if admission is not None and admission.needs_query_slot:
                response = await self._send_in_query_slot(state, admission)
            else:
                # As `_send_with_retries`, without a coroutine for it: thousands may wait here.
                first_error: PostHogError | None = None
                response = None
                try:
                    response = await self._attempt(state, 1)
                except PostHogError as error:
                    first_error = error
                if response is None:
                    assert first_error is not None
                    response = await self._retry(state, first_error)
            if stream:
                await hand_to_caller(response, state.open_streams)
                self._streams += 1
            return response
        finally:
            self._active_calls -= 1
            if self._idle_event is not None:
                self._idle_event.set()
            if state is not None and state.open_streams:
                await close_all(state.open_streams)

    async def _send_in_query_slot(self, call: InFlightCall, admission: Admission) -> httpx.Response:
        """Make a call while holding a query slot of its project."""
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                admission.timeout = self._remaining(call)
                async with admission.query_slot():
                    if call.timeout is not None:
                        # The server may queue a query before it runs it, and does not count that
                        # as the time of the query.
                        call.timeout += admission.extra_timeout
                    return await self._send_with_retries(call)
        finally:
            self._scopes.discard(scope)
        raise self._cancellation_error(call)

    async def _send_with_retries(self, call: InFlightCall) -> httpx.Response:
        try:
            return await self._attempt(call, 1)
        except PostHogError as error:
            first_error = error
        # Outside of the handler: Python would make the first error the context of later ones, and
        # they are not caused by it.
        return await self._retry(call, first_error)

    async def _retry(self, call: InFlightCall, first_error: PostHogError) -> httpx.Response:
        # Needed for failed calls only: importing it earlier would slow every program down.
        from asyncposthog.errors.from_response import is_query

        context = RetryContext(
            policy=call.spec.options.policy,
            classify_failure=lambda error: classify_failure(error, call.progress),
            retry_safe=call.spec.retry_safe,
            query=is_query(call.spec.operation),
            clock=self.clock,
            operation=call.spec.operation.id,
            request=first_error.request or call.info,
            on_retry=call.context.on_retry,
            started_at=call.started_at,
            retry_budget=self._retry_budget,
        )
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                return await retry_call(partial(self._attempt, call), context, first_error)
        finally:
            self._scopes.discard(scope)
        raise self._cancellation_error(call)

    def release_stream(self) -> None:
        """Note that the caller has closed the response of a call with `stream`."""
        self._streams -= 1
        if self._idle_event is not None:
            self._idle_event.set()

    async def aclose(self, *, cancel: bool = False, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Refuse new calls, wait for running ones, and close the connections.

        Args:
            cancel: Cancel running calls instead of waiting for them; they raise `ClosedError`.
            timeout: Seconds to wait before running calls are cancelled; None: no limit.
        """
        self._check_event_loop()
        self._closed = True
        with safe_second_interrupt():
            try:
                await self._end_calls(cancel=cancel, timeout=timeout)
            finally:
                # Shielded: `aclose` often runs in a task that is being cancelled, and the sockets
                # have to be closed all the same.
                if self._owned:
                    with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                        await self._pool.aclose()
                if self._limiter_owned and self._limiter is not None:
                    with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                        await self._limiter.aclose()

    async def _end_calls(self, *, cancel: bool, timeout: float | None) -> None:  # noqa: ASYNC109
        """Wait for running calls, or cancel them."""
        if not cancel:
            with anyio.move_on_after(timeout):
                await self._wait_until_idle(streams=True)
        self._cancelled = True
        for scope in tuple(self._scopes):
            scope.cancel()
        # Bounded: middleware or a hook may catch the cancellation and go on.
        with anyio.move_on_after(_CLOSE_TIMEOUT):
            await self._wait_until_idle(streams=False)

    def discard(self) -> None:
        """Refuse new calls. For a client whose event loop has ended, and its sockets with it."""
        self._closed = self._cancelled = True
        if self._owned:
            self._pool.discard()

    def start_over_after_fork(self) -> None:
        """Leave the connections to the parent, in a child process that was forked."""
        self._pool.discard()
        self._pool = self._new_pool()
        self._gate = self._pool.gate
        if self._limiter_owned:
            self._limiter = None
        self._event_loop = self._idle_event = None
        self._active_calls = self._streams = 0
        self._scopes.clear()

    async def _wait_until_idle(self, *, streams: bool) -> None:
        """Wait until no call is running and, with `streams`, no response is being read."""
        while self._active_calls or (streams and self._streams):
            if self._idle_event is None or self._idle_event.is_set():
                self._idle_event = anyio.Event()
            await self._idle_event.wait()

    async def _attempt(self, call: InFlightCall, number: int) -> httpx.Response:
        """Make one attempt, limited by its timeout and by the deadline of the call."""
        call.attempt = number
        call.progress = Progress()
        call.queue_position, call.deadline_first = None, False
        admission = call.admission
        scope = call.scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                if admission is None:
                    return await self._attempt_admitted(call, scope)
                # Waiting for the rate limits takes of the deadline, not of the timeout. The scope
                # has no deadline meanwhile: the limiter can tell earlier that it cannot be met.
                if call.spec.options.policy.deadline is not None:
                    admission.timeout = self._remaining(call)
                async with admission:
                    return await self._attempt_admitted(call, scope)
        except httpx.HTTPError as error:
            error_to_raise: PostHogError = from_httpx_error(
                error,
                call.context.hosts.app,
                call.context.redactor,
                call.spec.operation.id,
                call.info,
            )
        except PostHogError:
            if call.open_streams:
                # Middleware received a response, and raised an error instead of returning it.
                await close_all(call.open_streams)
            raise
        else:
            error_to_raise = self._cancellation_error(call)
        finally:
            self._scopes.discard(scope)
        if call.open_streams:
            # As above: middleware cannot close a response that it does not return.
            await close_all(call.open_streams)
        # Outside of the handler: httpx's exception holds the request, and with it the key.
        try:
            raise error_to_raise
        finally:
            del error_to_raise  # or the traceback, which refers to this frame, would keep it alive

    def _remaining(self, call: InFlightCall) -> float | None:
        """Return the seconds until the deadline of a call; None: it has none."""
        deadline = call.spec.options.policy.deadline
        return deadline and max(0.0, call.started_at + deadline - self.clock.monotonic())

    def _start_timeout(self, call: InFlightCall, scope: anyio.CancelScope) -> None:
        """Set when an attempt ends: after its timeout, or at the deadline of the call."""
        seconds, call.deadline_first = call.timeout, False
        if call.spec.options.policy.deadline is not None:
            remaining = self._remaining(call)
            if remaining is not None and (seconds is None or remaining <= seconds):
                seconds, call.deadline_first = remaining, True
        scope.deadline = inf if seconds is None else anyio.current_time() + seconds

    async def _attempt_admitted(
        self, call: InFlightCall, scope: anyio.CancelScope
    ) -> httpx.Response:
        """Send one attempt through the middleware, and raise the error for an error response."""
        context, gate = call.context, self._gate
        renewable = context.credentials.renewable
        send = self._send_with_token if renewable else self._connect_and_send
        if context.middleware or renewable or gate is None or gate.free:
            self._start_timeout(call, scope)
        # Otherwise it starts with the permit for a connection, and no timer is needed until then.
        if context.middleware:
            request = self._build(call)
            request.read()
            operation = call.spec.operation
            request.extensions["asyncposthog"] = {
                "operation": operation.id,
                "path": operation.path,
                "attempt": call.attempt,
            }
            response = await compose(context.middleware, partial(send, call))(request)
        else:
            response = await send(call)
        if response.status_code < 300 or response.status_code == 304:
            budget = self._retry_budget
            if budget is not None and not budget.full:
                budget.deposit()
            return response
        raise await self._status_error(call, response)

    def _build(self, call: InFlightCall) -> httpx.Request:
        prepared = call.request
        headers = call.context.headers
        if prepared.headers:
            headers = headers.copy()
            headers.update(prepared.headers)
        timeout = call.timeout
        connect = _CONNECT_TIMEOUT if timeout is None else min(timeout, _CONNECT_TIMEOUT)
        return build_request(
            prepared.method,
            _parse_url(call.context.hosts.app + prepared.target)
            if len(prepared.target) < _MAX_CACHED_TARGET
            else call.context.hosts.app + prepared.target,
            headers,
            prepared.content,
            {"timeout": {"connect": connect, "read": timeout, "write": timeout, "pool": timeout}},
        )

    async def _send_with_token(
        self, call: InFlightCall, request: httpx.Request | None = None
    ) -> httpx.Response:
        """Send a request with a token that expires, and with another one if it is rejected."""
        credentials = call.context.credentials
        token = await credentials.refresh()
        response = await self._connect_and_send(call, request)
        # Once: a server that rejects a new token as well does not accept the next one.
        if response.status_code == 401 and await credentials.renew(token):
            response = await self._connect_and_send(call, request)
        return response

    async def _connect_and_send(
        self, call: InFlightCall, request: httpx.Request | None = None
    ) -> httpx.Response:
        """Send a request as soon as there is a connection for it.

        Args:
            call: The call.
            request: The request that middleware has passed on; None: it is not built yet.
        """
        while call.open_streams:
            # Middleware calls `call_next` a second time. A call never holds two connections: with
            # all connections in use, it would wait for itself.
            await call.open_streams[-1].close_for_replacement()
            call.open_streams.pop()
        # The permit for a connection is taken last. A call that has one waits for nothing else, so
        # that no two calls can wait for each other: not for a query slot, the limiter, middleware
        # (which may make calls of its own), or the delay before a retry. The limiter counts an
        # admitted attempt as in flight from its admission to its response, and forgets one that
        # was not sent: waiting here after the admission cannot make it send too many.
        gate = self._gate
        if gate is not None and not gate.try_acquire():
            await self._wait_for_connection(call, gate)
        try:
            lease = await self._pool.acquire(call.context.hosts.app, exclusive=call.download)
        except BaseException:
            if gate is not None:
                gate.release()
            raise
        if lease.client.is_closed:
            lease.release(reusable=True)
            raise ClosedError(
                "The http_client given to AsyncPostHog was closed.",
                suggestion="Keep it open as long as the AsyncPostHog that uses it.",
            )
        if lease.guarded:
            return await shield_from_native_cancellation(
                partial(self._exchange, call, lease, request)
            )
        return await self._exchange(call, lease, request)

    async def _exchange(
        self, call: InFlightCall, lease: Lease, request: httpx.Request | None
    ) -> httpx.Response:
        """Send a request, and read the response unless the call streams it."""
        context, prepared, admission = call.context, call.request, call.admission
        verbose = logger.isEnabledFor(logging.DEBUG)
        started_at = self.clock.monotonic() if verbose else 0.0
        default_request = request is None and prepared.method == "GET" and not prepared.headers
        response: httpx.Response | None = None
        reusable = False
        leased_stream: LeasedStream | None = None
        try:
            if self._pool.fixed and self._pool.discarded:
                # A connection that is still to be closed counts against the user's limit.
                await self._pool.close_discarded()
            directly = self._pool.direct and request is None and not (call.stream or call.download)
            if request is None and not directly:
                request = self._build(call)  # not earlier: many calls time out before this point
            if admission is not None:
                admission.was_sent = True
            if call.on_sent is not None:
                call.on_sent()
            if directly:
                timeout = call.timeout
                response = await send_directly(
                    cast("DirectClient", lease.client),
                    context.hosts.app,
                    prepared,
                    context.credentials,
                    connect_timeout=(
                        _CONNECT_TIMEOUT if timeout is None else min(timeout, _CONNECT_TIMEOUT)
                    ),
                    progress=call.progress,
                )
            if request is None and response is not None and response.status_code in REDIRECTS:
                response.request = request = self._build(call)
            if request is not None:
                if call.download:
                    lease.mark_cross_origin()
                if call.download or request.url.scheme == "https":
                    lease.install_trace(request)
                response = await send_following_redirects(
                    lease.client,
                    request,
                    context.credentials,
                    content=prepared.content,
                    default_request=default_request,
                    download=call.download,
                    progress=call.progress,
                    first=response,
                )
            assert response is not None
            if admission is not None:
                await admission.on_response(response.status_code)
            if response.status_code >= 300:
                response = await read_error(response, context.max_bytes)
            elif not call.stream:
                response = await read_bounded(
                    response, context.max_bytes, prepared, call.spec.operation.id
                )
            else:
                leased_stream = LeasedStream(cast("httpx.AsyncByteStream", response.stream), lease)
                response.stream = leased_stream
                call.open_streams.append(leased_stream)
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
            if leased_stream is None or not reusable:
                lease.release(reusable)
            if self._pool.discarded:
                await self._pool.close_discarded()
        if verbose:
            self._log_attempt(call, request, started_at, str(response.status_code))
        return response

    async def _wait_for_connection(self, call: InFlightCall, gate: ConnectionGate) -> None:
        """Wait for a permit; the timeout of the attempt starts when there is one.

        The wait takes of the deadline. Without a deadline it lasts as long as other calls are
        answered: it ends when none was for the timeout of an attempt.

        Raises:
            TimeoutError: There was no permit in time.
        """
        call.queue_position = gate.waiting
        remaining, stall_timeout = self._remaining(call), call.timeout
        if remaining == 0:
            call.deadline_first = True
            raise self._cancellation_error(call)
        if remaining is None:
            call.deadline_first = False
            call.extend_scope(inf)  # until there is a permit
        elif (not call.deadline_first or call.admission is not None) and call.extend_scope(
            remaining
        ):
            call.deadline_first = True
        if remaining is not None and (stall_timeout is None or remaining <= stall_timeout):
            # The deadline comes first, and the scope ends the wait then: thousands of calls may
            # wait here, and a second timer for each would cost as much again.
            stall_timeout = None
        if not await gate.acquire(stall_timeout):
            call.deadline_first = False
            raise self._cancellation_error(call)
        call.queue_position = None
        scope = call.scope
        if scope is not None and not scope.cancel_called:
            self._start_timeout(call, scope)

    def _log_attempt(
        self, call: InFlightCall, request: httpx.Request | None, started_at: float, outcome: str
    ) -> None:
        """Log an attempt, without headers, bodies and exception messages: they may hold keys."""
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

    async def _status_error(self, call: InFlightCall, response: httpx.Response) -> StatusError:
        """Return the error for an error response."""
        # Imported for the first error response: most programs never get one.
        from asyncposthog.errors.from_response import error_from_response
        from asyncposthog.errors.suggestions import ErrorContext

        context, hosts = call.context, call.context.hosts
        if not response.is_closed:  # one that middleware has made
            response = await read_error(response, context.max_bytes)
        error = error_from_response(
            call.spec.operation,
            call.info,
            response.status_code,
            response.headers,
            response.content,
            ErrorContext(
                app=hosts.app,
                region=hosts.region,
                key_kind=context.key_kind,
                redact=context.redactor,
            ),
            now=self.clock.time(),
        )
        error.response = redact_response(response, call.request, hosts.app, context.redactor)
        if TRUNCATED in response.extensions:
            read = f"Only the first {response.extensions[TRUNCATED]:,} bytes of its body were read."
            error.suggestion = f"{read} {error.suggestion}"
        return error if context.explain is None else context.explain(error)

    def _cancellation_error(self, call: InFlightCall) -> PostHogError:
        """Return the error for a call whose scope was cancelled: by `aclose`, or by a timeout."""
        if self._cancelled:
            return ClosedError(
                "The client was closed while the call was running.",
                operation=call.spec.operation.id,
                request=call.info,
            )
        return timeout_error(call, None if self._gate is None else self._gate.size)


@lru_cache(maxsize=128)
def _parse_url(url: str) -> httpx.URL:
    """Return a URL. Parsing takes longer than building the rest of a request."""
    return httpx.URL(url)


async def _read_files(request: PreparedRequest) -> PreparedRequest:
    """Return a request with its files read, so that a retry can send them again."""
    assert request.multipart is not None
    content, media = await encode_multipart(request.multipart)
    headers = (*request.headers, ("Content-Type", media))
    return PreparedRequest(request.method, request.target, headers, content)
