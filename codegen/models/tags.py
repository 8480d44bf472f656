"""Find the properties that distinguish the variants of unions."""

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
    """A property that distinguishes the variants of a union."""

    wire: str
    name: str
    """The Python name of the field."""
    variants: tuple[str, ...]
    """Components, in the order of the union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What the unions of a document require of their variants."""

    variants: frozenset[str]
    """Components that are in a union with another object."""
    discriminating: Mapping[str, Mapping[str, tuple[Value, ...]]]
    """The values of discriminating properties, by component and wire name."""
    discriminators: Mapping[str, Discriminator]
    """By the pointer of the union."""
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A discriminator of one union, before it is compared with other unions."""

    pointer: str
    wire: str
    values: Mapping[str, tuple[Value, ...]]
    """By component."""
    declared: bool = True
    """Whether the schema declares it; otherwise it is inferred."""


def literal_values(schema: Schema) -> tuple[Value, ...] | None:
    """Return the values of an enum or const if `Literal` allows all of them, else None."""
    values = closed_values(schema)
    if values is None:
        return None
    literals = tuple(v for v in values if isinstance(v, str | int))
    return literals if literals and len(literals) == len(values) else None


def find_tags(
    schemas: Schema, modelled: Collection[str], names: Mapping[str, Mapping[str, str]]
) -> Tags:
    """Find the discriminators of all unions in the modelled components.

    Args:
        schemas: All components.
        modelled: The components that get a model, in order.
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
    # A model declares its tag once, so the values of all its unions are merged. This may make two
    # variants of one union ambiguous, which `_resolve` reports.
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
    """Return a discriminator that the schema does not declare, if there is one.

    The property is required, and an enum or a const, in every variant; no value occurs in two of
    them. Of several such properties, the one with the fewest values is chosen.
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
    """Return the values of a property that is always present and admits no others, else ()."""
    schema = variant["properties"][wire]
    if wire not in variant.get("required", ()) and "default" not in schema:
        return ()
    values = literal_values(resolve(schema, schemas)) or ()
    # True and 1 are the same key in Python, so booleans cannot be tags.
    return () if any(isinstance(value, bool) for value in values) else values


def _declared_candidate(
    pointer: str, schema: Schema, branches: list[Schema], schemas: Schema
) -> _Candidate | str | None:
    """Return a declared discriminator, a reason why it cannot be used, or None if not needed."""
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
            return "a variant is not a component with properties"
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
    """Convert mapping keys, which are always strings, to the type of the property."""
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
        return f"{candidate.wire!r} has different names in its variants"
    return Discriminator(wire=candidate.wire, name=fields.pop(), variants=tuple(candidate.values))
