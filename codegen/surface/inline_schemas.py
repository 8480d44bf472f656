"""Make components of inline schemas, so that they get models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.json_schema import component_of

__all__ = ["ComponentRegistry"]

_PLAIN = frozenset({"string", "integer", "number", "boolean", "null"})


class ComponentRegistry:
    """The components of a document, and those made of inline schemas in operations."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        """Start with the components of the document."""
        self.schemas: dict[str, Any] = dict(schemas)

    def promote_inline(self, schema: Mapping[str, Any], name: str) -> str | None:
        """Return the component of a schema; make one with the given name if it is inline.

        Returns:
            The component, or None for schemas that need no class: scalars, objects without
            declared properties, and schemas that allow anything.
        """
        existing = component_of(schema)
        if existing is not None:
            return existing
        kind = schema.get("type")
        if not schema or (kind in _PLAIN and "enum" not in schema):
            return None
        if kind == "object" and not schema.get("properties"):
            extra = schema.get("additionalProperties")
            if not isinstance(extra, dict) or not extra:
                return None
        candidate, number = name, 2
        # Equal schemas share a component. Different ones of one name get a number.
        while candidate in self.schemas and self.schemas[candidate] != schema:
            candidate, number = f"{name}{number}", number + 1
        self.schemas[candidate] = dict(schema)
        return candidate
