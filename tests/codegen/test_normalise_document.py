"""Whole documents: the pinned one, and the parts around operations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.schemas import schema_v31
from referencing import Registry, Resource

from codegen.document import dump
from codegen.normalise import normalise

from .normalise_helpers import REF, TEXT, all_schemas, check, document, operation

PINNED = Path(__file__).parents[2] / "openapi" / "posthog.json"
METHODS = ("get", "put", "post", "patch", "delete")
STRUCTURE: Any = dict(schema_v31)


class Validator(OpenAPIV31SpecValidator):
    """openapi-spec-validator with a registry that is resolved once, not for each reference."""

    schema_validator: Any = Draft202012Validator(
        STRUCTURE, registry=(Resource.from_contents(STRUCTURE) @ Registry()).crawl()
    )


def test_the_pinned_document_is_normalised() -> None:
    text = PINNED.read_text(encoding="utf-8")
    pinned = json.loads(text)

    again = normalise(pinned)

    assert again.diagnostics == ()
    assert dump(again.document) == text
    check(pinned)


def test_the_pinned_document_holds_the_whole_api() -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    operations = [method for item in pinned["paths"].values() for method in item]

    assert len(operations) == 2055
    assert set(operations) <= set(METHODS)
    assert not {"BlankEnum", "NullEnum"} & pinned["components"]["schemas"].keys()
    assert pinned.keys() == {"components", "info", "openapi", "paths"}
    for item in pinned["paths"].values():
        for method in item.values():
            assert len(method.get("requestBody", {"content": [1]})["content"]) == 1
            assert method["responses"]


def test_the_pinned_document_is_valid_openapi() -> None:
    assert validation_errors(json.loads(PINNED.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("schema", "path", "result"),
    [
        ({"type": 5}, "/a/", 1),
        ({"type": "array", "items": {"anyOf": [{"type": "wrong"}, TEXT]}}, "/a/", 1),
        ({"type": "object", "properties": {"x": TEXT}, "required": "x"}, "/a/", 1),
        ({"type": "object", "properties": {"x": TEXT}, "required": ["x"]}, "/a/{nobody}/", 1),
        ({"type": "object", "properties": {"x": TEXT}, "required": ["x"]}, "/a/", 0),
    ],
)
def test_errors_of_each_part_of_a_document(schema: Any, path: str, result: int) -> None:
    paths: dict[str, Any] = {path: {"get": operation(schema)}}
    whole = {**document({"A": schema}), "paths": paths}

    assert (len(validation_errors(whole)) > 0) is (result > 0)
    assert (len(list(Validator(whole).iter_errors())) > 0) is (result > 0)


def validation_errors(whole: dict[str, Any]) -> list[Any]:
    """Return the OpenAPI errors of a document.

    A schema is valid if its parts are, so each different part is validated once, and the rest of
    the document without schemas. This takes a third of the time of validating the whole.
    """
    parts = {json.dumps(part): part for part in map(_without_inner, all_schemas(whole))}
    schemas = {f"S{n}": part for n, part in enumerate(parts.values()) if "$ref" not in part}
    alone = {**whole, "paths": {}, "components": {**whole["components"], "schemas": schemas}}
    names = {name: {} for name in whole["components"]["schemas"]}
    around: dict[str, Any] = {
        **whole,
        "paths": _without_schemas(whole["paths"]),
        "components": {**whole["components"], "schemas": names},
    }
    return [*Validator(alone).iter_errors(), *Validator(around).iter_errors()]


def _without_inner(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the schemas inside it replaced by empty ones."""
    hollow = {key: value for key, value in schema.items() if key != "discriminator"}
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(key), dict):
            hollow[key] = {}
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            hollow[key] = [{}] * len(schema[key])
    # The names of properties make no difference to validity, except that a required one may not
    # be listed twice. Without them, most schemas are equal to another one.
    if "properties" in schema:
        hollow["properties"] = {"x": {}} if schema["properties"] else {}
    if _all_different_texts(schema.get("required")):
        hollow["required"] = ["x"]
    # Values of an enum make none either, but that a default has to be one of them.
    if _all_different_texts(schema.get("enum")) and "default" not in schema:
        hollow["enum"] = ["x"]
    return hollow


def _all_different_texts(values: Any) -> bool:
    return (
        isinstance(values, list)
        and all(isinstance(value, str) for value in cast("list[Any]", values))
        and len(set(cast("list[str]", values))) == len(cast("list[str]", values)) > 0
    )


def _without_schemas(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: {} if key == "schema" else _without_schemas(part) for key, part in value.items()
        }
    return [_without_schemas(part) for part in value] if isinstance(value, list) else value


def test_minimal_document_is_a_version() -> None:
    result = normalise({"openapi": "3.0.3", "info": {"title": "t", "version": 1.0}})

    assert result.document == {
        "components": {"schemas": {}},
        "info": {"title": "t", "version": "1.0"},
        "openapi": "3.1.0",
        "paths": {},
    }
    assert result.diagnostics == ()


def test_info_and_security_schemes() -> None:
    raw: dict[str, Any] = document({}) | {
        "servers": [{"url": "/"}],
        "tags": [{"name": "a"}],
        "x-tagGroups": [],
        "security": [{"PersonalAPIKeyAuth": ["a:read"]}],
        "webhooks": {"w": {}},
        "paths": {"/api/x/": {"get": {}, "post": {"security": [{}]}}},
    }
    scheme = {"type": "http", "scheme": "bearer", "description": "a key", "x-y": 1}
    raw["components"] = {"securitySchemes": {"PersonalAPIKeyAuth": scheme}}

    result = normalise(raw)

    assert result.document.keys() == {"components", "info", "openapi", "paths"}
    assert result.document["components"]["securitySchemes"] == {
        "PersonalAPIKeyAuth": {"type": "http", "scheme": "bearer"}
    }
    assert result.document["paths"]["/api/x/"] == {
        "get": {"security": [{"PersonalAPIKeyAuth": ["a:read"]}]},
        "post": {"security": []},
    }
    assert [diagnostic.pointer for diagnostic in result.diagnostics] == ["/webhooks"]
    with_prose = normalise(raw, keep_prose=True).document
    assert with_prose["info"]["description"] == "about it"
    assert (
        with_prose["components"]["securitySchemes"]["PersonalAPIKeyAuth"]["description"] == "a key"
    )


def test_the_order_of_keys_does_not_matter() -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(part) for part in value] if isinstance(value, list) else value

    pinned = json.loads(PINNED.read_text(encoding="utf-8"))

    assert dump(normalise(turned(pinned)).document) == dump(pinned)


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_a_small_document_of_many_idioms_is_valid_openapi(version: str) -> None:
    mute = {"type": "object", "properties": {"url": {"type": "string"}}}
    union = {
        "oneOf": [{"$ref": REF + "A"}, {"$ref": REF + "B"}],
        "discriminator": {"propertyName": "type", "mapping": {"a": "A", "b": REF + "B"}},
    }
    raw = document(
        {"A": mute, "B": mute, "C": {"allOf": [{"$ref": REF + "A"}], "nullable": True}},
        version,
        **{"/api/{id}/": {"post": operation(union)}},
    )

    result = normalise(raw).document

    check(result)
    assert not list(Validator(result).iter_errors())
