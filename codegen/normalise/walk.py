"""Walking schemas and documents.

A property may be called `properties`, `items`, `required` or `$ref`, and an example or a default
may hold anything. So a walker has to know whether it stands in a schema, in a map of schemas, or
in data. That knowledge is here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from codegen.json_access import child

from .keywords import PROSE, Schema

__all__ = [
    "METHODS",
    "Site",
    "bare",
    "direct",
    "every",
    "references",
    "rewrite",
    "sites",
    "subschemas",
]

_ONE = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LIST = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_MAP = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
Site: TypeAlias = tuple[str, dict[str, Any], str]
METHODS: Final = ("delete", "get", "patch", "post", "put")


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the path to, and the value of, each schema that stands directly in a schema."""
    for key in _ONE:
        if isinstance(schema.get(key), Mapping):
            yield (key,), schema[key]
    for key in _LIST:
        if isinstance(schema.get(key), list):
            for index, value in enumerate(schema[key]):
                yield (key, index), value
    for key in _MAP:
        if isinstance(schema.get(key), Mapping):
            for name, value in schema[key].items():
                yield (key, name), value


def every(schema: Any, at: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each schema in a schema, itself included, with its pointer."""
    if not isinstance(schema, Mapping):
        return
    found = cast("Mapping[str, Any]", schema)
    yield at, found
    for path, value in subschemas(found):
        yield from every(value, child(at, *path))


def direct(schema: Any) -> Iterator[str]:
    """Yield what a schema refers to as a whole: not from a property or an item of it."""
    if not isinstance(schema, Mapping):
        return
    found = cast("Mapping[str, Any]", schema)
    if isinstance(found.get("$ref"), str):
        yield found["$ref"]
    for key in ("allOf", "anyOf", "oneOf"):
        if isinstance(found.get(key), list):
            for value in found[key]:
                yield from direct(value)


def rewrite(schema: Schema, change: Callable[[Schema, str], Schema], at: str = "") -> Schema:
    """Rebuild a normalised schema from the innermost schema outwards.

    Args:
        schema: The schema. It is not changed.
        change: Takes a schema, whose inner schemas are done, and its pointer; returns the new one.
        at: The pointer of `schema`.
    """
    built = dict(schema)
    for key in _ONE:
        if isinstance(built.get(key), Mapping):
            built[key] = rewrite(built[key], change, child(at, key))
    for key in _LIST:
        if isinstance(built.get(key), list):
            built[key] = [
                rewrite(value, change, child(at, key, index))
                for index, value in enumerate(built[key])
            ]
    for key in _MAP:
        if isinstance(built.get(key), Mapping):
            built[key] = {
                name: rewrite(value, change, child(at, key, name))
                for name, value in built[key].items()
            }
    return change(built, at)


def bare(schema: Schema) -> Schema:
    """Return a normalised schema without its prose, for comparing."""
    return rewrite(schema, lambda found, _: {key: found[key] for key in found if key not in PROSE})


def sites(document: Mapping[str, Any]) -> Iterator[Site]:
    """Yield the places of a document that hold a schema: pointer, holder and key.

    In a document of one's own, `holder[key]` may be replaced.

    Broken parts are passed over: the stages that read them say what is wrong.
    """
    components = _object(document.get("components"))
    at = "/components"
    schemas = _object(components.get("schemas"))
    for name in schemas:
        yield child(at, "schemas", name), schemas, name
    for kind, reader in (("parameters", _parameter), ("headers", _parameter)):
        for name, value in _object(components.get(kind)).items():
            yield from reader(_object(value), child(at, kind, name))
    for kind in ("requestBodies", "responses"):
        for name, value in _object(components.get(kind)).items():
            yield from _body(_object(value), child(at, kind, name))
    for where, items in (
        ("/paths", document.get("paths")),
        (child(at, "pathItems"), components.get("pathItems")),
    ):
        for path, item in _object(items).items():
            yield from _path_item(_object(item), child(where, path))


def references(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the pointer and the target of every reference in a document."""
    for at, holder, key in sites(document):
        for where, schema in every(holder[key], at):
            if "$ref" in schema:
                yield child(where, "$ref"), schema["$ref"]
    for at, holder in _holders(document):
        if "$ref" in holder:
            yield child(at, "$ref"), holder["$ref"]


def _holders(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what may be a reference without being a schema."""
    components = _object(document.get("components"))
    for kind in ("headers", "parameters", "pathItems", "requestBodies", "responses"):
        for name, value in _object(components.get(kind)).items():
            yield child("/components", kind, name), _object(value)
    for path, raw in _object(document.get("paths")).items():
        at, item = child("/paths", path), _object(raw)
        yield at, item
        yield from _listed(item.get("parameters"), child(at, "parameters"))
        for method in METHODS:
            operation, where = _object(item.get(method)), child(at, method)
            yield from _listed(operation.get("parameters"), child(where, "parameters"))
            yield child(where, "requestBody"), _object(operation.get("requestBody"))
            for code, response in _object(operation.get("responses")).items():
                yield child(where, "responses", code), _object(response)


def _path_item(item: dict[str, Any], at: str) -> Iterator[Site]:
    for where, parameter in _listed(item.get("parameters"), child(at, "parameters")):
        yield from _parameter(parameter, where)
    for method in METHODS:
        operation, below = _object(item.get(method)), child(at, method)
        for where, parameter in _listed(operation.get("parameters"), child(below, "parameters")):
            yield from _parameter(parameter, where)
        yield from _body(_object(operation.get("requestBody")), child(below, "requestBody"))
        for code, response in _object(operation.get("responses")).items():
            yield from _body(_object(response), child(below, "responses", code))


def _parameter(parameter: dict[str, Any], at: str) -> Iterator[Site]:
    if "schema" in parameter:
        yield child(at, "schema"), parameter, "schema"
    yield from _body(parameter, at)


def _body(body: dict[str, Any], at: str) -> Iterator[Site]:
    for media, raw in _object(body.get("content")).items():
        content = _object(raw)
        if "schema" in content:
            yield child(at, "content", media, "schema"), content, "schema"


def _listed(values: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(values, list):
        for index, value in enumerate(cast("list[Any]", values)):
            yield child(at, index), _object(value)


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, Mapping) else {}
