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
    "Argument",
    "arguments",
    "describe_fields",
    "input_schema",
    "resolve",
    "result_schema",
    "type_text",
]

BODY: Final = "body"
"""The argument that is the whole body, where the body is not an object with known fields."""
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
        return frozenset(kind for kind, name in _JSON_TYPES.items() if name in self.types)

    @cached_property
    def values(self) -> tuple[Any, ...]:
        """The only values that it accepts; empty: others too."""
        return enum_of(self.schema)


_cache: Final[dict[tuple[str, str], Mapping[str, Argument]]] = {}


def arguments(operation: Operation) -> Mapping[str, Argument]:
    """Return the arguments of an operation by name: path, query, header, then the body."""
    key = operation.package, operation.id
    found = _cache.get(key)
    if found is None:
        found = _cache[key] = _arguments(operation)
    return found


def _arguments(operation: Operation) -> Mapping[str, Argument]:
    texts: Mapping[str, str] = (
        registry.docs()["operations"].get(operation.id, {}).get("args", {})
        if operation.package == "asyncposthog"
        else {}
    )
    found: dict[str, Argument] = {}
    for parameter in operation.parameters:
        schema: dict[str, Any] = {} if parameter.type == "any" else {"type": parameter.type}
        if parameter.enum:
            schema["enum"] = list(parameter.enum)
        if parameter.format:
            schema["format"] = parameter.format
        found[parameter.python_name] = Argument(
            parameter.python_name,
            parameter.name,
            parameter.location,
            parameter.required or parameter.location == "path",
            schema,
            texts.get(parameter.name, ""),
        )
    body = operation.body
    if body is None or operation.fixed_body is not None:
        return found
    component: Mapping[str, Any] = {"$ref": body.schema} if body.schema else {}
    if not body.flat:
        found[BODY] = Argument(BODY, BODY, "body", body.required, component, texts.get(BODY, ""))
        return found
    whole = resolve(component)
    properties: Mapping[str, Any] = whole.get("properties", {})
    required = set(whole.get("required", ()))
    for python_name, wire_name in body.fields:
        field = properties.get(wire_name, {})
        found[python_name] = Argument(
            python_name,
            wire_name,
            "field",
            wire_name in required and not resolve(field).get("readOnly"),
            field,
            texts.get(wire_name, ""),
            wire_name in body.files,
        )
    return found


def resolve(schema: object) -> Mapping[str, Any]:
    """Return a schema, or the component that it refers to."""
    if not isinstance(schema, Mapping):
        return {}
    found = cast("Mapping[str, Any]", schema)
    reference = found.get("$ref")
    if not isinstance(reference, str):
        return found
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
    found = resolve(schema)
    kept: dict[str, Any] = {key: found[key] for key in _KEPT if key in found}
    if len(kept.get("enum", ())) > _MAX_VALUES:
        kept = {"type": next(iter(types_of(found)), "string")}
    branches = _branches(found)
    if branches:
        plain = _merge_types(branches)
        if plain is not None:
            return kept | plain
        if depth <= 0:
            types = sorted(types_of(found))
            return kept | ({"type": types[0] if len(types) == 1 else types} if types else {})
        return kept | {"anyOf": [inline(branch, depth - 1) for branch in branches]}
    if "items" in found:
        items = inline(found["items"], depth - 1)
        kept["items"] = items
    properties = found.get("properties")
    if properties and depth > 0:
        kept.setdefault("type", "object")
        kept["properties"] = {
            name: inline(field, depth - 1)
            for name, field in cast("Mapping[str, Any]", properties).items()
            if not resolve(field).get("readOnly")
        }
        required = [name for name in found.get("required", ()) if name in kept["properties"]]
        if required:
            kept["required"] = required
    elif properties:
        kept.setdefault("type", "object")
    return kept


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for keyword in ("anyOf", "oneOf", "allOf"):
        found += [resolve(branch) for branch in schema.get(keyword, ())]
    return found


def _merge_types(branches: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return one schema for branches that are scalars or null; None if one is more than that."""
    types: list[str] = []
    values: list[Any] = []
    for branch in branches:
        known = set(branch) - {"type", "enum", "const", "format", "title"}
        kind = branch.get("type")
        if known or kind in {"object", "array"}:
            return None
        found = branch.get("enum", [branch["const"]] if "const" in branch else None)
        if found is not None:
            values += [value for value in found if value not in values]
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


_JSON_TYPES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def types_of(schema: object, depth: int = 0) -> frozenset[str]:
    """Return the JSON types that a schema accepts; an empty set: any."""
    found = resolve(schema)
    if depth > 8:
        return frozenset()
    kind = found.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    if isinstance(kind, list):
        return frozenset(cast("list[str]", kind))
    values = found.get("enum", [found["const"]] if "const" in found else None)
    if values is not None:
        return frozenset(_JSON_TYPES[type(value)] for value in values)
    branches = [types_of(branch, depth + 1) for branch in _branches(found)]
    if branches and "allOf" not in found:
        # One alternative that accepts anything makes the whole accept anything.
        return frozenset[str]().union(*branches) if all(branches) else frozenset()
    if "properties" in found or "allOf" in found:
        return frozenset({"object"})
    return frozenset()


def enum_of(schema: object) -> tuple[Any, ...]:
    """Return the values that a schema accepts; empty if it accepts others too."""
    found = resolve(schema)
    if "enum" in found:
        return tuple(found["enum"])
    if "const" in found:
        return (found["const"],)
    values: list[Any] = []
    for branch in _branches(found):
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
    found = resolve(schema)
    values = enum_of(found)
    if values:
        texts = [json.dumps(value) for value in values[:12]]
        return " | ".join(texts) + (" | …" if len(values) > 12 else "")
    if found.get("type") == "array":
        inner = type_text(found.get("items"))
        return "array" if inner == "any" else f"array of {inner}"
    branches = _branches(found)
    if branches:
        return " or ".join(dict.fromkeys(type_text(branch) for branch in branches)) or "any"
    types = types_of(found)
    if types == frozenset({"string"}) and found.get("format") in {
        "date-time",
        "date",
        "uuid",
        "uri",
    }:
        return str(found["format"])
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
            known, _ = fields.get(name, ([], False))
            fields[name] = (list(dict.fromkeys([*known, *texts])), needed)
    return fields
