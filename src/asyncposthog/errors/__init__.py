"""The exceptions of the client.

All errors of calls derive from `PostHogError`. Invalid arguments raise `TypeError` or `ValueError`.
To handle an error, test its class or `.status`, then `.code`; not `.type`, which PostHog does not
set consistently.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncposthog.redact import mask

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Attempt",
    "AuthenticationError",
    "CaptureError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionError",
    "DecodeError",
    "EventLoopError",
    "ExportError",
    "FlagUnavailableError",
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
"""Characters of a server's message that an exception shows."""


def shorten(text: str, limit: int = MAX_DETAIL_CHARS) -> str:
    """Return text on one line, cut to `limit` characters with an ellipsis."""
    flat = " ".join(text[: limit * 4].split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Method and path of a request, without its query, headers and body."""

    method: str
    path: str

    def __str__(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a failed call."""

    number: int
    """Starts at 1."""
    reason: str
    """HTTP status and error code, or the name of the exception."""
    status: int | None
    elapsed: float
    """Seconds since the call started."""
    delay: float | None = None
    """Seconds waited before the next attempt; None for the last one."""


class PostHogError(Exception):
    """Base class of the errors of calls. Every attribute may be None."""

    status: int | None
    """The HTTP status."""
    code: str | None
    """The server's error code, such as `not_found`, `required` or `throttled`."""
    detail: str | None
    """The server's message, shortened, with API keys masked."""
    attr: str | None
    """The name of the invalid field. Names of nested fields are joined by `__`."""
    type: str | None
    """The server's error type. Unreliable: a 403 may have `authentication_error`."""
    request_id: str | None
    operation: str | None
    """The id of the operation, such as `feature_flags.create`."""
    request: RequestInfo | None
    response: httpx.Response | None
    """The complete response. Its request has no credentials."""
    suggestion: str | None
    """How to fix or avoid the error."""
    attempts: tuple[Attempt, ...]
    """All attempts of the call, in order."""

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
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Create an error. `message` says in one sentence what happened.

        API keys are masked in `message` and `detail`, which may quote the server. `details` are
        further facts, as JSON data.
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
        self._details = dict(details or {})

    @property
    def details(self) -> dict[str, Any]:
        """The known facts as JSON data: `suggestion`, `status`, `code`, `retry_after` and others.

        `suggestion` is always there, and so is `retry_after` (seconds) of a `RateLimitError`.
        """
        names = ("status", "code", "attr", "detail", "operation", "request_id", "missing_scope")
        facts = {name: getattr(self, name, None) for name in names}
        return {
            **{name: value for name, value in facts.items() if value is not None},
            **self._details,
            "suggestion": self.suggestion,
        }

    @property
    def message(self) -> str:
        """What happened, without the operation and the suggestion."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        """Return the message with the operation, and the suggestion on a second line."""
        about = [str(part) for part in (self.operation, self.request) if part]
        if self.request_id:
            about.append(f"request {self.request_id}")
        if len(self.attempts) > 1:
            about.append(f"{len(self.attempts)} attempts")
        first = f"{self.message} [{', '.join(about)}]" if about else self.message
        return f"{first}\n{self.suggestion}" if self.suggestion else first


class ConfigurationError(PostHogError, ValueError):
    """A setting of the client is missing or invalid, or contradicts another one."""


class ClosedError(PostHogError, RuntimeError):
    """The client was closed before or during the call."""


class EventLoopError(PostHogError, RuntimeError):
    """The client is used in another event loop than in its first call."""


class ReadOnlyError(PostHogError):
    """`read_only` or `allow` forbids the operation. Nothing was sent."""


class ConnectionError(PostHogError, builtins.ConnectionError):  # noqa: A001
    """The connection could not be opened, or it was lost."""


class TimeoutError(PostHogError, builtins.TimeoutError):  # noqa: A001
    """An attempt took longer than `timeout`, or the call longer than `deadline`."""

    deadline_exceeded: bool = False
    """Whether the call has reached its deadline, and not only one attempt its timeout."""


class DecodeError(PostHogError, ValueError):
    """The response does not match the schema, or cannot be parsed."""


class PaginationError(PostHogError):
    """Pagination does not advance: a cursor repeats, or goes back."""


class ResponseTooLargeError(PostHogError):
    """The response body is larger than `max_response_bytes`."""


class ExportError(PostHogError):
    """An export cannot start or continue, or the server does not return all of its rows."""


class CaptureError(PostHogError):
    """Events cannot be accepted or imported."""


class FlagUnavailableError(PostHogError):
    """The value of a feature flag is not known. This is not the same as a flag that is off."""

    key: str = ""
    """The key of the flag."""
    reason: str = ""
    """Why the value is not known: a code such as `quota_limited`, see `FlagReason`."""


class StatusError(PostHogError):
    """The server returned an error status. Subclasses are for one status or a few."""

    retry_after: float | None = None
    """Seconds to wait, from the `Retry-After` header; None without one."""

    @property
    def details(self) -> dict[str, Any]:
        """The known facts as JSON data."""
        facts = super().details
        if self.retry_after is not None or isinstance(self, RateLimitError):
            facts["retry_after"] = self.retry_after
        return facts


class RedirectError(StatusError):
    """The server redirects to another origin, to which credentials are not sent."""

    location: str | None = None
    """The target URL, with API keys masked. It may be signed: treat it as a secret."""


class ValidationError(StatusError):
    """400 or 422: the request is invalid. `.attr` is the name of the field."""


class AuthenticationError(StatusError):
    """401: the API key is invalid."""


class QuotaError(StatusError):
    """402: the plan does not include the feature, or its quota is exhausted."""


class PermissionDeniedError(StatusError):
    """403: the API key is valid, but not permitted to make the call."""

    missing_scope: str | None = None
    """The missing scope, if the server names it."""
    required_scopes: tuple[str, ...] = ()
    """All scopes that the operation needs."""
    accepts_api_keys: bool | None = None
    """Whether the endpoint accepts API keys at all; None: unknown."""


class NotFoundError(StatusError):
    """404 or 410: the object does not exist, or the API key has no access to it."""


class MethodNotAllowedError(StatusError):
    """405: the endpoint does not support the HTTP method."""


class ConflictError(StatusError):
    """409: the state of the object does not permit the call."""


class RateLimitError(StatusError):
    """429: too many requests. `.retry_after` is the time to wait, if the server names it."""


class QueryError(StatusError):
    """A query is invalid or failed."""


class QueryTooLargeError(QueryError):
    """A query exceeds the server's limits on time or memory. Request less data."""


class ServerError(StatusError):
    """5xx: the server, or a proxy in front of it, failed."""


class SchemaDrift(UserWarning):
    """A response does not match the schema. Its raw data was returned instead."""


class PaginationWarning(UserWarning):
    """The pages of a list are inconsistent: items may be missing or repeated."""
