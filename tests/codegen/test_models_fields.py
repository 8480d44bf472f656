"""Fields: their names, whether they are required, their defaults."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from codegen.diagnostics import GenerationError

from .model_helpers import NULL, NUMBER, TEXT, build, obj, package, ref

RENAMED = {
    "dateRange": "date_range",
    "P25Column": "p25_column",
    "hasMore": "has_more",
    "a-b": "a_b",
    "_create_in_folder": "create_in_folder",
    "$set": "set",
    "$ai_generation": "ai_generation",
    "__dunder__": "dunder",
    "2fa": "n2fa",
    "class": "class_",
    "async": "async_",
    "from": "from_",
    "None": "none",
    "schema": "schema_",
    "json": "json_",
    "copy": "copy_",
    "dict": "dict_",
    "fields": "fields_",
    "construct": "construct_",
    "validate": "validate_",
    "model_config": "model_config_",
    "model_fields": "model_fields_",
    "model_dump": "model_dump_",
    "self": "self_",
    "raw": "raw_",
    "get": "get_",
}
KEPT = ["id", "type", "format", "items", "properties", "model_name", "function", "delete", "list"]


def test_every_odd_name_is_read_and_written_by_its_wire_name(tmp_path: Path) -> None:
    generated = package({"Thing": obj(**dict.fromkeys(RENAMED, NUMBER))}, tmp_path)
    wire = {name: number for number, name in enumerate(RENAMED)}
    thing = generated.read("Thing", wire)
    assert {name: getattr(thing, name) for name in RENAMED.values()} == {
        RENAMED[name]: number for name, number in wire.items()
    }
    assert thing.raw() == wire


def test_ordinary_names_stay(tmp_path: Path) -> None:
    generated = package({"Thing": obj(**dict.fromkeys(KEPT, NUMBER))}, tmp_path)
    assert list(generated.Thing.model_fields) == KEPT


def test_a_model_is_made_with_python_names(tmp_path: Path) -> None:
    generated = package({"Thing": obj("dateRange", dateRange=TEXT)}, tmp_path)
    assert generated.Thing(date_range="-7d").raw() == {"dateRange": "-7d"}


@pytest.mark.parametrize("pair", [("fooBar", "foo_bar"), ("$set", "set"), ("_id", "id")])
def test_two_properties_of_one_name_are_an_error_until_one_is_renamed(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    schemas = {"Thing": obj(**dict.fromkeys(pair, NUMBER))}
    with pytest.raises(GenerationError) as caught:
        build(schemas)
    assert [p.pointer for p in caught.value.diagnostics] == [
        f"#/components/schemas/Thing/properties/{pair[0]}"
    ]
    assert pair[1] in str(caught.value)
    generated = package(schemas, tmp_path, field_names={f"Thing.{pair[0]}": "other"})
    assert generated.read("Thing", {pair[0]: 1}).other == 1


ALIKE = ["A_B", "a b", "a_b", "a.b", "a_b_", "class", "class_", "$json", "json_", "json"]


@pytest.mark.parametrize("order", [ALIKE, ALIKE[::-1]])
def test_properties_fill_only_their_own_fields(order: list[str], tmp_path: Path) -> None:
    schemas = {"Thing": obj(**dict.fromkeys(order, NUMBER))}
    generated = package(schemas, tmp_path, lenient=True)
    for wire in order:
        thing = generated.read("Thing", {wire: 7})
        set_fields = [
            name for name in generated.Thing.model_fields if getattr(thing, name) is not None
        ]
        assert len(set_fields) == 1
        assert thing.raw() == {wire: 7}
        assert thing[wire] == 7
    exact = {name: generated.read("Thing", {name: 7}) for name in ("a_b", "a_b_", "class_")}
    assert all(getattr(thing, name) == 7 for name, thing in exact.items())


def test_field_name_equal_to_another_property_is_an_error(tmp_path: Path) -> None:
    schemas = {"Thing": obj(a_b=NUMBER, A_B=NUMBER)}
    with pytest.raises(GenerationError, match="'a_b', which is another property"):
        build(schemas, field_names={"Thing.a_b": "other"})


@pytest.mark.parametrize("wire", ["", "-", "$", "日本"])
def test_unnameable_property_is_an_error_until_overridden(wire: str, tmp_path: Path) -> None:
    schemas = {"Thing": obj(**{wire: NUMBER})}
    with pytest.raises(GenerationError, match="'' is not a valid field name"):
        build(schemas)
    generated = package(schemas, tmp_path, field_names={f"Thing.{wire}": "other"})
    assert generated.read("Thing", {wire: 1}).other == 1


@pytest.mark.parametrize("field_name", ["class", "json", "_x", "Upper", "a b", "raw"])
def test_invalid_field_name_override_is_an_error(field_name: str) -> None:
    with pytest.raises(GenerationError, match="is not a valid field name"):
        build({"Thing": obj(x=NUMBER)}, field_names={"Thing.x": field_name})


def test_inline_objects_name_their_fields_by_the_same_rules(tmp_path: Path) -> None:
    inline = {"Thing": obj(inner=obj(fooBar=NUMBER, foo_bar=NUMBER))}
    with pytest.raises(GenerationError) as caught:
        build(inline)
    (problem,) = caught.value.diagnostics
    assert problem.pointer == "#/components/schemas/Thing/properties/inner/properties/fooBar"
    generated = package(inline, tmp_path, field_names={"ThingInner.fooBar": "other"})
    assert generated.read("Thing", {"inner": {"fooBar": 1, "foo_bar": 2}}).inner.other == 1


def test_field_may_share_the_name_of_an_imported_type(tmp_path: Path) -> None:
    properties = {
        "date": {"type": "string", "format": "date"},
        "datetime": {"type": "string", "format": "date-time"},
        "time": {"type": "string", "format": "time"},
        "list": {"type": "array", "items": TEXT},
        "str": TEXT,
        "int": NUMBER,
        "float": {"type": "number"},
        "bool": {"type": "boolean"},
        "bytes": {"type": "string", "format": "binary"},
        "other": {"anyOf": [{"type": "string", "format": "date"}, NULL]},
        "map": {"type": "object", "additionalProperties": NUMBER},
    }
    generated = package({"Thing": obj(**properties), "Plain": obj(x=TEXT)}, tmp_path)
    thing = generated.read(
        "Thing",
        {
            "date": "2026-01-02",
            "datetime": "2026-01-02T03:04:05Z",
            "time": "03:04",
            "list": ["a"],
            "str": "s",
            "int": 1,
            "float": 1.5,
            "bool": True,
            "bytes": "b",
            "other": "2026-01-03",
            "map": {"a": 1},
        },
    )
    assert thing.date == dt.date(2026, 1, 2)
    assert thing.datetime == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert thing.time == dt.time(3, 4)
    assert (thing.list, thing.str, thing.int, thing.float) == (["a"], "s", 1, 1.5)
    assert (thing.bool, thing.bytes, thing.map) == (True, b"b", {"a": 1})
    assert thing.other == dt.date(2026, 1, 3)


def test_required_nullable_and_optional_are_three_things(tmp_path: Path) -> None:
    nullable = {"anyOf": [TEXT, NULL]}
    generated = package({"Thing": obj("a", "b", a=TEXT, b=nullable, c=TEXT, d=nullable)}, tmp_path)
    fields = {name: generated.field("Thing", name) for name in "abcd"}
    assert {name: field.is_required() for name, field in fields.items()} == {
        "a": True,
        "b": True,
        "c": False,
        "d": False,
    }
    assert fields["a"].annotation is str
    assert fields["b"].annotation == str | None == fields["c"].annotation
    assert generated.read("Thing", {"a": "x", "b": None}).raw() == {"a": "x", "b": None}


@pytest.mark.parametrize("schema", [{}, {"readOnly": True}, {"default": None}, {"default": 3}])
def test_an_any_typed_required_field_takes_anything(schema: dict[str, Any], tmp_path: Path) -> None:
    generated = package({"Thing": obj("x", x=schema, y=schema)}, tmp_path)
    assert generated.field("Thing", "x").annotation is Any
    assert generated.field("Thing", "x").is_required()
    assert not generated.field("Thing", "y").is_required()
    for value in (None, 1, "a", [1], {"a": [None]}):
        assert generated.read("Thing", {"x": value}).x == value
    assert (generated.set.statistics.typed, generated.set.statistics.untyped) == (0, 2)


def test_server_default_is_not_added_to_responses(tmp_path: Path) -> None:
    generated = package({"Thing": obj(x={"type": "integer", "default": 7})}, tmp_path)
    thing = generated.read("Thing", {})
    assert thing.x is None
    assert thing.raw() == {}


STATUS = {"type": "string", "enum": ["on", "off"]}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "integer", "default": "1"}, "no integer"),
        ({"type": "integer", "default": True}, "no integer"),
        ({"type": "integer", "default": 1.5}, "no integer"),
        ({"type": "boolean", "default": 0}, "no boolean"),
        ({"type": "string", "default": None}, "no string"),
        ({"type": "array", "items": TEXT, "default": {}}, "no array"),
        ({"type": "array", "items": TEXT, "default": [1]}, "no string"),
        ({**STATUS, "default": "AND"}, "none of 'on', 'off'"),
        (ref("Status", default="AND"), "none of 'on', 'off'"),
        ({"anyOf": [ref("Status"), NULL], "default": "AND"}, "no branch"),
        ({"const": "a", "default": "b"}, "none of 'a'"),
        ({**obj(a=NUMBER), "default": {"a": "x"}}, "no integer"),
    ],
)
def test_a_default_that_contradicts_its_schema_is_an_error(
    schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(GenerationError) as caught:
        build({"Status": STATUS, "Thing": obj(x=schema)})
    (problem,) = caught.value.diagnostics
    assert problem.pointer == "#/components/schemas/Thing/properties/x"
    assert reason in problem.reason


def test_write_only_field_is_not_required_in_responses(tmp_path: Path) -> None:
    secret = {**TEXT, "writeOnly": True}
    generated = package({"Thing": obj("id", "password", id=NUMBER, password=secret)}, tmp_path)
    assert generated.field("Thing", "id").is_required()
    assert not generated.field("Thing", "password").is_required()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "default": 1.0},
        {"type": "number", "default": 1},
        {"anyOf": [TEXT, NULL], "default": None},
        {"type": "array", "default": []},
        {"anyOf": [ref("Status"), NULL], "default": "on"},
        ref("Status", default="off"),
        {"default": {"anything": [1]}},
    ],
)
def test_valid_default_is_not_an_error(schema: dict[str, Any]) -> None:
    build({"Status": STATUS, "Thing": obj(x=schema)})


def test_every_problem_is_reported_at_once() -> None:
    wrong = {"type": "integer", "default": "1"}
    with pytest.raises(GenerationError) as caught:
        build({"A": obj(x=wrong), "B/C": obj(y={"type": "array", "items": wrong})})
    assert [p.pointer for p in caught.value.diagnostics] == [
        "#/components/schemas/A/properties/x",
        "#/components/schemas/B~1C/properties/y/items",
    ]
    assert all(p.pointer in str(caught.value) for p in caught.value.diagnostics)


def test_formatted_strings_are_plain_strings(tmp_path: Path) -> None:
    styles = ["email", "uri", "decimal", "ipv4", "int64", "password"]
    properties = {style: {"type": "string", "format": style} for style in styles}
    generated = package({"Thing": obj(**properties)}, tmp_path)
    odd = dict.fromkeys(styles, "user@localhost")
    assert generated.read("Thing", odd).raw() == odd


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02"])
def test_datetimes_may_be_naive(text: str, tmp_path: Path) -> None:
    generated = package({"Thing": obj(at={"type": "string", "format": "date-time"})}, tmp_path)
    assert generated.read("Thing", {"at": text}).at.date() == dt.date(2026, 1, 2)


def test_uuids_are_uuids(tmp_path: Path) -> None:
    generated = package({"Thing": obj(id={"type": "string", "format": "uuid"})}, tmp_path)
    text = "0190a5f0-0000-7000-8000-000000000001"
    assert generated.read("Thing", {"id": text}).id == UUID(text)


def test_constraints_are_not_validated(tmp_path: Path) -> None:
    limits = {
        "text": {"type": "string", "maxLength": 1, "pattern": "^x$"},
        "number": {"type": "integer", "minimum": 5, "multipleOf": 2},
        "list": {"type": "array", "items": {}, "maxItems": 0},
    }
    generated = package({"Thing": obj(**limits)}, tmp_path)
    beyond = {"text": "long", "number": 1, "list": [1]}
    assert generated.read("Thing", beyond).raw() == beyond
