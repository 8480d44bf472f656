"""One call under way, and what it has in common with others of its client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx

from asyncposthog.errors import TimeoutError  # noqa: A004
from asyncposthog.hosts import Hosts
from asyncposthog.operation import Operation
from asyncposthog.redact import Redactor
from asyncposthog.transport.encoding.request import PreparedRequest, request_info
from asyncposthog.types import KeyKind

from .client_pool import Lease, LeasedStream
from .exchange import Credentials, Progress, send_following_redirects
from .limiter import Admission, KeyRateLimits
from .middleware import Middleware
from .retry import OnRetry, Policy

__all__ = [
    "ClientContext",
    "InFlightCall",
    "attempt_timeout",
    "httpx_timeouts",
    "send_on_lease",
    "set_deadline",
    "timeout_error",
]

_CONNECT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """What the calls of one client have in common."""

    credentials: Credentials
    headers: httpx.Headers
    """The usual ones, `Host` among them."""
    hosts: Hosts
    key_kind: KeyKind
    redactor: Redactor
    middleware: tuple[Middleware, ...] = ()
    on_retry: OnRetry | None = None
    max_bytes: int | None = None
    rate_limits: KeyRateLimits | None = None
    """The rate limits of the key; None: nothing is held back."""


@dataclass(slots=True)
class InFlightCall:
    """One call under way."""

    context: ClientContext
    operation: Operation
    request: PreparedRequest
    policy: Policy
    stream: bool
    started_at: float
    attempt: int = 1
    admission: Admission | None = None
    on_sent: Callable[[], None] | None = None
    """Told when an attempt goes on the wire."""
    deadline_first: bool = False
    """Whether the deadline of the call ends the attempt before its own timeout does."""
    scope: anyio.CancelScope | None = None
    """What bounds the attempt."""
    queue_position: int | None = None
    """While the attempt waits for a connection: how many were waiting before it."""
    progress: Progress = field(default_factory=Progress)
    """What the server may have done of the attempt."""
    open_streams: list[LeasedStream] = field(default_factory=list[LeasedStream])
    """Streamed answers that the caller has not been given yet, each with its connection."""

    @property
    def downloads(self) -> bool:
        """Whether the answer may be a redirect to a file store of another origin."""
        return self.operation.result.status == 302


def attempt_timeout(call: InFlightCall) -> float | None:
    """Return the seconds one attempt may take, a wait in the server's queue included."""
    timeout = call.policy.timeout
    if timeout is None or call.admission is None:
        return timeout
    return timeout + call.admission.extra_timeout


def httpx_timeouts(timeout: float | None) -> dict[str, float | None]:
    connect = _CONNECT_TIMEOUT if timeout is None else min(timeout, _CONNECT_TIMEOUT)
    return {"connect": connect, "read": timeout, "write": timeout, "pool": timeout}


def set_deadline(call: InFlightCall, seconds: float) -> bool:
    """Give an attempt so much time from now; return False if its time was over already."""
    scope = call.scope
    if scope is None or scope.cancel_called:
        return False
    scope.deadline = anyio.current_time() + seconds
    return True


async def send_on_lease(
    lease: Lease, call: InFlightCall, request: httpx.Request, *, default_request: bool
) -> httpx.Response:
    """Send a request with the client of a lease, and return the answer with its body unread."""
    download = call.downloads
    if download:
        lease.mark_cross_origin()
    if download or request.url.scheme == "https":
        lease.install_trace(request)
    return await send_following_redirects(
        lease.client,
        request,
        call.context.credentials,
        content=call.request.content,
        default_request=default_request,
        download=download,
        progress=call.progress,
    )


def timeout_error(call: InFlightCall, size: int | None) -> TimeoutError:
    """Return the exception for an attempt whose time is over.

    Args:
        call: The call.
        size: How many calls may use a connection at a time.
    """
    name = "deadline" if call.deadline_first else "timeout"
    seconds = call.policy.deadline if call.deadline_first else attempt_timeout(call)
    text = f"No complete answer within the {name} of {seconds:g} s."
    suggestion = f"Give it longer with options={{'{name}': …}}, or ask for less."
    if call.queue_position is not None and size is not None:
        text = (
            f"No connection became free within the {name} of {seconds:g} s: all {size:,} "
            f"(max_connections) were in use, and {call.queue_position:,} other calls waited before "
            "this one. It was not sent."
        )
        suggestion = (
            "Make fewer calls at once, raise max_connections, or give them longer with "
            f"options={{'{name}': …}}."
        )
    error = TimeoutError(
        text, operation=call.operation.id, request=request_info(call.request), suggestion=suggestion
    )
    error.deadline_exceeded = call.deadline_first
    if call.queue_position is not None:
        error.__cause__ = httpx.PoolTimeout("no connection became free")
    return error
