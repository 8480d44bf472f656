"""Errors of the driver that no server is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.errors import (
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    ValidationError,
)

__all__ = ["MissingKeyError", "ObjectNotFoundError", "invalid_arguments", "unknown_object"]

ObjectNotFoundError = NotFoundError
"""An object, an endpoint or a record does not exist."""


class MissingKeyError(AuthenticationError, ConfigurationError):
    """There is no API key in the arguments and none in the environment."""


def unknown_object(name: str, near: Iterable[str], available: Iterable[str]) -> NotFoundError:
    """Return the error for an object that does not exist."""
    close, names = list(near), list(available)
    hint = f"Did you mean {' or '.join(close)}?" if close else "list_objects() returns all names."
    return NotFoundError(
        f"Object {name!r} not found.",
        suggestion=hint,
        details={"object": name, "near_matches": close, "available": names},
    )


def invalid_arguments(error: ArgumentError, operation: str) -> ValidationError:
    """Return the error for arguments that an operation does not accept."""
    details = {
        "field": error.field,
        "expected": error.expected,
        "missing_fields": list(error.missing),
        "near_matches": list(error.near),
    }
    return ValidationError(
        error.message,
        attr=error.field,
        operation=operation,
        suggestion=f"Expected: {error.expected}." if error.expected else None,
        details={name: value for name, value in details.items() if value},
    )
