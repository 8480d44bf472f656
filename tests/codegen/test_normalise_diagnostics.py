"""Diagnostics for schemas that are broken or cannot be represented."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.diagnostics import SchemaError

from .normalise_helpers import TEXT, nullable, reasons, ref, run


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"not": {}}, "/not", "cannot be represented"),
        ({"type": "object", "patternProperties": {"^a": {}}}, "/patternProperties", "dropped"),
        ({"if": {}, "then": {}}, "/if", "cannot be represented"),
        ({"type": "object", "dependentSchemas": {}}, "/dependentSchemas", "dropped"),
        ({"type": "file"}, "/type", "'file' is not a JSON type"),
        ({"enum": ["a", "a"]}, "/enum", "repeats values"),
        ({"enum": []}, "/enum", "is empty"),
        ({"type": "string", "enum": [True]}, "", "[True] is not of type string"),
        ({"enum": ["a"], "const": "b"}, "/const", "not in the enum"),
        ({"minimum": 1, "minLength": 1}, "", "keywords of number and string"),
        ({"type": "string", "maxLength": "9"}, "/maxLength", "'9' is not a number"),
        ({"type": "object", "required": True}, "/required", "not a list of names"),
        ({"properties": {"a/b": False}}, "/properties/a~1b", "not allowed"),
        ({"oneOf": []}, "/oneOf", "a union without alternatives"),
        (
            {"oneOf": [{"type": "string", "readOnly": True}, {"type": "integer"}]},
            "/oneOf",
            "readOnly",
        ),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "", "no value matches all"),
        (
            {"allOf": [{"type": "string", "pattern": "a"}, {"pattern": "b"}]},
            "/pattern",
            "both 'a' and 'b'",
        ),
        (
            {"allOf": [{"properties": {"a": TEXT}}, {"properties": {"a": {"type": "null"}}}]},
            "/properties/a",
            "no value matches both",
        ),
        ({"type": "object", "discriminator": {"propertyName": "a"}}, "/discriminator", "no union"),
        (
            {"properties": {"a": {"allOf": [ref("It"), {"properties": {"b": {}}}]}}},
            "/properties/a",
            "narrows a schema that contains it",
        ),
        (False, "", "allows no value"),
    ],
)
def test_unrepresentable_schemas_are_reported(schema: Any, pointer: str, words: str) -> None:
    result = reasons(schema)

    assert words in result.get(pointer, ""), result


def test_openapi_3_0_ignores_keys_beside_a_reference() -> None:
    schema = {**ref("User"), "readOnly": True, "description": "x", "nullable": True}

    result = run(schema, "3.0.3")

    assert result.document["components"]["schemas"]["It"] == nullable(ref("User"))
    assert reasons(schema, "3.0.3") == {"": "OpenAPI 3.0 ignores keys beside a $ref: readOnly"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (ref("Nobody"), "#/components/schemas/It/$ref: it refers to '#/components/schemas/Nobody'"),
        ({"$ref": "other.yaml#/A"}, "outside the document. Bundle the document"),
        ({"$ref": 3}, "a string is expected here, not a number"),
        ([], "#/components/schemas/It: an object is expected here, not an array"),
        ({"properties": []}, "#/components/schemas/It/properties: an object is expected"),
        ({"allOf": {}}, "an array is expected here, not an object"),
        ({"items": None}, "an object is expected here, not null"),
        ({"pattern": True}, "a string is expected here, not a boolean"),
    ],
)
def test_broken_schema_error_has_a_pointer(schema: Any, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        run(schema)

    assert words in str(caught.value)


def test_deepest_loadable_schemas_are_normalised() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(95):
        schema = {"items": schema}

    result = run(schema).document["components"]["schemas"]["It"]

    for _ in range(95):
        result = result["items"]
    assert result == TEXT


def test_endless_chains_are_refused() -> None:
    chain: dict[str, Any] = {f"Link{number}": ref(f"Link{number + 1}") for number in range(999)}

    with pytest.raises(SchemaError, match="nested, or refer to one another, too deeply"):
        run({}, **chain, Link999=TEXT)
