"""The arguments of an operation as JSON Schema, and in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, cast

from asyncposthog import registry
from asyncposthog.operation import Operation

__all__ = [
    "BODY",
    "JSON_TYPES",
    "Argument",
    "arguments",
    "describe_fields",
    "input_schema",
    "resolve",
    "result_schema",
    "type_text",
    "types_of",
]

BODY: Final = "body"
"""The argument that is the whole body, where the body is not an object with known fields."""
JSON_TYPES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
"""The JSON type of the Python types that JSON is parsed to."""
MAX_SCHEMA_CHARS: Final = 12_000
"""Characters of a tool's schema. Clients drop tools with more than 16,384."""

ArgumentLocation = Literal["path", "query", "header", "field", "body"]

_NAMED_FORMATS: Final = frozenset({"date-time", "date", "uuid", "uri"})
_MAX_VALUES: Final = 60
"""Values of an enumeration that a tool's schema lists; longer ones are left to the server."""
_KEPT: Final = ("type", "enum", "const", "format", "minimum", "maximum", "maxLength", "minItems")


@dataclass(frozen=True)
class Argument:
    """One argument of an operation or a tool."""

    name: str
    wire_name: str
    location: ArgumentLocation
    required: bool
    schema: Mapping[str, Any]
    text: str
    """What it means; empty if nothing is known."""
    is_file: bool = False

    @cached_property
    def types(self) -> frozenset[str]:
        """The JSON types that it accepts; empty: any."""
        return types_of(self.schema)

    @cached_property
    def plain_types(self) -> frozenset[type]:
        """Python types whose values are accepted as they are."""
        if self.is_file or self.values:
            return frozenset()
        return frozenset(kind for kind, name in JSON_TYPES.items() if name in self.types)

    @cached_property
    def values(self) -> tuple[Any, ...]:
        """The only values that it accepts; empty: others too."""
        return enum_of(self.schema)


_cache: Final[dict[tuple[str, str], Mapping[str, Argument]]] = {}


def arguments(operation: Operation) -> Mapping[str, Argument]:
    """Return the arguments of an operation by name: path, query, header, then the body."""
    key = operation.package, operation.id
    result = _cache.get(key)
    if result is None:
        result = _cache[key] = _arguments(operation)
    return result


def _arguments(operation: Operation) -> Mapping[str, Argument]:
    texts: Mapping[str, str] = (
        registry.docs()["operations"].get(operation.id, {}).get("args", {})
        if operation.package == "asyncposthog"
        else {}
    )
    result: dict[str, Argument] = {}
    for parameter in operation.parameters:
        schema: dict[str, Any] = {} if parameter.type == "any" else {"type": parameter.type}
        if parameter.enum:
            schema["enum"] = list(parameter.enum)
        if parameter.format:
            schema["format"] = parameter.format
        result[parameter.python_name] = Argument(
            parameter.python_name,
            parameter.name,
            parameter.location,
            parameter.required or parameter.location == "path",
            schema,
            texts.get(parameter.name, ""),
        )
    body = operation.body
    if body is None or operation.fixed_body is not None:
        return result
    component: Mapping[str, Any] = {"$ref": body.schema} if body.schema else {}
    if not body.flat:
        result[BODY] = Argument(BODY, BODY, "body", body.required, component, texts.get(BODY, ""))
        return result
    whole = resolve(component)
    properties: Mapping[str, Any] = whole.get("properties", {})
    required = set(whole.get("required", ()))
    for python_name, wire_name in body.fields:
        field = properties.get(wire_name, {})
        result[python_name] = Argument(
            python_name,
            wire_name,
            "field",
            wire_name in required and not resolve(field).get("readOnly"),
            field,
            texts.get(wire_name, ""),
            wire_name in body.files,
        )
    return result


def resolve(schema: object) -> Mapping[str, Any]:
    """Return a schema, or the component that it refers to."""
    if not isinstance(schema, Mapping):
        return {}
    resolved = cast("Mapping[str, Any]", schema)
    reference = resolved.get("$ref")
    if not isinstance(reference, str):
        return resolved
    return registry.schemas().get(reference.rpartition("/")[2], {})


def result_schema(operation: Operation) -> Mapping[str, Any]:
    """Return the schema of the result, or of one item if it is a list; empty if unknown."""
    schema = resolve({"$ref": operation.result.schema} if operation.result.schema else {})
    pagination = operation.pagination
    if pagination is not None and pagination.items is not None:
        schema = resolve(schema.get("properties", {}).get(pagination.items))
    return (
        resolve(schema["items"]) if schema.get("type") == "array" and "items" in schema else schema
    )


def input_schema(operation: Operation) -> dict[str, Any]:
    """Return the JSON Schema of all arguments as one object.

    Nested components are included as deeply as the size of a tool's definition permits.
    """
    for depth in (4, 3, 2, 1, 0):
        schema = _object_schema(operation, depth)
        if len(json.dumps(schema)) <= MAX_SCHEMA_CHARS:
            return schema
    return _object_schema(operation, 0, texts=False)


def _object_schema(operation: Operation, depth: int, *, texts: bool = True) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for argument in arguments(operation).values():
        schema = inline(argument.schema, depth)
        if argument.is_file:
            schema = {"type": "string"}
        if texts and argument.text:
            schema["description"] = argument.text
        properties[argument.name] = schema
    required = [a.name for a in arguments(operation).values() if a.required]
    result: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    return result | {"additionalProperties": False}


