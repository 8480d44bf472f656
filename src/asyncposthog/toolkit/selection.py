"""Select fields of JSON data by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from asyncposthog.catalog.arguments import ArgumentError, close_names
from asyncposthog.catalog.schema import resolve

__all__ = ["property_schema", "select_fields"]

_ABSENT: Final = object()
_MAX_SAMPLED: Final = 50
"""Objects whose fields are read to find out which names there are."""
_MAX_NAMES: Final = 40


def select_fields(
    data: Any, fields: Sequence[str], schema: Mapping[str, Any]
) -> tuple[Any, tuple[str, ...]]:
    """Return only some fields of an object, or of each object in a list, and notes.

    `filters.groups` is a field of a field; a list on the way gives a list of the values. A name
    that neither the data nor the schema has gives a note with close names.

    Args:
        data: JSON data. What is not an object is returned as it is.
        fields: The fields, of which there is at least one.
        schema: The schema of one object; empty if it is not known.

    Raises:
        ArgumentError: None of the fields exists.
    """
    objects = _objects(data)
    # Without objects, the names can be checked only if there is a schema of the items.
    if not objects and (not isinstance(data, list) or not schema.get("properties")):
        return cast("Any", data), ()
    unknown = [name for name in fields if not _exists(name.split("."), objects, schema)]
    close = {name: _close_paths(name, objects, schema) for name in unknown}
    # An object without a schema may lack any field: the others may have it.
    if not any(_exists(name.split(".")[:1], objects, schema) for name in fields):
        near = close[unknown[0]]
        raise ArgumentError(
            f"{_no_field(unknown)}.{_did_you_mean(near)}",
            field="fields",
            expected=", ".join(islice(_names(objects, schema), _MAX_NAMES)),
            near=near,
        )
    notes = tuple(f"{_no_field([name])}.{_did_you_mean(near)}" for name, near in close.items())
    return _selected(data, fields), notes


def property_schema(schema: object, name: str) -> Any:
    """Return the schema of a property, inside of arrays and unions as well; None: there is none."""
    resolved = resolve(schema)
    if name in resolved.get("properties", {}):
        return resolved["properties"][name]
    inner = [resolved["items"]] if "items" in resolved else []
    for keyword in ("anyOf", "oneOf", "allOf"):
        inner += resolved.get(keyword, ())
    for branch in inner:
        value = property_schema(branch, name)
        if value is not None:
            return value
    return None


def _selected(data: Any, fields: Sequence[str]) -> Any:
    if isinstance(data, list):
        return [_selected(item, fields) for item in cast("list[Any]", data)]
    if not isinstance(data, dict):
        return data
    values = {name: _value(cast("dict[str, Any]", data), name.split(".")) for name in fields}
    return {name: value for name, value in values.items() if value is not _ABSENT}


def _value(data: Any, path: Sequence[str]) -> Any:
    """Return the value at a path, or the list of those in a list; `_ABSENT`: there is none."""
    if not path:
        return data
    if isinstance(data, list):
        values = [_value(item, path) for item in cast("list[Any]", data)]
        present = [value for value in values if value is not _ABSENT]
        return present if present else _ABSENT
    if not isinstance(data, dict):
        return _ABSENT
    return _value(cast("dict[str, Any]", data).get(path[0], _ABSENT), path[1:])


def _exists(path: Sequence[str], objects: Iterable[Any], schema: object) -> bool:
    inner: Any = schema
    for part in path:
        inner = property_schema(inner, part)
        if inner is None:
            return any(_value(item, path) is not _ABSENT for item in objects)
    return True


def _objects(data: Any) -> list[dict[str, Any]]:
    items = cast("list[Any]", data) if isinstance(data, list) else [data]
    return [item for item in items if isinstance(item, dict)]


def _names(objects: Iterable[Any], schema: Mapping[str, Any]) -> list[str]:
    """Return the names of fields: those in the data, then those that only the schema has."""
    names: dict[str, None] = {}
    for item in islice(objects, _MAX_SAMPLED):
        names.update(dict.fromkeys(item))
    names.update(dict.fromkeys(schema.get("properties", ())))
    return list(names)


def _close_paths(name: str, objects: list[dict[str, Any]], schema: object) -> list[str]:
    """Return the existing fields that are close to an unknown one, beside it in its object."""
    path = name.split(".")
    for depth in range(len(path)):
        parent = path[:depth]
        if not _exists(path[: depth + 1], objects, schema):
            inner: Any = schema
            for part in parent:
                inner = property_schema(inner, part)
            values = [_value(item, parent) for item in objects[:_MAX_SAMPLED]]
            inside = [item for value in values for item in _objects(value)]
            near = close_names(path[depth], _names(inside, resolve(inner)))
            return [".".join([*parent, other]) for other in near]
    return []


def _no_field(names: Sequence[str]) -> str:
    quoted = ", ".join(repr(name[:80]) for name in names)
    return f"The result has no field {quoted}"


def _did_you_mean(near: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(near)}?" if near else ""
