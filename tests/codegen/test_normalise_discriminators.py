"""Discriminated unions: complete mappings, named alternatives, declared values."""

from __future__ import annotations

from typing import Any

import pytest

from .normalise_helpers import NULL, REF, TEXT, nullable, ref, run

CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}}
DOG = {"type": "object", "properties": {"kind": {"enum": ["dog", "wolf"]}}, "required": ["kind"]}
MUTE = {"type": "object", "properties": {"url": TEXT}}


def schemas(schema: Any, version: str = "3.1.0", **components: Any) -> dict[str, Any]:
    found = run(schema, version, **components)
    assert found.findings == ()
    return found.document["components"]["schemas"]


def tagged(mapping: dict[str, str], name: str = "kind") -> dict[str, Any]:
    """Return the union over the components a mapping leads to."""
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

    found = schemas(
        {"oneOf": [ref("Cat"), ref("Dog")], "discriminator": tag}, version, Cat=CAT, Dog=DOG
    )

    assert found["It"] == tagged({"cat": "Cat", "dog": "Dog", "wolf": "Dog"})
    assert found["Cat"]["properties"]["kind"] == {"const": "cat", "type": "string"}
    assert found["Dog"]["properties"]["kind"] == {"enum": ["dog", "wolf"], "type": "string"}


def test_a_nullable_one_with_annotations_on_the_wrapper() -> None:
    found = schemas(
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
    assert found["It"]["properties"]["pet"] == nullable(expected, default=None, readOnly=True)


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

    found = schemas({"properties": {"target_config": {"items": inner}}}, Cat=CAT)

    union = found["It"]["properties"]["target_config"]["items"]
    assert union == tagged(
        {
            "last_hour": "ItTargetConfigLastHour",
            "a": "ItTargetConfigAb",
            "b": "ItTargetConfigAb",
            "cat": "Cat",
        },
        "strategy",
    )
    assert found["ItTargetConfigLastHour"] == {
        "additionalProperties": False,
        "properties": {"strategy": {"const": "last_hour", "type": "string"}},
        "type": "object",
    }
    assert found["Cat"]["properties"]["strategy"] == {"const": "cat", "type": "string"}


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

    found = run(
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

    names = found["components"]["schemas"].keys()
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

    found = schemas(union, Http=MUTE, S3=s3, Cat=CAT, Again={"properties": {"x": union}})

    assert found["It"] == tagged({"HTTP": "Http", "S3": "S3", "R2": "S3", "Cat": "Cat"}, "type")
    assert found["Http"] == {
        "properties": {"type": {"const": "HTTP", "type": "string"}, "url": TEXT},
        "required": ["type"],
        "type": "object",
    }
    assert found["S3"] == {
        "additionalProperties": False,
        "properties": {"type": {"enum": ["R2", "S3"], "type": "string"}, "url": TEXT},
        "required": ["type", "url"],
        "type": "object",
    }


def test_a_component_that_is_used_elsewhere_gets_a_derived_one() -> None:
    found = schemas(
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

    assert found["Http"] == found["Mute"] == MUTE
    assert found["It"] == tagged(
        {"http": "HttpWithType", "s3": "MuteWithType", "gcs": "MuteWithType"}, "type"
    )
    assert found["HttpWithType"]["properties"]["type"] == {"const": "http", "type": "string"}
    assert found["MuteWithType"]["required"] == ["type"]
    assert found["Holder"]["properties"]["plain"] == ref("Http")


def test_two_unions_that_call_one_component_differently_get_their_own() -> None:
    def union(value: str) -> dict[str, Any]:
        tag = {"propertyName": "type", "mapping": {value: "Mute", "cat": "Cat"}}
        return {"oneOf": [ref("Mute"), ref("Cat")], "discriminator": tag}

    found = schemas(union("one"), Two=union("two"), Mute=MUTE, Cat=CAT)

    assert found["It"] == tagged({"one": "MuteOne", "cat": "Cat"}, "type")
    assert found["Two"] == tagged({"two": "MuteTwo", "cat": "Cat"}, "type")
    assert found["Mute"] == MUTE


def test_a_shared_enum_is_narrowed_to_the_mapped_values() -> None:
    def filter_of(**notes: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"type": {**ref("Kinds"), **notes}}}

    found = schemas(
        {
            "oneOf": [ref("A"), ref("B")],
            "discriminator": {"propertyName": "type", "mapping": {"a": "A", "b": "B", "c": "B"}},
        },
        Kinds={"type": "string", "enum": ["a", "b", "c", "d"]},
        A=filter_of(default="a", readOnly=True),
        B=filter_of(default="d"),
    )

    assert found["A"]["properties"]["type"] == {
        "const": "a",
        "default": "a",
        "readOnly": True,
        "type": "string",
    }
    assert found["B"]["properties"]["type"] == {"enum": ["b", "c"], "type": "string"}
    assert "required" not in found["A"]


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

    found = schemas(group, Leaf={"type": "object", "properties": {"type": {"const": "cohort"}}})

    items = found["It"]["properties"]["values"]["items"]
    assert items == tagged({"AND": "It", "OR": "It", "cohort": "Leaf"}, "type")


def test_a_union_in_a_union_is_flattened() -> None:
    found = schemas(
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
    assert found["It"] == nullable(expected)


def test_a_union_of_one_needs_no_discriminator() -> None:
    tag = {"propertyName": "type", "mapping": {"m": "Mute"}}

    found = schemas({"oneOf": [ref("Mute")], "discriminator": tag}, Mute=MUTE)

    assert found["It"] == ref("Mute")
    assert found["Mute"]["properties"]["type"] == {"const": "m", "type": "string"}


def test_without_mapping_or_values_the_name_of_the_component_stands() -> None:
    found = schemas(
        {"oneOf": [ref("Mute"), ref("Cat")], "discriminator": {"propertyName": "type"}},
        Mute=MUTE,
        Cat=CAT,
    )

    assert found["It"] == tagged({"Mute": "Mute", "Cat": "Cat"}, "type")


@pytest.mark.parametrize(
    ("variants", "mapping", "pointer", "reason"),
    [
        ([ref("Cat"), TEXT], {}, "/discriminator", "not every alternative is an object"),
        ([ref("Cat"), ref("Kitten")], {}, "/discriminator", "do not tell the alternatives apart"),
        ([ref("Cat"), ref("Mixed")], {}, "/discriminator", "values of several types"),
        ([ref("Cat"), ref("Dog")], {"x": "User"}, "/discriminator/mapping/x", "no alternative"),
    ],
)
def test_what_does_not_discriminate_is_a_plain_union(
    variants: list[Any], mapping: dict[str, str], pointer: str, reason: str
) -> None:
    found = run(
        {
            "oneOf": [*variants, NULL],
            "discriminator": {"propertyName": "kind", "mapping": mapping},
        },
        Cat=CAT,
        Dog=DOG,
        Kitten=CAT,
        Mixed={"type": "object", "properties": {"kind": {"enum": ["a", 1]}}},
    )

    (finding,) = found.findings
    assert finding.pointer.endswith(pointer)
    assert reason in finding.reason
    if not mapping:
        assert found.document["components"]["schemas"]["It"] == nullable(*variants)
