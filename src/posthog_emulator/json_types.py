"""Type guards for JSON values, which type checkers see as `Any`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

__all__ = ["as_object", "is_array", "is_mapping", "is_object"]


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a value is a JSON object."""
    return isinstance(value, dict)


def is_mapping(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a value is a mapping; schemas need not be dicts."""
    return isinstance(value, Mapping)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Return whether a value is a JSON array."""
    return isinstance(value, list)


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object unchanged, and an empty one for any other value."""
    return value if is_object(value) else {}
