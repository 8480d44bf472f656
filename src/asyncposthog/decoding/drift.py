"""Reading an answer that departs from the schema, or must not."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from asyncposthog.modeling.mismatches import Deviation, deviations
from asyncposthog.operation import Operation

from .adapters import Adapter
from .errors import departs, deviation, not_json, relevant, warn_of_drift
from .recovery import locate, salvage

__all__ = ["leniently", "strictly"]


def strictly(reader: Adapter, content: bytes, operation: Operation, media: str) -> Any:
    """Read an answer that has to be just what the schema says.

    Raises:
        DecodeError: It is not; every departure is named.
    """
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


def leniently(
    reader: Adapter, content: bytes, error: ValidationError, operation: Operation, media: str
) -> Any:
    """Read an answer that does not fit: warn, and hand over what came."""
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
