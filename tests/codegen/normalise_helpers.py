"""Run small documents through `normalise`; build and check schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from codegen.normalise import NormalisedDocument, normalise

REF = "#/components/schemas/"
Schemas = Iterator[dict[str, Any]]
USER = {"type": "object", "properties": {"id": {"type": "integer"}}}
ROLE = {"type": "string", "enum": ["admin", "member"]}
COMPONENTS: dict[str, Any] = {
    "BlankEnum": {"enum": [""]},
    "Nothing": {"enum": [None]},
    "NullEnum": {"enum": [None]},
    "Role": ROLE,
    "User": USER,
}
NULL = {"type": "null"}
BLANK = {"const": "", "type": "string"}
TEXT = {"type": "string"}


def run(
    schema: Any,
    version: str = "3.1.0",
    prose: bool = False,
    paths: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    requestBodies: dict[str, Any] | None = None,  # noqa: N803
    responses: dict[str, Any] | None = None,
    **components: Any,
) -> NormalisedDocument:
    """Normalise a document with a component `It`; check that this is pure and idempotent."""
    document = {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": paths or {},
        "components": {
            "schemas": {**COMPONENTS, **components, "It": schema},
            "parameters": parameters or {},
            "requestBodies": requestBodies or {},
            "responses": responses or {},
        },
    }
    before = json.dumps(document)
    result = normalise(document, keep_prose=prose)
    assert json.dumps(document) == before, "the input was changed"
    assert normalise(result.document, keep_prose=prose).document == result.document
    return result


def form(schema: Any, version: str = "3.1.0", prose: bool = False, **components: Any) -> Any:
    """Return the normalised form of a schema that must not cause a diagnostic."""
    result = run(schema, version, prose, **components)
    assert result.diagnostics == ()
    return result.document["components"]["schemas"]["It"]


def reasons(schema: Any, version: str = "3.1.0", **components: Any) -> dict[str, str]:
    diagnostics = run(schema, version, **components).diagnostics
    return {
        diagnostic.pointer.removeprefix("/components/schemas/It"): diagnostic.reason
        for diagnostic in diagnostics
    }


def ref(name: str) -> dict[str, str]:
    return {"$ref": REF + name}


def nullable(*schemas: Any, **notes: Any) -> dict[str, Any]:
    return {"anyOf": [*schemas, NULL], **notes}


def document(schemas: dict[str, Any], version: str = "3.1.0", **paths: Any) -> dict[str, Any]:
    """Return a document of these components and paths."""
    return {
        "openapi": version,
        "info": {"title": "t", "version": "1", "description": "about it"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def every(schema: Any) -> Schemas:
    """Walk a normalised schema, independently of the generator's own walk."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("items", "additionalProperties", "propertyNames"):
        yield from every(schema.get(key))
    for key in ("anyOf", "oneOf", "prefixItems"):
        for value in schema.get(key, ()):
            yield from every(value)
    for value in schema.get("properties", {}).values():
        yield from every(value)


def all_schemas(normalised: dict[str, Any]) -> Schemas:
    for schema in normalised["components"]["schemas"].values():
        yield from every(schema)
    for item in normalised["paths"].values():
        for operation in item.values():
            holders = [*operation.get("parameters", ())]
            bodies = [operation.get("requestBody", {}), *operation.get("responses", {}).values()]
            for body in [*bodies, *holders]:
                holders += body.get("content", {}).values()
            for holder in holders:
                yield from every(holder.get("schema"))


def check(normalised: dict[str, Any]) -> None:
    """Check the guarantees of the normalised form."""
    components = normalised["components"]["schemas"]
    for schema in all_schemas(normalised):
        assert not schema.keys() & {"nullable", "allOf", "not", "title", "description"}
        assert isinstance(schema.get("type", ""), str)
        assert None not in schema.get("enum", ())
        assert "type" in schema or not schema.keys() & {"enum", "const"}
        if "$ref" in schema:
            assert schema["$ref"].removeprefix(REF) in components
        if "anyOf" in schema:
            branches = schema["anyOf"]
            assert len(branches) > 1
            assert not any("anyOf" in branch for branch in branches)
            assert {"type": "null"} not in branches[:-1]
            assert not any(branch.keys() & {"default", "readOnly"} for branch in branches)
        assert ("oneOf" in schema) == ("discriminator" in schema)
        if "discriminator" in schema:
            check_tagged(schema, components)
    constants = ({"type": "null"}, {"const": "", "type": "string"})
    assert not any(schema in constants for schema in components.values())


def check_tagged(schema: dict[str, Any], components: dict[str, Any]) -> None:
    tag = schema["discriminator"]
    mapping = tag["mapping"]
    assert [variant.keys() for variant in schema["oneOf"]] == [{"$ref"}] * len(schema["oneOf"])
    assert {variant["$ref"] for variant in schema["oneOf"]} == set(mapping.values())
    for variant in schema["oneOf"]:
        tag_schema = components[variant["$ref"].removeprefix(REF)]["properties"][
            tag["propertyName"]
        ]
        values = tag_schema["enum"] if "enum" in tag_schema else [tag_schema["const"]]
        texts = {str(value).lower() if isinstance(value, bool) else str(value) for value in values}
        assert texts == {value for value in mapping if mapping[value] == variant["$ref"]}


def operation(schema: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": schema}}
    return {
        "operationId": "x",
        "parameters": [{"in": "query", "name": "q", "schema": schema}],
        "requestBody": {"content": content},
        "responses": {"200": {"description": "fine", "content": content}},
    }
