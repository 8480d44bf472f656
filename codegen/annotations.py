"""Schemas to annotations: how an argument or a result is written in a signature.

Pure functions over the normalised document. Arguments are wide (a model or a plain mapping, a
`datetime` or its text); results are exactly what decoding gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .json_access import mapping

__all__ = ["argument", "component_of", "is_object", "references", "resolve", "result"]

_REF = "#/components/schemas/"
_MANY_VARIANTS = 6
_MANY_LITERALS = 40
_DEEP = 30
"""References followed in one annotation; what lies deeper may be anything."""
_STRINGS = {
    "date-time": "Timestamp",
    "date": "Timestamp",
    "uuid": "UUID | str",
    "binary": "FileInput",
}
_SCALARS = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def component_of(schema: Mapping[str, Any]) -> str | None:
    """Return the component a schema is a reference to, if it is one."""
    ref = schema.get("$ref")
    return ref.removeprefix(_REF) if isinstance(ref, str) else None


def resolve(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references to a schema that is none."""
    seen: set[str] = set()
    while (name := component_of(schema)) is not None:
        if name in seen or name not in components:
            return {}
        seen.add(name)
        schema = components[name]
    return schema


def references(schema: Any) -> set[str]:
    """Collect the components a schema refers to directly."""
    found: set[str] = set()
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        ref = node.get("$ref")
        if isinstance(ref, str):
            found.add(ref.removeprefix(_REF))
        for value in node.values():
            found |= references(value)
    elif isinstance(schema, list):
        for value in cast("list[Any]", schema):
            found |= references(value)
    return found


def is_object(schema: Mapping[str, Any]) -> bool:
    """Whether a resolved schema is an object with named properties."""
    return bool(schema.get("properties"))


def argument(
    schema: Mapping[str, Any],
    components: Mapping[str, Any],
    names: Mapping[str, str],
    _open: frozenset[str] = frozenset(),
) -> str:
    """Annotate an argument.

    Args:
        schema: The normalised schema of the field or parameter.
        components: All components.
        names: Class names by component.

    Returns:
        An annotation over the names a resource module imports (`m`, `JSON`, `Timestamp`, …).
    """
    parts = _argument(schema, components, names, _open)
    return " | ".join(dict.fromkeys(_order(parts)))


def _order(parts: list[str]) -> list[str]:
    flat = [piece for part in parts for piece in _split(part)]
    if "JSON" in flat:
        return ["JSON"]
    return sorted(flat, key=lambda part: part == "None")


def _split(annotation: str) -> list[str]:
    """Split a union at its top level, so that its members can be told apart."""
    pieces, depth, start = list[str](), 0, 0
    quote, escaped = "", False
    for index, char in enumerate(annotation):
        if quote:
            if char == quote and not escaped:
                quote = ""
            escaped = char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        elif char in "[(":
            depth += 1
        elif char in "])":
            depth -= 1
        elif char == "|" and depth == 0:
            pieces.append(annotation[start:index].strip())
            start = index + 1
    pieces.append(annotation[start:].strip())
    return pieces


def _argument(
    schema: Mapping[str, Any],
    components: Mapping[str, Any],
    names: Mapping[str, str],
    opened: frozenset[str],
) -> list[str]:
    name = component_of(schema)
    if name is not None:
        target = components.get(name, {})
        if is_object(target):
            return [f"m.{names[name]}", "Mapping[str, JSON]"] if name in names else [_MAPPING]
        if "enum" in target and name in names:
            return [f"m.{names[name]}"]
        if name in opened:
            return ["JSON"]
        return _argument(target, components, names, opened | {name})
    if "const" in schema:
        return _literals([schema["const"]])
    if "enum" in schema:
        return _literals(cast("list[Any]", schema["enum"]))
    if len(opened) > _DEEP:
        return ["JSON"]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _union(schema[key], components, names, opened)
    kind = schema.get("type")
    if kind == "string":
        return [_STRINGS.get(str(schema.get("format")), "str")]
    if kind == "array":
        items = argument(mapping(schema, "items"), components, names, opened)
        return [f"Sequence[{items}]"]
    if kind == "object" or "properties" in schema:
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and extra and "properties" not in schema:
            value = argument(cast("dict[str, Any]", extra), components, names, opened)
            return [f"Mapping[str, {value}]"]
        return [_MAPPING]
    return [_SCALARS.get(str(kind), "JSON")]


def _literals(values: list[Any]) -> list[str]:
    """Write the values of an enum, or their types where `Literal` takes no such value."""
    listed = [value for value in values if value is None or isinstance(value, str | int)]
    if len(listed) < len(values):
        rest = {_type_name(value) for value in values if value not in listed}
        return [*_literals(listed), *sorted(rest)] if listed else sorted(rest)
    if len(values) <= _MANY_LITERALS:
        return [f"Literal[{', '.join(repr(value) for value in values)}]"]
    return sorted({_type_name(value) for value in values})


def _type_name(value: object) -> str:
    if value is None:
        return "None"
    return type(value).__name__ if isinstance(value, str | int | float) else "JSON"


def _union(
    variants: list[Mapping[str, Any]],
    components: Mapping[str, Any],
    names: Mapping[str, str],
    opened: frozenset[str],
) -> list[str]:
    parts = [part for v in variants for part in _argument(v, components, names, opened)]
    models = [p for p in dict.fromkeys(parts) if p.startswith("m.")]
    if len(models) > _MANY_VARIANTS:
        rest = [p for p in parts if not p.startswith("m.")]
        return ["Model", "Mapping[str, JSON]", *rest]
    return parts


_MAPPING = "Mapping[str, JSON]"


def result(schema: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    """Annotate a result that no model stands for."""
    kind = resolve(schema, components).get("type")
    if kind == "string":
        return "str"
    if kind == "object":
        return "dict[str, JSON]"
    return _SCALARS.get(str(kind), "JSON")
