"""The error envelope, and the wordings the server uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .messages import Answer, Headers, json_answer, text_answer

__all__ = [
    "ApiError",
    "PlainTextError",
    "error_by_code",
    "invalid",
    "method_not_allowed",
    "not_found",
    "parse_error",
    "permission_denied",
    "required",
    "type_of",
    "unauthenticated",
    "unsupported_media",
]

_TYPES = {
    400: "validation_error",
    401: "authentication_error",
    403: "authentication_error",
    404: "invalid_request",
    405: "invalid_request",
    413: "invalid_request",
    415: "invalid_request",
    429: "throttled_error",
}
_CODES = {
    400: ("invalid_input", "Invalid input."),
    401: ("authentication_failed", "Incorrect authentication credentials."),
    402: ("quota_limit_exceeded", "You have exceeded your quota."),
    403: ("permission_denied", "You do not have permission to perform this action."),
    404: ("not_found", "Not found."),
    409: ("conflict", "Conflict."),
    413: ("request_too_large", "The request body is too large."),
    429: ("throttled", "Request was throttled."),
    512: (
        "error",
        "Estimated query execution time (120 seconds) is too long. "
        "Try reducing its scope by changing the time range.",
    ),
    513: (
        "clickhouse_memory_limit_exceeded",
        "Query ran out of memory. Try reducing its scope by changing the time range.",
    ),
}

_TYPES_OF_CODES: Final[Mapping[str, str]] = {
    "parse_error": "invalid_request",
    "protected_error": "invalid_request",
    "too_many_concurrent_backfills": "server_error",
    "too_many_concurrent_file_downloads": "server_error",
}
"""Codes whose `type` is not that of their status."""
_DETAILS: Final[Mapping[str, str]] = {
    "api_queries_quota_exceeded": "You have used up this month's allowance of API queries.",
    "database_unavailable": "The database is unavailable for the moment. Try again soon.",
    "not_authenticated": "Authentication credentials were not provided.",
    "parse_error": "JSON parse error - Expecting value: line 1 column 1 (char 0)",
    "payment_required": "This feature is not part of your plan.",
    "protected_error": (
        "Requested operation cannot be completed because a related object is protected."
    ),
    "required": "This field is required.",
    "too_many_concurrent_backfills": "Too many concurrent backfills for this team.",
    "too_many_concurrent_file_downloads": (
        "Too many concurrent file download batch exports for this team."
    ),
}
_HEADERS: Final[Mapping[str, Headers]] = {"database_unavailable": [("Retry-After", "1")]}


def type_of(status: int, code: str | None = None) -> str:
    """The envelope's `type`: every one that is not listed is a `server_error`."""
    return _TYPES_OF_CODES.get(code or "", _TYPES.get(status, "server_error"))


def error_by_code(
    status: int,
    code: str,
    detail: str | None = None,
    attr: str | None = None,
    headers: Headers | None = None,
) -> ApiError:
    """The problem that has a code of its own, in the server's words where none are given."""
    sent = list(headers or ())
    told = {name.lower() for name, _ in sent}
    sent += [(n, text) for n, text in _HEADERS.get(code, ()) if n.lower() not in told]
    known = _DETAILS.get(code) if detail is None else detail
    return ApiError(status, code=code, detail=known, attr=attr, headers=sent)


class ApiError(Exception):
    """A refusal, raised anywhere and answered as the envelope."""

    def __init__(
        self,
        status: int,
        *,
        code: str | None = None,
        detail: str | None = None,
        attr: str | None = None,
        type: str | None = None,
        headers: Headers | None = None,
        body: Any = None,
    ) -> None:
        default_code, default_detail = _CODES.get(status, ("error", "A server error occurred."))
        self.status = status
        self.code = code or default_code
        self.detail = detail if detail is not None else default_detail
        self.attr = attr
        self.type = type or type_of(status, code)
        self.headers: Headers = list(headers or ())
        self.body = body
        """A body to answer with in place of the envelope: JSON, or bytes as they are."""
        super().__init__(f"{status} {self.code}: {self.detail}")

    def answer(self) -> Answer:
        """The answer that tells of it."""
        envelope = {"type": self.type, "code": self.code, "detail": self.detail, "attr": self.attr}
        body = envelope if self.body is None else self.body
        if isinstance(body, bytes):
            return Answer(self.status, body, headers=list(self.headers))
        return json_answer(self.status, body, self.headers)


class PlainTextError(Exception):
    """An error whose response is plain text, as the capture and flags services send it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    def answer(self) -> Answer:
        """Return the response."""
        return text_answer(self.status, self.text)


def invalid(detail: str, attr: str | None = None, code: str = "invalid_input") -> ApiError:
    """A field, or the request as a whole, is not acceptable."""
    return ApiError(400, code=code, detail=detail, attr=attr)


def required(attr: str) -> ApiError:
    """A required field is missing."""
    return invalid("This field is required.", attr, "required")


def parse_error(detail: str) -> ApiError:
    """The body cannot be read."""
    return ApiError(400, code="parse_error", detail=detail)


def not_found(detail: str = "Not found.") -> ApiError:
    """There is no such path or object."""
    return ApiError(404, detail=detail)


def method_not_allowed(method: str, allowed: list[str]) -> ApiError:
    """The path exists, the method does not."""
    return ApiError(
        405,
        code="method_not_allowed",
        detail=f'Method "{method}" not allowed.',
        headers=[("Allow", ", ".join(allowed))],
    )


def permission_denied(detail: str) -> ApiError:
    """The key may not do this. Its `type` is `authentication_error`, as the server has it."""
    return ApiError(403, detail=detail)


def unauthenticated(code: str, detail: str, site: str) -> ApiError:
    """There is no usable key.

    Args:
        code: `not_authenticated` or `authentication_failed`.
        detail: The server's sentence.
        site: Scheme and host, for the challenge header.
    """
    challenge = f'Bearer resource_metadata="{site}/.well-known/oauth-protected-resource"'
    return ApiError(401, code=code, detail=detail, headers=[("WWW-Authenticate", challenge)])


def unsupported_media(media: str) -> ApiError:
    """The body's media type is not one the operation takes."""
    detail = f'Unsupported media type "{media}" in request.'
    return ApiError(415, code="unsupported_media_type", detail=detail)
