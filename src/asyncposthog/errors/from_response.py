"""Create the exception for an error response. No I/O, no clock.

The server has a dozen formats of error bodies, and proxies in front of it have more. The class
depends on the status, then on the code; the body adds the message.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from asyncposthog.operation import Operation

from . import (
    AuthenticationError,
    ConflictError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
    QueryError,
    QueryTooLargeError,
    QuotaError,
    RateLimitError,
    RedirectError,
    RequestInfo,
    ServerError,
    StatusError,
    ValidationError,
    shorten,
)
from .suggestions import (
    ErrorContext,
    ErrorResponse,
    accepts_api_keys,
    missing_scope,
    suggestion_for,
)

__all__ = ["ErrorBody", "error_from_response", "is_query", "parse_error_body"]

_CLASSES: Final[dict[int, type[StatusError]]] = {
    400: ValidationError,
    401: AuthenticationError,
    402: QuotaError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    409: ConflictError,
    410: NotFoundError,
    422: ValidationError,
    429: RateLimitError,
    512: QueryTooLargeError,
    513: QueryTooLargeError,
}

_MAX_REDACTED_CHARS: Final = 50_000
"""Characters of a message that are redacted; a few hundred of them are shown."""
_MAX_KEY_CHARS: Final = 10_000

_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "cf-ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """The fields of an error body."""

    detail: str | None = None
    code: str | None = None
    attr: str | None = None
    type: str | None = None
    fix: str | None = None
    """The server's suggestion, which a few endpoints send."""
    html: bool = False
    """Whether it is a web page, which is probably from a proxy."""
    query_status: bool = False
    """Whether it is the status of a background query."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


def error_from_response(
    operation: Operation,
    request: RequestInfo,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    context: ErrorContext,
    *,
    now: float = 0.0,
) -> StatusError:
    """Return the exception for an error response.

    Args:
        operation: The operation of the call.
        request: Method and path.
        status: The HTTP status.
        headers: The headers of the response.
        content: The decompressed body.
        context: The settings of the client that suggestions need.
        now: The time, in seconds since 1970, for a `Retry-After` that is a date.
    """
    lower_headers = {name.lower(): value for name, value in headers.items()}
    error_body = _redact_body(
        parse_error_body(content, lower_headers.get("content-type", "")), context
    )
    location = lower_headers.get("location")
    response = ErrorResponse(
        operation=operation,
        request=request,
        status=status,
        code=error_body.code,
        detail=error_body.detail,
        attr=error_body.attr,
        html=error_body.html,
        retry_after=parse_retry_after(lower_headers.get("retry-after"), now),
        location=location and context.redact(location),
    )
    error_class = _error_class(operation, status, error_body)
    request_id = next(
        (lower_headers[name] for name in _REQUEST_IDS if lower_headers.get(name)), None
    )
    error = error_class(
        _message(status, error_body),
        status=status,
        code=error_body.code,
        detail=error_body.detail,
        attr=error_body.attr,
        type=error_body.type,
        request_id=shorten(context.redact(request_id), 100) if request_id else None,
        operation=operation.id,
        request=request,
        suggestion=error_body.fix or suggestion_for(response, context),
    )
    error.retry_after = response.retry_after
    if isinstance(error, PermissionDeniedError):
        error.missing_scope = missing_scope(error_body.detail)
        error.required_scopes = operation.scopes
        error.accepts_api_keys = accepts_api_keys(response)
    if isinstance(error, RedirectError):
        error.location = response.location
    return error


def is_query(operation: Operation) -> bool:
    """Return whether an operation runs a query."""
    return operation.method == "POST" and (
        "/query/" in operation.path or any("quer" in bucket for bucket in operation.buckets)
    )


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a `Retry-After` header; None if it is missing or invalid.

    Args:
        value: Seconds, or an HTTP date.
        now: The time, in seconds since 1970.
    """
    text = (value or "")[:100].strip()
    try:
        if re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]*)?", text):
            return max(0.0, float(text))
        timestamp = parsedate_to_datetime(text)
        if timestamp.tzinfo is None:
            # HTTP dates are in GMT, also if they do not say so.
            timestamp = timestamp.replace(tzinfo=UTC)
        return max(0.0, timestamp.timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def _error_class(operation: Operation, status: int, error_body: ErrorBody) -> type[StatusError]:
    query = is_query(operation)
    if error_body.query_status and status in {400, 500}:
        return QueryError
    if status == 500 and error_body.detail and "Query size exceeded" in error_body.detail:
        return QueryTooLargeError
    if query and status == 504:
        return QueryTooLargeError
    if query and status == 400 and error_body.attr is None:
        return QueryError
    if status in _CLASSES:
        return _CLASSES[status]
    if 300 <= status < 400:
        return RedirectError
    return ServerError if status >= 500 else StatusError


def _message(status: int, error_body: ErrorBody) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    head = f"{status} {error_body.code or phrase}".strip()
    attr = f"{error_body.attr}: " if error_body.attr else ""
    return f"{head}: {attr}{error_body.detail}" if error_body.detail else head


def _redact_body(error_body: ErrorBody, context: ErrorContext) -> ErrorBody:
    def clean(text: str | None, limit: int) -> str | None:
        if not text:
            return None
        # Redacted before it is shortened: a truncated key is not recognized. The end of a long text
        # may be a truncated key, and is removed.
        redacted = context.redact(text[:_MAX_REDACTED_CHARS])
        return (
            shorten(
                redacted if len(text) <= _MAX_REDACTED_CHARS else redacted[:-_MAX_KEY_CHARS], limit
            )
            or None
        )

    return replace(
        error_body,
        detail=clean(error_body.detail, 500),
        code=clean(error_body.code, 100),
        attr=clean(error_body.attr, 100),
        type=clean(error_body.type, 100),
        fix=clean(error_body.fix, 300),
        extra={},
    )


def parse_error_body(content: bytes, media: str = "") -> ErrorBody:
    """Parse an error body of any format. Raises nothing."""
    text = content[:200_000].decode("utf-8", "replace").strip()
    if text in {"", "null", "{}", "[]"}:
        return ErrorBody()
    if text[0] in '{["' or "json" in media:
        try:
            # All of the content: the text above is truncated, and may not be valid JSON.
            return _parse_json(from_json(content, allow_inf_nan=True))
        except (ValueError, RecursionError):  # ValueError also for a number with too many digits
            pass
    if text[0] == "<" or "html" in media:
        return ErrorBody(detail=_page_title(text), html=True)
    return ErrorBody(detail=text)


def _parse_json(value: object) -> ErrorBody:
    if isinstance(value, str):
        return ErrorBody(detail=value)
    if isinstance(value, list):
        items = cast("list[object]", value)
        return _parse_json(items[0]) if items else ErrorBody()
    if isinstance(value, dict):
        return _parse_object(cast("dict[str, object]", value))
    return ErrorBody(detail=str(value)) if value is not None else ErrorBody()


def _parse_object(body: dict[str, object]) -> ErrorBody:
    status = body.get("query_status")
    if isinstance(status, dict):
        message = cast("dict[str, object]", status).get("error_message")
        return ErrorBody(detail=_text(message) or "The query failed.", query_status=True)
    if body.get("list") and ("detail" not in body or body.get("code") == "multiple"):
        # Several errors at once. The first one is used, as for a response with one error.
        return _parse_json(body["list"])
    envelope_keys = {
        "detail",
        "code",
        "error",
        "message",
        "error_description",
        "type",
        "success",
        "attr",
    }
    if not envelope_keys & body.keys():
        return _parse_field_errors(body)
    detail, code = _text(body.get("detail")), _identifier(body.get("code"))
    error = body.get("error")
    if isinstance(error, dict):
        inner = _parse_object(cast("dict[str, object]", error))
        detail, code = detail or inner.detail, code or inner.code
    elif description := _text(body.get("error_description")):
        detail, code = detail or description, code or _identifier(error)
    else:
        detail = detail or _text(error) or _text(body.get("message"))
    if code and detail and " " in code and " " not in detail:
        # Two person endpoints exchange code and detail.
        code, detail = detail, code
    return ErrorBody(
        detail=detail,
        code=code,
        attr=_identifier(body.get("attr")),
        type=_identifier(body.get("type")),
        fix=_text(body.get("fix")),
    )


def _parse_field_errors(body: dict[str, object]) -> ErrorBody:
    """Parse `{"field": ["message"]}`, the format of Django REST framework without an envelope."""
    for name, value in body.items():
        items = cast("list[object]", value) if isinstance(value, list) else [value]
        if items and isinstance(items[0], str):
            attr = None if name == "non_field_errors" else name
            return ErrorBody(detail=items[0], attr=attr)
    return ErrorBody(detail=_text(body))


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else to_json(value).decode("utf-8", "replace")


def _identifier(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


_TAG: Final = re.compile(r"<[^<>]*+>")
_OPENING: Final = {
    tag: re.compile(rf"<{tag}\b[^<>]*+>", re.IGNORECASE)
    for tag in ("title", "h1", "script", "style")
}
_CLOSING: Final = {
    tag: re.compile(rf"</{tag}\s*+>", re.IGNORECASE) for tag in ("title", "h1", "script", "style")
}


def _page_title(page: str) -> str:
    for tag in ("title", "h1"):
        opening = _OPENING[tag].search(page)
        closing = opening and _CLOSING[tag].search(page, opening.end())
        if opening and closing:
            inner = page[opening.end() : closing.start()][:1000]
            if title := html.unescape(_TAG.sub(" ", inner)).strip():
                return title
    text = _TAG.sub(" ", _remove_elements(_remove_elements(page[:20_000], "script"), "style"))
    return html.unescape(text).strip() or "an HTML page without text"


def _remove_elements(page: str, tag: str) -> str:
    """Return a page without elements of a tag and their content."""
    pieces: list[str] = []
    done = 0
    while opening := _OPENING[tag].search(page, done):
        closing = _CLOSING[tag].search(page, opening.end())
        if closing is None:
            break
        pieces.append(page[done : opening.start()])
        done = closing.end()
    return " ".join([*pieces, page[done:]])
