"""Normalise discriminated unions.

Afterwards each variant is a reference, the mapping is complete, and each variant declares the
discriminating property with exactly the values that are mapped to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from codegen.json_access import join_pointer, type_of
from codegen.json_schema import COMPONENT_PREFIX, iter_schemas, rewrite
from codegen.naming import new_component_name, pascal_case

from .drf_quirks import open_nulls
from .inline_variants import promote_inline_variants, property_values
from .keywords import NULL, Schema, is_null, split
from .parameters import is_parameter, without_null
from .unions import NOT_OBJECTS, union
from .walk import schema_sites

__all__ = ["normalise_discriminators"]

Report: TypeAlias = Callable[[str, str], None]
# What a union requires of a variant: the component, the discriminating property, its values.
TagRequirement: TypeAlias = tuple[str, str, tuple[str, ...]]


def normalise_discriminators(document: dict[str, Any], report: Report) -> None:
    """Normalise the discriminated unions of an otherwise normalised document, in place."""
    promote_inline_variants(document)
    components: dict[str, Schema] = document["components"]["schemas"]

    def change(schema: Schema, pointer: str) -> Schema:
        core, notes = split(schema)
        if "discriminator" in core:
            core = _complete_discriminator(core, pointer, components, report)
        elif "anyOf" in core:
            core = union(core["anyOf"])
        return core | notes

    _rewrite_all(document, change)
    _declare_tag_values(document)
    for pointer, holder, key in schema_sites(document):
        # Flattening a union can bring a null inside a variant to the top.
        if is_parameter(pointer):
            holder[key] = without_null(holder[key])


def _rewrite_all(document: dict[str, Any], change: Callable[[Schema, str], Schema]) -> None:
    # A list, because `change` may add components while iterating.
    for pointer, holder, key in list(schema_sites(document)):
        holder[key] = rewrite(holder[key], change, pointer)


def _complete_discriminator(
    core: Schema, pointer: str, components: Mapping[str, Schema], report: Report
) -> Schema:
    """Complete the mapping of one union, or return a plain union if that is impossible."""
    name: str = core["discriminator"]["propertyName"]
    leaves: dict[str, Schema] = {}
    expanded: set[str] = set()
    for variant in core["oneOf"]:
        for leaf in _leaves(variant, components, expanded):
            leaves.setdefault(leaf.get("$ref", repr(leaf)), leaf)
    nullable = any(map(is_null, leaves.values()))
    targets = [leaf for leaf in leaves.values() if not is_null(leaf)]
    values_of: dict[str, list[str]] = defaultdict(list)
    for value, target in sorted(core["discriminator"].get("mapping", {}).items()):
        if target in leaves:
            values_of[target].append(value)
        elif target not in expanded:
            where = join_pointer(pointer, "discriminator", "mapping", value)
            report(where, "it maps to a schema that is not an alternative; the value is dropped")
    mapping, reason = _complete_mapping(targets, name, values_of, components)
    if reason:
        report(join_pointer(pointer, "discriminator"), f"{reason}; it is dropped")
        return union(core["oneOf"])
    result: Schema = {
        "oneOf": targets,
        "discriminator": {"propertyName": name, "mapping": mapping},
    }
    return union([result, NULL]) if nullable else result


def _leaves(
    variant: Schema, components: Mapping[str, Schema], expanded: set[str]
) -> Iterator[Schema]:
    """Yield the variants inside a variant, which may be a union itself."""
    target = variant
    if "$ref" in variant:
        target, _ = split(components[variant["$ref"].removeprefix(COMPONENT_PREFIX)])
    inner = target.get("oneOf", target.get("anyOf"))
    if inner is None:
        yield variant
        return
    if "$ref" in variant:
        if variant["$ref"] in expanded:
            return
        expanded.add(variant["$ref"])
    for branch in inner:
        yield from _leaves(branch, components, expanded)


def _complete_mapping(
    targets: Sequence[Schema],
    name: str,
    values_of: Mapping[str, Sequence[str]],
    components: Mapping[str, Schema],
) -> tuple[dict[str, str], str]:
    """Return the reference for each value, and why that is impossible, or an empty string."""
    mapping = {value: target for target, values in values_of.items() for value in values}
    for leaf in targets:
        reference: str | None = leaf.get("$ref")
        target = components.get(reference.removeprefix(COMPONENT_PREFIX), {}) if reference else leaf
        if reference is None or target.get("type") != "object":
            return {}, NOT_OBJECTS
        values = property_values(target, name, components)
        if values is not None and len({type_of(value) for value in values}) > 1:
            return {}, f"`{name}` has values of several types"
        if reference in values_of:
            continue
        # Without a mapping, OpenAPI uses the name of the component as the value.
        texts = [reference.removeprefix(COMPONENT_PREFIX)] if values is None else map(_text, values)
        unmapped = [text for text in texts if text not in mapping]
        if not unmapped:
            return {}, f"the values of `{name}` do not distinguish the alternatives"
        for text in unmapped:
            mapping[text] = reference
    return mapping, ""


def _text(value: Any) -> str:
    """Return a value as a key of a mapping, which is always a string."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tag_requirements(schema: Mapping[str, Any]) -> dict[str, TagRequirement]:
    """Return what a discriminated union requires of each component it refers to, by reference."""
    values: dict[str, list[str]] = defaultdict(list)
    for value, target in schema["discriminator"]["mapping"].items():
        values[target].append(value)
    name = schema["discriminator"]["propertyName"]
    return {
        target: (target.removeprefix(COMPONENT_PREFIX), name, tuple(sorted(texts)))
        for target, texts in values.items()
    }


