"""Models say what the schema says, and read what servers really send."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_serializer
from typing_extensions import TypeAliasType

from asyncposthog.model import Model
from asyncposthog.modeling.lenient_schema import Lenient
from asyncposthog.modeling.mismatches import SchemaMismatch, find_mismatches


class User(Model):
    id: int
    email: str


class Cat(Model):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(Model):
    kind: Literal["dog"] = "dog"
    owner: User | None = None


class Robot(Model):
    kind: Literal["robot", "android"]


Pet = Annotated[Cat | Dog | Robot, Field(discriminator="kind")]
NamedPet = TypeAliasType("NamedPet", Pet)


class Flag(Model):
    id: int
    key: str
    in_folder: Annotated[str | None, Field(alias="_in_folder")] = None
    stage: Literal["alpha", "beta"] | str
    created_at: datetime
    created_by: User
    uuid: UUID
    ratio: float
    tags: list[str]
    weights: dict[str, int]
    pet: Pet
    pets: list[Pet]
    maybe_pet: Pet | None = None
    pet_by_name: dict[str, NamedPet]
    either: User | str
    constant: Literal["x"]


class Node(Model):
    name: str
    children: list[Node]
    parent: Node | None = None


class Early(Model):
    later: Later
    word: Annotated[Later | None, Field(alias="class")] = None


class Later(Model):
    size: int


FULL: dict[str, Any] = {
    "id": 1,
    "key": "k",
    "_in_folder": None,
    "stage": "beta",
    "created_at": "2026-01-02T03:04:05.600000Z",
    "created_by": {"id": 2, "email": "a@localhost"},
    "uuid": "0190a4c5-0000-7000-8000-000000000000",
    "ratio": 0.5,
    "tags": ["a"],
    "weights": {"a": 1},
    "pet": {"kind": "cat", "lives": 9},
    "pets": [{"kind": "dog", "owner": None}, {"kind": "android"}],
    "maybe_pet": None,
    "pet_by_name": {"rex": {"kind": "dog", "owner": {"id": 3, "email": "x"}}},
    "either": {"id": 4, "email": "y"},
    "constant": "x",
}


def read(data: Any) -> Flag:
    return Flag.model_validate_json(json.dumps(data))


def test_what_the_schema_promises_is_typed() -> None:
    flag = read(FULL)
    assert flag.created_at == datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
    assert flag.uuid == UUID("0190a4c5-0000-7000-8000-000000000000")
    assert type(flag.pet) is Cat
    assert [type(pet) for pet in flag.pets] == [Dog, Robot]
    assert type(flag.pet_by_name["rex"]) is Dog
    assert type(flag.either) is User
    assert find_mismatches(flag) == []
    assert flag.raw() == FULL


@pytest.mark.parametrize("name", [n for n in FULL if n != "constant"])
def test_every_field_may_be_null(name: str) -> None:
    data = {**FULL, name: None}
    flag = read(data)
    assert flag[name] is None
    assert flag.raw() == data
    flag.model_dump()  # draws no warning


@pytest.mark.parametrize("name", FULL)
def test_every_field_may_be_missing(name: str) -> None:
    data = {key: value for key, value in FULL.items() if key != name}
    flag = read(data)
    attribute = {"_in_folder": "in_folder"}.get(name, name)
    assert getattr(flag, attribute) is None
    assert attribute not in flag.model_fields_set
    assert name not in flag
    assert flag.get(name, "absent") == "absent"
    with pytest.raises(KeyError, match=name):
        flag[name]
    assert flag.raw() == data


def test_unknown_fields_are_kept_and_can_be_read() -> None:
    data = {**FULL, "new": {"deep": [1]}, "with space": 1, "copy": 2}
    flag = read(data)
    assert flag.new == {"deep": [1]}  # pyright: ignore[reportAttributeAccessIssue]
    assert (flag["with space"], flag["copy"], flag.get("new")) == (1, 2, {"deep": [1]})
    assert "new" in flag
    assert "newer" not in flag
    assert 5 not in flag
    assert flag.raw() == data


def test_fields_are_found_by_their_name_on_the_wire_and_in_python() -> None:
    flag = read({**FULL, "_in_folder": "f"})
    assert flag.in_folder == flag["_in_folder"] == flag["in_folder"] == flag.get("in_folder") == "f"
    assert "in_folder" in flag


def test_unknown_values_of_an_open_enum_are_kept() -> None:
    assert read({**FULL, "stage": "gamma"}).stage == "gamma"


def test_null_in_lists_and_dicts_is_taken() -> None:
    data = {**FULL, "tags": ["a", None], "weights": {"a": None}, "pets": [None]}
    flag = read(data)
    assert flag.tags == ["a", None]
    assert flag.raw() == data


UNKNOWN: list[dict[str, Any]] = [{"kind": "fish", "fins": 3}, {"fins": 3}, {"kind": None}]


@pytest.mark.parametrize("pet", UNKNOWN)
def test_unknown_variants_of_a_union_are_kept_as_dicts(pet: dict[str, Any]) -> None:
    data = {**FULL, "pet": pet, "pets": [pet, FULL["pet"]], "maybe_pet": pet}
    data["pet_by_name"] = {"nemo": pet}
    flag = read(data)
    assert flag.pet == flag.pets[0] == flag.maybe_pet == flag.pet_by_name["nemo"] == pet
    assert type(flag.pets[1]) is Cat
    assert flag.raw() == data
    flag.model_dump()
    paths = [d.path for d in find_mismatches(flag)]
    assert paths == [("pet",), ("pets", 0), ("maybe_pet",), ("pet_by_name", "nemo")]


@pytest.mark.parametrize("field", ["pet", "maybe_pet"])
def test_a_known_variant_that_does_not_fit_is_an_error(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read({**FULL, field: {"kind": "cat", "lives": "nine"}})
    assert ("int_parsing", (field,)) in [(e["type"], e["loc"][:1]) for e in caught.value.errors()]


@pytest.mark.parametrize(("value", "expected"), [("7", 7), (7.0, 7), (True, 1)])
def test_scalars_are_coerced_as_pydantic_does(value: Any, expected: int) -> None:
    assert read({**FULL, "id": value}).id == expected


def test_a_mistyped_value_is_an_error_of_validation() -> None:
    with pytest.raises(ValidationError):
        Flag.model_validate({**FULL, "id": "seven"})


def test_recursive_models() -> None:
    data = {"name": "a", "children": [{"name": "b", "children": []}, {"children": None}]}
    node = Node.model_validate(data)
    assert node.children[0].name == "b"
    assert node.children[1].children is None
    assert node.raw() == data
    assert [d.path for d in find_mismatches(node)] == [
        ("children", 1, "name"),
        ("children", 1, "children"),
    ]


def test_models_that_are_declared_later() -> None:
    early = Early.model_validate({"later": {"size": None}, "class": {"size": 1}})
    assert early["class"] == early.word == Later(size=1)
    assert early.later.size is None


def test_two_readings_of_the_same_are_equal_and_can_be_copied_and_pickled() -> None:
    flag = read({**FULL, "new": 1, "pet": {"kind": "fish"}})
    assert flag == read({**FULL, "new": 1, "pet": {"kind": "fish"}})
    for other in (copy.deepcopy(flag), pickle.loads(pickle.dumps(flag)), flag.model_copy()):
        assert other == flag
        assert other.raw() == flag.raw()


def test_users_may_derive_their_own_models() -> None:
    class MyFlag(Flag):
        extra: int

        @field_serializer("key")
        def shout(self, key: str) -> str:
            return key.upper()

        @property
        def title(self) -> str:
            return f"{self.key} {self.extra}"

    flag = MyFlag.model_validate({**FULL, "extra": None})
    assert flag.title == "k None"
    assert flag.model_dump()["key"] == "K"
    assert find_mismatches(flag) == [SchemaMismatch(("extra",), "expected int, got null")]


def test_users_may_put_models_into_their_own() -> None:
    class Report(BaseModel):
        flags: list[Flag]

    report = Report.model_validate({"flags": [{"pet": {"kind": "fish"}}]})
    assert report.model_dump(exclude_unset=True) == {"flags": [{"pet": {"kind": "fish"}}]}


def test_a_constructed_model_sends_its_constants() -> None:
    cat = Cat(lives=9)
    assert cat.raw() == {"kind": "cat", "lives": 9}
    assert Dog.model_validate({"owner": None}).raw() == {"owner": None}


def test_types_that_are_no_models_can_be_read_tolerantly() -> None:
    get_adapter: TypeAdapter[Any] = TypeAdapter(Annotated[list[NamedPet], Lenient()])
    pets = get_adapter.validate_python([{"kind": "cat", "lives": None}, {"kind": "fish"}, None])
    assert pets == [Cat.model_validate({"kind": "cat", "lives": None}), {"kind": "fish"}, None]
    assert [str(d) for d in find_mismatches(pets, list[NamedPet])] == [
        "[0].lives: expected int, got null",
        "[1]: expected Cat or Dog or Robot, got an object of no known variant",
        "[2]: expected Cat or Dog or Robot, got null",
    ]


class Text(Model):
    key: str
    value: str
    operator: Literal["is", "is_not"] | str | None = None


class Number(Model):
    key: str
    value: float
    operator: Literal["is", "is_not"] | str | None = None


class Exists(Model):
    key: str
    operator: Literal["is_set"] | str


class Group(Model):
    op: Annotated[Literal["AND", "OR"], Field(alias="type")]
    values: list[Group | Text | Number | Exists]


class Span(Model):
    unit: Literal["days"]
    until: datetime | None = None


class Options(Model):
    options: list[str]
    until: datetime | None = None


class Home(Model):
    kind: Literal["home"] = "home"
    source: Text


class Office(Model):
    kind: Literal["office"] = "office"
    source: Exists


Place = Annotated[Home | Office, Field(discriminator="kind")]
Untagged = TypeAliasType("Untagged", Options | Span | Exists)


class Unions(Model):
    one: Untagged | None = None
    many: list[Text | Number | Exists | Group] | None = None
    named: dict[str, Untagged] | None = None
    other: Options | Span | dict[str, Any] | str | None = None
    mixed: Exists | Place | None = None
    place: Place | None = None
    pet: Pet | None = None


UNTAGGED: list[tuple[str, Any, type[Any]]] = [
    ("one", {"key": "k", "operator": "is_set"}, Exists),
    ("one", {"options": ["a"], "until": None}, Options),
    ("one", {"unit": "days", "until": "2026-01-02T03:04:05Z", "new": [1]}, Span),
    ("one", {"unit": "years", "until": None}, Options),  # by neither: as pydantic does
    ("many", {"key": "k", "value": "5"}, Text),
    ("many", {"key": "k", "value": 5.0, "operator": "is"}, Number),
    ("many", {"key": "k", "operator": "is"}, Exists),
    ("many", {"type": "OR", "values": []}, Group),
    ("named", {"key": "k", "operator": "x", "until": None}, Exists),
    ("other", {"unit": "days"}, Span),
    ("other", {"new": 1, "options": None}, Options),
    ("mixed", {"kind": "office", "source": {"key": "k"}}, Office),
    ("mixed", {"key": "k", "operator": "is_set"}, Exists),
    ("place", {"source": {"key": "k", "value": "v"}}, Home),
    ("place", {"source": {"key": "k", "operator": "is_set"}}, Office),  # told by what is inside
    ("place", {"source": {"key": "k"}, "kind": "office"}, Office),
    ("pet", {"lives": 9}, Cat),
    ("pet", {"owner": None, "new": 1}, Dog),
    ("pet", {}, Dog),
]


@pytest.mark.parametrize(("field", "value", "expected"), UNTAGGED)
def test_variants_without_a_tag_are_known_by_what_they_require(
    field: str, value: Any, expected: type[Any]
) -> None:
    wrapped = {"many": [value], "named": {"a": value}}.get(field, value)
    data = {field: wrapped}
    read = Unions.model_validate_json(json.dumps(data))
    found = read[field]
    found = found[0] if isinstance(found, list) else found
    found = found["a"] if isinstance(found, dict) else found
    assert type(found) is expected
    assert read.raw() == data
    assert Unions.model_validate(data) == read
    read.model_dump()  # draws no warning
    assert Unions.model_validate(read.model_dump(exclude_unset=True, by_alias=True)) == read


def test_variants_without_a_tag_are_told_apart_in_recursive_models() -> None:
    leaf = {"key": "k", "operator": "is_set"}
    data = {"type": "AND", "values": [{"type": "OR", "values": [leaf, {"key": "k", "value": 5}]}]}
    group = Group.model_validate_json(json.dumps(data))
    inner = group.values[0]
    assert isinstance(inner, Group)
    assert [type(value) for value in inner.values] == [Exists, Number]
    assert find_mismatches(group) == []
    assert group.raw() == data


def test_a_variant_without_a_tag_that_does_not_fit_is_left_to_the_others() -> None:
    read = Unions.model_validate({"one": {"options": 5, "key": "k"}, "place": {"source": 5}})
    assert type(read.one) is Exists
    assert read.place == {"source": 5}


@pytest.mark.parametrize("value", [5, "text", [], {"unit": "days", "until": "x", "key": 5}])
def test_what_is_no_variant_is_an_error(value: Any) -> None:
    with pytest.raises(ValidationError):
        Unions.model_validate_json(json.dumps({"one": value}))


def test_instances_of_variants_are_taken_and_written() -> None:
    exists = Exists(key="k", operator="is_set")
    unions = Unions(one=exists, many=[exists], mixed=Home(source=Text(key="k", value="v")))
    assert unions.one is exists
    assert unions.raw() == {
        "one": exists.raw(),
        "many": [exists.raw()],
        "mixed": {"kind": "home", "source": {"key": "k", "value": "v"}},
    }


def test_numbers_that_json_does_not_have_survive() -> None:
    flag = Flag.model_validate_json('{"ratio": NaN}')
    assert str(flag.raw()["ratio"]) == "nan"


def test_deviations_name_the_place_and_what_is_wrong() -> None:
    flag = read({**FULL, "tags": None, "weights": {"a": None}, "created_by": {"id": 1}})
    found = [
        *find_mismatches(flag),
        *find_mismatches([flag.created_by]),
        *find_mismatches({"a": flag.created_by}),
    ]
    assert [str(d) for d in found] == [
        "created_by.email: missing",
        "tags: expected list, got null",
        "weights.a: expected int, got null",
        "[0].email: missing",
        "a.email: missing",
    ]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("id", "x", "expected int, got a string"),
        ("id", True, "expected int, got a boolean"),
        ("key", 5, "expected str, got a number"),
        ("created_at", "x", "expected datetime, got a string"),
        ("constant", "y", "expected one of 'x', got a string"),
        ("tags", {}, "expected list, got an empty object"),
        ("either", [], "expected User or str, got an array"),
    ],
)
def test_raw_values_are_deviations(name: str, value: Any, reason: str) -> None:
    flag = read(FULL)
    vars(flag)[name] = value
    assert find_mismatches(flag) == [SchemaMismatch((name,), reason)]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(
    unknown=st.dictionaries(
        st.text().filter(lambda n: n not in FULL and n != "in_folder"), json_values
    ),
    known=st.sets(st.sampled_from(sorted(FULL))),
)
def test_any_answer_survives_a_round_trip(unknown: dict[str, Any], known: set[str]) -> None:
    data = {**{name: FULL[name] for name in known}, **unknown}
    assert read(data).raw() == data
