"""Checks that a document must pass before models are generated from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from codegen.diagnostics import Diagnostic
from codegen.graph import invert, propagate_users
from codegen.json_schema import (
    Schema,
    alternatives,
    closed_values,
    component_of,
    component_pointer,
    contradiction,
    iter_schemas,
    reference_graph,
    references,
    rewrite,
)
from codegen.normalise.walk import schema_sites

from .ir import ModelPlan

__all__ = ["drop_contradictions", "find_errors", "query_nodes", "users_of_components"]

_KEYWORDS = frozenset({"True", "False", "None"})
"""Python keywords that start with a capital, as a class name does."""


def drop_contradictions(document: dict[str, Any]) -> list[Diagnostic]:
    """Remove the defaults that contradict their own schema, in place; return what was removed.

    For documents of other instances only. In the pinned document such a default is an error, which
    an override fixes; the user of another instance could not fix it, and needs all the rest.

    Args:
        document: A normalised document.
    """
    components: Mapping[str, Any] = document["components"]["schemas"]
    diagnostics: list[Diagnostic] = []

    def change(schema: dict[str, Any], pointer: str) -> dict[str, Any]:
        if "default" not in schema:
            return schema
        rest = {key: value for key, value in schema.items() if key != "default"}
        reason = contradiction(schema["default"], rest, components)
        if reason is None:
            return schema
        message = f"its default contradicts it: {reason}; it is dropped"
        diagnostics.append(Diagnostic(pointer, message))
        return rest

    for pointer, holder, key in list(schema_sites(document)):
        if any("default" in schema for _, schema in iter_schemas(holder[key])):
            holder[key] = rewrite(holder[key], change, pointer)
    return diagnostics


def users_of_components(plan: ModelPlan) -> dict[str, frozenset[str]]:
    """Return the users of each component that is used, directly or through other components."""
    schemas: Mapping[str, Schema] = plan.document["components"]["schemas"]
    return propagate_users(invert(plan.users), reference_graph(schemas))


def query_nodes(plan: ModelPlan, modelled: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the components of the query package, each with the query nodes that use it.

    Nodes are the components that a query root refers to directly. A root may have no model of its
    own, because its fields can be the arguments of a method.
    """
    schemas: Mapping[str, Schema] = plan.document["components"]["schemas"]
    roots = sorted(plan.query_roots & schemas.keys())
    nodes = {node for root in roots for node in references(schemas[root])}
    users = propagate_users({node: [node] for node in nodes}, reference_graph(schemas))
    # No node leads to a root, but the package has to hold the roots as well.
    users = {**{root: frozenset[str]() for root in roots}, **users}
    return {name: users[name] for name in users if name in modelled}


def find_errors(plan: ModelPlan, modelled: Iterable[str]) -> list[Diagnostic]:
    """Return everything that makes it impossible to generate correct models.

    Missing components, invalid or repeated class names, aliases of themselves, defaults that
    contradict their own schema, and text that is not valid Unicode.
    """
    schemas: Mapping[str, Schema] = plan.document["components"]["schemas"]
    errors = [
        Diagnostic(component_pointer(name), "is used, but the document has no such component")
        for name in plan.users.keys() - schemas.keys()
    ]
    components = sorted(modelled)
    for component in components:
        pointer = component_pointer(component)
        errors.extend(_name_errors(component, plan.names))
        errors.extend(
            Diagnostic(pointer, f"refers to {target!r}, which is not a component")
            for target in references(schemas[component]) - schemas.keys()
        )
    errors.extend(_duplicate_names(components, plan.names))
    cycle = _find_cycle(components, schemas)
    if cycle:
        # The checks below follow references, so they would not end.
        reason = f"is only itself: {' → '.join(cycle)}"
        return [*errors, Diagnostic(component_pointer(cycle[0]), reason)]
    for component in components:
        for pointer, schema in iter_schemas(schemas[component], component_pointer(component)):
            errors.extend(_default_errors(pointer, schema, schemas))
            errors.extend(_text_errors(pointer, schema))
    return errors


def _name_errors(component: str, names: Mapping[str, str]) -> Iterator[Diagnostic]:
    name = names.get(component)
    pointer = component_pointer(component)
    if name is None:
        yield Diagnostic(pointer, "has no class name")
    elif not (name.isascii() and name.isidentifier() and name[0].isupper()) or name in _KEYWORDS:
        yield Diagnostic(pointer, f"{name!r} cannot be a class name")


def _duplicate_names(components: list[str], names: Mapping[str, str]) -> Iterator[Diagnostic]:
    holders: dict[str, str] = {}
    for component in components:
        name = names.get(component, "")
        if name and holders.setdefault(name, component) != component:
            reason = f"would be called {name!r}, as {holders[name]!r} is"
            yield Diagnostic(component_pointer(component), reason)


def _find_cycle(components: list[str], schemas: Mapping[str, Schema]) -> list[str]:
    """Return components that are unions or aliases of each other, with no object in between."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for component in components:
        sorter.add(component, *sorted(_direct_components(schemas[component])))
    try:
        sorter.prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def _direct_components(schema: Schema) -> set[str]:
    name = component_of(schema)
    if name is not None:
        return {name}
    branches: list[Schema] = [*(alternatives(schema) or ()), *(schema.get("allOf") or ())]
    if isinstance(schema.get("type"), list):
        return set()
    return {name for branch in branches for name in _direct_components(branch)}


def _default_errors(
    pointer: str, schema: Schema, schemas: Mapping[str, Schema]
) -> Iterator[Diagnostic]:
    if "default" in schema:
        reason = contradiction(schema["default"], schema, schemas)
        if reason is not None:
            yield Diagnostic(pointer, f"its default contradicts it: {reason}")


def _text_errors(pointer: str, schema: Schema) -> Iterator[Diagnostic]:
    """Find names and values with half a surrogate pair, which JSON allows and UTF-8 does not."""
    for text in (*(schema.get("properties") or ()), *(closed_values(schema) or ())):
        if not isinstance(text, str) or text.isascii():
            continue
        if any("\ud800" <= char <= "\udfff" for char in text):
            yield Diagnostic(pointer, f"{text!r} cannot be written in UTF-8")
