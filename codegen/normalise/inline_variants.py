"""Turn inline variants of discriminated unions into components with readable names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.json_access import lookup, split_pointer
from codegen.json_schema import component_of, reference_to, rewrite
from codegen.naming import new_component_name

from .keywords import Schema, split
from .walk import schema_sites

__all__ = ["promote_inline_variants", "property_values"]

_OPERATION_DEPTH = 3
"""Tokens in the pointer of an operation: "paths", the path, the method."""


def property_values(
    schema: Mapping[str, Any], name: str, components: Mapping[str, Schema]
) -> list[Any] | None:
    """Return the values that a property of an object schema can have, or None for any."""
    return _values(schema.get("properties", {}).get(name, {}), components, set())


def promote_inline_variants(document: dict[str, Any]) -> None:
    """Make a component of every inline variant of a discriminated union, in place."""
    components: dict[str, Schema] = document["components"]["schemas"]

    def change(schema: Schema, pointer: str) -> Schema:
        if "discriminator" not in schema:
            return schema
        variants = list(schema["oneOf"])
        for index, variant in enumerate(variants):
            if variant.get("type") == "object":
                values = property_values(
                    variant, schema["discriminator"]["propertyName"], components
                )
                # Variants that allow any value differ by their position only.
                label = "".join(map(str, values or ())) or f"Variant{index + 1}"
                name = new_component_name([*_name_parts(document, pointer), label], components)
                components[name] = variant
                variants[index] = reference_to(name)
        return schema | {"oneOf": variants}

    # A list, because new components are added while iterating.
    for pointer, holder, key in list(schema_sites(document)):
        holder[key] = rewrite(holder[key], change, pointer)


def _values(
    schema: Mapping[str, Any], components: Mapping[str, Schema], seen: set[str]
) -> list[Any] | None:
    core, _ = split(schema)
    if "const" in core:
        return [core["const"]]
    if "enum" in core:
        return list(core["enum"])
    name = component_of(core)
    if name is not None:
        return None if name in seen else _values(components[name], components, seen | {name})
    # Null is no value of a discriminator: it is a variant of its own.
    if "anyOf" not in core:
        return [] if core == {"type": "null"} else None
    collected: list[Any] = []
    for branch in core["anyOf"]:
        values = _values(branch, components, seen)
        if values is None:
            return None
        collected += values
    return collected


def _name_parts(document: Mapping[str, Any], pointer: str) -> list[str]:
    """Return the names in a pointer: component or operation, then properties."""
    path = split_pointer(pointer)
    if path[0] == "components":
        names, rest = [path[2]], path[3:]
    else:
        operation = lookup(document, path[:_OPERATION_DEPTH])
        names = [operation.get("operationId") or f"{path[2]} {path[1]}"]
        if path[3] == "parameters":
            names.append(lookup(document, path[:5])["name"])
        else:
            names.append({"requestBody": "Request"}.get(path[3], "Response"))
        rest = path[path.index("schema", 3) + 1 :]
    position = 0
    while position < len(rest):
        if rest[position] == "properties":
            names.append(rest[position + 1])
            position += 1
        position += 1
    return names
