"""Reading schemas of the normalised document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

__all__ = [
    "REF",
    "Schema",
    "alternatives",
    "children",
    "closed_values",
    "component_of",
    "contradiction",
    "escape",
    "references",
    "resolve",
    "types_of",
]

Schema: TypeAlias = Mapping[str, Any]
REF = "#/components/schemas/"


def escape(part: str) -> str:
    """Escape one part of a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1")


def component_of(schema: Schema) -> str | None:
    """Return the component a schema refers to, if it is a reference."""
    ref = schema.get("$ref")
    return ref.removeprefix(REF) if isinstance(ref, str) else None


def resolve(schema: Schema, components: Schema) -> Schema:
    """Follow references to a schema that is none; an unknown one, or a circle, allows anything."""
    seen: set[str] = set()
    while (name := component_of(schema)) is not None:
        if name in seen or name not in components:
            return {}
        seen.add(name)
        schema = components[name]
    return schema


def alternatives(schema: Schema) -> list[Schema] | None:
    """Return the branches of a union, or None where the schema is none."""
    for key in ("oneOf", "anyOf"):
        branches = schema.get(key)
        if isinstance(branches, list):
            return cast("list[Schema]", branches)
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return [
            {"type": "null"} if kind == "null" else {**schema, "type": kind}
            for kind in cast("list[str]", kinds)
        ]
    return None


def children(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the schemas directly inside a schema, with their place as a JSON pointer."""
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, child in cast("dict[str, Schema]", properties).items():
            yield f"/properties/{escape(name)}", child
    for key in ("items", "additionalProperties"):
        child = schema.get(key)
        if isinstance(child, dict):
            yield f"/{key}", cast("Schema", child)
    for key in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(key)
        if isinstance(branches, list):
            for index, branch in enumerate(cast("list[Schema]", branches)):
                yield f"/{key}/{index}", branch


def references(schema: Schema) -> set[str]:
    """Return the components a schema refers to, at any depth."""
    names: set[str] = set()
    pending = [schema]
    while pending:
        node = pending.pop()
        name = component_of(node)
        if name is not None:
            names.add(name)
        pending.extend(child for _, child in children(node))
    return names


def types_of(schema: Schema) -> str | None:
    """Return the one JSON type of a schema, inferred from its keywords where it is not declared."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    return None


def closed_values(schema: Schema) -> list[Any] | None:
    """Return the values of an enum or a const, or None where the schema is neither."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return cast("list[Any]", values) if isinstance(values, list) else None


_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def contradiction(value: Any, schema: Schema, components: Schema) -> str | None:
    """Say why a value does not fit a schema, or None if it does. Only types and enums count."""
    schema = resolve(schema, components)
    branches = alternatives(schema)
    if branches is not None:
        if any(contradiction(value, branch, components) is None for branch in branches):
            return None
        return f"{value!r} fits no branch of the union"
    values = closed_values(schema)
    if values is not None and not any(_same(value, other) for other in values):
        listed = ", ".join(repr(other) for other in values[:8])
        return f"{value!r} is none of {listed}{', …' if len(values) > 8 else ''}"
    kind = types_of(schema)
    if kind is not None and not _has_type(value, kind):
        return f"{value!r} is no {kind}"
    return _inner_contradiction(value, schema, components)


def _inner_contradiction(value: Any, schema: Schema, components: Schema) -> str | None:
    if isinstance(value, list):
        items: Schema = schema.get("items") or {}
        inner = (contradiction(item, items, components) for item in cast("list[Any]", value))
        return next((reason for reason in inner if reason), None)
    if isinstance(value, dict):
        properties: Schema = schema.get("properties") or {}
        pairs = cast("dict[str, Any]", value).items()
        inner = (contradiction(v, properties.get(k, {}), components) for k, v in pairs)
        return next((reason for reason in inner if reason), None)
    return None


def _has_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _PYTHON_TYPES.get(kind, (object,)))


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other
