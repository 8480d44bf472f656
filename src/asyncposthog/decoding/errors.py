"""How answers that are not what they should be are reported."""

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
"""Deviations listed in one message."""

_EXCERPT_CHARS: Final = 80
"""Characters shown before and after the place where an answer stops being JSON."""

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
    """Whether an answer is a web page."""
    return media.lower().startswith(("text/html", "application/xhtml")) or bool(
        _HTML.match(content)
    )


def decode_error(operation: Operation, message: str, suggestion: str) -> DecodeError:
    """Make the error for an answer that cannot be read at all."""
    return DecodeError(
        message,
        operation=operation.id,
        request=RequestInfo(operation.method, operation.path),
        suggestion=suggestion,
    )


def invalid_json_error(
    operation: Operation, content: bytes, media: str, reason: str
) -> DecodeError:
    """Make the error for an answer that is no JSON, or no whole JSON."""
    if is_html(content, media):
        return decode_error(
            operation,
            f"The answer is a web page, not data: {_excerpt(content, 0)!r}",
            "A login page or a proxy answered in PostHog's place. Check `host`, and whether "
            "the network needs a sign-in.",
        )
    kind = media.partition(";")[0].strip() or "no content type"
    if not content.strip():
        return decode_error(
            operation,
            f"The answer is empty ({kind})",
            "The connection may have been cut short. Trying again may help.",
        )
    return decode_error(
        operation,
        f"The answer ({kind}, {len(content)} bytes) is not JSON: {reason}, near "
        f"{_excerpt(content, _offset(content, reason))!r}",
        "It may have been cut short or replaced on its way. The raw response shows all of it.",
    )


def mismatch_error(operation: Operation, mismatches: Sequence[SchemaMismatch]) -> DecodeError:
    """Make the error of strict decoding: every place where an answer departs from the schema."""
    listed = "; ".join(str(d) for d in mismatches[:_MAX_LISTED])
    more = f"; and {len(mismatches) - _MAX_LISTED} more" if len(mismatches) > _MAX_LISTED else ""
    places = "1 place" if len(mismatches) == 1 else f"{len(mismatches)} places"
    return decode_error(
        operation,
        f"The answer departs from the schema in {places}: {listed}{more}",
        "Without `strict`, it is read as far as possible.",
    )


def primary_errors(error: ValidationError) -> list[dict[str, Any]]:
    """Return pydantic's errors, without those that only point at others."""
    details: list[Any] = error.errors(include_url=False, include_context=False)
    return [d for d in details if d["type"] != KNOWN_VARIANT]


def from_pydantic_error(path: tuple[str | int, ...], detail: dict[str, Any]) -> SchemaMismatch:
    """Say what is wrong at a place, without showing the value."""
    value: object = detail["input"]
    kind = _KINDS.get(type(value), type(value).__name__)
    message = str(detail["msg"]).removesuffix(".")
    return SchemaMismatch(path, f"{message[:1].lower()}{message[1:]}, got {kind}")


def warn_schema_drift(operation: Operation, mismatches: Iterable[SchemaMismatch]) -> None:
    """Warn once for each field, at the line of the caller's own code.

    Positions in lists are left out of the text, so that Python's own filter shows a field once.
    """
    level = user_stacklevel()
    fields = {format_path(d.path, positions=False) or "the whole answer": d for d in mismatches}
    for field, what in fields.items():
        message = (
            f"{operation.id}: {field} departs from the schema ({what.reason}); "
            "its value is handed over as it came"
        )
        warnings.warn(SchemaDrift(mask(message)), stacklevel=level)


def user_stacklevel() -> int:
    """Return the stack level of the first frame that is not ours, as `warnings.warn` counts."""
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
    """Return the position that a parser's message names by line and column."""
    match = _POSITION.search(reason)
    if match is None:
        return 0
    line, column = int(match[1]), int(match[2])
    start = 0
    for _ in range(line - 1):
        start = content.find(b"\n", start) + 1
    return start + column


def _excerpt(content: bytes, position: int) -> str:
    # Masked with room on both sides: a key at the edge must not lose what it is known by.
    start = max(0, position - 4 * _EXCERPT_CHARS)
    text = mask(content[start : position + 4 * _EXCERPT_CHARS].decode("utf-8", "replace"))
    middle = min(position - start, len(text))
    return shorten(
        text[max(0, middle - _EXCERPT_CHARS) : middle + _EXCERPT_CHARS], 2 * _EXCERPT_CHARS
    )
