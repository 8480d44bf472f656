"""Typed access to plain JSON data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

__all__ = ["Schema", "mapping", "objects", "properties", "strings"]

Schema: TypeAlias = Mapping[str, Any]
"""A JSON object: a schema, an operation, a whole document."""


def mapping(node: Schema, key: str) -> dict[str, Any]:
    """Return the object at `key`, or an empty one."""
    value = node.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def objects(node: Schema, key: str) -> list[dict[str, Any]]:
    """Return the list of objects at `key`, or an empty one."""
    value = node.get(key)
    return cast("list[dict[str, Any]]", value) if isinstance(value, list) else []


def strings(node: Schema, key: str) -> list[str]:
    """Return the list of strings at `key`, or an empty one."""
    value = node.get(key)
    return cast("list[str]", value) if isinstance(value, list) else []


def properties(schema: Schema) -> dict[str, dict[str, Any]]:
    """Return the properties of an object schema."""
    return mapping(schema, "properties")
