"""Bytes become models, in one place.

Reading is tolerant: what departs from the schema draws a `SchemaDrift` warning and is handed over
as it came. With `strict` it is a `DecodeError` that names every field. This module holds the way
that is nearly always taken; what departs is read in `departures`, which is imported when needed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import from_json

from asyncposthog.operation import Operation, Result

from .adapters import get_adapter, resolve_model

__all__ = ["decode", "resolve_model"]

_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)


def decode(
    result: Result, content: bytes, *, strict: bool, operation: Operation, media: str
) -> Any:
    """Read a successful answer.

    Args:
        result: What the answer is declared to hold.
        content: The whole body.
        strict: Whether a departure from the schema is an error.
        operation: The call, for messages.
        media: The answer's content type, parameters included; empty if it has none.

    Returns:
        A model or a list of models, JSON data, text, bytes, or None, as `result` says. Where the
        schema declares no answer: whatever came.

    Raises:
        DecodeError: The answer cannot be read, or, with `strict`, departs from the schema.
    """
    if result.kind == "model" and result.model is not None:
        adapter = get_adapter(result.model, result.array, operation.package)
        if strict:
            from .drift import decode_strict

            return decode_strict(adapter, content, operation, media)
        try:
            return adapter.validate(content)
        except ValidationError as error:
            from .drift import decode_lenient

            return decode_lenient(adapter, content, error, operation, media)
    if result.kind in ("text", "bytes"):
        from .errors import invalid_json_error, is_html

        if is_html(content, media) and not is_html(b"", result.media):
            raise invalid_json_error(operation, content, media, "")
        return content if result.kind == "bytes" else _text(content, media, operation)
    return _decode_untyped(content, operation, media)


def _decode_untyped(content: bytes, operation: Operation, media: str) -> Any:
    """Read what the schema leaves open: JSON, if it is any; otherwise what the server calls it."""
    if not content.strip():
        return None
    try:
        return from_json(content)
    except ValueError as error:
        from .errors import invalid_json_error, is_html

        kind = media.partition(";")[0].strip().lower()
        if not kind or kind.endswith("json") or is_html(content, media):
            raise invalid_json_error(operation, content, media, str(error)) from None
    if kind.startswith("text/"):
        return _text(content, media, operation)
    return content


def _text(content: bytes, media: str, operation: Operation) -> str:
    found = _CHARSET.search(media)
    charset = found[1] if found else "utf-8"
    try:
        return content.decode(charset)
    except (LookupError, ValueError):  # no such encoding, none of text, or other bytes
        from .errors import decode_error

        raise decode_error(
            operation,
            f"The answer is not text in {charset}",
            "The raw response has its bytes.",
        ) from None
