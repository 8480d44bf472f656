"""An error answer becomes an exception. Pure: no I/O, no clock.

The server has a dozen shapes of error bodies, and proxies before it have more. The class follows
from the status, then from the code; the body only fills in the words.
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
    clip,
)
from .suggestions import Answer, Facts, missing_scope, suggestion_for, usable

__all__ = ["ErrorBody", "failure", "is_query", "parse_error_body"]

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

_REDACTED: Final = 50_000
"""Characters of a server's text that are looked at; a few hundred are shown."""
_LONGEST_KEY: Final = 10_000

_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "cf-ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What an error body says."""

    detail: str | None = None
    code: str | None = None
    attr: str | None = None
    type: str | None = None
    fix: str | None = None
    """The server's own advice; a few endpoints give it."""
    html: bool = False
    """Whether it is a page, so probably not PostHog's own answer."""
    query_status: bool = False
    """Whether it reports a query that ran in the background."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


def failure(
    operation: Operation,
    request: RequestInfo,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    facts: Facts,
    *,
    now: float = 0.0,
) -> StatusError:
    """Return the exception that an answer stands for.

    Args:
        operation: What was called.
        request: Method and path.
        status: The HTTP status; anything but a success.
        headers: The answer's headers.
        content: Its body, decompressed.
        facts: What the client knows of itself.
        now: Seconds since 1970, for a `Retry-After` that is a date.
    """
    lines = {name.lower(): value for name, value in headers.items()}
    words = _redacted(parse_error_body(content, lines.get("content-type", "")), facts)
    location = lines.get("location")
    answer = Answer(
        operation=operation,
        request=request,
        status=status,
        code=words.code,
        detail=words.detail,
        attr=words.attr,
        html=words.html,
        retry_after=parse_retry_after(lines.get("retry-after"), now),
        location=location and facts.redact(location),
    )
    kind = _error_class(operation, status, words)
    request_id = next((lines[name] for name in _REQUEST_IDS if lines.get(name)), None)
    error = kind(
        _message(status, words),
        status=status,
        code=words.code,
        detail=words.detail,
        attr=words.attr,
        type=words.type,
        request_id=clip(facts.redact(request_id), 100) if request_id else None,
        operation=operation.id,
        request=request,
        suggestion=words.fix or suggestion_for(answer, facts),
    )
    error.retry_after = answer.retry_after
    if isinstance(error, PermissionDeniedError):
        error.missing_scope = missing_scope(words.detail)
        error.required_scopes = operation.scopes
        error.key_usable = usable(answer)
    if isinstance(error, RedirectError):
        error.location = answer.location
    return error


def is_query(operation: Operation) -> bool:
    """Tell whether an operation computes something of the caller's choice."""
    return operation.method == "POST" and (
        "/query/" in operation.path or any("quer" in bucket for bucket in operation.buckets)
    )


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds a `Retry-After` asks for; None when it is absent or unreadable.

    Args:
        value: Seconds, or an HTTP date.
        now: The time, in seconds since 1970.
    """
    text = (value or "")[:100].strip()
    try:
        if re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]*)?", text):
            return max(0.0, float(text))
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            # HTTP knows one zone, whether it is said or not.
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def _error_class(operation: Operation, status: int, words: ErrorBody) -> type[StatusError]:
    query = is_query(operation)
    if words.query_status and status in {400, 500}:
        return QueryError
    if status == 500 and words.detail and "Query size exceeded" in words.detail:
        return QueryTooLargeError
    if query and status == 504:
        return QueryTooLargeError
    if query and status == 400 and words.attr is None:
        return QueryError
    if status in _CLASSES:
        return _CLASSES[status]
    if 300 <= status < 400:
        return RedirectError
    return ServerError if status >= 500 else StatusError


def _message(status: int, words: ErrorBody) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    head = f"{status} {words.code or phrase}".strip()
    attr = f"{words.attr}: " if words.attr else ""
    return f"{head}: {attr}{words.detail}" if words.detail else head


def _redacted(words: ErrorBody, facts: Facts) -> ErrorBody:
    def clean(text: str | None, limit: int) -> str | None:
        if not text:
            return None
        # Redacted before it is shortened: half a key would not be recognised. What may stand at
        # the end of a long text as half of one is left away.
        shown = facts.redact(text[:_REDACTED])
        return clip(shown if len(text) <= _REDACTED else shown[:-_LONGEST_KEY], limit) or None

    return replace(
        words,
        detail=clean(words.detail, 500),
        code=clean(words.code, 100),
        attr=clean(words.attr, 100),
        type=clean(words.type, 100),
        fix=clean(words.fix, 300),
        extra={},
    )


def parse_error_body(content: bytes, media: str = "") -> ErrorBody:
    """Read an error body, whatever it is. Never fails."""
    text = content[:200_000].decode("utf-8", "replace").strip()
    if text in {"", "null", "{}", "[]"}:
        return ErrorBody()
    if text[0] in '{["' or "json" in media:
        try:
            # The slice above may have cut a large one in two.
            return _read_json(from_json(content, allow_inf_nan=True))
        except (ValueError, RecursionError):  # also for a number too long to become text
            pass
    if text[0] == "<" or "html" in media:
        return ErrorBody(detail=_page_title(text), html=True)
    return ErrorBody(detail=text)


def _read_json(value: object) -> ErrorBody:
    if isinstance(value, str):
        return ErrorBody(detail=value)
    if isinstance(value, list):
        items = cast("list[object]", value)
        return _read_json(items[0]) if items else ErrorBody()
    if isinstance(value, dict):
        return _read_object(cast("dict[str, object]", value))
    return ErrorBody(detail=str(value)) if value is not None else ErrorBody()


def _read_object(body: dict[str, object]) -> ErrorBody:
    status = body.get("query_status")
    if isinstance(status, dict):
        message = cast("dict[str, object]", status).get("error_message")
        return ErrorBody(detail=_text(message) or "The query failed.", query_status=True)
    if body.get("list") and ("detail" not in body or body.get("code") == "multiple"):
        # Several complaints at once: the first of them, as where the server gives one alone.
        return _read_json(body["list"])
    known = {"detail", "code", "error", "message", "error_description", "type", "success", "attr"}
    if not known & body.keys():
        return _read_fields(body)
    detail, code = _text(body.get("detail")), _name(body.get("code"))
    error = body.get("error")
    if isinstance(error, dict):
        inner = _read_object(cast("dict[str, object]", error))
        detail, code = detail or inner.detail, code or inner.code
    elif described := _text(body.get("error_description")):
        detail, code = detail or described, code or _name(error)
    else:
        detail = detail or _text(error) or _text(body.get("message"))
    if code and detail and " " in code and " " not in detail:
        # Two views of persons have them the wrong way round.
        code, detail = detail, code
    return ErrorBody(
        detail=detail,
        code=code,
        attr=_name(body.get("attr")),
        type=_name(body.get("type")),
        fix=_text(body.get("fix")),
    )


def _read_fields(body: dict[str, object]) -> ErrorBody:
    """Read `{"field": ["what is wrong with it"]}`, Django's form without the envelope."""
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


def _name(value: object) -> str | None:
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
        begun = _OPENING[tag].search(page)
        ended = begun and _CLOSING[tag].search(page, begun.end())
        if begun and ended:
            inner = page[begun.end() : ended.start()][:1000]
            if title := html.unescape(_TAG.sub(" ", inner)).strip():
                return title
    bare = _TAG.sub(" ", _without(_without(page[:20_000], "script"), "style"))
    return html.unescape(bare).strip() or "an HTML page without text"


def _without(page: str, tag: str) -> str:
    """Return a page without these elements and what is in them."""
    pieces: list[str] = []
    done = 0
    while begun := _OPENING[tag].search(page, done):
        ended = _CLOSING[tag].search(page, begun.end())
        if ended is None:
            break
        pieces.append(page[done : begun.start()])
        done = ended.end()
    return " ".join([*pieces, page[done:]])
