"""Discriminated unions in one form.

Each alternative is a reference, the mapping is complete, and each alternative declares the
discriminating property as exactly the values that are mapped to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from codegen.json_access import child

from .drf_quirks import open_nulls
from .inline_variants import PREFIX, declared, hoist
from .keywords import NULL, Schema, is_null, split
from .naming import joined, pascal
from .parameters import is_parameter, without_null
from .unions import NOT_OBJECTS, union
from .values import type_of
from .walk import every, rewrite, sites

__all__ = ["settle"]

Report: TypeAlias = Callable[[str, str], None]
# A component, the discriminating property, and the values that stand for the component.
Need: TypeAlias = tuple[str, str, tuple[str, ...]]


def settle(document: dict[str, Any], report: Report) -> None:
    """Bring the discriminated unions of a normalised document into their form, in place."""
    hoist(document)
    components: dict[str, Schema] = document["components"]["schemas"]

    def change(schema: Schema, at: str) -> Schema:
        core, notes = split(schema)
        if "discriminator" in core:
            core = _tag(core, at, components, report)
        elif "anyOf" in core:
            core = union(core["anyOf"])
        return core | notes

    _everywhere(document, change)
    _narrow(document)
    for at, holder, key in sites(document):
        # A null inside an alternative comes out here.
        if is_parameter(at):
            holder[key] = without_null(holder[key])


def _everywhere(document: dict[str, Any], change: Callable[[Schema, str], Schema]) -> None:
    for at, holder, key in list(sites(document)):
        holder[key] = rewrite(holder[key], change, at)


def _tag(core: Schema, at: str, components: Mapping[str, Schema], report: Report) -> Schema:
    """Complete the mapping of one union, or make it a plain one where that cannot be done."""
    name: str = core["discriminator"]["propertyName"]
    leaves: dict[str, Schema] = {}
    expanded: set[str] = set()
    for variant in core["oneOf"]:
        for leaf in _leaves(variant, components, expanded):
            leaves.setdefault(leaf.get("$ref", repr(leaf)), leaf)
    nullable = any(map(is_null, leaves.values()))
    targets = [leaf for leaf in leaves.values() if not is_null(leaf)]
    given: dict[str, list[str]] = defaultdict(list)
    for value, target in sorted(core["discriminator"].get("mapping", {}).items()):
        if target in leaves:
            given[target].append(value)
        elif target not in expanded:
            where = child(at, "discriminator", "mapping", value)
            report(where, "it maps to a schema that is no alternative; the value is dropped")
    mapping, problem = _mapping(targets, name, given, components)
    if problem:
        report(child(at, "discriminator"), f"{problem}; it is dropped")
        return union(core["oneOf"])
    tagged: Schema = {
        "oneOf": targets,
        "discriminator": {"propertyName": name, "mapping": mapping},
    }
    return union([tagged, NULL]) if nullable else tagged


def _leaves(
    variant: Schema, components: Mapping[str, Schema], expanded: set[str]
) -> Iterator[Schema]:
    """Yield the alternatives in an alternative: a variant may be a union itself."""
    target = variant
    if "$ref" in variant:
        target, _ = split(components[variant["$ref"].removeprefix(PREFIX)])
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


def _mapping(
    targets: Sequence[Schema],
    name: str,
    given: Mapping[str, Sequence[str]],
    components: Mapping[str, Schema],
) -> tuple[dict[str, str], str]:
    """Return value → reference, and what makes that impossible."""
    mapping = {value: target for target, values in given.items() for value in values}
    for leaf in targets:
        reference: str | None = leaf.get("$ref")
        own = components.get(reference.removeprefix(PREFIX), {}) if reference else leaf
        if reference is None or own.get("type") != "object":
            return {}, NOT_OBJECTS
        values = declared(own, name, components)
        if values is not None and len({type_of(value) for value in values}) > 1:
            return {}, f"`{name}` holds values of several types"
        if reference in given:
            continue
        texts = [reference.removeprefix(PREFIX)] if values is None else map(_text, values)
        free = [text for text in texts if text not in mapping]
        if not free:
            return {}, f"the values of `{name}` do not tell the alternatives apart"
        for text in free:
            mapping[text] = reference
    return mapping, ""


def _text(value: Any) -> str:
    """Return a value as a key of a mapping."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _needs(schema: Mapping[str, Any]) -> dict[str, Need]:
    """Return what a discriminated union needs of each component it refers to, by reference."""
    values: dict[str, list[str]] = defaultdict(list)
    for value, target in schema["discriminator"]["mapping"].items():
        values[target].append(value)
    name = schema["discriminator"]["propertyName"]
    return {
        target: (target.removeprefix(PREFIX), name, tuple(sorted(found)))
        for target, found in values.items()
    }


