"""Errors and warnings for responses that do not match the schema."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import ValidationError

from asyncposthog.errors import DecodeError, RequestInfo, SchemaDrift, shorten
from asyncposthog.modeling.mismatches import SchemaMismatch, format_path
from asyncposthog.modeling.unions import KNOWN_VARIANT
from asyncposthog.operation import Operation
from asyncposthog.redact import mask

__all__ = [
    "decode_error",
    "from_pydantic_error",
    "invalid_json_error",
    "is_html",
    "mismatch_error",
    "primary_errors",
    "user_stacklevel",
    "warn_schema_drift",
]  # fmt: skip

_MAX_LISTED: Final = 20
"""Mismatches listed in one message."""

_EXCERPT_CHARS: Final = 80
"""Characters shown before and after the position of invalid JSON."""

_POSITION: Final = re.compile(r"line (\d+) column (\d+)")
_HTML: Final = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
_INTERNAL_PACKAGES: Final = ("asyncposthog", "anyio", "tenacity", "contextlib")

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def is_html(content: bytes, media: str) -> bool:
    """Return whether a response is a web page."""
    return media.lower().startswith(("text/html", "application/xhtml")) or bool(
        _HTML.match(content)
    )


def decode_error(operation: Operation, message: str, suggestion: str) -> DecodeError:
    """Return the error for a response that cannot be decoded."""
    return DecodeError(
        message,
        operation=operation.id,
        request=RequestInfo(operation.method, operation.path),
        suggestion=suggestion,
    )


def invalid_json_error(
    operation: Operation, content: bytes, media: str, reason: str
) -> DecodeError:
    """Return the error for a response that is not JSON, or truncated."""
    if is_html(content, media):
        return decode_error(
            operation,
            f"The response is a web page, not data: {_excerpt(content, 0)!r}",
            "It may be from a login page or a proxy. Check `host`, and whether the network needs a "
            "sign-in.",
        )
    kind = media.partition(";")[0].strip() or "no content type"
    if not content.strip():
        return decode_error(
            operation,
            f"The response is empty ({kind})",
            "The connection may have been lost. Try again.",
        )
    return decode_error(
        operation,
        f"The response ({kind}, {len(content)} bytes) is not JSON: {reason}, near "
        f"{_excerpt(content, _offset(content, reason))!r}",
        "It may be truncated, or from a proxy. `ph.raw(...)` returns all of it.",
    )


def mismatch_error(operation: Operation, mismatches: Sequence[SchemaMismatch]) -> DecodeError:
    """Return the error of strict decoding, with all mismatches."""
    listed = "; ".join(str(d) for d in mismatches[:_MAX_LISTED])
    more = f"; and {len(mismatches) - _MAX_LISTED} more" if len(mismatches) > _MAX_LISTED else ""
    places = "1 place" if len(mismatches) == 1 else f"{len(mismatches)} places"
    return decode_error(
        operation,
        f"The response does not match the schema in {places}: {listed}{more}",
        "Without `strict`, it is decoded as far as possible.",
    )


def primary_errors(error: ValidationError) -> list[dict[str, Any]]:
    """Return the errors of pydantic, without those that only refer to others."""
    details: list[Any] = error.errors(include_url=False, include_context=False)
    return [d for d in details if d["type"] != KNOWN_VARIANT]


def from_pydantic_error(path: tuple[str | int, ...], detail: dict[str, Any]) -> SchemaMismatch:
    """Return the mismatch for an error of pydantic, without the value."""
    value: object = detail["input"]
    kind = _KINDS.get(type(value), type(value).__name__)
    message = str(detail["msg"]).removesuffix(".")
    return SchemaMismatch(path, f"{message[:1].lower()}{message[1:]}, got {kind}")


def warn_schema_drift(operation: Operation, mismatches: Iterable[SchemaMismatch]) -> None:
    """Warn about each field, at the line of the user's code.

    The text has no positions in lists, so that Python's filter shows each field once.
    """
    level = user_stacklevel()
    fields = {format_path(d.path, positions=False) or "the whole response": d for d in mismatches}
    for field, what in fields.items():
        message = (
            f"{operation.id}: {field} does not match the schema ({what.reason}); "
            "its raw value was returned"
        )
        warnings.warn(SchemaDrift(mask(message)), stacklevel=level)


def user_stacklevel() -> int:
    """Return the stack level of the first frame of user code, as `warnings.warn` counts."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    level = 1
    while frame.f_back is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in _INTERNAL_PACKAGES:
            break
        frame = frame.f_back
        level += 1
    return level


def _offset(content: bytes, reason: str) -> int:
    """Return the position of a parser error, whose message has line and column."""
    match = _POSITION.search(reason)
    if match is None:
        return 0
    line, column = int(match[1]), int(match[2])
    start = 0
    for _ in range(line - 1):
        start = content.find(b"\n", start) + 1
    return start + column


def _excerpt(content: bytes, position: int) -> str:
    # Masked before it is shortened: a truncated key is not recognized.
    start = max(0, position - 4 * _EXCERPT_CHARS)
    text = mask(content[start : position + 4 * _EXCERPT_CHARS].decode("utf-8", "replace"))
    middle = min(position - start, len(text))
    return shorten(
        text[max(0, middle - _EXCERPT_CHARS) : middle + _EXCERPT_CHARS], 2 * _EXCERPT_CHARS
    )
