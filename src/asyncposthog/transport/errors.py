"""Errors of httpx as `PostHogError`, and responses without credentials."""

from __future__ import annotations

import ssl
from typing import Final, cast

import httpx

from asyncposthog.errors import (
    ConnectionError,  # noqa: A004
    PostHogError,
    QueryError,
    RequestInfo,
    StatusError,
    TimeoutError,  # noqa: A004
    shorten,
)
from asyncposthog.redact import Redactor, mask_target
from asyncposthog.transport.encoding.request import PreparedRequest

from .environment import proxy_variable
from .exchange import NOT_SENT_ERRORS, Progress, headers_without
from .retry import Failure

__all__ = ["classify_failure", "from_httpx_error", "redact_response"]

_NON_RETRYABLE: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_MAX_CAUSES: Final = 16
"""Length of a chain of causes that is copied: a chain may be a cycle."""


def from_httpx_error(
    error: httpx.HTTPError, base: str, redact: Redactor, operation: str, info: RequestInfo
) -> PostHogError:
    """Return the `PostHogError` for an error of httpx, with a scrubbed copy of it as its cause.

    Raise it outside of the `except` block: otherwise the original, which refers to the request and
    its credentials, becomes its context.
    """
    if isinstance(error, httpx.ConnectTimeout):
        text = f"Could not connect to {base} in time."
    elif isinstance(error, httpx.PoolTimeout):
        text = "No connection became free in time: too many calls at once."
    elif isinstance(error, httpx.TimeoutException):
        text = f"{base} did not answer in time."
    else:
        error_text = redact(mask_target(str(error))) or type(error).__name__
        text = f"The connection to {base} failed: {shorten(error_text)}"
    kind = TimeoutError if isinstance(error, httpx.TimeoutException) else ConnectionError
    suggestion = None
    if _is_certificate_error(error):
        suggestion = (
            "The server's certificate is not trusted: set SSL_CERT_FILE to the certificate "
            "authority's file, or pass an http_client that trusts it."
        )
    elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        variable = proxy_variable(base)
        proxy = "the proxy settings"
        if variable is not None:
            proxy = f"the proxy that {variable} in the environment names"
        suggestion = f"Check the network, {proxy}, and host= or region=."
    result = kind(text, operation=operation, request=info, suggestion=suggestion)
    result.__cause__ = _scrubbed_copy(error, redact)
    return result


def _scrubbed_copy(error: BaseException, redact: Redactor, depth: int = 0) -> BaseException | None:
    """Return a copy of an exception and its causes: only their types and redacted arguments.

    Requests and stack frames, which refer to credentials, are not copied.
    """
    if depth > _MAX_CAUSES:
        return None
    try:
        if isinstance(error, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", error)
            copies = (_scrubbed_copy(member, redact, depth + 1) for member in group.exceptions)
            remaining = [copy for copy in copies if copy is not None]
            copy = BaseExceptionGroup(redact(group.message), remaining)
        else:
            arguments = [_redact_argument(argument, redact) for argument in error.args]
            copy = type(error).__new__(type(error), *arguments)
            if isinstance(copy, httpx.HTTPError):
                httpx.HTTPError.__init__(copy, *copy.args[:1])
        str(copy)
    except Exception:
        # The constructor of another library's class may need more. The message of our own
        # exception has the text already.
        copy = None
    earlier = error.__cause__ or error.__context__
    cause = None if earlier is None else _scrubbed_copy(earlier, redact, depth + 1)
    if copy is None:
        return cause
    copy.__cause__ = cause
    return copy


def _redact_argument(argument: object, redact: Redactor) -> object:
    """Return an argument of an exception without API keys, as a number, bytes or text.

    It may be an exception: those of httpcore contain those of h11, which quote the server.
    """
    if argument is None or isinstance(argument, int | float):
        return argument
    if isinstance(argument, bytes | bytearray):
        return redact.mask_bytes(bytes(argument))
    return redact(str(argument))


def _is_certificate_error(error: BaseException | None) -> bool:
    visited: set[int] = set()  # a chain may be a cycle
    while error is not None and id(error) not in visited:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        visited.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def classify_failure(error: PostHogError, progress: Progress) -> Failure:
    """Return what the retry policy has to know about a failed attempt.

    Args:
        error: The error of the attempt. Middleware may have raised it, after the response or about
            another request, so it counts as proof only together with `progress`.
        progress: What the server may have received of the attempt.
    """
    if isinstance(error, QueryError) and error.status == 500:
        # The server ran the query, and would fail again.
        return Failure(kind="permanent")
    if isinstance(error, StatusError):
        return Failure(
            kind="status",
            status=error.status,
            retry_after=error.retry_after,
            not_executed=_proves_not_executed(error) and not progress.accepted,
        )
    if isinstance(error, TimeoutError) and error.deadline_exceeded:
        return Failure(kind="permanent")
    if not isinstance(error, TimeoutError | ConnectionError):
        return Failure(kind="permanent")
    cause = error.__cause__
    if isinstance(cause, _NON_RETRYABLE) or _is_certificate_error(cause):
        return Failure(kind="permanent")
    if isinstance(cause, NOT_SENT_ERRORS) and not progress.sent:
        return Failure(kind="not_sent")
    return Failure(kind="connection_lost", timed_out=isinstance(error, TimeoutError))


def _proves_not_executed(error: StatusError) -> bool:
    """Return whether a response proves that the server did not execute the request.

    PostHog checks its throttle before the view runs, and sends `Retry-After` then; it counts
    running backfills and downloads before it starts another. Any other 429, and a 503, may come
    from the view after it has written the object, when a database or ClickHouse is overloaded. A
    proxy sends them when it loses the connection to the server during a request.
    """
    if error.status != 429 or error.type is None:
        return False
    if error.code == "throttled":
        return error.retry_after is not None
    return (error.code or "").startswith("too_many_concurrent_")


_DROPPED_HEADERS: Final = frozenset(
    {b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie"}
)


def redact_response(
    response: httpx.Response, request: PreparedRequest, base: str, redact: Redactor
) -> httpx.Response:
    """Return a copy of a response for logs and pickles, without API keys and request headers."""
    url = redact(mask_target(base + request.target))
    return httpx.Response(
        response.status_code,
        headers=[
            (redact.mask_bytes(name), redact.mask_bytes(value))
            for name, value in headers_without(response, _DROPPED_HEADERS)
        ],
        content=redact.mask_bytes(response.content),
        request=httpx.Request(request.method, url),
    )
