"""Find the schemas and the references of a document.

Walks the parts of an OpenAPI document that can hold schemas. Malformed parts are skipped: the
stages that read them report the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from codegen.json_access import join_pointer
from codegen.json_schema import iter_schemas, rewrite

from .keywords import PROSE, Schema

__all__ = [
    "METHODS",
    "SchemaSite",
    "direct_references",
    "references",
    "schema_sites",
    "without_prose",
]

SchemaSite: TypeAlias = tuple[str, dict[str, Any], str]
# OpenAPI has `head`, `options` and `trace` as well, for which no methods are generated.
METHODS: Final = ("delete", "get", "patch", "post", "put")


def direct_references(schema: Any) -> Iterator[str]:
    """Yield the references of a schema that stand for the schema itself, not for a part of it."""
    if not isinstance(schema, Mapping):
        return
    node = cast("Mapping[str, Any]", schema)
    if isinstance(node.get("$ref"), str):
        yield node["$ref"]
    for key in ("allOf", "anyOf", "oneOf"):
        if isinstance(node.get(key), list):
            for value in node[key]:
                yield from direct_references(value)


def without_prose(schema: Schema) -> Schema:
    """Return a normalised schema without prose, for comparison."""
    return rewrite(schema, lambda node, _: {key: node[key] for key in node if key not in PROSE})


def schema_sites(document: Mapping[str, Any]) -> Iterator[SchemaSite]:
    """Yield the pointer, the holder and the key of every schema that is not inside another schema.

    The schema is `holder[key]`, so that it can be replaced.
    """
    components = _object(document.get("components"))
    pointer = "/components"
    schemas = _object(components.get("schemas"))
    for name in schemas:
        yield join_pointer(pointer, "schemas", name), schemas, name
    for kind, reader in (("parameters", _parameter), ("headers", _parameter)):
        for name, value in _object(components.get(kind)).items():
            yield from reader(_object(value), join_pointer(pointer, kind, name))
    for kind in ("requestBodies", "responses"):
        for name, value in _object(components.get(kind)).items():
            yield from _body(_object(value), join_pointer(pointer, kind, name))
    for where, items in (
        ("/paths", document.get("paths")),
        (join_pointer(pointer, "pathItems"), components.get("pathItems")),
    ):
        for path, item in _object(items).items():
            yield from _path_item(_object(item), join_pointer(where, path))


def references(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the pointer and the target of every reference in a document."""
    for pointer, holder, key in schema_sites(document):
        for where, schema in iter_schemas(holder[key], pointer):
            if "$ref" in schema:
                yield join_pointer(where, "$ref"), schema["$ref"]
    for pointer, holder in _reference_holders(document):
        if "$ref" in holder:
            yield join_pointer(pointer, "$ref"), holder["$ref"]


def _reference_holders(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects, other than schemas, that may be a reference."""
    components = _object(document.get("components"))
    for kind in ("headers", "parameters", "pathItems", "requestBodies", "responses"):
        for name, value in _object(components.get(kind)).items():
            yield join_pointer("/components", kind, name), _object(value)
    for path, raw in _object(document.get("paths")).items():
        pointer, item = join_pointer("/paths", path), _object(raw)
        yield pointer, item
        yield from _iter_objects(item.get("parameters"), join_pointer(pointer, "parameters"))
        for method in METHODS:
            operation, where = _object(item.get(method)), join_pointer(pointer, method)
            yield from _iter_objects(operation.get("parameters"), join_pointer(where, "parameters"))
            yield join_pointer(where, "requestBody"), _object(operation.get("requestBody"))
            for code, response in _object(operation.get("responses")).items():
                yield join_pointer(where, "responses", code), _object(response)


def _path_item(item: dict[str, Any], pointer: str) -> Iterator[SchemaSite]:
    for where, parameter in _iter_objects(
        item.get("parameters"), join_pointer(pointer, "parameters")
    ):
        yield from _parameter(parameter, where)
    for method in METHODS:
        operation, below = _object(item.get(method)), join_pointer(pointer, method)
        for where, parameter in _iter_objects(
            operation.get("parameters"), join_pointer(below, "parameters")
        ):
            yield from _parameter(parameter, where)
        yield from _body(_object(operation.get("requestBody")), join_pointer(below, "requestBody"))
        for code, response in _object(operation.get("responses")).items():
            yield from _body(_object(response), join_pointer(below, "responses", code))


def _parameter(parameter: dict[str, Any], pointer: str) -> Iterator[SchemaSite]:
    if "schema" in parameter:
        yield join_pointer(pointer, "schema"), parameter, "schema"
    yield from _body(parameter, pointer)


def _body(body: dict[str, Any], pointer: str) -> Iterator[SchemaSite]:
    for media, raw in _object(body.get("content")).items():
        content = _object(raw)
        if "schema" in content:
            yield join_pointer(pointer, "content", media, "schema"), content, "schema"


def _iter_objects(values: Any, pointer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(values, list):
        for index, value in enumerate(cast("list[Any]", values)):
            yield join_pointer(pointer, index), _object(value)


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, Mapping) else {}
