"""One call under way, and what it has in common with others of its client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx

from asyncposthog.config import KeyKind
from asyncposthog.hosts import Hosts
from asyncposthog.operation import Operation

from .client_pool import Lease
from .limits import Budget, Passage
from .middleware import Middleware
from .redact import Redactor
from .request import PreparedRequest
from .retry import OnRetry, Policy
from .wire import Credentials

__all__ = ["Context", "Job", "patience", "timeouts"]

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
    budget: Budget | None = None
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
    held: list[Lease] = field(default_factory=list[Lease])
    """Connections of streamed answers that nobody has been given yet."""


def patience(job: Job) -> float | None:
    """Return the seconds one attempt may take, a wait in the server's queue included."""
    timeout = job.policy.timeout
    if timeout is None or job.passage is None:
        return timeout
    return timeout + job.passage.grace


def timeouts(timeout: float | None) -> dict[str, float | None]:
    connect = _CONNECT_TIMEOUT if timeout is None else min(timeout, _CONNECT_TIMEOUT)
    return {"connect": connect, "read": timeout, "write": timeout, "pool": timeout}
