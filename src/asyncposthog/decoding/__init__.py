"""Decode response bodies.

A value that does not match the schema causes a `SchemaDrift` warning and is returned unchanged.
With `strict`, `DecodeError` is raised, which names every field. Responses with mismatches are
decoded by `drift`, which is imported when it is needed.
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
    """Decode the body of a successful response.

    Args:
        result: The declared result.
        content: The complete body.
        strict: Whether a mismatch with the schema is an error.
        operation: The operation, for messages.
        media: The content type of the response, with parameters; empty if it has none.

    Returns:
        A model or a list of models, JSON data, text, bytes, or None, as declared. If the schema
        declares no result: JSON data, text, bytes, or None.

    Raises:
        DecodeError: The body cannot be decoded, or, with `strict`, does not match the schema.
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
    """Return a body without a declared type: JSON data if it is JSON, otherwise by media type."""
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
    match = _CHARSET.search(media)
    charset = match[1] if match else "utf-8"
    try:
        return content.decode(charset)
    except (LookupError, ValueError):  # unknown encoding, not a text encoding, or invalid bytes
        from .errors import decode_error

        raise decode_error(
            operation,
            f"The response is not text in {charset}",
            "Get its bytes with `ph.raw(...)`.",
        ) from None
