"""Errors of the API: the JSON envelope, and the wording that PostHog uses for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .messages import Headers, Response, json_response, text_response

__all__ = [
    "ApiError",
    "GeneratedResponseError",
    "PlainTextError",
    "error_by_code",
    "error_type",
    "invalid",
    "method_not_allowed",
    "not_found",
    "parse_error",
    "permission_denied",
    "required",
    "unauthenticated",
    "unsupported_media",
]

_TYPE_BY_STATUS = {
    400: "validation_error",
    401: "authentication_error",
    403: "authentication_error",
    404: "invalid_request",
    405: "invalid_request",
    413: "invalid_request",
    415: "invalid_request",
    429: "throttled_error",
}
_CODE_AND_DETAIL_BY_STATUS = {
    400: ("invalid_input", "Invalid input."),
    401: ("authentication_failed", "Incorrect authentication credentials."),
    402: ("quota_limit_exceeded", "You have exceeded your quota."),
    403: ("permission_denied", "You do not have permission to perform this action."),
    404: ("not_found", "Not found."),
    409: ("conflict", "Conflict."),
    413: ("request_too_large", "The request body is too large."),
    429: ("throttled", "Request was throttled."),
    # PostHog's own statuses for queries that it stops: too slow, and too large.
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

_TYPE_BY_CODE: Final[Mapping[str, str]] = {
    "parse_error": "invalid_request",
    "protected_error": "invalid_request",
    "too_many_concurrent_backfills": "server_error",
    "too_many_concurrent_file_downloads": "server_error",
}
"""The `type` of codes for which it does not follow from the status."""
_DETAIL_BY_CODE: Final[Mapping[str, str]] = {
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
_HEADERS_BY_CODE: Final[Mapping[str, Headers]] = {"database_unavailable": [("Retry-After", "1")]}


def error_type(status: int, code: str | None = None) -> str:
    """Return the `type` of the envelope; `server_error` for codes and statuses not listed."""
    return _TYPE_BY_CODE.get(code or "", _TYPE_BY_STATUS.get(status, "server_error"))


def error_by_code(
    status: int,
    code: str,
    detail: str | None = None,
    attr: str | None = None,
    headers: Headers | None = None,
) -> ApiError:
    """Return the error with a code, with PostHog's own detail and headers as defaults.

    Args:
        status: The HTTP status.
        code: The `code` of the envelope.
        detail: The `detail` of the envelope; the one PostHog uses for the code by default.
        attr: The `attr` of the envelope.
        headers: Headers of the response. They win over the headers PostHog sends with the code.
    """
    merged = list(headers or ())
    present = {name.lower() for name, _ in merged}
    defaults = _HEADERS_BY_CODE.get(code, ())
    merged += [(name, text) for name, text in defaults if name.lower() not in present]
    if detail is None:
        detail = _DETAIL_BY_CODE.get(code)
    return ApiError(status, code=code, detail=detail, attr=attr, headers=merged)


class ApiError(Exception):
    """An error response, raised by handlers and sent as PostHog's error envelope.

    Args:
        status: The HTTP status.
        code: The `code` of the envelope; the usual one of the status by default.
        detail: The `detail` of the envelope; the usual one of the status by default.
        attr: The `attr` of the envelope: the field or parameter in question.
        type: The `type` of the envelope; it follows from code and status by default.
        headers: Headers of the response.
        body: A body in place of the envelope: JSON, or bytes that are sent unchanged.
    """

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
        default_code, default_detail = _CODE_AND_DETAIL_BY_STATUS.get(
            status, ("error", "A server error occurred.")
        )
        self.status = status
        self.code = code or default_code
        self.detail = detail if detail is not None else default_detail
        self.attr = attr
        self.type = type or error_type(status, code)
        self.headers: Headers = list(headers or ())
        self.body = body
        super().__init__(f"{status} {self.code}: {self.detail}")

    def to_response(self) -> Response:
        """Return the error as a response."""
        envelope = {"type": self.type, "code": self.code, "detail": self.detail, "attr": self.attr}
        body = envelope if self.body is None else self.body
        if isinstance(body, bytes):
            return Response(self.status, body, headers=list(self.headers))
        return json_response(self.status, body, self.headers)


class GeneratedResponseError(ApiError):
    """The refusal of a response whose values would be generated from the schema.

    Args:
        operation: The id of the operation.
    """

    def __init__(self, operation: str) -> None:
        super().__init__(
            501,
            type="server_error",
            code="generated_response",
            detail=(
                f"The emulator does not implement {operation}: it would generate the response "
                "from the schema, and strict_fidelity=True refuses that. Respond with a mock, or "
                "set strict_fidelity=False for this test."
            ),
        )


class PlainTextError(Exception):
    """An error whose response is plain text, as the capture and flags services send it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    def to_response(self) -> Response:
        """Return the error as a response."""
        return text_response(self.status, self.text)


def invalid(detail: str, attr: str | None = None, code: str = "invalid_input") -> ApiError:
    """Return a 400: a field, or the request as a whole, is invalid."""
    return ApiError(400, code=code, detail=detail, attr=attr)


def required(attr: str) -> ApiError:
    """Return a 400: a required field is missing."""
    return invalid("This field is required.", attr, "required")


def parse_error(detail: str) -> ApiError:
    """Return a 400: the body cannot be parsed."""
    return ApiError(400, code="parse_error", detail=detail)


def not_found(detail: str = "Not found.") -> ApiError:
    """Return a 404: the path or the object does not exist."""
    return ApiError(404, detail=detail)


def method_not_allowed(method: str, allowed: list[str]) -> ApiError:
    """Return a 405: the path exists, but not with this method."""
    return ApiError(
        405,
        code="method_not_allowed",
        detail=f'Method "{method}" not allowed.',
        headers=[("Allow", ", ".join(allowed))],
    )


def permission_denied(detail: str) -> ApiError:
    """Return a 403: the key may not do this.

    Its `type` is `authentication_error`, the same as that of a 401: so it is on the server.
    """
    return ApiError(403, detail=detail)


def unauthenticated(code: str, detail: str, site: str) -> ApiError:
    """Return a 401: there is no API key, or it is not valid.

    Args:
        code: `not_authenticated` or `authentication_failed`.
        detail: The `detail` of the envelope.
        site: Scheme and host of the server, for the `WWW-Authenticate` header.
    """
    challenge = f'Bearer resource_metadata="{site}/.well-known/oauth-protected-resource"'
    return ApiError(401, code=code, detail=detail, headers=[("WWW-Authenticate", challenge)])


def unsupported_media(media: str) -> ApiError:
    """Return a 415: the operation does not accept this media type."""
    detail = f'Unsupported media type "{media}" in request.'
    return ApiError(415, code="unsupported_media_type", detail=detail)
