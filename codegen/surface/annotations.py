"""Annotations of arguments and results in generated signatures.

Arguments accept several types (a model or a mapping, a `datetime` or a string); results have
exactly the type that decoding returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from codegen.json_access import mapping
from codegen.json_schema import component_of, resolve

__all__ = ["argument_annotation", "is_object", "result_annotation"]

_MAX_VARIANTS = 6
"""A union with more models than this is annotated as `Model`."""
_MAX_LITERALS = 40
"""An enum with more values than this is annotated by the type of its values."""
_MAX_DEPTH = 30
"""References followed in one annotation; anything deeper is `JSON`."""
_STRINGS = {
    "date-time": "Timestamp",
    "date": "Timestamp",
    "uuid": "UUID | str",
    "binary": "FileInput",
}
_SCALARS = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def is_object(schema: Mapping[str, Any]) -> bool:
    """Whether a resolved schema is an object with named properties."""
    return bool(schema.get("properties"))


def argument_annotation(
    schema: Mapping[str, Any],
    components: Mapping[str, Any],
    names: Mapping[str, str],
    _visited: frozenset[str] = frozenset(),
) -> str:
    """Return the annotation of an argument.

    Args:
        schema: The normalised schema of the field or parameter.
        components: All components of the document.
        names: Class names by component.

    Returns:
        An annotation over the names a resource module imports (`m`, `JSON`, `Timestamp`, …).
    """
    parts = _argument_members(schema, components, names, _visited)
    return " | ".join(dict.fromkeys(_flatten_members(parts)))


def _flatten_members(parts: list[str]) -> list[str]:
    flat = [piece for part in parts for piece in _split_union(part)]
    # `JSON` includes all other types.
    if "JSON" in flat:
        return ["JSON"]
    return sorted(flat, key=lambda part: part == "None")


def _split_union(annotation: str) -> list[str]:
    """Return the members of a union, split at the top level of the annotation."""
    pieces, depth, start = list[str](), 0, 0
    # A literal may contain brackets and bars, so quoted text has to be skipped.
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


def _argument_members(
    schema: Mapping[str, Any],
    components: Mapping[str, Any],
    names: Mapping[str, str],
    visited: frozenset[str],
) -> list[str]:
    name = component_of(schema)
    if name is not None:
        target = components.get(name, {})
        if is_object(target):
            return [f"m.{names[name]}", "Mapping[str, JSON]"] if name in names else [_MAPPING]
        if "enum" in target and name in names:
            return [f"m.{names[name]}"]
        # A recursive alias has no finite annotation.
        if name in visited:
            return ["JSON"]
        return _argument_members(target, components, names, visited | {name})
    if "const" in schema:
        return _literal_members([schema["const"]])
    if "enum" in schema:
        return _literal_members(cast("list[Any]", schema["enum"]))
    if len(visited) > _MAX_DEPTH:
        return ["JSON"]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _union_members(schema[key], components, names, visited)
    kind = schema.get("type")
    if kind == "string":
        return [_STRINGS.get(str(schema.get("format")), "str")]
    if kind == "array":
        items = argument_annotation(mapping(schema, "items"), components, names, visited)
        return [f"Sequence[{items}]"]
    if kind == "object" or "properties" in schema:
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and extra and "properties" not in schema:
            value = argument_annotation(cast("dict[str, Any]", extra), components, names, visited)
            return [f"Mapping[str, {value}]"]
        return [_MAPPING]
    return [_SCALARS.get(str(kind), "JSON")]


def _literal_members(values: list[Any]) -> list[str]:
    """Return the literals of an enum, and the types of values that `Literal` does not allow."""
    literals = [value for value in values if value is None or isinstance(value, str | int)]
    if len(literals) < len(values):
        rest = {_type_name(value) for value in values if value not in literals}
        return [*_literal_members(literals), *sorted(rest)] if literals else sorted(rest)
    if len(values) <= _MAX_LITERALS:
        return [f"Literal[{', '.join(repr(value) for value in values)}]"]
    return sorted({_type_name(value) for value in values})


def _type_name(value: object) -> str:
    if value is None:
        return "None"
    return type(value).__name__ if isinstance(value, str | int | float) else "JSON"


def _union_members(
    variants: list[Mapping[str, Any]],
    components: Mapping[str, Any],
    names: Mapping[str, str],
    visited: frozenset[str],
) -> list[str]:
    parts = [part for v in variants for part in _argument_members(v, components, names, visited)]
    models = [p for p in dict.fromkeys(parts) if p.startswith("m.")]
    if len(models) > _MAX_VARIANTS:
        rest = [p for p in parts if not p.startswith("m.")]
        return ["Model", "Mapping[str, JSON]", *rest]
    return parts


_MAPPING = "Mapping[str, JSON]"


def result_annotation(schema: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    """Return the annotation of a result without a model."""
    kind = resolve(schema, components).get("type")
    if kind == "string":
        return "str"
    if kind == "object":
        return "dict[str, JSON]"
    return _SCALARS.get(str(kind), "JSON")