def inline(schema: object, depth: int) -> dict[str, Any]:
    """Return a schema without references: objects below `depth` are plain objects."""
    resolved = resolve(schema)
    inlined: dict[str, Any] = {key: resolved[key] for key in _KEPT if key in resolved}
    if len(inlined.get("enum", ())) > _MAX_VALUES:
        inlined = {"type": next(iter(types_of(resolved)), "string")}
    branches = _branches(resolved)
    if branches:
        plain = _merge_types(branches)
        if plain is not None:
            return inlined | plain
        if depth <= 0:
            types = sorted(types_of(resolved))
            return inlined | ({"type": types[0] if len(types) == 1 else types} if types else {})
        return inlined | {"anyOf": [inline(branch, depth - 1) for branch in branches]}
    if "items" in resolved:
        items = inline(resolved["items"], depth - 1)
        inlined["items"] = items
    properties = resolved.get("properties")
    if properties and depth > 0:
        inlined.setdefault("type", "object")
        inlined["properties"] = {
            name: inline(field, depth - 1)
            for name, field in cast("Mapping[str, Any]", properties).items()
            if not resolve(field).get("readOnly")
        }
        required = [name for name in resolved.get("required", ()) if name in inlined["properties"]]
        if required:
            inlined["required"] = required
    elif properties:
        inlined.setdefault("type", "object")
    return inlined


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    branches: list[Mapping[str, Any]] = []
    for keyword in ("anyOf", "oneOf", "allOf"):
        branches += [resolve(branch) for branch in schema.get(keyword, ())]
    return branches


def _merge_types(branches: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return one schema for branches that are scalars or null; None if one is more than that."""
    types: list[str] = []
    values: list[Any] = []
    for branch in branches:
        details = set(branch) - {"type", "enum", "const", "format", "title"}
        kind = branch.get("type")
        if details or kind in {"object", "array"}:
            return None
        options = branch.get("enum", [branch["const"]] if "const" in branch else None)
        if options is not None:
            values += [value for value in options if value not in values]
        elif kind == "null":
            values.append(None)
        if isinstance(kind, str):
            types.append(kind)
    if not types:
        return None
    merged: dict[str, Any] = {"type": types[0] if len(set(types)) == 1 else sorted(set(types))}
    if 0 < len(values) <= _MAX_VALUES and all(
        "enum" in b or "const" in b or b.get("type") == "null" for b in branches
    ):
        merged["enum"] = values
    return merged


def types_of(schema: object, depth: int = 0) -> frozenset[str]:
    """Return the JSON types that a schema accepts; an empty set: any."""
    resolved = resolve(schema)
    if depth > 8:
        return frozenset()
    kind = resolved.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    if isinstance(kind, list):
        return frozenset(cast("list[str]", kind))
    values = resolved.get("enum", [resolved["const"]] if "const" in resolved else None)
    if values is not None:
        return frozenset(JSON_TYPES[type(value)] for value in values)
    branches = [types_of(branch, depth + 1) for branch in _branches(resolved)]
    if branches and "allOf" not in resolved:
        # One alternative that accepts anything makes the whole accept anything.
        return frozenset[str]().union(*branches) if all(branches) else frozenset()
    if "properties" in resolved or "allOf" in resolved:
        return frozenset({"object"})
    return frozenset()


def enum_of(schema: object) -> tuple[Any, ...]:
    """Return the values that a schema accepts; empty if it accepts others too."""
    resolved = resolve(schema)
    if "enum" in resolved:
        return tuple(resolved["enum"])
    if "const" in resolved:
        return (resolved["const"],)
    values: list[Any] = []
    for branch in _branches(resolved):
        if branch.get("type") == "null":
            values.append(None)
            continue
        inner = enum_of(branch)
        if not inner:
            return ()
        values += inner
    return tuple(values)


def type_text(schema: object) -> str:
    """Return a type in words: `string`, `'a' or 'b'`, `array of integer`, `date-time or null`."""
    resolved = resolve(schema)
    values = enum_of(resolved)
    if values:
        texts = [json.dumps(value) for value in values[:12]]
        return " | ".join(texts) + (" | …" if len(values) > 12 else "")
    if resolved.get("type") == "array":
        inner = type_text(resolved.get("items"))
        return "array" if inner == "any" else f"array of {inner}"
    branches = _branches(resolved)
    if branches:
        return " or ".join(dict.fromkeys(type_text(branch) for branch in branches)) or "any"
    types = types_of(resolved)
    if types == frozenset({"string"}) and resolved.get("format") in {
        "date-time",
        "date",
        "uuid",
        "uri",
    }:
        return str(resolved["format"])
    return " or ".join(sorted(types, key=lambda name: name == "null")) or "any"


def describe_fields(schema: object) -> dict[str, str]:
    """Return the fields of an object, or of the objects in an array or a union, in words."""
    return {
        name: " | ".join(texts) + (", required" if required else "")
        for name, (texts, required) in _fields(resolve(schema)).items()
    }


def _fields(schema: Mapping[str, Any]) -> dict[str, tuple[list[str], bool]]:
    required = set(schema.get("required", ()))
    fields = {
        name: (type_text(field).split(" | "), name in required)
        for name, field in cast("Mapping[str, Any]", schema.get("properties", {})).items()
        if not resolve(field).get("readOnly")
    }
    inner = _branches(schema)
    if schema.get("type") == "array":
        inner = [resolve(schema.get("items")), *inner]
    for branch in inner:
        for name, (texts, needed) in _fields(branch).items():
            earlier, _ = fields.get(name, ([], False))
            fields[name] = (list(dict.fromkeys([*earlier, *texts])), needed)
    return fields
