"""Discriminated unions: complete mappings, named alternatives, declared values."""

from __future__ import annotations

from typing import Any

import pytest

from .normalise_helpers import NULL, REF, TEXT, nullable, ref, run

CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}}
DOG = {"type": "object", "properties": {"kind": {"enum": ["dog", "wolf"]}}, "required": ["kind"]}
MUTE = {"type": "object", "properties": {"url": TEXT}}


def schemas(schema: Any, version: str = "3.1.0", **components: Any) -> dict[str, Any]:
    result = run(schema, version, **components)
    assert result.diagnostics == ()
    return result.document["components"]["schemas"]


def tagged(mapping: dict[str, str], name: str = "kind") -> dict[str, Any]:
    """Return a union of the components in a mapping."""
    return {
        "oneOf": [ref(component) for component in dict.fromkeys(mapping.values())],
        "discriminator": {
            "propertyName": name,
            "mapping": {value: REF + component for value, component in mapping.items()},
        },
    }


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize(
    "mapping",
    [None, {"cat": REF + "Cat"}, {"cat": "Cat", "dog": "Dog", "wolf": REF + "Dog"}],
)
def test_the_mapping_is_completed(version: str, mapping: dict[str, str] | None) -> None:
    tag: dict[str, Any] = {"propertyName": "kind"} | ({"mapping": mapping} if mapping else {})

    result = schemas(
        {"oneOf": [ref("Cat"), ref("Dog")], "discriminator": tag}, version, Cat=CAT, Dog=DOG
    )

    assert result["It"] == tagged({"cat": "Cat", "dog": "Dog", "wolf": "Dog"})
    assert result["Cat"]["properties"]["kind"] == {"const": "cat", "type": "string"}
    assert result["Dog"]["properties"]["kind"] == {"enum": ["dog", "wolf"], "type": "string"}


def test_nullable_union_keeps_annotations_of_the_wrapper() -> None:
    result = schemas(
        {
            "properties": {
                "pet": {
                    "anyOf": [ref("Cat"), ref("Dog"), NULL],
                    "discriminator": {"propertyName": "kind"},
                    "default": None,
                    "readOnly": True,
                }
            }
        },
        Cat=CAT,
        Dog=DOG,
    )

    expected = tagged({"cat": "Cat", "dog": "Dog", "wolf": "Dog"})
    assert result["It"]["properties"]["pet"] == nullable(expected, default=None, readOnly=True)


def test_inline_alternatives_become_components() -> None:
    inner = {
        "oneOf": [
            {
                "properties": {"strategy": {"const": "last_hour"}},
                "additionalProperties": False,
                "type": "object",
            },
            {"properties": {"strategy": {"enum": ["a", "b"]}}, "required": ["strategy"]},
            ref("Cat"),
        ],
        "discriminator": {"propertyName": "strategy", "mapping": {"cat": REF + "Cat"}},
    }

    result = schemas({"properties": {"target_config": {"items": inner}}}, Cat=CAT)

    union = result["It"]["properties"]["target_config"]["items"]
    assert union == tagged(
        {
            "last_hour": "ItTargetConfigLastHour",
            "a": "ItTargetConfigAb",
            "b": "ItTargetConfigAb",
            "cat": "Cat",
        },
        "strategy",
    )
    assert result["ItTargetConfigLastHour"] == {
        "additionalProperties": False,
        "properties": {"strategy": {"const": "last_hour", "type": "string"}},
        "type": "object",
    }
    assert result["Cat"]["properties"]["strategy"] == {"const": "cat", "type": "string"}


