"""Reading JSON schemas: references, subschemas, unions, types and closed sets of values.

Works on any plain schema. A property may be called `properties`, `items`, `required` or `$ref`, and
an example or a default may hold anything, so a walk has to know whether a mapping is a schema, a
map of schemas or data. `subschemas` is the only place that decides this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from .json_access import JSON_TYPES, JsonObject, join_pointer, matches_type

__all__ = [
    "COMPONENT_PREFIX",
    "Schema",
    "alternatives",
    "closed_values",
    "component_of",
    "component_pointer",
    "contradiction",
    "iter_schemas",
    "reference_graph",
    "reference_to",
    "references",
    "resolve",
    "rewrite",
    "subschemas",
    "types_of",
]

Schema: TypeAlias = JsonObject
COMPONENT_PREFIX: Final = "#/components/schemas/"

_SCHEMA_KEYS = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LIST_KEYS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_MAP_KEYS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_KEYS = frozenset({*_SCHEMA_KEYS, *_LIST_KEYS, *_MAP_KEYS})


def component_of(schema: Schema) -> str | None:
    """Return the component a schema is a reference to, or None if it is no reference."""
    ref = schema.get("$ref")
    return ref.removeprefix(COMPONENT_PREFIX) if isinstance(ref, str) else None


def component_pointer(component: str) -> str:
    """Return the pointer of a component, as a fragment."""
    return join_pointer("#/components/schemas", component)


def reference_to(component: str) -> dict[str, Any]:
    """Return a schema that refers to a component."""
    return {"$ref": COMPONENT_PREFIX + component}


def resolve(schema: Schema, components: Schema) -> Schema:
    """Follow references until a schema is not one.

    A reference to a missing component, or a cycle of references, resolves to the empty schema,
    which allows anything.
    """
    seen: set[str] = set()
    while (name := component_of(schema)) is not None:
        if name in seen or name not in components:
            return {}
        seen.add(name)
        schema = components[name]
    return schema


def subschemas(schema: Schema) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the schemas directly inside a schema, each with its path."""
    if _KEYS.isdisjoint(schema):
        return  # as for most: the document is walked often, and has a hundred thousand schemas
    for key in _SCHEMA_KEYS:
        if key in schema and isinstance(schema[key], Mapping):
            yield (key,), schema[key]
    for key in _LIST_KEYS:
        if key in schema and isinstance(schema[key], list):
            for index, value in enumerate(schema[key]):
                yield (key, index), value
    for key in _MAP_KEYS:
        if key in schema and isinstance(schema[key], Mapping):
            for name, value in schema[key].items():
                yield (key, name), value


def iter_schemas(schema: Any, pointer: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield a schema and every schema inside it, each with its pointer."""
    if not isinstance(schema, Mapping):
        return
    node = cast("Schema", schema)
    yield pointer, node
    for path, value in subschemas(node):
        yield from iter_schemas(value, join_pointer(pointer, *path))


def rewrite(
    schema: dict[str, Any],
    change: Callable[[dict[str, Any], str], dict[str, Any]],
    pointer: str = "",
) -> dict[str, Any]:
    """Rebuild a schema from the innermost schemas outwards.

    Args:
        schema: The schema. It is not changed.
        change: Called with each schema, whose inner schemas are rewritten already, and its
            pointer; returns the schema to put in its place.
        pointer: The pointer of `schema`.
    """
    built = dict(schema)
    if _KEYS.isdisjoint(built):
        return change(built, pointer)
    for key in _SCHEMA_KEYS:
        if key in built and isinstance(built[key], Mapping):
            built[key] = rewrite(built[key], change, join_pointer(pointer, key))
    for key in _LIST_KEYS:
        if key in built and isinstance(built[key], list):
            built[key] = [
                rewrite(value, change, join_pointer(pointer, key, index))
                for index, value in enumerate(built[key])
            ]
    for key in _MAP_KEYS:
        if key in built and isinstance(built[key], Mapping):
            built[key] = {
                name: rewrite(value, change, join_pointer(pointer, key, name))
                for name, value in built[key].items()
            }
    return change(built, pointer)


def references(schema: Any) -> set[str]:
    """Return the components a schema refers to, at any depth but not through other components."""
    # Without `iter_schemas`, whose pointers take most of its time.
    names: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            typed = cast("Schema", node)
            name = component_of(typed)
            if name is not None:
                names.add(name)
            if not _KEYS.isdisjoint(typed):
                waiting.extend(value for _, value in subschemas(typed))
    return names


def reference_graph(components: Schema) -> dict[str, set[str]]:
    """Return which components each component refers to."""
    return {name: references(schema) for name, schema in components.items()}


def alternatives(schema: Schema) -> list[Schema] | None:
    """Return the branches of a union, or None if the schema is not a union.

    A list of types is a union of schemas that have one type each.
    """
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


def types_of(schema: Schema) -> str | None:
    """Return the JSON type of a schema, inferred from its keywords if it declares none."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    return None


def closed_values(schema: Schema) -> list[Any] | None:
    """Return the values of an enum or a const, or None if the schema has neither."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return cast("list[Any]", values) if isinstance(values, list) else None


def contradiction(value: Any, schema: Schema, components: Schema) -> str | None:
    """Return why a value does not match a schema, or None if it does.

    Only types and closed sets of values are compared. Limits such as `maximum` are not: the
    generated models do not enforce them.
    """
    schema = resolve(schema, components)
    branches = alternatives(schema)
    if branches is not None:
        if any(contradiction(value, branch, components) is None for branch in branches):
            return None
        return f"{value!r} fits no branch of the union"
    values = closed_values(schema)
    if values is not None and not any(_is_same(value, other) for other in values):
        listed = ", ".join(repr(other) for other in values[:8])
        return f"{value!r} is none of {listed}{', …' if len(values) > 8 else ''}"
    kind = types_of(schema)
    if kind in JSON_TYPES and not matches_type(value, kind):
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


def _is_same(value: Any, other: Any) -> bool:
    # True == 1 and 1 == 1.0 in Python, but an enum of 1 allows neither True nor 1.0.
    return type(value) is type(other) and value == other
