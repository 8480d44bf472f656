"""Normalising each idiom of schemas."""

from __future__ import annotations

from typing import Any

import pytest

from .normalise_helpers import BLANK, NULL, ROLE, TEXT, USER, form, nullable, ref, run

SINGLE = {
    "several types": (
        {"type": ["number", "string", "null"], "maxLength": 3, "minimum": 1},
        nullable({"type": "number", "minimum": 1}, {"type": "string", "maxLength": 3}),
    ),
    "formats of several types": (
        {"type": ["integer", "string"], "format": "int64"},
        {"anyOf": [{"type": "integer", "format": "int64"}, TEXT]},
    ),
    "an enum of several types": (
        {"enum": ["a", 1, True, 2.5]},
        {
            "anyOf": [
                {"type": "string", "enum": ["a"]},
                {"type": "integer", "enum": [1]},
                {"type": "boolean", "enum": [True]},
                {"type": "number", "enum": [2.5]},
            ]
        },
    ),
    "an integer enum": ({"enum": [1, -1]}, {"type": "integer", "enum": [1, -1]}),
    "an integer enum in floats": (
        {"type": "integer", "enum": [1.0, 2], "default": 1.0},
        {"type": "integer", "enum": [1, 2], "default": 1},
    ),
    "a number enum in integers": (
        {"type": "number", "enum": [1, 2.5]},
        {"type": "number", "enum": [1, 2.5]},
    ),
    "an enum of one": ({"enum": ["a"]}, {"type": "string", "enum": ["a"]}),
    "a const": ({"const": "a", "default": "a"}, {"const": "a", "type": "string", "default": "a"}),
    "a const that is true": ({"const": True}, {"const": True, "type": "boolean"}),
    "a const that is null": (
        {"additionalProperties": {"const": None}},
        {"type": "object", "additionalProperties": NULL},
    ),
    "what could only be null holds anything": (
        {
            "properties": {"a": {**ref("NullEnum"), "readOnly": True}},
            "oneOf": [{"properties": {"b": {"type": "array", "items": NULL}}}],
        },
        {
            "type": "object",
            "properties": {"a": {"readOnly": True}, "b": {"type": "array", "items": {}}},
        },
    ),
    "a const in a union": (
        {"anyOf": [{"const": "a"}, ref("Role"), {"type": "null"}]},
        nullable({"const": "a", "type": "string"}, ref("Role")),
    ),
    "a const that is an object": (
        {"const": {"a": 1}},
        {"const": {"a": 1}, "type": "object"},
    ),
    "a format only": ({"format": "uri"}, {"type": "string", "format": "uri"}),
    "a limit only": ({"minimum": 1}, {"type": "number", "minimum": 1}),
    "uri or blank": (
        {"type": "string", "oneOf": [{"format": "uri"}, {"maxLength": 0}]},
        {"anyOf": [{"type": "string", "format": "uri"}, BLANK]},
    ),
    "uri, blank or null": (
        {"oneOf": [{"type": "string", "format": "uri"}, {"maxLength": 0}, NULL]},
        nullable({"type": "string", "format": "uri"}, BLANK),
    ),
    "a union in a union": (
        {"oneOf": [{"anyOf": [TEXT, NULL]}, {"oneOf": [ref("User"), TEXT]}]},
        nullable(TEXT, ref("User")),
    ),
    "a union of one": ({"oneOf": [{"type": "string", "default": "a"}]}, {**TEXT, "default": "a"}),
    "a union with anything": ({"anyOf": [ref("User"), {}, NULL]}, {"anyOf": [ref("User"), {}]}),
    "a flag on every alternative": (
        {"oneOf": [{"type": "string", "readOnly": True}, {"type": "integer", "readOnly": True}]},
        {"anyOf": [TEXT, {"type": "integer"}], "readOnly": True},
    ),
    "a reference with siblings": (
        {**ref("Role"), "default": "admin", "deprecated": True},
        {**ref("Role"), "default": "admin", "deprecated": True},
    ),
    "a reference with its own type": ({**ref("User"), "type": "object"}, ref("User")),
    "a reference that is narrowed": (
        {**ref("Role"), "enum": ["admin"]},
        {"type": "string", "enum": ["admin"]},
    ),
    "a reference that is extended": (
        {
            "allOf": [
                ref("User"),
                {"properties": {"name": TEXT}, "required": ["name"]},
                {"description": "x", "readOnly": True},
            ]
        },
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "name": TEXT},
            "required": ["name"],
            "readOnly": True,
        },
    ),
    "closed objects together": (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
                {
                    "type": "object",
                    "properties": {"b": {}},
                    "additionalProperties": {"type": "null"},
                },
            ]
        },
        {"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False},
    ),
    "limits together": (
        {
            "allOf": [
                {"type": "string", "maxLength": 5},
                {"type": "string", "maxLength": 3, "minLength": 1},
            ]
        },
        {"type": "string", "maxLength": 3, "minLength": 1},
    ),
    "a property in two parts": (
        {
            "allOf": [
                {"properties": {"a": {"type": "number", "readOnly": True}}},
                {"properties": {"a": {"type": "integer", "minimum": 1}}},
            ]
        },
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 1, "readOnly": True}},
        },
    ),
    "properties beside a union": (
        {
            "type": "object",
            "properties": {"a": TEXT, "b": TEXT},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        {
            "anyOf": [
                {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"]},
                {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["b"]},
            ]
        },
    ),
    "a type beside a union": (
        {"type": "string", "oneOf": [ref("Role"), ref("BlankEnum")]},
        {"anyOf": [ref("Role"), BLANK]},
    ),
    "two unions at once": (
        {"anyOf": [TEXT, {"type": "integer"}], "oneOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "integer"},
    ),
    "additional true": (
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
    ),
    "additional of any type": (
        {"type": "object", "additionalProperties": {"description": "x"}},
        {"type": "object", "additionalProperties": {}},
    ),
    "additional of arrays": (
        {"additionalProperties": {"type": "array", "items": TEXT}},
        {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}},
    ),
    "unevaluated properties": (
        {"type": "object", "unevaluatedProperties": False},
        {"type": "object", "additionalProperties": False},
    ),
    "names of properties": (
        {"type": "object", "propertyNames": ref("Role"), "minProperties": 1},
        {"type": "object", "propertyNames": ref("Role"), "minProperties": 1},
    ),
    "a tuple": (
        {"type": "array", "prefixItems": [TEXT, {"type": ["integer", "null"]}], "items": False},
        {"type": "array", "prefixItems": [TEXT, nullable({"type": "integer"})], "items": False},
    ),
    "a tuple as it used to be": (
        {"type": "array", "items": [TEXT, ref("User")], "additionalItems": TEXT},
        {"type": "array", "prefixItems": [TEXT, ref("User")], "items": TEXT},
    ),
    "no items at all": (
        {"type": "array", "items": False},
        {"type": "array", "items": {}, "maxItems": 0},
    ),
    "arrays of arrays": (
        {"type": "array", "items": {"type": "array", "items": TEXT}, "uniqueItems": True},
        {"type": "array", "items": {"type": "array", "items": TEXT}, "uniqueItems": True},
    ),
    "files": (
        {
            "properties": {
                "a": {"type": "string", "format": "binary"},
                "b": {"type": "string", "contentMediaType": "image/png"},
            }
        },
        {
            "type": "object",
            "properties": {
                "a": {"type": "string", "format": "binary"},
                "b": {"type": "string", "contentMediaType": "image/png"},
            },
        },
    ),
    "prose": (
        {
            "title": "A",
            "description": "b",
            "example": 1,
            "examples": [2],
            "externalDocs": {},
            "$comment": "c",
            "xml": {},
            **TEXT,
        },
        TEXT,
    ),
    "true": (True, {}),
    "an any-typed required property": (
        {"type": "object", "properties": {"intent": {"readOnly": True}}, "required": ["intent"]},
        {"type": "object", "properties": {"intent": {"readOnly": True}}, "required": ["intent"]},
    ),
    "a type said twice": ({"type": ["string", "string"]}, TEXT),
}


@pytest.mark.parametrize("name", SINGLE)
def test_normalised_form_of_schemas(name: str) -> None:
    raw, expected = SINGLE[name]

    assert form(raw) == expected


WORDS = "properties items required type default enum $ref allOf nullable const x-y title not"


def test_schema_keywords_are_valid_property_names() -> None:
    properties = {word: {"type": ["string", "null"]} for word in WORDS.split()}

    result = form({"type": "object", "properties": properties, "required": ["$ref", "items"]})

    assert result["properties"] == {word: nullable(TEXT) for word in WORDS.split()}
    assert result["required"] == ["$ref", "items"]


def test_example_data_is_not_normalised() -> None:
    data = {"$ref": "#/nowhere", "nullable": True, "type": ["a", None], "description": "kept"}

    assert form({"type": "object", "default": data}) == {"type": "object", "default": data}
    assert form({"enum": [data, None]}) == nullable({"enum": [data], "type": "object"})


def test_null_and_blank_components_are_inlined() -> None:
    result = run(
        {"anyOf": [ref("Empty"), ref("Alias"), ref("Typed"), ref("User")]},
        Empty={"type": "string", "enum": [""], "description": "nothing"},
        Alias=ref("NullEnum"),
        Typed={"type": "null"},
        Both={"enum": ["", None]},
    )

    schemas = result.document["components"]["schemas"]
    assert schemas["It"] == nullable(BLANK, ref("User"))
    assert schemas["Both"] == nullable(BLANK)
    assert set(schemas) == {"Both", "It", "Role", "User"}


def test_components_keep_their_names_and_may_be_anything() -> None:
    result = run(
        {"oneOf": [TEXT, {"type": "integer"}]},
        _User={"description": "anything"},
        Map={"type": "object", "additionalProperties": ref("Alias")},
        Alias=ref("User"),
    )

    assert result.document["components"]["schemas"] == {
        "Alias": ref("User"),
        "It": {"anyOf": [TEXT, {"type": "integer"}]},
        "Map": {"type": "object", "additionalProperties": ref("Alias")},
        "Role": ROLE,
        "User": USER,
        "_User": {},
    }


def test_patched_component_has_the_marks_of_its_base() -> None:
    base: dict[str, Any] = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "by": {**ref("User"), "readOnly": True},
            "secret": {"type": "string", "readOnly": True},
            "name": TEXT,
        },
        "required": ["id", "name"],
    }
    twin: dict[str, Any] = {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "by": ref("User"),
            "secret": {"type": "string", "writeOnly": True},
            "name": TEXT,
        },
    }

    result = run(base, PatchedIt=twin, PatchedAlone=twin).document["components"]["schemas"]

    assert result["PatchedIt"]["properties"] == {
        **base["properties"],
        "secret": {"type": "string", "writeOnly": True},
    }
    assert result["PatchedAlone"] == twin