def test_inline_alternatives_of_operations_are_named_after_them() -> None:
    union = {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}}},
            {"type": "object", "properties": {"kind": {"const": "b"}}},
        ],
        "discriminator": {"propertyName": "kind"},
    }
    content = {"application/json": {"schema": union}}
    responses = {"200": {"description": "", "content": content}}
    parameter = {"name": "by", "in": "query", "schema": union}

    result = run(
        {},
        paths={
            "/api/x/": {
                "post": {
                    "operationId": "things_create",
                    "parameters": [parameter],
                    "requestBody": {"content": content},
                    "responses": responses,
                },
                "get": {"responses": responses},
            }
        },
    ).document

    names = result["components"]["schemas"].keys()
    assert {
        "ThingsCreateByA",
        "ThingsCreateByB",
        "ThingsCreateRequestA",
        "ThingsCreateRequestB",
        "ThingsCreateResponseA",
        "ThingsCreateResponseB",
        "GetApiXResponseA",
        "GetApiXResponseB",
    } <= names


def test_a_missing_property_is_added_where_only_the_union_uses_the_component() -> None:
    union = {
        "oneOf": [ref("Http"), ref("S3"), ref("Cat")],
        "discriminator": {
            "propertyName": "type",
            "mapping": {"HTTP": "Http", "S3": "S3", "R2": "S3", "Cat": "Cat"},
        },
    }
    s3 = MUTE | {"required": ["url"], "additionalProperties": False}

    result = schemas(union, Http=MUTE, S3=s3, Cat=CAT, Again={"properties": {"x": union}})

    assert result["It"] == tagged({"HTTP": "Http", "S3": "S3", "R2": "S3", "Cat": "Cat"}, "type")
    assert result["Http"] == {
        "properties": {"type": {"const": "HTTP", "type": "string"}, "url": TEXT},
        "required": ["type"],
        "type": "object",
    }
    assert result["S3"] == {
        "additionalProperties": False,
        "properties": {"type": {"enum": ["R2", "S3"], "type": "string"}, "url": TEXT},
        "required": ["type", "url"],
        "type": "object",
    }


def test_component_used_elsewhere_gets_a_derived_variant() -> None:
    result = schemas(
        {
            "oneOf": [ref("Http"), ref("Mute")],
            "discriminator": {
                "propertyName": "type",
                "mapping": {"http": "Http", "s3": "Mute", "gcs": "Mute"},
            },
        },
        Http=MUTE,
        Mute=MUTE,
        Holder={"properties": {"plain": ref("Http"), "list": {"items": ref("Mute")}}},
    )

    assert result["Http"] == result["Mute"] == MUTE
    assert result["It"] == tagged(
        {"http": "HttpWithType", "s3": "MuteWithType", "gcs": "MuteWithType"}, "type"
    )
    assert result["HttpWithType"]["properties"]["type"] == {"const": "http", "type": "string"}
    assert result["MuteWithType"]["required"] == ["type"]
    assert result["Holder"]["properties"]["plain"] == ref("Http")


def test_two_unions_with_different_values_get_their_own_component() -> None:
    def union(value: str) -> dict[str, Any]:
        tag = {"propertyName": "type", "mapping": {value: "Mute", "cat": "Cat"}}
        return {"oneOf": [ref("Mute"), ref("Cat")], "discriminator": tag}

    result = schemas(union("one"), Two=union("two"), Mute=MUTE, Cat=CAT)

    assert result["It"] == tagged({"one": "MuteOne", "cat": "Cat"}, "type")
    assert result["Two"] == tagged({"two": "MuteTwo", "cat": "Cat"}, "type")
    assert result["Mute"] == MUTE


def test_a_shared_enum_is_narrowed_to_the_mapped_values() -> None:
    def filter_of(**notes: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"type": {**ref("Kinds"), **notes}}}

    result = schemas(
        {
            "oneOf": [ref("A"), ref("B")],
            "discriminator": {"propertyName": "type", "mapping": {"a": "A", "b": "B", "c": "B"}},
        },
        Kinds={"type": "string", "enum": ["a", "b", "c", "d"]},
        A=filter_of(default="a", readOnly=True),
        B=filter_of(default="d"),
    )

    assert result["A"]["properties"]["type"] == {
        "const": "a",
        "default": "a",
        "readOnly": True,
        "type": "string",
    }
    assert result["B"]["properties"]["type"] == {"enum": ["b", "c"], "type": "string"}
    assert "required" not in result["A"]


