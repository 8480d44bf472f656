"""Types of models: enums, inline objects, aliases, recursion, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from pydantic import ValidationError

from codegen.diagnostics import GenerationError

from .model_helpers import NULL, NUMBER, TEXT, build, obj, package, ref

STATUS = {"type": "string", "enum": ["on", "off"]}
BLANK = {"const": "", "type": "string"}


def test_an_enum_is_a_closed_alias_and_its_fields_are_open(tmp_path: Path) -> None:
    generated = package({"Status": STATUS, "Thing": obj(s=ref("Status"))}, tmp_path)
    assert generated.Status == Literal["on", "off"]
    assert generated.field("Thing", "s").annotation == Literal["on", "off"] | str | None
    assert generated.read("Thing", {"s": "new"}).raw() == {"s": "new"}
    with pytest.raises(ValidationError):
        generated.read("Status", "new")
    assert generated.set.kinds == {"Status": "enum", "Thing": "model"}


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({"anyOf": [ref("Status"), NULL]}, Literal["on", "off"] | str | None),
        ({"anyOf": [ref("Status"), BLANK, NULL]}, Literal["on", "off"] | Literal[""] | str | None),
        ({"oneOf": [ref("Status"), NULL], "readOnly": True}, Literal["on", "off"] | str | None),
        ({**STATUS, "readOnly": True}, Literal["on", "off"] | str | None),
        ({"enum": ["a", None]}, Literal["a"] | str | None),
        ({"type": ["string", "null"], "enum": ["a", None]}, Literal["a"] | str | None),
        ({"type": "array", "items": {"enum": ["a", None]}}, list[Literal["a"] | str | None] | None),
        ({"enum": [1, -1], "type": "integer"}, Literal[1, -1] | int | None),
        ({"enum": [0, 1], "type": "number"}, Literal[0, 1] | int | float | None),
        ({"enum": [0.5, 1.5], "type": "number"}, float | None),
        ({"enum": [True]}, Literal[True] | bool | None),
        ({"enum": ["a", 1]}, Literal["a", 1] | str | int | None),
        ({"enum": [["a"]]}, Any),
        ({"anyOf": [{"enum": ["a"]}, {"enum": ["b", "a"]}]}, Literal["a", "b"] | str | None),
        ({"anyOf": [ref("Status"), NUMBER]}, Literal["on", "off"] | int | str | None),
        ({"type": ["number", "string"]}, float | str | None),
        ({"type": ["array", "null"], "items": ref("Status")}, None),
        ({"anyOf": [{}, NULL]}, Any),
        ({"allOf": [ref("Status")], "readOnly": True}, Literal["on", "off"] | str | None),
        (ref("Status", readOnly=True, default="on"), Literal["on", "off"] | str | None),
        ({"type": "null"}, type(None)),
        (ref("Nothing"), type(None)),
        ({"type": "array"}, list[Any] | None),
        ({"type": "array", "items": {"type": "array", "items": NUMBER}}, list[list[int]] | None),
        ({"type": "object"}, dict[str, Any] | None),
        ({"type": "object", "additionalProperties": False}, dict[str, Any] | None),
        ({"additionalProperties": {"anyOf": [NUMBER, NULL]}}, dict[str, int | None] | None),
    ],
)
def test_a_schema_becomes_a_type(schema: Any, annotation: Any, tmp_path: Path) -> None:
    components = {"Status": STATUS, "Nothing": NULL, "Thing": obj(x=schema)}
    generated = package(components, tmp_path)
    if annotation is None:
        annotation = list[generated.Status | str] | None
    assert generated.field("Thing", "x").annotation == annotation
    assert generated.set.diagnostics == ()


@pytest.mark.parametrize("value", ["on", "", None, "later"])
def test_enum_with_blank_and_null_reads_all_of_them(value: Any, tmp_path: Path) -> None:
    role = {"anyOf": [ref("Status"), BLANK, NULL]}
    generated = package({"Status": STATUS, "Thing": obj("role", role=role)}, tmp_path)
    assert generated.read("Thing", {"role": value}).role == value


def test_values_that_are_no_identifiers_are_kept_as_they_are(tmp_path: Path) -> None:
    values = ["$ai_generation", "image/svg+xml", "Not firing", "+1", "-1M", "-1h", 'a"b', "\\", "ä"]
    generated = package({"Odd": {"type": "string", "enum": values}}, tmp_path)
    assert list(get_args(generated.Odd)) == values


def test_a_thousand_values_are_written_once(tmp_path: Path) -> None:
    values = [f"zone/{number}" for number in range(1000)]
    many = {"type": "string", "enum": values}
    schemas = {
        "Zone": many,
        "A": obj(z=ref("Zone"), y={"type": "array", "items": ref("Zone")}),
        "B": obj(z=ref("Zone"), inline={"type": "string", "enum": values[1:]}),
        "C": obj(inline={"type": "string", "enum": values[1:]}),
    }
    generated = package(schemas, tmp_path)
    source = "".join(generated.set.files.values())
    assert source.count("zone/0") == 1
    assert source.count("zone/999") == 2  # the component, and the inline enum of two models
    assert generated.set.kinds["BInline"] == "enum"
    assert generated.read("C", {"inline": "zone/1"}).inline == "zone/1"


def test_inline_objects_are_named_after_their_location(tmp_path: Path) -> None:
    leaf = obj(x=NUMBER)
    thing = obj(
        rowFilter=leaf,
        list={"type": "array", "items": leaf},
        map={"type": "object", "additionalProperties": leaf},
        maybe={"anyOf": [leaf, NULL]},
        either={"anyOf": [leaf, obj(y=TEXT)]},
        taken=leaf,
        deep=obj(er=leaf),
    )
    generated = package({"Thing": thing, "ThingTaken": obj(z=TEXT)}, tmp_path)
    assert set(generated.set.exports) == {
        "Thing",
        "ThingRowFilter",
        "ThingListItem",
        "ThingMapValue",
        "ThingMaybe",
        "ThingEither1",
        "ThingEither2",
        "ThingTaken",
        "ThingTaken2",
        "ThingDeep",
        "ThingDeepEr",
    }
    read = generated.read("Thing", {"list": [{"x": 1}], "map": {"a": {"x": 2}}, "taken": {"x": 3}})
    assert isinstance(read.list[0], generated.ThingListItem)
    assert isinstance(read.map["a"], generated.ThingMapValue)
    assert isinstance(read.taken, generated.ThingTaken2)
    assert isinstance(
        generated.read("Thing", {"either": {"y": "a"}}).either, generated.ThingEither2
    )


ALIASES = {
    "List": {"type": "array", "items": ref("Leaf")},
    "Map": {"type": "object", "additionalProperties": ref("Leaf")},
    "Either": {"anyOf": [ref("Leaf"), {"type": "array", "items": NUMBER}, NULL]},
    "Same": ref("Leaf"),
    "Anything": {},
    "Free": {"type": "object"},
    "Word": TEXT,
    "Leaf": obj(x=NUMBER),
    "User": obj(
        list=ref("List"), map=ref("Map"), either=ref("Either"), same=ref("Same"),
        anything=ref("Anything"), free=ref("Free"), word=ref("Word"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List", [{"x": 1}]),
        ("Map", {"a": {"x": 1}}),
        ("Either", [1]),
        ("Either", None),
        ("Same", {"x": 1}),
        ("Anything", [{"b": None}]),
        ("Free", {"b": [1]}),
        ("Word", "a"),
    ],
)
def test_aliases_can_be_read_and_annotate(name: str, value: Any, tmp_path: Path) -> None:
    generated = package(ALIASES, tmp_path)
    assert generated.set.kinds[name] == "alias"
    read = generated.read(name, value)
    user = generated.read("User", {name.lower(): value})
    assert getattr(user, name.lower()) == read
    assert user.raw() == {name.lower(): value}


def test_recursive_classes(tmp_path: Path) -> None:
    schemas = {
        "Tree": obj(children={"type": "array", "items": ref("Tree")}),
        "A": obj(b=ref("B"), self_or=ref("AorB")),
        "B": obj(a=ref("A"), list=ref("As")),
        "AorB": {"anyOf": [ref("A"), ref("B")]},
        "As": {"type": "array", "items": ref("A")},
    }
    generated = package(schemas, tmp_path)
    tree = {"children": [{"children": []}, {}]}
    assert generated.read("Tree", tree).raw() == tree
    circle = {"b": {"a": {"b": {"list": [{"b": {}}]}}}}
    read = generated.read("A", circle)
    assert isinstance(read.b.a.b.list[0].b, generated.B)
    assert read.raw() == circle


def test_recursive_aliases(tmp_path: Path) -> None:
    json_value = {
        "anyOf": [
            TEXT,
            {"type": "array", "items": ref("Value")},
            {"type": "object", "additionalProperties": ref("Other")},
        ]
    }
    schemas = {
        "Value": json_value,
        "Other": {"type": "array", "items": ref("Value")},
        "Plain": ref("Value"),
        "Holder": obj(value=ref("Value"), other={"type": "array", "items": ref("Plain")}),
    }
    generated = package(schemas, tmp_path)
    nested = ["a", {"b": [["c"], {"d": []}]}]
    assert generated.read("Value", nested) == nested
    holder = {"value": nested, "other": [nested]}
    assert generated.read("Holder", holder).raw() == holder
    with pytest.raises(ValidationError):
        generated.read("Value", [1])


@pytest.mark.parametrize(
    "schemas",
    [
        {"A": ref("A")},
        {"A": ref("B"), "B": {"anyOf": [ref("A"), NULL]}},
        {"A": {"allOf": [ref("B")]}, "B": {"oneOf": [ref("C"), NULL]}, "C": ref("A")},
    ],
)
def test_self_referencing_alias_is_an_error(schemas: dict[str, Any]) -> None:
    with pytest.raises(GenerationError, match="is only itself"):
        build(schemas)


CLASHING = [
    "Any", "Annotated", "Literal", "TypeAlias", "TypeAliasType", "Field", "Model", "UUID",
    "BaseModel", "Text", "Comment", "Element", "List", "Dict", "Type", "Object", "Exception",
]  # fmt: skip


@pytest.mark.parametrize("only", [*CLASHING, None])
def test_schemas_may_share_names_with_imports(only: str | None, tmp_path: Path) -> None:
    names = CLASHING if only is None else [only]
    everything = {
        "any": {},
        "camelCase": {"type": "string", "format": "uuid"},
        "enum": STATUS,
        "other": {"type": "array", "items": {"anyOf": [ref(name) for name in names]}},
    }
    schemas: dict[str, Any] = {name: obj("own" + name, **{"own" + name: TEXT}) for name in names}
    schemas["Holder"] = obj(**everything)
    schemas["Enum"] = STATUS
    schemas["Recursive"] = {"type": "array", "items": ref("Recursive")}
    generated = package(schemas, tmp_path, names={name: name for name in schemas})
    for name in names:
        holder = generated.read("Holder", {"other": [{"own" + name: "x"}], "enum": "on"})
        assert isinstance(holder.other[0], getattr(generated, name))
    assert generated.read("Recursive", [[]]) == [[]]


@pytest.mark.parametrize("name", ["thing", "1Thing", "Thing-x", "None", "", "_Thing", "Ä"])
def test_invalid_class_name_is_an_error(name: str) -> None:
    with pytest.raises(GenerationError, match="cannot be a class name"):
        build({"thing": obj(x=TEXT)}, names={"thing": name})


def test_two_components_cannot_share_a_name() -> None:
    with pytest.raises(GenerationError, match="would be called 'Same', as 'a' is"):
        build({"a": obj(x=TEXT), "b": obj(x=TEXT)}, names={"a": "Same", "b": "Same"})


def test_references_have_to_lead_somewhere() -> None:
    with pytest.raises(GenerationError, match="refers to 'Gone', which is not a component"):
        build({"Thing": obj(x=ref("Gone"))})
    with pytest.raises(GenerationError, match="no such component"):
        build({}, users={"Gone": frozenset({"things"})})
    with pytest.raises(GenerationError, match="has no class name"):
        build({"Thing": obj(x=TEXT)}, names={})


@pytest.mark.parametrize("odd", [obj(**{"\ud800": TEXT}), {"enum": ["a", "\ud800"]}])
def test_text_that_is_no_unicode_is_an_error(odd: Any) -> None:
    with pytest.raises(GenerationError, match=r"'\\ud800' cannot be written in UTF-8"):
        build({"Thing": obj(x=odd)})


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "array", "prefixItems": [TEXT]}, "prefixItems is not represented"),
        ({"not": TEXT}, "not is not represented"),
        ({"allOf": [obj(a=TEXT), obj(b=TEXT)]}, "allOf of several schemas is not represented"),
        ({"type": "file"}, "'file' is not a JSON type"),
        ({**obj(a=TEXT), "additionalProperties": NUMBER}, "additional properties"),
        ({**obj(a=TEXT), "anyOf": [TEXT, NUMBER]}, "properties beside a union"),
    ],
)
def test_losses_are_reported(schema: Any, reason: str) -> None:
    (diagnostic,) = build({"Thing": obj(x=schema)}).diagnostics
    assert diagnostic.pointer == "#/components/schemas/Thing/properties/x"
    assert reason in diagnostic.reason


def test_unknown_fields_survive(tmp_path: Path) -> None:
    generated = package({"Thing": {**obj(a=TEXT), "additionalProperties": False}}, tmp_path)
    data = {"a": "x", "later": {"b": [1]}}
    assert generated.read("Thing", data).raw() == data