def test_recursion_stays_a_reference() -> None:
    other = {"properties": {"it": {"allOf": [ref("It"), NULL]}}}

    result = form(
        {"properties": {"self": {**ref("It"), "type": "object"}, "other": ref("Other")}},
        Other=other,
    )

    assert result["properties"] == {"self": ref("It"), "other": ref("Other")}


def test_a_reference_into_a_schema_makes_a_component() -> None:
    result = run(
        {
            "$defs": {"node_item": {"properties": {"next": ref("It/$defs/node_item")}}},
            "properties": {"first": ref("It/$defs/node_item"), "id": ref("User/properties/id")},
        }
    )

    schemas = result.document["components"]["schemas"]
    assert schemas["It"]["properties"] == {"first": ref("ItNodeItem"), "id": ref("UserId")}
    assert schemas["UserId"] == {"type": "integer"}
    assert schemas["ItNodeItem"]["properties"] == {"next": ref("ItNodeItem")}


def test_prose_is_kept_on_request_and_changes_nothing_else() -> None:
    schema = {
        "description": "all",
        "properties": {
            "a": {"anyOf": [{"type": "string", "description": "text"}, {"type": "null"}]},
            "b": {"allOf": [ref("User"), {"description": "who"}], "example": 1},
        },
        "anyOf": [{"title": "x"}, {"description": "y", "title": "z"}],
    }

    result = run(schema, prose=True).document["components"]["schemas"]["It"]

    assert result["description"] == "all"
    assert result["properties"]["a"] == nullable(TEXT, description="text")
    assert result["properties"]["b"] == {**ref("User"), "description": "who", "examples": [1]}
    assert form(result) == form(schema)