def _narrow(document: dict[str, Any]) -> None:
    """Make each alternative declare its values.

    A component that only serves one kind of union is changed; where it also stands for itself
    elsewhere, the union gets a component derived from it.
    """
    components: dict[str, Schema] = document["components"]["schemas"]
    needed, elsewhere = _uses(document)
    renamed: dict[Need, str] = {}
    changed: dict[str, Schema] = {}
    for need in sorted(need for needs in needed.values() for need in needs):
        name, key, texts = need
        values = declared(components[name], key, components)
        same = values is not None and {_text(value) for value in values} == set(texts)
        if same and _plain(components[name]["properties"][key]):
            continue
        if same or (len(needed[name]) == 1 and not elsewhere[name]):
            changed[name] = _declare(changed.get(name, components[name]), key, texts, values)
            continue
        parts = [name, texts[0]] if len(texts) == 1 else [name, "With", key]
        own = pascal(texts[0])
        if len(texts) == 1 and name.endswith(own):
            parts = [name, "With", key]
        renamed[need] = joined(parts, {**components, **changed})
        changed[renamed[need]] = _declare(components[name], key, texts, values)
    components |= changed

    def change(schema: Schema, _: str) -> Schema:
        core, notes = split(open_nulls(schema))
        if "discriminator" in core:
            core = _point(core, renamed)
        elif "anyOf" in core:
            core = union(core["anyOf"])
        return core | notes

    _everywhere(document, change)


def _uses(document: Mapping[str, Any]) -> tuple[dict[str, set[Need]], Counter[str]]:
    """Return the needs of all unions by component, and how often it is referred to besides."""
    needed: dict[str, set[Need]] = defaultdict(set)
    elsewhere: Counter[str] = Counter()
    for at, holder, key in sites(document):
        for _, schema in every(holder[key], at):
            if "$ref" in schema:
                elsewhere[schema["$ref"].removeprefix(PREFIX)] += 1
            if "discriminator" in schema:
                for need in _needs(schema).values():
                    needed[need[0]].add(need)
                    elsewhere[need[0]] -= 1
    return needed, elsewhere


def _plain(schema: Mapping[str, Any]) -> bool:
    return "const" in schema or "enum" in schema


def _declare(
    component: Schema, key: str, texts: Sequence[str], values: Sequence[Any] | None
) -> Schema:
    """Return the component with its discriminating property declared."""
    known = {_text(value): value for value in values or ()}
    kept = [known[text] for text in known if text in texts]
    if all(isinstance(value, str) for value in kept):
        kept += [text for text in texts if text not in known]
    properties = component.get("properties", {})
    _, notes = split(properties.get(key, {}))
    if "default" in notes and notes["default"] not in kept:
        del notes["default"]
    own: Schema = {"type": type_of(kept[0])} | notes
    own |= {"const": kept[0]} if len(kept) == 1 else {"enum": kept}
    built = component | {"properties": {**properties, key: own}}
    if key not in properties:
        built["required"] = sorted({*component.get("required", ()), key})
    return built


def _point(core: Schema, renamed: Mapping[Need, str]) -> Schema:
    """Point a union to the derived components. One of a single alternative needs no union."""
    new = {
        target: PREFIX + renamed[need] if need in renamed else target
        for target, need in _needs(core).items()
    }
    variants = [{"$ref": new[variant["$ref"]]} for variant in core["oneOf"]]
    if len(variants) == 1:
        return variants[0]
    mapping = core["discriminator"]["mapping"]
    tag = core["discriminator"] | {"mapping": {key: new[mapping[key]] for key in mapping}}
    return core | {"oneOf": variants, "discriminator": tag}
