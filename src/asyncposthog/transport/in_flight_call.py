"""What the calls of a client have in common, and the state of one call while it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import httpx

from asyncposthog.call import Call
from asyncposthog.errors import RequestInfo, StatusError, TimeoutError  # noqa: A004
from asyncposthog.hosts import Hosts
from asyncposthog.redact import Redactor
from asyncposthog.transport.encoding.request import PreparedRequest, request_info
from asyncposthog.types import KeyKind

from .client_pool import LeasedStream
from .exchange import Credentials, Progress
from .limiter import Admission, KeyRateLimits
from .middleware import Middleware
from .retry import OnRetry

__all__ = ["ClientContext", "InFlightCall", "timeout_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """What all calls of one client have in common."""

    credentials: Credentials
    headers: httpx.Headers
    """The headers of every request, `Host` included."""
    hosts: Hosts
    key_kind: KeyKind
    redactor: Redactor
    middleware: tuple[Middleware, ...] = ()
    on_retry: OnRetry | None = None
    max_bytes: int | None = None
    """Bytes of a response body, decompressed; None: no limit."""
    rate_limits: KeyRateLimits | None = None
    """The rate limits of the API key; None: calls are not limited."""
    explain: Callable[[StatusError], StatusError] | None = None
    """Returns the error for an error response of a gateway, whose statuses mean something else."""


@dataclass(slots=True)
class InFlightCall:
    """The state of a call while it is made."""

    context: ClientContext
    spec: Call
    request: PreparedRequest
    stream: bool
    started_at: float
    """On the transport's clock."""
    on_sent: Callable[[], None] | None = None
    """Called when an attempt is sent."""
    timeout: float | None = None
    """Seconds for one attempt, including the time the server may queue it; None: no limit."""
    download: bool = False
    """Whether the response may be a redirect to a file store of another origin."""
    admission: Admission | None = None
    attempt: int = 1
    deadline_first: bool = False
    """Whether the deadline of the call comes before the timeout of the attempt."""
    scope: anyio.CancelScope | None = None
    """Ends the attempt."""
    queue_position: int | None = None
    """How many calls were waiting for a connection when this one started to; None: it is not
    waiting for one."""
    progress: Progress = field(default_factory=Progress)
    """What the server may have received of the attempt."""
    open_streams: list[LeasedStream] = field(default_factory=list[LeasedStream])
    """Streamed responses that the caller does not have yet, each with its connection."""

    @property
    def info(self) -> RequestInfo:
        """Method and path, for errors and hooks."""
        return request_info(self.request)

    def extend_scope(self, seconds: float) -> bool:
        """End the attempt in so many seconds; return False if it was ended already."""
        scope = self.scope
        if scope is None or scope.cancel_called:
            return False
        scope.deadline = anyio.current_time() + seconds
        return True


def timeout_error(call: InFlightCall, max_connections: int | None) -> TimeoutError:
    """Return the error for an attempt that has run into its timeout, or into the deadline."""
    name = "deadline" if call.deadline_first else "timeout"
    seconds = call.spec.options.policy.deadline if call.deadline_first else call.timeout
    text = f"No complete answer within the {name} of {seconds:g} s."
    suggestion = f"Give it longer with options={{'{name}': …}}, or ask for less."
    if call.queue_position is not None and max_connections is not None:
        text = (
            f"No connection became free within the {name} of {seconds:g} s: all "
            f"{max_connections:,} (max_connections) were in use, and {call.queue_position:,} other "
            "calls waited before this one. It was not sent."
        )
        suggestion = (
            "Make fewer calls at once, raise max_connections, or give them longer with "
            f"options={{'{name}': …}}."
        )
    error = TimeoutError(
        text, operation=call.spec.operation.id, request=call.info, suggestion=suggestion
    )
    error.deadline_exceeded = call.deadline_first
    if call.queue_position is not None:
        error.__cause__ = httpx.PoolTimeout("no connection became free")
    return error
