"""Correct two systematic errors of drf-spectacular, which writes PostHog's schema.

- A nullable JSON column is declared as a property that can only be null. It holds any JSON.
- The component `PatchedX` of a component `X` loses the `readOnly` marks of its properties.
"""

from __future__ import annotations

from collections.abc import Mapping

from .keywords import Schema, is_null, split

__all__ = ["inherit_read_only", "open_nulls"]

_PATCHED = "Patched"


def open_nulls(schema: Schema) -> Schema:
    """Return a schema in which properties and items that could only be null allow anything."""
    built = dict(schema)
    if "properties" in schema:
        built["properties"] = {
            name: _open_null(field) for name, field in schema["properties"].items()
        }
    if isinstance(schema.get("items"), Mapping):
        built["items"] = _open_null(schema["items"])
    return built


def inherit_read_only(schemas: Mapping[str, Schema]) -> None:
    """Copy `readOnly` from the properties of `X` to those of `PatchedX`, in place."""
    for name, schema in schemas.items():
        base = schemas.get(name.removeprefix(_PATCHED), {})
        if name.startswith(_PATCHED):
            base_fields: Mapping[str, Schema] = base.get("properties", {})
            for key, field in schema.get("properties", {}).items():
                # A write-only property of the patch is another thing than the one that is read.
                if base_fields.get(key, {}).get("readOnly") and "writeOnly" not in field:
                    field["readOnly"] = True


def _open_null(field: Schema) -> Schema:
    core, notes = split(field)
    return notes if is_null(core) else field