def test_values_that_are_no_strings_keep_their_type() -> None:
    def version(*values: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"v": {"enum": [*values]}}}

    union = {"oneOf": [ref("One"), ref("Two")], "discriminator": {"propertyName": "v"}}

    numbers = schemas(union, One=version(1), Two=version(2, 3))
    flags = schemas(union, One=version(True), Two=version(False))

    assert numbers["It"] == tagged({"1": "One", "2": "Two", "3": "Two"}, "v")
    assert numbers["Two"]["properties"]["v"] == {"enum": [2, 3], "type": "integer"}
    assert flags["It"] == tagged({"true": "One", "false": "Two"}, "v")


def test_recursion_through_an_alternative_with_several_values() -> None:
    group = {
        "type": "object",
        "properties": {
            "type": {"enum": ["AND", "OR"]},
            "values": {
                "items": {
                    "oneOf": [ref("It"), ref("Leaf")],
                    "discriminator": {"propertyName": "type"},
                }
            },
        },
    }

    result = schemas(group, Leaf={"type": "object", "properties": {"type": {"const": "cohort"}}})

    items = result["It"]["properties"]["values"]["items"]
    assert items == tagged({"AND": "It", "OR": "It", "cohort": "Leaf"}, "type")


def test_a_union_in_a_union_is_flattened() -> None:
    result = schemas(
        {"oneOf": [ref("Pets"), ref("Fish")], "discriminator": {"propertyName": "kind"}},
        Pets={
            "oneOf": [ref("Cat"), ref("Dog"), NULL],
            "discriminator": {"propertyName": "kind"},
        },
        Fish={"type": "object", "properties": {"kind": {"const": "fish"}}},
        Cat=CAT,
        Dog=DOG,
    )

    expected = tagged({"cat": "Cat", "dog": "Dog", "wolf": "Dog", "fish": "Fish"})
    assert result["It"] == nullable(expected)


def test_union_of_one_variant_loses_its_discriminator() -> None:
    tag = {"propertyName": "type", "mapping": {"m": "Mute"}}

    result = schemas({"oneOf": [ref("Mute")], "discriminator": tag}, Mute=MUTE)

    assert result["It"] == ref("Mute")
    assert result["Mute"]["properties"]["type"] == {"const": "m", "type": "string"}


def test_component_name_is_the_default_tag_value() -> None:
    result = schemas(
        {"oneOf": [ref("Mute"), ref("Cat")], "discriminator": {"propertyName": "type"}},
        Mute=MUTE,
        Cat=CAT,
    )

    assert result["It"] == tagged({"Mute": "Mute", "Cat": "Cat"}, "type")


@pytest.mark.parametrize(
    ("variants", "mapping", "pointer", "reason"),
    [
        ([ref("Cat"), TEXT], {}, "/discriminator", "not every alternative is an object"),
        ([ref("Cat"), ref("Kitten")], {}, "/discriminator", "do not distinguish the alternatives"),
        ([ref("Cat"), ref("Mixed")], {}, "/discriminator", "values of several types"),
        ([ref("Cat"), ref("Dog")], {"x": "User"}, "/discriminator/mapping/x", "not an alternative"),
    ],
)
def test_ineffective_discriminator_leaves_a_plain_union(
    variants: list[Any], mapping: dict[str, str], pointer: str, reason: str
) -> None:
    result = run(
        {
            "oneOf": [*variants, NULL],
            "discriminator": {"propertyName": "kind", "mapping": mapping},
        },
        Cat=CAT,
        Dog=DOG,
        Kitten=CAT,
        Mixed={"type": "object", "properties": {"kind": {"enum": ["a", 1]}}},
    )

    (diagnostic,) = result.diagnostics
    assert diagnostic.pointer.endswith(pointer)
    assert reason in diagnostic.reason
    if not mapping:
        assert result.document["components"]["schemas"]["It"] == nullable(*variants)
