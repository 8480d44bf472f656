"""Separate what requests send from what responses have.

A component can be used in both directions, and some of its properties in one only: a server never
reads a `readOnly` property, and never sends a `writeOnly` one. Models of responses have no
`writeOnly` properties. A component that has properties of one direction, or contains such a
component, gets a second model for requests, `ThresholdRequest` beside `Threshold`; most components
need none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from codegen.graph import invert, reachable
from codegen.json_access import mapping, properties, strings
from codegen.json_schema import (
    Schema,
    component_of,
    iter_schemas,
    reference_graph,
    reference_to,
    references,
    rewrite,
)

__all__ = ["Directions", "is_read_only", "separate_directions", "writable_references"]

_Hidden: TypeAlias = Callable[[Schema], bool]


@dataclass(frozen=True, slots=True)
class Directions:
    """The schemas that models and the annotations of arguments are made of."""

    schemas: Mapping[str, Any]
    """All components for models, those for requests included."""
    requests: Mapping[str, str]
    """The component for requests, by the component that has another one for responses."""

    def argument(self, schema: Schema) -> Schema:
        """Return a schema of a request for the annotation of an argument.

        A model of a response is accepted where one for requests is meant, so that what was read
        can be sent back.
        """
        if not references(schema) & self.requests.keys():
            return schema

        def change(node: dict[str, Any], _: str) -> dict[str, Any]:
            request = self.requests.get(component_of(node) or "")
            return node if request is None else {"anyOf": [reference_to(request), node]}

        return rewrite(dict(schema), change)


def separate_directions(
    components: Mapping[str, Any], requested: Iterable[str], returned: Iterable[str]
) -> Directions:
    """Separate components by the direction they are used in.

    Args:
        components: All components.
        requested: The components that arguments refer to.
        returned: The components that responses refer to.
    """

    def read_only(field: Schema) -> bool:
        return is_read_only(field, components)

    # Most components have no property of one direction, and stay as they are.
    one_way = {
        name
        for name, schema in components.items()
        if any(read_only(field) or _is_write_only(field) for field in _all_fields(schema))
    }
    graph = reference_graph(components)
    sent_graph = graph | {name: _references(components[name], read_only) for name in one_way}
    received_graph = graph | {
        name: _references(components[name], _is_write_only) for name in one_way
    }
    sent = reachable(requested, sent_graph)
    received = reachable(returned, received_graph)
    users = {**{name: set[str]() for name in components}, **invert(sent_graph)}
    directional = sorted(reachable(one_way & sent, users) & sent)
    requests = {name: _request_name(name, components) for name in directional if name in received}
    schemas = dict(components)
    for name in one_way & received:
        schemas[name] = _without(components[name], _is_write_only, {})
    for name in directional:
        target = requests.get(name, name)
        schemas[target] = _without(components[name], read_only, requests)
    return Directions(schemas, requests)


def is_read_only(field: Schema, components: Mapping[str, Any]) -> bool:
    """Return whether a property, or the component it refers to, is marked as `readOnly`."""
    if field.get("readOnly"):
        return True
    name = component_of(field)
    return bool(name and components.get(name, {}).get("readOnly"))


def writable_references(schema: Schema, components: Mapping[str, Any]) -> set[str]:
    """Return the components that the writable properties of a schema refer to."""
    return _references(schema, lambda field: is_read_only(field, components))


def _is_write_only(field: Schema) -> bool:
    return bool(field.get("writeOnly"))


def _all_fields(schema: Schema) -> Iterable[Schema]:
    """Return the properties of a schema and of the inline schemas in it."""
    return (field for _, node in iter_schemas(schema) for field in properties(node).values())


def _references(schema: Schema, hidden: _Hidden) -> set[str]:
    """Return the components a schema refers to, but by its hidden properties."""
    return references(_without(schema, hidden, {}))


def _request_name(name: str, components: Mapping[str, Any]) -> str:
    # PostHog's own components have no dot, so a new one never takes the name of one made here.
    candidate, number = f"{name}.request", 2
    while candidate in components:
        candidate, number = f"{name}.request{number}", number + 1
    return candidate


def _without(schema: Schema, hidden: _Hidden, renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return a schema without its hidden properties, and with other references."""

    def change(node: dict[str, Any], _: str) -> dict[str, Any]:
        target = renamed.get(component_of(node) or "")
        if target is not None:
            return {**node, **reference_to(target)}
        if "discriminator" in node:
            node = {**node, "discriminator": _renamed_variants(node["discriminator"], renamed)}
        fields = properties(node)
        visible = {key: field for key, field in fields.items() if not hidden(field)}
        if len(visible) == len(fields):
            return node
        required = [key for key in strings(node, "required") if key in visible]
        node = {**node, "properties": visible, "required": required}
        if not required:
            del node["required"]
        return node

    return rewrite(dict(schema), change)


def _renamed_variants(discriminator: Schema, renamed: Mapping[str, str]) -> dict[str, Any]:
    variants = {
        value: reference_to(renamed.get(name, name))["$ref"]
        for value, target in mapping(discriminator, "mapping").items()
        for name in [component_of({"$ref": target}) or ""]
    }
    return {**discriminator, "mapping": variants} if variants else dict(discriminator)
