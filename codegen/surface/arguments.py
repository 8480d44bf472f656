"""Arguments of generated methods, and the parameters and bodies they are sent in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncposthog.operation import Body, Parameter
from codegen.json_access import mapping, objects, properties, strings
from codegen.json_schema import reference_to, references, resolve
from codegen.naming import python_name
from codegen.overrides import OperationOverrides

from .annotations import argument_annotation, is_object
from .directions import Directions, is_read_only, writable_references
from .inline_schemas import ComponentRegistry
from .tree import Argument

_RESERVED_NAMES = frozenset({"registry"})
"""Names that the body of a generated method uses, in addition to its arguments."""

__all__ = [
    "NameAllocator",
    "body_components",
    "build_body",
    "build_parameters",
    "field_arguments",
    "parameter_arguments",
    "parameter_components",
]


class NameAllocator:
    """Allocates unique Python names for the arguments of one method.

    Args:
        wire_names: All wire names of the method. One that is a valid Python name keeps it, even if
            another wire name, allocated earlier, would become the same name.
    """

    def __init__(self, wire_names: Iterable[str]) -> None:
        """Start without allocated names."""
        self._exact = frozenset(wire_names)
        self._taken: dict[str, str] = {}

    def allocate(self, wire: str) -> str:
        """Return a Python name for a wire name, with underscores appended until it is unique."""
        name = python_name(wire)
        while name in self._taken or name in _RESERVED_NAMES or name in self._exact - {wire}:
            name = f"{name}_"
        self._taken[name] = wire
        return name


def build_parameters(
    operation: Mapping[str, Any],
    order: Sequence[str],
    components: Mapping[str, Any],
    overrides: OperationOverrides,
    names: NameAllocator,
) -> tuple[Parameter, ...]:
    """Return the path parameters in the order of the template, then query and header parameters."""
    raw = objects(operation, "parameters")
    by_location = {(p["in"], p["name"]): p for p in raw}
    ordered = [by_location.get(("path", name), {"in": "path", "name": name}) for name in order]
    ordered += sorted((p for p in raw if p["in"] == "query"), key=lambda p: str(p["name"]))
    ordered += sorted((p for p in raw if p["in"] == "header"), key=lambda p: str(p["name"]))
    return tuple(_parameter(p, components, overrides, names) for p in ordered)


def _parameter(
    raw: Mapping[str, Any],
    components: Mapping[str, Any],
    overrides: OperationOverrides,
    names: NameAllocator,
) -> Parameter:
    schema = resolve(mapping(raw, "schema"), components)
    kind = schema.get("type")
    if kind == "array":
        items = resolve(mapping(schema, "items"), components)
        if items.get("type") not in {"string", "integer", "number", "boolean"}:
            kind = "object"  # a list of anything but scalars is sent as one JSON string
    name = str(raw["name"])
    return Parameter(
        name=name,
        python_name=names.allocate(name),
        location=raw["in"],
        required=bool(raw.get("required")) or raw["in"] == "path",
        type=kind or "any",
        format=schema.get("format"),
        enum=tuple(schema.get("enum") or ()),
        explode=raw.get("explode") is not False,
        presence_only=name in (overrides.get("presence_only") or ()),
        multi_segment=name in (overrides.get("multi_segment") or ()),
    )


def parameter_arguments(
    parameters: Sequence[Parameter],
    operation: Mapping[str, Any],
    components: Mapping[str, Any],
    class_of: Mapping[str, str],
) -> list[Argument]:
    """Return the arguments for the parameters of an operation."""
    raw = objects(operation, "parameters")
    schemas = {(p["in"], p["name"]): p for p in raw}
    arguments: list[Argument] = []
    for parameter in parameters:
        source = schemas.get((parameter.location, parameter.name), {})
        annotation = argument_annotation(mapping(source, "schema"), components, class_of)
        if parameter.presence_only:
            annotation = "bool"
        elif parameter.location == "query":
            annotation = _with_booleans(parameter, annotation)
        elif parameter.location == "path":
            annotation = _path_annotation(parameter)
        arguments.append(
            Argument(
                parameter.python_name,
                parameter.name,
                parameter.location,
                annotation,
                parameter.required,
                str(source.get("description") or ""),
                _default(mapping(source, "schema")),
            )
        )
    return arguments


def _with_booleans(parameter: Parameter, annotation: str) -> str:
    """Add bools to the annotation of a query parameter that is an enum of "true" and "false".

    A query string is text, so the encoding is the same: `True` is sent as `true`.
    """
    literals = {"true", "false"} & {value for value in parameter.enum if isinstance(value, str)}
    if not literals or parameter.type != "string":
        return annotation
    booleans = "bool" if len(literals) == 2 else f"Literal[{literals == {'true'}}]"
    return f"{booleans} | {annotation}"


def parameter_components(operation: Mapping[str, Any]) -> set[str]:
    """Return the components that the parameters of an operation refer to."""
    names: set[str] = set()
    for parameter in objects(operation, "parameters"):
        # A parameter sent as JSON has its schema below a media type.
        bodies = [parameter, *mapping(parameter, "content").values()]
        names.update(*(references(body.get("schema")) for body in bodies))
    return names


def _path_annotation(parameter: Parameter) -> str:
    # `Id` is for ids that the schema declares as a union, such as a person's number or uuid.
    if parameter.type == "integer":
        return "int"
    if parameter.type != "string":
        return "Id"
    return "UUID | str" if parameter.format == "uuid" else "str"


def build_body(
    operation: Mapping[str, Any],
    name: str,
    components: ComponentRegistry,
    overrides: OperationOverrides,
) -> tuple[Body | None, Mapping[str, Any]]:
    """Return the request body of an operation.

    Returns:
        The body without its `fields`, which need Python names first, and its resolved schema.
    """
    raw = mapping(operation, "requestBody")
    content = mapping(raw, "content")
    if not content:
        return None, {}
    # Normalised bodies have exactly one media type.
    media, body = next(iter(content.items()))
    schema = mapping(body, "schema")
    component = components.promote_inline(schema, f"{name}Request")
    resolved = resolve(schema, components.schemas)
    flat = is_object(resolved) and overrides.get("flat", True)
    multipart = media == "multipart/form-data"
    files = tuple(
        wire
        for wire, field in sorted(properties(resolved).items())
        if multipart and _is_file(field, components.schemas)
    )
    return (
        Body(
            media="multipart" if multipart else "json",
            schema=component,
            required=bool(raw.get("required")),
            flat=flat,
            files=files,
            booleans=tuple(overrides.get("booleans") or ()),
        ),
        resolved,
    )


def _is_file(field: Mapping[str, Any], components: Mapping[str, Any]) -> bool:
    """Return whether a field of a form is a file, or a list of files."""
    schema = resolve(field, components)
    variants = [resolve(v, components) for v in objects(schema, "anyOf") or [schema]]
    variants += [resolve(mapping(v, "items"), components) for v in variants if "items" in v]
    return any(v.get("format") == "binary" for v in variants)


def body_components(
    body: Body | None, schema: Mapping[str, Any], components: Mapping[str, Any]
) -> set[str]:
    """Return the components that the arguments for a body refer to."""
    if body is None:
        return set()
    if body.flat or body.schema is None:
        return writable_references(schema, components)
    return {body.schema}


def field_arguments(
    body: Body,
    schema: Mapping[str, Any],
    directions: Directions,
    class_of: Mapping[str, str],
    names: NameAllocator,
) -> tuple[list[Argument], set[str]]:
    """Return the arguments for a body: one for each writable field if it is flat, else one.

    A field with a default is not required, even if the schema says so.

    Args:
        body: The body.
        schema: Its resolved schema.
        directions: The schemas for annotations.
        class_of: Class names by component.
        names: Names of arguments.

    Returns:
        The arguments, and the components that their annotations can name.
    """
    components = directions.schemas
    if not body.flat:
        ref = directions.argument(reference_to(body.schema) if body.schema else schema)
        annotation = argument_annotation(ref, components, class_of)
        body_argument = Argument(names.allocate("body"), "body", "body", annotation, body.required)
        return [body_argument], references(ref)
    required = set(strings(schema, "required")) if body.required else set[str]()
    arguments: list[Argument] = []
    used: set[str] = set()
    for wire, raw_field in properties(schema).items():
        if is_read_only(raw_field, components):
            continue
        field = directions.argument(raw_field)
        used |= references(field)
        annotation = (
            "FileInput" if wire in body.files else argument_annotation(field, components, class_of)
        )
        arguments.append(
            Argument(
                names.allocate(wire),
                wire,
                "field",
                annotation,
                wire in required and "default" not in field,
                str(field.get("description") or ""),
                _default(field),
            )
        )
    return arguments, used


def _default(schema: Mapping[str, Any]) -> str:
    """Return the default of a scalar as JSON; empty if there is none worth mentioning."""
    default = schema.get("default")
    if default is None or default == "" or isinstance(default, list | dict):
        return ""
    return json.dumps(default, ensure_ascii=False)
