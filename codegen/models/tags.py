"""Which properties tell the variants of a union apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from codegen.diagnostics import Diagnostic
from codegen.json_schema import (
    Schema,
    alternatives,
    closed_values,
    component_of,
    component_pointer,
    iter_schemas,
    resolve,
)

from .fields import field_name
from .ir import Value

__all__ = ["Discriminator", "Tags", "find_tags", "literal_values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminator:
    """A union whose variants are told apart by one property."""

    wire: str
    name: str
    """The Python name of the field."""
    variants: tuple[str, ...]
    """Components, in the order of the union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What the unions of a document ask of their variants."""

    variants: frozenset[str]
    """Components that stand in a union beside another object."""
    discriminating: Mapping[str, Mapping[str, tuple[Value, ...]]]
    """By component and wire name, the values of the properties that tell it from others."""
    discriminators: Mapping[str, Discriminator]
    """By the pointer of the union."""
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A discriminator as one union has it."""

    pointer: str
    wire: str
    values: Mapping[str, tuple[Value, ...]]
    """By component."""
    declared: bool = True
    """Whether the schema says so; otherwise it is inferred."""


def literal_values(schema: Schema) -> tuple[Value, ...] | None:
    """Return the values of an enum or const if all can stand in a `Literal`, null aside."""
    values = closed_values(schema)
    if values is None:
        return None
    literals = tuple(v for v in values if isinstance(v, str | int))
    return literals if literals and len(literals) == len(values) else None


def find_tags(
    schemas: Schema, modelled: Collection[str], names: Mapping[str, Mapping[str, str]]
) -> Tags:
    """Read every union of the modelled components.

    Args:
        schemas: All components.
        modelled: Those models are made of, in order.
        names: Python names of fields by wire name, by component.
    """
    variants: set[str] = set()
    candidates: list[_Candidate] = []
    diagnostics: list[Diagnostic] = []
    for component in modelled:
        for pointer, schema in iter_schemas(schemas[component], component_pointer(component)):
            branches = alternatives(schema)
            if branches is None:
                continue
            objects = [b for b in branches if resolve(b, schemas).get("properties")]
            if len(objects) > 1:
                variants.update(name for b in objects if (name := component_of(b)) is not None)
            if "discriminator" in schema:
                candidate = _declared_candidate(pointer, schema, branches, schemas)
            else:
                candidate = _inferred_candidate(pointer, branches, schemas)
            if isinstance(candidate, str):
                diagnostics.append(Diagnostic(pointer, f"plain union: {candidate}"))
            elif candidate is not None:
                candidates.append(candidate)
    merged = _merge(candidates)
    discriminators: dict[str, Discriminator] = {}
    for candidate in candidates:
        resolved = _resolve(candidate, merged, names)
        if not isinstance(resolved, str):
            discriminators[candidate.pointer] = resolved
        elif candidate.declared:
            diagnostics.append(Diagnostic(candidate.pointer, f"plain union: {resolved}"))
    certain = [c for c in candidates if c.declared or c.pointer in discriminators]
    return Tags(
        variants=frozenset(variants),
        discriminating=_merge(certain),
        discriminators=discriminators,
        diagnostics=tuple(diagnostics),
    )


def _inferred_candidate(pointer: str, branches: list[Schema], schemas: Schema) -> _Candidate | None:
    """Find a property that tells the variants of a union apart, though the schema does not say so.

    It is an enum or a const in every variant, without a value in common, and always there. Of
    several such properties the one with the fewest values is taken.
    """
    names = [component_of(branch) for branch in branches if branch.get("type") != "null"]
    variants = {name: schemas[name] for name in names if name is not None}
    if len(variants) < 2 or len(variants) != len(names):
        return None
    properties = [frozenset[str](v.get("properties", ())) for v in variants.values()]
    candidates: list[tuple[int, str, dict[str, tuple[Value, ...]]]] = []
    for wire in sorted(properties[0].intersection(*properties[1:])):
        values = {
            name: _exclusive_values(variant, wire, schemas) for name, variant in variants.items()
        }
        all_values = [value for variant_values in values.values() for value in variant_values]
        if all(values.values()) and len(all_values) == len(set(all_values)):
            candidates.append((len(all_values), wire, values))
    if not candidates:
        return None
    _, wire, values = min(candidates, key=lambda option: option[:2])
    return _Candidate(pointer, wire, values, declared=False)


def _exclusive_values(variant: Schema, wire: str, schemas: Schema) -> tuple[Value, ...]:
    """Return the values a property can have, if it is always there and admits no others."""
    schema = variant["properties"][wire]
    if wire not in variant.get("required", ()) and "default" not in schema:
        return ()
    values = literal_values(resolve(schema, schemas)) or ()
    return () if any(isinstance(value, bool) for value in values) else values


def _declared_candidate(
    pointer: str, schema: Schema, branches: list[Schema], schemas: Schema
) -> _Candidate | str | None:
    """Read a discriminator; a text says why it cannot be used, None that it is not needed."""
    wire = cast("Schema", schema["discriminator"]).get("propertyName")
    if not isinstance(wire, str):
        return "the discriminator names no property"
    mapping: Mapping[str, str] = schema["discriminator"].get("mapping") or {}
    values: dict[str, tuple[Value, ...]] = {}
    for branch in branches:
        if branch.get("type") == "null":
            continue
        name = component_of(branch)
        if name is None or not schemas.get(name, {}).get("properties"):
            return "a variant is no component with properties"
        mapped = tuple(v for v, ref in mapping.items() if component_of({"$ref": ref}) == name)
        declared = literal_values(resolve(schemas[name]["properties"].get(wire, {}), schemas))
        tag_values = _with_types(mapped, declared) or declared
        if any(isinstance(value, bool) for value in declared or ()):
            return f"{wire!r} is a boolean"
        if not tag_values:
            return f"no value of {wire!r} is mapped to {name}"
        values[name] = tag_values
    return _Candidate(pointer, wire, values) if len(values) > 1 else None


def _with_types(mapped: tuple[str, ...], declared: tuple[Value, ...] | None) -> tuple[Value, ...]:
    """Mapping keys are strings, whatever the property is: give them the types it declares."""
    types = {str(value): value for value in declared or () if not isinstance(value, bool)}
    return tuple(types.get(value, value) for value in mapped)


def _merge(candidates: list[_Candidate]) -> dict[str, dict[str, tuple[Value, ...]]]:
    merged: dict[str, dict[str, tuple[Value, ...]]] = {}
    for candidate in candidates:
        for component, values in candidate.values.items():
            values_by_property = merged.setdefault(component, {})
            both = (*values_by_property.get(candidate.wire, ()), *values)
            values_by_property[candidate.wire] = tuple(dict.fromkeys(both))
    return merged


def _resolve(
    candidate: _Candidate,
    merged: Mapping[str, Mapping[str, tuple[Value, ...]]],
    names: Mapping[str, Mapping[str, str]],
) -> Discriminator | str:
    holders: dict[Value, str] = {}
    fields: set[str] = set()
    for component in candidate.values:
        for value in merged[component][candidate.wire]:
            if holders.setdefault(value, component) != component:
                return f"{value!r} names both {holders[value]} and {component}"
        fields.add(names[component].get(candidate.wire) or field_name(candidate.wire))
    if len(fields) != 1:
        return f"{candidate.wire!r} is called differently in its variants"
    return Discriminator(wire=candidate.wire, name=fields.pop(), variants=tuple(candidate.values))
