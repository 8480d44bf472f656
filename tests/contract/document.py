"""The pinned schema with its overrides, and the small documents that validators read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from asyncposthog.operation import Operation
from codegen import pipeline
from codegen.overrides import apply_overrides, load_overrides

__all__ = [
    "Direction",
    "choices",
    "closure",
    "components",
    "document",
    "edges",
    "operation_of",
    "projected",
    "references",
    "resolve",
    "small",
]

Direction = Literal["request", "response"]

_NEVER: Mapping[str, Any] = {"not": {}}
_HIDDEN: Mapping[Direction, str] = {"request": "readOnly", "response": "writeOnly"}


@cache
def document() -> dict[str, Any]:
    """Return the pinned schema, patched as the generator patches it."""
    pinned = json.loads(pipeline.PINNED_SCHEMA.read_text(encoding="utf-8"))
    patched, diagnostics = apply_overrides(pinned, load_overrides(pipeline.OVERRIDES_FILE))
    assert not diagnostics, diagnostics
    return patched


def operation_of(operation: Operation) -> tuple[str, dict[str, Any]]:
    """Return the path and the description of an operation in the document."""
    for path, item in _same_shape()[_shape(operation.path)]:
        if operation.method.lower() in item:
            return path, item[operation.method.lower()]
    raise LookupError(f"{operation.method} {operation.path} is not in the document")


@cache
def _same_shape() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Index the paths by their shape, in which placeholders have no name."""
    index: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for path, item in document()["paths"].items():
        index.setdefault(_shape(path), []).append((path, item))
    return index


def _shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


@cache
def components(direction: Direction) -> dict[str, Any]:
    """Return the components as they look on the way to the server, or back.

    OpenAPI says of a `readOnly` property that it must not be part of a request, and of a
    `writeOnly` one that it must not be part of a response, even if it is required. Validators for
    3.1 leave that to the author of the schema, so it is spelt out: such a property may not be
    there.
    """
    return {
        name: projected(s, direction) for name, s in document()["components"]["schemas"].items()
    }


def projected(schema: Any, direction: Direction) -> Any:
    """Spell out in a schema what must not be sent in that direction."""
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for key in ("items", "additionalProperties"):
        if key in schema:
            result[key] = projected(schema[key], direction)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            result[key] = [projected(branch, direction) for branch in schema[key]]
    if "properties" in schema:
        fields = schema["properties"]
        hidden = {name for name, field in fields.items() if _is_hidden(field, direction)}
        shown = {name: projected(field, direction) for name, field in fields.items()}
        result["properties"] = shown | dict.fromkeys(hidden, _NEVER)
        result["required"] = sorted(set(schema.get("required", ())) - hidden)
    return result


def _is_hidden(field: Mapping[str, Any], direction: Direction) -> bool:
    mark = _HIDDEN[direction]
    if field.get(mark):
        return True
    target = field.get("$ref")
    return bool(target) and bool(_component(target).get(mark))


def _component(reference: str) -> dict[str, Any]:
    return document()["components"]["schemas"][reference.rpartition("/")[2]]


def resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema of the document, or what it refers to."""
    while "$ref" in schema:
        schema = _component(schema["$ref"])
    return schema


def choices(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the branches of a union, which `anyOf` and `oneOf` write down alike; () if none."""
    return schema.get("anyOf") or schema.get("oneOf") or ()


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the components a schema refers to itself."""
    if isinstance(schema, list):
        for item in schema:
            yield from references(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from references(value)


@cache
def edges(direction: Direction, name: str) -> tuple[str, ...]:
    """Return the names of the components a component refers to itself."""
    return tuple(references(components(direction)[name]))


def closure(schema: Any, direction: Direction) -> dict[str, Any]:
    """Return every component that a schema reaches."""
    known = components(direction)
    found: dict[str, Any] = {}
    pending = list(references(schema))
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = known[name]
            pending += edges(direction, name)
    return found


def small(path: str, method: str, description: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return a document of one operation: its path and the components it reaches."""
    reached = closure(description, "request")
    return {
        "openapi": "3.1.0",
        "info": {"title": "one operation", "version": "1"},
        "servers": [{"url": host}],
        "paths": {path: {method.lower(): description}},
        "components": {
            "schemas": reached,
            "securitySchemes": document()["components"]["securitySchemes"],
        },
    }
