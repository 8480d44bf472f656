"""Columns of an empty list: the fields that its schema names."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from asyncposthog.operation import Operation

__all__ = ["item_columns"]

_SCALARS: Final = frozenset({"string", "integer", "number"})
_DEPTH: Final = 12
"""How far references are followed: a schema may refer to itself."""


def item_columns(operation: Operation) -> tuple[str, ...]:
    """Return the fields of a list's items by their names in JSON, without write-only ones.

    Returns:
        The fields in the order of the schema; `value` if items are names, not objects; none if the
        schema names none.
    """
    component, paging = operation.result.schema, operation.pagination
    if component is None or paging is None:
        return ()
    registry = importlib.import_module(f"{operation.package}.registry")
    schemas: Mapping[str, Any] = registry.schemas()
    pages = [{"$ref": component}]
    if paging.items is not None:
        pages = [properties.get(paging.items) for properties in _objects(pages, schemas)]
    fields: dict[str, None] = {}
    for properties in _objects(pages, schemas):
        for name, field in cast("Mapping[str, Mapping[str, Any]]", properties).items():
            if not field.get("writeOnly"):
                fields.setdefault(name)
    if any(_has_scalar_items(page) for page in pages):
        return ("value",)
    return tuple(fields)


def _has_scalar_items(page: Any) -> bool:
    """Return whether a schema is that of an array of texts or numbers."""
    items = cast("Mapping[str, Any]", page).get("items") if isinstance(page, Mapping) else None
    return isinstance(items, Mapping) and cast("Mapping[str, Any]", items).get("type") in _SCALARS


def _objects(
    nodes: list[Any], schemas: Mapping[str, Any], depth: int = 0
) -> Iterator[Mapping[str, Any]]:
    """Yield the properties of schemas and of those they refer to, combine or contain."""
    if depth > _DEPTH:
        return
    for node in nodes:
        if not isinstance(node, Mapping):
            continue
        schema = cast("Mapping[str, Any]", node)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            schema = schemas.get(reference.rpartition("/")[2], {})
        if isinstance(schema.get("properties"), Mapping):
            yield schema["properties"]
        parts = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word, ())]
        yield from _objects([*parts, schema.get("items")], schemas, depth + 1)
