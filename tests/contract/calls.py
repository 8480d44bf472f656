"""The arguments of generated methods, made from what the document says of their operations."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from asyncposthog import registry
from asyncposthog.operation import Operation, Parameter

from .document import choices, components, operation_of, projected, resolve
from .samples import sample

__all__ = ["Call", "body_schema", "described", "maximal", "minimal", "nulls"]

_AT_LEAST_ONE = frozenset({"limit", "page", "page_size"})
"""The client refuses 0 for these; the schema has no bound."""

_TEXT = "[A-Za-z0-9é][A-Za-z0-9é &=+%#?/,;:'{}-]{1,15}%41"
_SEGMENT = "[A-Za-z0-9][A-Za-z0-9 _.~:@&=+$,;!'()*é-]{1,9}%41"
"""What would be another text if it were decoded once too often."""

_HEADER = "[A-Za-z0-9][A-Za-z0-9&=+%#?/,;:'{}-]{1,15}%41"
"""The client sends only ASCII in headers."""


@dataclass(frozen=True)
class Call:
    """Arguments by their names on the wire, and as the method takes them."""

    path: tuple[Any, ...]
    query: Mapping[str, Any]
    headers: Mapping[str, Any]
    body: Any
    """The JSON, or the fields of the form, that is to arrive; None where there is no body."""
    keywords: Mapping[str, Any]

    @property
    def files(self) -> Mapping[str, list[tuple[str, bytes, str]]]:
        """The files of each field of a form that is for files."""
        lists = {name: v if isinstance(v, list) else [v] for name, v in self.keywords.items()}
        return {name: files for name, files in lists.items() if files and _is_file(files[0])}


def described(operation: Operation) -> tuple[str, dict[str, Any]]:
    """Return the path and the description of an operation, as validators are to read them.

    - Read-only properties may not be there.
    - A query parameter that holds objects is JSON text: OpenAPI's `form` style, which is what the
      schema says by saying nothing, cannot express them.
    - The fields of a form are text or files. Django reads an object from JSON text.
    - A body that has nothing to write in it is not required: where a view declares no request,
      drf-spectacular writes down the resource's own serializer, with all of it read-only.
    """
    return _described(operation.id)


@cache
def _described(name: str) -> tuple[str, dict[str, Any]]:
    path, raw = operation_of(registry.find(name))
    description = copy.deepcopy(raw)
    for parameter in description.get("parameters", ()):
        if parameter["in"] == "query" and _holds_objects(parameter["schema"]):
            parameter["content"] = {"application/json": {"schema": parameter.pop("schema")}}
    for media, content in description.get("requestBody", {}).get("content", {}).items():
        content["schema"] = projected(content["schema"], "request")
        if media == "multipart/form-data":
            content["schema"] = _as_form(content["schema"])
        if not _writable(content["schema"]):
            description["requestBody"]["required"] = False
    return path, description


def _writable(schema: Mapping[str, Any]) -> bool:
    """Whether anything may be in an object."""
    fields = _settled(schema).get("properties", {"": {}})
    return any("not" not in field for field in fields.values())


def _as_form(schema: Mapping[str, Any]) -> dict[str, Any]:
    schema = _settled(schema)
    fields = {name: _as_field(field) for name, field in schema["properties"].items()}
    return {**schema, "properties": fields}


def _as_field(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a form field."""
    schema = _settled(schema)
    if "not" in schema:
        return schema
    branches = [_settled(branch) for branch in choices(schema)]
    others = [branch for branch in branches if branch.get("type") != "null"]
    if len(others) == 1:
        schema = others[0]
    if schema.get("format") == "binary":
        return {}  # how OpenAPI 3.1 writes down a file
    if schema.get("type") == "array":
        return {**schema, "items": _as_field(schema["items"])}
    if schema.get("type") == "integer":
        return {"type": "string", "pattern": "[1-9][0-9]{0,5}"}
    return schema if "type" in schema and schema["type"] != "object" else {"type": "string"}


