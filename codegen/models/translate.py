"""Translate schemas into schemas of tokens, in forms that datamodel-code-generator can type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from codegen.json_schema import (
    Schema,
    alternatives,
    closed_values,
    component_of,
    reference_to,
    resolve,
    types_of,
)

from .ir import Value
from .tags import Tags, literal_values
from .type_registry import SchemaLocation, TypeRegistry

__all__ = ["Translator"]

_FORMATS = frozenset({"binary", "date", "date-time", "time", "uuid"})
"""Formats that have a Python type. Strings of any other format are `str`."""
_UNREPRESENTED = (
    "contains",
    "dependentSchemas",
    "if",
    "not",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "unevaluatedProperties",
)
_SCALARS: Mapping[type, str] = {str: "string", int: "integer", bool: "boolean"}
_ANY: Schema = {}

PromoteInline: TypeAlias = Callable[[Schema, SchemaLocation], str]
"""Makes a model of an inline object and returns the token of the model."""


@dataclass(slots=True)
class _Union:
    """The members of a union while they are collected."""

    members: list[Schema] = field(default_factory=list[Schema])
    values: list[Value] = field(default_factory=list[Value])
    open_types: list[str] = field(default_factory=list[str])
    """Scalar types that admit values an enum does not list."""
    null: bool = False

    def admit_other_values(self, values: Iterable[Value], kind: str | None) -> None:
        """Admit every value of the types of an enum.

        PostHog adds values to enums, and a response with a new one has to be readable.
        """
        self.open_types.extend(_SCALARS[type(value)] for value in values)
        if kind == "number":
            self.open_types.append(kind)


class Translator:
    """Translates the schemas of one document."""

    def __init__(
        self,
        schemas: Schema,
        tokens: Mapping[str, str],
        tags: Tags,
        type_registry: TypeRegistry,
        promote_inline: PromoteInline,
    ) -> None:
        """Store the components, their tokens, and the function for inline objects."""
        self._schemas = schemas
        self._tokens = tokens
        self._tags = tags
        self._type_registry = type_registry
        self._promote_inline = promote_inline

    def type(self, schema: Schema, location: SchemaLocation) -> Schema:
        """Translate a schema; its enums admit values that they do not list."""
        union = _Union()
        self._collect(schema, location, union)
        return self._combine(union, location)

    def closed(self, schema: Schema, values: tuple[Value, ...], location: SchemaLocation) -> Schema:
        """Translate a property that admits listed values only, to its named enum if it has one."""
        name = component_of(schema)
        if name is not None and literal_values(self._schemas[name]) == values:
            return reference_to(self._tokens[name])
        return self._type_registry.literal_type(values, location)

    def _combine(self, union: _Union, location: SchemaLocation) -> Schema:
        # `Any | str` is `Any`; the generator would write both.
        if any(member == _ANY for member in union.members):
            return _ANY
        members = list(union.members)
        if union.values:
            members.append(
                self._type_registry.literal_type(tuple(dict.fromkeys(union.values)), location)
            )
        members.extend({"type": kind} for kind in union.open_types)
        if union.null:
            members.append({"type": "null"})
        unique = [m for index, m in enumerate(members) if m not in members[:index]]
        return unique[0] if len(unique) == 1 else {"anyOf": unique}

    def _collect(self, schema: Schema, location: SchemaLocation, union: _Union) -> None:
        for keyword in _UNREPRESENTED:
            if keyword in schema:
                self._type_registry.report(location, f"{keyword} is not represented")
        name = component_of(schema)
        branches = alternatives(schema)
        values = closed_values(schema)
        if name is not None:
            self._collect_reference(name, union)
        elif values is not None:
            self._collect_values(values, schema, union)
        elif branches is not None:
            self._collect_branches(branches, schema, location, union)
        elif isinstance(schema.get("allOf"), list):
            self._collect_all_of(cast("list[Schema]", schema["allOf"]), location, union)
        else:
            self._collect_plain(schema, location, union)

    def _collect_reference(self, name: str, union: _Union) -> None:
        target = self._schemas[name]
        # A named type that is only None would be useless, and hide that the union is optional.
        if types_of(resolve(target, self._schemas)) == "null":
            union.null = True
            return
        union.members.append(reference_to(self._tokens[name]))
        union.admit_other_values(literal_values(target) or (), types_of(target))

    def _collect_values(self, values: list[Any], schema: Schema, union: _Union) -> None:
        literals = [value for value in values if isinstance(value, str | int)]
        # `Literal` allows neither floats nor containers, so those become their types.
        if any(isinstance(value, float) for value in values):
            literals = [value for value in literals if isinstance(value, str)]
            union.members.append({"type": "number"})
        if not values or any(isinstance(value, list | dict) for value in values):
            union.members.append(_ANY)
        union.values.extend(literals)
        union.admit_other_values(literals, types_of(schema))
        union.null = union.null or None in values

    def _collect_branches(
        self, branches: list[Schema], schema: Schema, location: SchemaLocation, union: _Union
    ) -> None:
        discriminator = self._tags.discriminators.get(location.pointer)
        if discriminator is not None:
            wire = discriminator.wire
            variants = {
                self._tokens[variant]: self._tags.discriminating[variant][wire]
                for variant in discriminator.variants
            }
            union.members.append(
                self._type_registry.discriminated(variants, discriminator.name, wire, location)
            )
            union.null = union.null or any(b.get("type") == "null" for b in branches)
            return
        if schema.get("properties"):
            self._type_registry.report(location, "properties beside a union are not represented")
        keyword = "oneOf" if "oneOf" in schema else "anyOf"
        objects = [b for b in branches if resolve(b, self._schemas).get("properties")]
        inline = sum(component_of(b) is None for b in objects)
        number = 0
        for index, branch in enumerate(branches):
            suffix = ""
            # Several inline objects of one union need different class names.
            if inline > 1 and branch.get("properties"):
                number += 1
                suffix = str(number)
            inner = location.child(f"/{keyword}/{index}", suffix, variant=len(objects) > 1)
            self._collect(branch, inner, union)

    def _collect_all_of(self, parts: list[Schema], location: SchemaLocation, union: _Union) -> None:
        if len(parts) == 1:
            self._collect(parts[0], location.child("/allOf/0"), union)
        else:
            self._type_registry.report(location, "allOf of several schemas is not represented")
            union.members.append(_ANY)

    def _collect_plain(self, schema: Schema, location: SchemaLocation, union: _Union) -> None:
        kind = types_of(schema)
        if kind == "null":
            union.null = True
        elif kind == "string":
            style = schema.get("format")
            represented_format = {"format": style} if style in _FORMATS else {}
            union.members.append({"type": "string", **represented_format})
        elif kind in {"integer", "number", "boolean"}:
            union.members.append({"type": kind})
        elif kind == "array":
            items: Schema = schema.get("items") or _ANY
            inner = self.type(items, location.child("/items", "Item"))
            union.members.append({"type": "array", "items": inner})
        elif kind == "object":
            union.members.append(self._object(schema, location))
        else:
            if kind is not None:
                self._type_registry.report(
                    location, f"{kind!r} is not a JSON type: any value is accepted"
                )
            union.members.append(_ANY)

    def _object(self, schema: Schema, location: SchemaLocation) -> Schema:
        if schema.get("properties"):
            return reference_to(self._promote_inline(schema, location))
        values = schema.get("additionalProperties")
        if not isinstance(values, dict) or not values:
            return {"type": "object", "additionalProperties": True}
        inner = location.child("/additionalProperties", "Value")
        of_values = self.type(cast("Schema", values), inner)
        return {"type": "object", "additionalProperties": of_values or True}
