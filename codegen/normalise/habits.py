"""Two habits of drf-spectacular that say less than the server does, undone for every schema.

- A nullable JSON column comes out as a property that can be nothing but null: it holds any JSON.
- The `PatchedX` twin of a component `X` loses the `readOnly` marks of its properties.
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["undo"]

_PATCHED = "Patched"


def undo(schemas: dict[str, Any]) -> None:
    """Mend the components in place."""
    for schema in schemas.values():
        _open_nulls(schema)
    for name, schema in schemas.items():
        base = schemas.get(name.removeprefix(_PATCHED))
        if name.startswith(_PATCHED) and base is not None:
            _inherit_read_only(schema, base)


def _open_nulls(schema: dict[str, Any]) -> None:
    for field in _properties(schema).values():
        _open_null(field)
    items = schema.get("items")
    if isinstance(items, dict):
        _open_null(cast("dict[str, Any]", items))
    for branch in cast("list[dict[str, Any]]", schema.get("anyOf") or []):
        _open_nulls(branch)


def _open_null(field: dict[str, Any]) -> None:
    if field.get("type") == "null":
        del field["type"]
    else:
        _open_nulls(field)


def _inherit_read_only(patched: dict[str, Any], base: dict[str, Any]) -> None:
    known = _properties(base)
    for name, field in _properties(patched).items():
        if known.get(name, {}).get("readOnly") and "writeOnly" not in field:
            field["readOnly"] = True


def _properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    value = schema.get("properties")
    return cast("dict[str, dict[str, Any]]", value) if isinstance(value, dict) else {}
