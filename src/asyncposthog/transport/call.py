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

from .client_pool import HeldStream, Lease
from .exchange import Credentials, Progress, exchange
from .limiter import KeyRateLimits, Passage
from .middleware import Middleware
from .retry import OnRetry, Policy

__all__ = [
    "Context",
    "Job",
    "httpx_timeouts",
    "out_of_time",
    "patience",
    "send_with",
    "set_deadline",
]

_CONNECT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
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
    budget: KeyRateLimits | None = None
    """The rate limits of the key; None: nothing is held back."""


@dataclass(slots=True)
class Job:
    """One call under way."""

    context: Context
    operation: Operation
    request: PreparedRequest
    policy: Policy
    stream: bool
    began: float
    attempt: int = 1
    passage: Passage | None = None
    on_sent: Callable[[], None] | None = None
    """Told when an attempt goes on the wire."""
    overall: bool = False
    """Whether the deadline of the call ends the attempt before its own timeout does."""
    scope: anyio.CancelScope | None = None
    """What bounds the attempt."""
    queued: int | None = None
    """While the attempt waits for a connection: how many were waiting before it."""
    progress: Progress = field(default_factory=Progress)
    """What the server may have done of the attempt."""
    held: list[HeldStream] = field(default_factory=list[HeldStream])
    """Streamed answers that the caller has not been given yet, each with its connection."""

    @property
    def downloads(self) -> bool:
        """Whether the answer may be a redirect to a file store of another origin."""
        return self.operation.result.status == 302


def patience(job: Job) -> float | None:
    """Return the seconds one attempt may take, a wait in the server's queue included."""
    timeout = job.policy.timeout
    if timeout is None or job.passage is None:
        return timeout
    return timeout + job.passage.grace


def httpx_timeouts(timeout: float | None) -> dict[str, float | None]:
    connect = _CONNECT_TIMEOUT if timeout is None else min(timeout, _CONNECT_TIMEOUT)
    return {"connect": connect, "read": timeout, "write": timeout, "pool": timeout}


def set_deadline(job: Job, seconds: float) -> bool:
    """Give an attempt so much time from now; return False if its time was over already."""
    scope = job.scope
    if scope is None or scope.cancel_called:
        return False
    scope.deadline = anyio.current_time() + seconds
    return True


async def send_with(
    lease: Lease, job: Job, request: httpx.Request, *, usual: bool
) -> httpx.Response:
    """Send a request with the client of a lease, and return the answer with its body unread."""
    download = job.downloads
    if download:
        lease.goes_abroad()
    if download or request.url.scheme == "https":
        lease.watch(request)
    return await exchange(
        lease.client,
        request,
        job.context.credentials,
        content=job.request.content,
        usual=usual,
        download=download,
        progress=job.progress,
    )


def out_of_time(job: Job, size: int | None) -> TimeoutError:
    """Return the exception for an attempt whose time is over.

    Args:
        job: The call.
        size: How many calls may use a connection at a time.
    """
    name = "deadline" if job.overall else "timeout"
    seconds = job.policy.deadline if job.overall else patience(job)
    text = f"No complete answer within the {name} of {seconds:g} s."
    suggestion = f"Give it longer with options={{'{name}': …}}, or ask for less."
    if job.queued is not None and size is not None:
        text = (
            f"No connection became free within the {name} of {seconds:g} s: all {size:,} "
            f"(max_connections) were in use, and {job.queued:,} other calls waited before this "
            "one. It was not sent."
        )
        suggestion = (
            "Make fewer calls at once, raise max_connections, or give them longer with "
            f"options={{'{name}': …}}."
        )
    error = TimeoutError(
        text, operation=job.operation.id, request=request_info(job.request), suggestion=suggestion
    )
    error.overall = job.overall
    if job.queued is not None:
        error.__cause__ = httpx.PoolTimeout("no connection became free")
    return error