def _settled(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or what it refers to, as it looks in a request."""
    while "$ref" in schema:
        schema = components("request")[schema["$ref"].rpartition("/")[2]]
    return schema


def _holds_objects(schema: Mapping[str, Any]) -> bool:
    schema = resolve(schema)
    if schema.get("type") == "array":
        schema = resolve(schema.get("items", {}))
        return schema.get("type") not in {"string", "integer", "number", "boolean"}
    return schema.get("type") == "object"


def maximal(operation: Operation) -> Call:
    """Return a call that passes everything the document declares, null nowhere."""
    return _maximal(operation.id)


@cache
def _maximal(name: str) -> Call:
    operation = registry.find(name)
    _, description = described(operation)
    made = _parameters(operation, description)
    if operation.fixed_body is not None:
        path = tuple(made["path"][p.name] for p in operation.path_parameters)
        return Call(path, {}, {}, operation.fixed_body, {})
    names = {(p.location, p.name): p.python_name for p in operation.parameters}
    query, headers = made["query"], made["header"]
    keywords = {names["query", name]: value for name, value in query.items()}
    keywords |= {names["header", name]: value for name, value in headers.items()}
    body, fields = _body(operation, description)
    return Call(
        path=tuple(made["path"][p.name] for p in operation.path_parameters),
        query=query,
        headers=headers,
        body=body,
        keywords=keywords | fields,
    )


def minimal(operation: Operation) -> Call:
    """Return a call that passes what the document requires, and nothing else."""
    _, description = described(operation)
    everything = maximal(operation)
    if operation.fixed_body is not None:
        return everything
    needed = {p["name"] for p in description.get("parameters", ()) if p.get("required")}
    query = {name: value for name, value in everything.query.items() if name in needed}
    headers = {name: value for name, value in everything.headers.items() if name in needed}
    names = {p.name: p.python_name for p in operation.parameters if p.location != "path"}
    keywords = {names[name]: everything.keywords[names[name]] for name in (*query, *headers)}
    if operation.body is None:
        return Call(everything.path, query, headers, None, keywords)
    if not operation.body.flat:
        given = description["requestBody"].get("required")
        fields = {"body": everything.keywords["body"]} if given else {}
        body = everything.body if given else None
        return Call(everything.path, query, headers, body, keywords | fields)
    required = set(body_schema(description).get("required", ()))
    pythonic = {wire: python for python, wire in operation.body.fields}
    fields = {pythonic[wire]: everything.keywords[pythonic[wire]] for wire in required}
    body = everything.body and {wire: everything.body[wire] for wire in required}
    return Call(everything.path, query, headers, body, keywords | fields)


def nulls(operation: Operation) -> Call | None:
    """Return the maximal call with None for every field that may be null; None without any."""
    if operation.body is None or not operation.body.flat or operation.body.media != "json":
        return None
    _, description = described(operation)
    fields = body_schema(description).get("properties", {})
    pythonic = {wire: python for python, wire in operation.body.fields}
    nullable = [wire for wire, field in fields.items() if wire in pythonic and _takes_null(field)]
    if not nullable:
        return None
    call = maximal(operation)
    return replace(
        call,
        body={**call.body, **dict.fromkeys(nullable)},
        keywords={**call.keywords, **{pythonic[wire]: None for wire in nullable}},
    )


def _takes_null(schema: Mapping[str, Any]) -> bool:
    schema = _settled(schema)
    branches = choices(schema)
    return not schema or schema.get("type") == "null" or any(map(_takes_null, branches))


def body_schema(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the resolved schema of a request body."""
    (content,) = description["requestBody"]["content"].values()
    return _settled(content["schema"])


def _parameters(operation: Operation, description: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Make a value for each path, query and header parameter."""
    declared = {(p["in"], p["name"]): p for p in description.get("parameters", ())}
    known = {(p.location, p.name): p for p in operation.parameters}
    shapes = {
        f"{location} {name}": _shape(declared[location, name], known.get((location, name)))
        for location, name in declared
    }
    whole = {"type": "object", "properties": shapes, "required": sorted(shapes)}
    values = sample(whole, "request", operation.id, null=False) if shapes else {}
    made: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
    for location, name in declared:
        made[location][name] = values[f"{location} {name}"]
    return made


def _shape(declared: Mapping[str, Any], known: Parameter | None) -> Mapping[str, Any]:
    """Return what the client takes of what the document allows, which for these is less."""
    if "content" in declared:
        schema = dict(declared["content"]["application/json"]["schema"])
        if schema.get("type") == "array":
            schema["minItems"] = max(1, schema.get("minItems", 1))
        return schema
    schema = dict(resolve(declared["schema"]))
    if known is not None and known.presence_only:
        return {"type": "boolean", "enum": [True]}
    if declared["name"] in _AT_LEAST_ONE:
        return {**schema, "minimum": 1}
    if schema.get("type") == "array":
        schema["minItems"] = max(1, schema.get("minItems", 1))
        free = not {"enum", "format"} & set(resolve(schema["items"]))
        if declared.get("explode") is False and free:
            schema["items"] = {"type": "string", "pattern": "[a-z][a-z &%=]{0,7}"}
    elif declared["in"] == "path" and _is_text(schema):
        return {"type": "string", "pattern": _SEGMENT}
    elif declared["in"] == "header" and _is_text(schema):
        return {"type": "string", "pattern": _HEADER}
    elif _is_text(schema):
        return {"type": "string", "pattern": _TEXT}
    return schema


def _is_file(value: Any) -> bool:
    return isinstance(value, tuple)


def _is_text(schema: Mapping[str, Any]) -> bool:
    if choices(schema):
        return any(_is_text(resolve(branch)) for branch in choices(schema))
    return schema.get("type") == "string" and not {"enum", "format"} & set(schema)


def _body(operation: Operation, description: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return what is to arrive, and the keywords that bring it there."""
    if operation.body is None:
        return None, {}
    (content,) = description["requestBody"]["content"].values()
    value = sample(content["schema"], "request", operation.id, null=False)
    if not operation.body.flat:
        return value, {"body": value}
    properties = body_schema(description).get("properties", {})
    value = {wire: v for wire, v in value.items() if wire in properties}
    if not _writable(content["schema"]):
        return None, {}
    pythonic = {wire: python for python, wire in operation.body.fields}
    keywords = {pythonic[wire]: v for wire, v in value.items()}
    for wire in operation.body.files:
        file = ("a file.txt", f"{wire}: é\0".encode(), "text/plain")
        several = _settled(properties[wire]).get("type") == "array"
        keywords[pythonic[wire]] = [file, file] if several else file
    return value, keywords
