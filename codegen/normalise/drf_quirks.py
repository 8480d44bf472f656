"""Two habits of drf-spectacular that say less than the server does, undone for every schema.

- A nullable JSON column comes out as a property that can be nothing but null: it holds any JSON.
- The `PatchedX` twin of a component `X` loses the `readOnly` marks of its properties.
"""

from __future__ import annotations

from collections.abc import Mapping

from .keywords import Schema, is_null, split

__all__ = ["inherit_read_only", "open_nulls"]

_PATCHED = "Patched"


def open_nulls(schema: Schema) -> Schema:
    """Return a schema whose properties or items hold anything where they could only be null."""
    built = dict(schema)
    if "properties" in schema:
        built["properties"] = {
            name: _open_null(field) for name, field in schema["properties"].items()
        }
    if isinstance(schema.get("items"), Mapping):
        built["items"] = _open_null(schema["items"])
    return built


def inherit_read_only(schemas: Mapping[str, Schema]) -> None:
    """Give the properties of `PatchedX` the marks of those of `X`, in place."""
    for name, schema in schemas.items():
        base = schemas.get(name.removeprefix(_PATCHED), {})
        if name.startswith(_PATCHED):
            base_fields: Mapping[str, Schema] = base.get("properties", {})
            for key, field in schema.get("properties", {}).items():
                if base_fields.get(key, {}).get("readOnly") and "writeOnly" not in field:
                    field["readOnly"] = True


def _open_null(field: Schema) -> Schema:
    core, notes = split(field)
    return notes if is_null(core) else field
