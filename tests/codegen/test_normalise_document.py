"""Whole documents: the pinned one, and what stands around the operations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from codegen.normalise import normalise
from codegen.schema import dump
from tests.codegen.normalising import REF, check, document, operation

PINNED = Path(__file__).parents[2] / "openapi" / "posthog.json"
METHODS = ("get", "put", "post", "patch", "delete")


def test_the_pinned_document_is_in_its_form_already() -> None:
    text = PINNED.read_text(encoding="utf-8")
    pinned = json.loads(text)

    again = normalise(pinned)

    assert again.findings == ()
    assert dump(again.document) == text
    check(pinned)


def test_the_pinned_document_holds_the_whole_api() -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    operations = [method for item in pinned["paths"].values() for method in item]

    assert len(operations) == 1043
    assert set(operations) <= set(METHODS)
    assert not {"BlankEnum", "NullEnum"} & pinned["components"]["schemas"].keys()
    assert pinned.keys() == {"components", "info", "openapi", "paths"}
    for item in pinned["paths"].values():
        for method in item.values():
            assert len(method.get("requestBody", {"content": [1]})["content"]) == 1
            assert method["responses"]


def test_the_pinned_document_is_valid_openapi() -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))

    assert not list(OpenAPIV31SpecValidator(pinned).iter_errors())


def test_nothing_is_needed_but_a_version() -> None:
    found = normalise({"openapi": "3.0.3", "info": {"title": "t", "version": 1.0}})

    assert found.document == {
        "components": {"schemas": {}},
        "info": {"title": "t", "version": "1.0"},
        "openapi": "3.1.0",
        "paths": {},
    }
    assert found.findings == ()


def test_the_rest_of_a_document() -> None:
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

    found = normalise(raw)

    assert found.document.keys() == {"components", "info", "openapi", "paths"}
    assert found.document["components"]["securitySchemes"] == {
        "PersonalAPIKeyAuth": {"type": "http", "scheme": "bearer"}
    }
    assert found.document["paths"]["/api/x/"] == {
        "get": {"security": [{"PersonalAPIKeyAuth": ["a:read"]}]},
        "post": {"security": []},
    }
    assert [finding.pointer for finding in found.findings] == ["/webhooks"]
    kept = normalise(raw, keep_prose=True).document
    assert kept["info"]["description"] == "about it"
    assert kept["components"]["securitySchemes"]["PersonalAPIKeyAuth"]["description"] == "a key"


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

    found = normalise(raw).document

    check(found)
    assert not list(OpenAPIV31SpecValidator(found).iter_errors())
