"""Giving inline schemas a name, so that models can be made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.json_schema import component_of

__all__ = ["ComponentRegistry"]

_PLAIN = frozenset({"string", "integer", "number", "boolean", "null"})


class ComponentRegistry:
    """The components of a document, growing by those hoisted out of operations."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        """Start from the document's own."""
        self.schemas: dict[str, Any] = dict(schemas)

    def promote_inline(self, schema: Mapping[str, Any], name: str) -> str | None:
        """Return the component that stands for a schema, made under `name` where there is none.

        Schemas that say nothing worth a class (a scalar, any object, anything at all) stay
        inline: None is returned.
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
        while candidate in self.schemas and self.schemas[candidate] != schema:
            candidate, number = f"{name}{number}", number + 1
        self.schemas[candidate] = dict(schema)
        return candidate
