"""What has to be right in a document before models can be made of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from codegen.diagnostics import Diagnostic

from .ir import ModelPlan
from .schemas import (
    Schema,
    alternatives,
    children,
    closed_values,
    component_of,
    contradiction,
    escape,
    references,
)

__all__ = ["closure", "find_errors", "propagate_users", "query_nodes"]


def closure(roots: Iterable[str], schemas: Mapping[str, Schema]) -> frozenset[str]:
    """Return the components reachable from some, themselves included."""
    reachable_names: set[str] = set()
    pending = [root for root in roots if root in schemas]
    while pending:
        name = pending.pop()
        if name not in reachable_names:
            reachable_names.add(name)
            pending.extend(references(schemas[name]) & schemas.keys())
    return frozenset(reachable_names)


def propagate_users(plan: ModelPlan) -> dict[str, frozenset[str]]:
    """Return the users of every component in use: whoever uses it, or something that needs it."""
    schemas: Mapping[str, Schema] = plan.document["components"]["schemas"]
    users: dict[str, set[str]] = {}
    by_user: dict[str, set[str]] = {}
    for component, direct_users in plan.users.items():
        for user in direct_users:
            by_user.setdefault(user, set()).add(component)
    for user, components in by_user.items():
        for component in closure(components, schemas):
            users.setdefault(component, set()).add(user)
    return {component: frozenset(direct_users) for component, direct_users in users.items()}


def query_nodes(plan: ModelPlan, modelled: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the components of the query package, each with the nodes that lead to it.

    Nodes are what the roots refer to directly. A root need not be modelled itself: its fields
    may be arguments of a method.
    """
    schemas: Mapping[str, Schema] = plan.document["components"]["schemas"]
    roots = sorted(plan.query_roots & schemas.keys())
    nodes: dict[str, set[str]] = {root: set() for root in roots}
    for node in sorted({name for root in roots for name in references(schemas[root])}):
        for component in closure([node], schemas):
            nodes.setdefault(component, set()).add(node)
    return {
        name: frozenset(leading_nodes) for name, leading_nodes in nodes.items() if name in modelled
    }


def find_errors(plan: ModelPlan, modelled: Iterable[str]) -> list[Diagnostic]:
    """Find what no generator could make sense of.

    Missing components, names that are no class names, circles with nothing in between, defaults
    that contradict their own schema, and text that is none.
    """
    schemas: Mapping[str, Schema] = plan.document["components"]["schemas"]
    errors = [
        Diagnostic(_pointer(name), "is used, but the document has no such component")
        for name in plan.users.keys() - schemas.keys()
    ]
    components = sorted(modelled)
    for component in components:
        errors.extend(_name_errors(component, plan.names))
        errors.extend(
            Diagnostic(_pointer(component), f"refers to {target!r}, which is no component")
            for target in references(schemas[component]) - schemas.keys()
        )
    errors.extend(_duplicate_names(components, plan.names))
    cycle = _find_cycle(components, schemas)
    if cycle:
        cycle_text = " → ".join(cycle)
        return [*errors, Diagnostic(_pointer(cycle[0]), f"is only itself: {cycle_text}")]
    for component in components:
        pointer, schema = _pointer(component), schemas[component]
        errors.extend(_default_errors(pointer, schema, schemas))
        errors.extend(_text_errors(pointer, schema))
    return errors


def _pointer(component: str) -> str:
    return f"#/components/schemas/{escape(component)}"


def _name_errors(component: str, names: Mapping[str, str]) -> Iterator[Diagnostic]:
    name = names.get(component)
    if name is None:
        yield Diagnostic(_pointer(component), "has no class name")
    elif not (name.isascii() and name.isidentifier() and name[0].isupper()) or name in _KEYWORDS:
        yield Diagnostic(_pointer(component), f"{name!r} cannot be a class name")


_KEYWORDS = frozenset({"True", "False", "None"})


def _duplicate_names(components: list[str], names: Mapping[str, str]) -> Iterator[Diagnostic]:
    holders: dict[str, str] = {}
    for component in components:
        name = names.get(component, "")
        if name and holders.setdefault(name, component) != component:
            reason = f"would be called {name!r}, as {holders[name]!r} is"
            yield Diagnostic(_pointer(component), reason)


def _find_cycle(components: list[str], schemas: Mapping[str, Schema]) -> list[str]:
    """Find components that are unions or synonyms of each other, with no object in between."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for component in components:
        sorter.add(component, *sorted(_direct(schemas[component])))
    try:
        sorter.prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def _direct(schema: Schema) -> set[str]:
    name = component_of(schema)
    if name is not None:
        return {name}
    branches: list[Schema] = [*(alternatives(schema) or ()), *(schema.get("allOf") or ())]
    if isinstance(schema.get("type"), list):
        return set()
    return {name for branch in branches for name in _direct(branch)}


def _default_errors(
    pointer: str, schema: Schema, schemas: Mapping[str, Schema]
) -> Iterator[Diagnostic]:
    if "default" in schema:
        reason = contradiction(schema["default"], schema, schemas)
        if reason is not None:
            yield Diagnostic(pointer, f"its default contradicts it: {reason}")
    for path, child in children(schema):
        yield from _default_errors(pointer + path, child, schemas)


def _text_errors(pointer: str, schema: Schema) -> Iterator[Diagnostic]:
    """Find names and values with half a surrogate pair, which JSON allows and UTF-8 does not."""
    for text in (*(schema.get("properties") or ()), *(closed_values(schema) or ())):
        if isinstance(text, str) and any("\ud800" <= char <= "\udfff" for char in text):
            yield Diagnostic(pointer, f"{text!r} cannot be written in UTF-8")
    for path, child in children(schema):
        yield from _text_errors(pointer + path, child)
