"""Decode responses that do not match the schema, and responses with `strict`."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from asyncposthog.modeling.deferred import STRICT
from asyncposthog.modeling.mismatches import SchemaMismatch, find_mismatches
from asyncposthog.operation import Operation

from .adapters import Adapter
from .errors import (
    from_pydantic_error,
    invalid_json_error,
    mismatch_error,
    primary_errors,
    warn_schema_drift,
)
from .recovery import decode_partial, locate

__all__ = ["decode_lenient", "decode_strict"]


def decode_strict(adapter: Adapter, content: bytes, operation: Operation, media: str) -> Any:
    """Decode a response that has to match the schema.

    Raises:
        DecodeError: It does not. The message names every mismatch.
    """
    try:
        value = adapter.validate(content, strict=True, context={STRICT: True})
    except ValidationError as error:
        data = _json(content, operation, media)
        mismatches = {
            path: from_pydantic_error(path, d)
            for d in primary_errors(error)
            for path in [locate(d["loc"], data)]
        }
        try:
            value = adapter.validate(content)
        except ValidationError as lax_error:
            value, _ = decode_partial(adapter, content, lax_error)
        for more in find_mismatches(value, adapter.annotation):
            mismatches.setdefault(more.path, more)
        raise mismatch_error(operation, list(mismatches.values())) from None
    mismatches = find_mismatches(value, adapter.annotation)
    if mismatches:
        raise mismatch_error(operation, mismatches)
    return value


def decode_lenient(
    adapter: Adapter, content: bytes, error: ValidationError, operation: Operation, media: str
) -> Any:
    """Decode a response that does not match the schema: warn, and keep raw values."""
    if not content.strip() and operation.method != "GET":
        # The write was made, and only its result is missing. For a read, that is an error.
        warn_schema_drift(operation, [SchemaMismatch((), "it is empty")])
        return None
    _json(content, operation, media)
    value, mismatches = decode_partial(adapter, content, error)
    warn_schema_drift(operation, mismatches)
    return value


def _json(content: bytes, operation: Operation, media: str) -> Any:
    try:
        return from_json(content)
    except ValueError as error:
        raise invalid_json_error(operation, content, media, str(error)) from None
