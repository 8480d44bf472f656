"""Unions with a declared discriminator, an inferred one, or none."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_origin

import pytest

from .model_helpers import NULL, NUMBER, REF, TEXT, Package, obj, package, ref


def kind(*values: Any, **more: Any) -> dict[str, Any]:
    scalar = "integer" if isinstance(values[0], int) else "string"
    if len(values) == 1:
        return {"const": values[0], "type": scalar, **more}
    return {"enum": list(values), "type": scalar, **more}


def union(wire: str, mapping: dict[str, str], *inline: Any) -> dict[str, Any]:
    refs = [ref(name) for name in dict.fromkeys(mapping.values())]
    discriminator = {"propertyName": wire, "mapping": {k: REF + v for k, v in mapping.items()}}
    return {"oneOf": [*refs, *inline], "discriminator": discriminator}


PETS = {
    "Cat": obj("kind", kind=kind("cat"), lives=NUMBER),
    "Dog": obj("kind", kind=kind("dog"), lives=TEXT),
    "Pet": union("kind", {"cat": "Cat", "dog": "Dog"}),
    "Owner": obj(
        pet=ref("Pet"),
        inline=union("kind", {"cat": "Cat", "dog": "Dog"}),
        maybe={"anyOf": [union("kind", {"cat": "Cat", "dog": "Dog"}), NULL]},
        many={"type": "array", "items": union("kind", {"cat": "Cat", "dog": "Dog"})},
    ),
}


def test_a_tag_chooses_the_variant(tmp_path: Path) -> None:
    generated = package(PETS, tmp_path)
    cat, dog = {"kind": "cat", "lives": 9}, {"kind": "dog", "lives": "one"}
    owner = {"pet": cat, "inline": dog, "maybe": None, "many": [dog, cat]}
    read = generated.read("Owner", owner)
    assert isinstance(read.pet, generated.Cat)
    assert isinstance(read.inline, generated.Dog)
    assert [type(pet) for pet in read.many] == [generated.Dog, generated.Cat]
    assert isinstance(generated.read("Pet", dog), generated.Dog)
    assert read.raw() == owner
    assert generated.set.diagnostics == ()


def test_unknown_variant_stays_raw(tmp_path: Path) -> None:
    generated = package(PETS, tmp_path)
    owner = {"pet": {"kind": "fish"}, "many": [{"kind": "cat"}, {"kind": "newt", "x": [1]}]}
    read = generated.read("Owner", owner)
    assert read.pet == {"kind": "fish"}
    assert isinstance(read.many[0], generated.Cat)
    assert read.raw() == owner


def test_a_variant_is_made_without_naming_its_tag(tmp_path: Path) -> None:
    generated = package(PETS, tmp_path)
    assert generated.field("Cat", "kind").annotation == Literal["cat"]
    assert generated.Cat(lives=9).kind == "cat"


def test_tag_may_have_another_python_name(tmp_path: Path) -> None:
    schemas = {
        "A": obj("widgetType", widgetType=kind("a")),
        "B": obj("widgetType", widgetType=kind("b")),
        "Widget": union("widgetType", {"a": "A", "b": "B"}),
        "C": obj("class", **{"class": kind("c")}),
        "D": obj("class", **{"class": kind("d")}),
        "Classy": union("class", {"c": "C", "d": "D"}),
    }
    generated = package(schemas, tmp_path)
    widget = generated.read("Widget", {"widgetType": "b"})
    assert isinstance(widget, generated.B)
    assert widget.widget_type == "b"
    assert isinstance(generated.read("Classy", {"class": "c"}), generated.C)


def test_several_values_of_one_variant_that_contains_itself(tmp_path: Path) -> None:
    mapping = {"AND": "Group", "OR": "Group", "person": "Person"}
    schemas = {
        "Group": obj(
            type=ref("GroupType"),
            values={"type": "array", "items": union("type", mapping)},
        ),
        "GroupType": {"type": "string", "enum": ["AND", "OR"]},
        "Person": obj("type", type={"type": "string", "enum": ["person"]}, key=TEXT),
    }
    generated = package(schemas, tmp_path)
    assert generated.field("Group", "type").annotation == Literal["AND", "OR"]
    assert generated.field("Group", "type").is_required()
    data = {
        "type": "AND",
        "values": [{"type": "OR", "values": []}, {"type": "person", "key": "a"}],
    }
    read = generated.read("Group", data)
    assert [type(v) for v in read.values] == [generated.Group, generated.Person]
    assert read.raw() == data


def test_a_variant_may_lack_the_property(tmp_path: Path) -> None:
    schemas = {
        "S3": obj(bucket=TEXT),
        "Redshift": obj("type", type=TEXT, host=TEXT),
        "Azure": obj(type={"type": "string", "enum": ["other"]}),
        "Config": union("type", {"S3": "S3", "Redshift": "Redshift", "Azure": "Azure"}),
    }
    generated = package(schemas, tmp_path)
    s3 = generated.read("Config", {"type": "S3", "bucket": "b"})
    assert isinstance(s3, generated.S3)
    assert (s3.type, s3.bucket) == ("S3", "b")
    assert isinstance(generated.read("Config", {"type": "Redshift"}), generated.Redshift)
    assert isinstance(generated.read("Config", {"type": "Azure"}), generated.Azure)


def test_integer_tags(tmp_path: Path) -> None:
    schemas = {
        "One": obj("version", version=kind(1)),
        "More": obj("version", version=kind(2, 3)),
        "Doc": union("version", {"1": "One", "2": "More", "3": "More"}),
    }
    generated = package(schemas, tmp_path)
    assert isinstance(generated.read("Doc", {"version": 1}), generated.One)
    assert isinstance(generated.read("Doc", {"version": 3}), generated.More)
    assert generated.read("Doc", {"version": 4}) == {"version": 4}


def test_a_variant_in_two_unions_under_different_values(tmp_path: Path) -> None:
    schemas = {
        "A": obj("t", t=TEXT),
        "B": obj("t", t=TEXT),
        "C": obj("t", t=TEXT),
        "First": union("t", {"a": "A", "b": "B"}),
        "Second": union("t", {"x": "A", "c": "C"}),
    }
    generated = package(schemas, tmp_path)
    assert isinstance(generated.read("First", {"t": "a"}), generated.A)
    assert isinstance(generated.read("Second", {"t": "x"}), generated.A)
    assert isinstance(generated.read("Second", {"t": "c"}), generated.C)


@pytest.mark.parametrize(
    ("schemas", "reason"),
    [
        (
            {"A": obj(t=TEXT), "B": obj(t=TEXT), "U": union("t", {"a": "A"}, ref("B"))},
            "no value of 't' is mapped to B",
        ),
        (
            {"A": obj(t=kind("a")), "U": union("t", {"a": "A"}, obj(t=kind("b")))},
            "a variant is not a component with properties",
        ),
        (
            {
                "A": obj(t=TEXT),
                "B": obj(t=TEXT),
                "C": obj(t=TEXT),
                "U": union("t", {"a": "A", "b": "B"}),
                "V": union("t", {"b": "A", "c": "C"}),
            },
            "'b' names both A and B",
        ),
        (
            {
                "A": obj(t={"type": "boolean", "enum": [True]}),
                "B": obj(t={"type": "boolean", "enum": [False]}),
                "U": union("t", {"True": "A", "False": "B"}),
            },
            "'t' is a boolean",
        ),
    ],
)
def test_a_discriminator_that_cannot_work_leaves_a_plain_union(
    schemas: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    generated = package(schemas, tmp_path)
    diagnostics = [f for f in generated.set.diagnostics if f.pointer == "#/components/schemas/U"]
    assert [reason in f.reason for f in diagnostics] == [True]
    assert get_origin(generated.U) is UnionType
    assert isinstance(generated.read("U", {"t": True if "boolean" in reason else "a"}), generated.A)


def test_single_variant_is_not_a_union(tmp_path: Path) -> None:
    schemas = {"A": obj("t", t=kind("a")), "U": union("t", {"a": "A"})}
    generated = package(schemas, tmp_path)
    assert isinstance(generated.read("U", {"t": "a"}), generated.A)


FILTERS = {
    "Event": obj("key", key=TEXT, type=kind("event", default="event"), value={}),
    "Person": obj("key", key=TEXT, type={"enum": ["person"], "default": "person"}, value={}),
    "Log": obj("key", "type", key=TEXT, type=kind("log", "span"), value={}),
}


def infer(tmp_path: Path, **variants: Any) -> Package:
    branches = [ref(name) for name in variants]
    return package({**variants, "Filter": {"anyOf": [*branches, NULL]}}, tmp_path)


def test_undeclared_discriminator_is_inferred(tmp_path: Path) -> None:
    same = {"scope": kind("same", default="same")}  # fewer values, but they tell nothing apart
    variants = {n: {**f, "properties": f["properties"] | same} for n, f in FILTERS.items()}
    generated = infer(tmp_path, **variants)
    assert isinstance(generated.read("Filter", {"key": "a", "type": "person"}), generated.Person)
    assert isinstance(generated.read("Filter", {"key": "a", "type": "span"}), generated.Log)
    assert generated.read("Filter", {"key": "a", "type": "later"}) == {"key": "a", "type": "later"}
    assert generated.read("Filter", None) is None
    assert generated.Event(key="a").type == "event"


@pytest.mark.parametrize(
    "third",
    [
        obj("type", key=TEXT, type=kind("event", "other"), only=TEXT),  # a value in common
        obj(key=TEXT, type=kind("log"), only=TEXT),  # it may be absent
        obj("type", key=TEXT, type=TEXT, only=TEXT),  # it may be anything
        obj(key=TEXT, only=TEXT),  # it is not there
    ],
)
def test_ambiguous_unions_get_no_inferred_discriminator(third: Any, tmp_path: Path) -> None:
    generated = infer(tmp_path, **{**FILTERS, "Log": third})
    assert "discriminator" not in "".join(generated.set.files.values())
    assert isinstance(generated.read("Filter", {"key": "a", "type": "person"}), generated.Person)
    # Data without a field that a variant requires is not of that variant.
    data = {"key": "a", "only": "b"} | dict.fromkeys(third.get("required", ()), "other")
    assert isinstance(generated.read("Filter", data), generated.Log)
    if "enum" in third["properties"].get("type", {}):
        other_data = {"key": "a", "type": "later", "only": "b"}
        assert generated.read("Filter", other_data).raw() == other_data


def test_constant_is_a_closed_literal_only_in_variants(tmp_path: Path) -> None:
    schemas = {
        "Alone": obj("kind", kind=kind("alone")),
        "A": obj("kind", kind=kind("a"), x=NUMBER),
        "B": obj(x=TEXT),
        "Plain": {"anyOf": [ref("A"), ref("B")]},
    }
    generated = package(schemas, tmp_path)
    assert generated.Alone().kind == "alone"
    assert generated.read("Alone", {"kind": "renamed"}).kind == "renamed"
    assert generated.field("A", "kind").annotation == Literal["a"]
    assert isinstance(generated.read("Plain", {"kind": "a", "x": 1}), generated.A)
    assert isinstance(generated.read("Plain", {"kind": "z", "x": "b"}), generated.B)


def test_a_constant_with_a_default_is_never_none(tmp_path: Path) -> None:
    generated = package({"Alone": obj(kind=kind("alone", default="alone"))}, tmp_path)
    assert generated.field("Alone", "kind").annotation == Literal["alone"] | str
    assert generated.Alone().kind == "alone"


def test_optional_constant_is_not_added(tmp_path: Path) -> None:
    generated = package({"Rpc": obj(jsonrpc=kind("2.0"))}, tmp_path)
    assert generated.Rpc().jsonrpc is None
    assert generated.read("Rpc", {"jsonrpc": "2.0"}).jsonrpc == "2.0"


def test_a_union_of_scalars_and_objects(tmp_path: Path) -> None:
    value = {"anyOf": [NUMBER, {"const": "all", "type": "string"}, ref("Cat"), NULL]}
    generated = package({**PETS, "Thing": obj(x=value)}, tmp_path)
    for data in (1, "all", "other", None, {"kind": "cat", "lives": 1}):
        assert generated.read("Thing", {"x": data}).raw() == {"x": data}


def big_union(size: int) -> dict[str, Any]:
    names = [f"Part{number}" for number in range(size)]
    parts = {name: obj("kind", kind=kind(name), size=NUMBER) for name in names}
    owner = obj(part=union("kind", {name: name for name in names}))
    return {**parts, "Owner": owner}


def test_variants_of_a_large_union_are_built_when_named(tmp_path: Path) -> None:
    models = package(big_union(21), tmp_path)
    owner = models.read("Owner", {"part": {"kind": "Part3", "size": 1}})
    assert isinstance(owner.part, models.Part3)
    assert not models.Part4.__pydantic_complete__
    # Type checkers see the union.
    text = "\n".join(models.set.files.values())
    assert "Annotated[Part0 | Part1 | Part2" in text


def test_variants_of_a_small_union_are_built_with_it(tmp_path: Path) -> None:
    models = package(big_union(20), tmp_path)
    owner = models.read("Owner", {"part": {"kind": "Part3", "size": 1}})
    assert isinstance(owner.part, models.Part3)
    assert not any("deferred_union" in text for text in models.set.files.values())