def _declare_tag_values(document: dict[str, Any]) -> None:
    """Make each variant declare its values, in place.

    A component that only one kind of union uses is changed. If it is used elsewhere as well, the
    union gets a component derived from it, because the other uses allow other values.
    """
    components: dict[str, Schema] = document["components"]["schemas"]
    requirements_of, other_uses = _collect_requirements(document)
    derived_names: dict[TagRequirement, str] = {}
    changed: dict[str, Schema] = {}
    # Sorted, because the names of derived components depend on the order.
    for requirement in sorted(
        requirement for requirements in requirements_of.values() for requirement in requirements
    ):
        name, key, texts = requirement
        values = property_values(components[name], key, components)
        is_declared = values is not None and {_text(value) for value in values} == set(texts)
        if is_declared and _has_literal_values(components[name]["properties"][key]):
            continue
        if is_declared or (len(requirements_of[name]) == 1 and not other_uses[name]):
            changed[name] = _with_tag_values(
                changed.get(name, components[name]), key, texts, values
            )
            continue
        parts = [name, texts[0]] if len(texts) == 1 else [name, "With", key]
        value_name = pascal_case(texts[0])
        if len(texts) == 1 and name.endswith(value_name):
            parts = [name, "With", key]
        derived_names[requirement] = new_component_name(parts, {**components, **changed})
        changed[derived_names[requirement]] = _with_tag_values(components[name], key, texts, values)
    components |= changed

    def change(schema: Schema, _: str) -> Schema:
        core, notes = split(open_nulls(schema))
        if "discriminator" in core:
            core = _retarget(core, derived_names)
        elif "anyOf" in core:
            core = union(core["anyOf"])
        return core | notes

    _rewrite_all(document, change)


def _collect_requirements(
    document: Mapping[str, Any],
) -> tuple[dict[str, set[TagRequirement]], Counter[str]]:
    """Return the requirements of all unions by component, and the number of its other uses."""
    requirements_of: dict[str, set[TagRequirement]] = defaultdict(set)
    other_uses: Counter[str] = Counter()
    for pointer, holder, key in schema_sites(document):
        for _, schema in iter_schemas(holder[key], pointer):
            if "$ref" in schema:
                other_uses[schema["$ref"].removeprefix(COMPONENT_PREFIX)] += 1
            if "discriminator" in schema:
                for requirement in _tag_requirements(schema).values():
                    requirements_of[requirement[0]].add(requirement)
                    other_uses[requirement[0]] -= 1
    return requirements_of, other_uses


def _has_literal_values(schema: Mapping[str, Any]) -> bool:
    return "const" in schema or "enum" in schema


def _with_tag_values(
    component: Schema, key: str, texts: Sequence[str], values: Sequence[Any] | None
) -> Schema:
    """Return a component that declares the values of its discriminating property."""
    values_by_text = {_text(value): value for value in values or ()}
    tag_values = [values_by_text[text] for text in values_by_text if text in texts]
    if all(isinstance(value, str) for value in tag_values):
        tag_values += [text for text in texts if text not in values_by_text]
    properties = component.get("properties", {})
    _, notes = split(properties.get(key, {}))
    if "default" in notes and notes["default"] not in tag_values:
        del notes["default"]
    tag_schema: Schema = {"type": type_of(tag_values[0])} | notes
    tag_schema |= {"const": tag_values[0]} if len(tag_values) == 1 else {"enum": tag_values}
    result = component | {"properties": {**properties, key: tag_schema}}
    if key not in properties:
        result["required"] = sorted({*component.get("required", ()), key})
    return result


def _retarget(core: Schema, derived_names: Mapping[TagRequirement, str]) -> Schema:
    """Return a union that refers to the derived components; a single variant needs no union."""
    new_targets = {
        target: COMPONENT_PREFIX + derived_names[requirement]
        if requirement in derived_names
        else target
        for target, requirement in _tag_requirements(core).items()
    }
    variants = [{"$ref": new_targets[variant["$ref"]]} for variant in core["oneOf"]]
    if len(variants) == 1:
        return variants[0]
    mapping = core["discriminator"]["mapping"]
    tag = core["discriminator"] | {"mapping": {key: new_targets[mapping[key]] for key in mapping}}
    return core | {"oneOf": variants, "discriminator": tag}
