"""The exceptions: what happened, on which call, and what to do about it.

Everything raised about a call derives from `PostHogError`. Wrong arguments are `TypeError` and
`ValueError`, as everywhere in Python. Branch on the class or on `.status`, then on `.code`; never
on `.type`, which the server fills inconsistently.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncposthog.redact import mask

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Attempt",
    "AuthenticationError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionError",
    "DecodeError",
    "EventLoopError",
    "ExportError",
    "MethodNotAllowedError",
    "NotFoundError",
    "PaginationError",
    "PaginationWarning",
    "PermissionDeniedError",
    "PostHogError",
    "QueryError",
    "QueryTooLargeError",
    "QuotaError",
    "RateLimitError",
    "ReadOnlyError",
    "RedirectError",
    "RequestInfo",
    "ResponseTooLargeError",
    "SchemaDrift",
    "ServerError",
    "StatusError",
    "TimeoutError",
    "ValidationError",
]

MAX_DETAIL_CHARS = 500
"""Characters of a server's text that an exception shows."""


def shorten(text: str, limit: int = MAX_DETAIL_CHARS) -> str:
    """Shorten text to `limit` characters, on one line, saying that it was shortened."""
    flat = " ".join(text[: limit * 4].split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Which request an exception is about. It never holds a query, a header or a body."""

    method: str
    path: str

    def __str__(self) -> str:
        """Read as a request line."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a call that failed."""

    number: int
    """Counted from 1."""
    reason: str
    """The status and code, or the kind of failure."""
    status: int | None
    elapsed: float
    """Seconds since the call began."""
    delay: float | None = None
    """Seconds waited before the next try; None when there was none."""


class PostHogError(Exception):
    """Anything that went wrong with a call. Every attribute may be None."""

    status: int | None
    """The HTTP status."""
    code: str | None
    """The server's code: `not_found`, `required`, `throttled` …"""
    detail: str | None
    """The server's sentence, shortened, with anything like a key removed."""
    attr: str | None
    """The field the server complains about; nested ones are joined by `__`."""
    type: str | None
    """The server's type. Not reliable: a 403 says `authentication_error`."""
    request_id: str | None
    operation: str | None
    """The operation's id: `feature_flags.create`."""
    request: RequestInfo | None
    response: httpx.Response | None
    """The whole answer, without the credentials of its request."""
    suggestion: str | None
    """What to do."""
    attempts: tuple[Attempt, ...]
    """Every try of the call, in order."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        detail: str | None = None,
        attr: str | None = None,
        type: str | None = None,
        request_id: str | None = None,
        operation: str | None = None,
        request: RequestInfo | None = None,
        response: httpx.Response | None = None,
        suggestion: str | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        """Keep what is known; `message` says what happened, in one sentence.

        Keys of this process's clients are masked in both texts, which may quote the server.
        """
        super().__init__(mask(message))
        self.status = status
        self.code = code
        self.detail = detail and mask(detail)
        self.attr = attr
        self.type = type
        self.request_id = request_id
        self.operation = operation
        self.request = request
        self.response = response
        self.suggestion = suggestion
        self.attempts = attempts

    @property
    def message(self) -> str:
        """What happened, without the call and the suggestion."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        """What happened and on which call; on a second line, what to do."""
        about = [str(part) for part in (self.operation, self.request) if part]
        if self.request_id:
            about.append(f"request {self.request_id}")
        if len(self.attempts) > 1:
            about.append(f"{len(self.attempts)} attempts")
        first = f"{self.message} [{', '.join(about)}]" if about else self.message
        return f"{first}\n{self.suggestion}" if self.suggestion else first


class ConfigurationError(PostHogError, ValueError):
    """The settings of the client are missing or contradictory."""


class ClosedError(PostHogError, RuntimeError):
    """The client was closed before the call, or while it was running."""


class EventLoopError(PostHogError, RuntimeError):
    """The client is used from another event loop than the one of its first call."""


class ReadOnlyError(PostHogError):
    """The client may not make this call: `read_only` or `allow` refuses it. Nothing was sent."""


class ConnectionError(PostHogError, builtins.ConnectionError):  # noqa: A001
    """The server could not be reached, or the connection broke."""


class TimeoutError(PostHogError, builtins.TimeoutError):  # noqa: A001
    """An attempt took longer than `timeout`, or the call longer than `deadline`."""

    deadline_exceeded: bool = False
    """Whether the time of the whole call is over, rather than that of one attempt."""


class DecodeError(PostHogError, ValueError):
    """The answer is not what the schema promises."""


class PaginationError(PostHogError):
    """The pages of a list do not lead anywhere: a cursor repeats, or runs backwards."""


class ResponseTooLargeError(PostHogError):
    """The answer is larger than `max_response_bytes`."""


class ExportError(PostHogError):
    """An export cannot begin or go on, or the server does not return all of its rows."""


class StatusError(PostHogError):
    """The server answered with an error. Its subclasses stand for one status, or a few."""

    retry_after: float | None = None
    """Seconds the server asks to wait, where it says so."""


class RedirectError(StatusError):
    """The server points elsewhere, and following would take credentials to another origin."""

    location: str | None = None
    """Where it points to, without PostHog keys. It may hold a signature: treat it as a secret."""


class ValidationError(StatusError):
    """400 or 422: the server does not accept the request. `.attr` names the field."""


class AuthenticationError(StatusError):
    """401: the server does not know the key."""


class QuotaError(StatusError):
    """402: the plan does not include this, or its quota is used up."""


class PermissionDeniedError(StatusError):
    """403: the key is known, and may not do this."""

    missing_scope: str | None = None
    """The scope the server says the key lacks."""
    required_scopes: tuple[str, ...] = ()
    """Every scope the operation needs."""
    accepts_api_keys: bool | None = None
    """Whether some API key could make the call: False means that none may. None: not known."""


class NotFoundError(StatusError):
    """404 or 410: no such object, or none that the key may see."""


class MethodNotAllowedError(StatusError):
    """405: the resource does not take this method."""


class ConflictError(StatusError):
    """409: the object is not in a state that allows this."""


class RateLimitError(StatusError):
    """429: too many requests. `.retry_after` says for how long, where the server says so."""


class QueryError(StatusError):
    """A query was refused or failed."""


class QueryTooLargeError(QueryError):
    """A query needs more time or memory than the server grants. Asking for less helps."""


class ServerError(StatusError):
    """5xx: the server, or something before it, failed."""


class SchemaDrift(UserWarning):
    """An answer departs from the schema; its raw data was handed over instead."""


class PaginationWarning(UserWarning):
    """The pages of a list do not fit together: items may be missing or repeated."""
