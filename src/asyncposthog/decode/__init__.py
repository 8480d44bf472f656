"""Bytes become models, in one place.

Reading is tolerant: what departs from the schema draws a `SchemaDrift` warning and is handed over
as it came. With `strict` it is a `DecodeError` that names every field.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import from_json

from asyncposthog.deviations import Deviation, deviations
from asyncposthog.operation import Operation, Result

from .adapters import Adapter, adapter, resolve_model
from .problems import (
    departs,
    deviation,
    is_html,
    not_json,
    relevant,
    unreadable,
    warn_of_drift,
)
from .salvage import locate, salvage

__all__ = ["Deviation", "decode", "deviations", "resolve_model"]

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
        reader = adapter(result.model, result.array)
        if strict:
            return _strictly(reader, content, operation, media)
        try:
            return reader.validate(content)
        except ValidationError as error:
            return _leniently(reader, content, error, operation, media)
    if result.kind in ("text", "bytes"):
        if is_html(content, media) and not is_html(b"", result.media):
            raise not_json(operation, content, media, "")
        return content if result.kind == "bytes" else _text(content, media, operation)
    return _undeclared(content, operation, media)


def _strictly(reader: Adapter, content: bytes, operation: Operation, media: str) -> Any:
    try:
        value = reader.validate(content, strict=True)
    except ValidationError as error:
        data = _json(content, operation, media)
        found = {
            path: deviation(path, d) for d in relevant(error) for path in [locate(d["loc"], data)]
        }
        try:
            value = reader.validate(content)
        except ValidationError as lax_error:
            value, _ = salvage(reader, content, lax_error)
        for more in deviations(value, reader.annotation):
            found.setdefault(more.path, more)
        raise departs(operation, list(found.values())) from None
    found = deviations(value, reader.annotation)
    if found:
        raise departs(operation, found)
    return value


def _leniently(
    reader: Adapter, content: bytes, error: ValidationError, operation: Operation, media: str
) -> Any:
    if not content.strip() and operation.method != "GET":
        # The call was made; only what it answers is missing. A read without an answer is an error.
        warn_of_drift(operation, [Deviation((), "it is empty")])
        return None
    _json(content, operation, media)
    value, found = salvage(reader, content, error)
    warn_of_drift(operation, found)
    return value


def _json(content: bytes, operation: Operation, media: str) -> Any:
    try:
        return from_json(content)
    except ValueError as error:
        raise not_json(operation, content, media, str(error)) from None


def _undeclared(content: bytes, operation: Operation, media: str) -> Any:
    """Read what the schema leaves open: JSON, if it is any; otherwise what the server calls it."""
    if not content.strip():
        return None
    try:
        return from_json(content)
    except ValueError as error:
        kind = media.partition(";")[0].strip().lower()
        if not kind or kind.endswith("json") or is_html(content, media):
            raise not_json(operation, content, media, str(error)) from None
    if kind.startswith("text/"):
        return _text(content, media, operation)
    return content


def _text(content: bytes, media: str, operation: Operation) -> str:
    found = _CHARSET.search(media)
    charset = found[1] if found else "utf-8"
    try:
        return content.decode(charset)
    except (LookupError, UnicodeDecodeError):
        raise unreadable(
            operation,
            f"The answer is not text in {charset}",
            "The raw response has its bytes.",
        ) from None
