"""Sample values are valid for any schema."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog import registry
from posthog_emulator.schema.catalogue import Catalogue, Direction
from posthog_emulator.schema.sampling import SampleGenerator, Style, Unsatisfiable
from posthog_emulator.schema.validation import Validators

STYLES: tuple[Style, ...] = ("plain", "rich", "bare")
DIRECTIONS: tuple[Direction, ...] = ("request", "response")
CATALOGUE = Catalogue(registry.schemas())
VALIDATORS = Validators(CATALOGUE)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("style", STYLES)
def test_every_component_has_a_valid_value(style: Style, direction: Direction) -> None:
    synthesiser = SampleGenerator(CATALOGUE, direction, style, VALIDATORS.checker)
    assert len(CATALOGUE) > 1000
    for name in CATALOGUE:
        value = synthesiser.component(name)
        problem = VALIDATORS.first_error(name, value, direction)
        assert problem is None, f"{name}: {problem.attr}: {problem}"


def made(schema: Any, style: Style = "rich", components: dict[str, Any] | None = None) -> Any:
    catalogue = Catalogue(components or {})
    checker = Validators(catalogue).checker
    value = SampleGenerator(catalogue, "response", style, checker).value(schema, "hint")
    assert checker(schema, "response")(value), value
    return value


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"const": {"a": [1]}},
        {"enum": [None, "", "x"]},
        {"type": "string", "format": "uuid"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"type": "string", "format": "time"},
        {"type": "string", "format": "uri", "maxLength": 200},
        {"type": "string", "format": "email"},
        {"type": "string", "minLength": 9, "maxLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "string", "pattern": r"^[-a-zA-Z0-9_]+$", "minLength": 3},
        {"type": "string", "pattern": r"^-?\d{0,1}(?:\.\d{0,2})?$"},
        {"type": "integer", "minimum": 5},
        {"type": "integer", "maximum": -5},
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1.5},
        {"type": "integer", "minimum": 7, "multipleOf": 5},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2},
        {"type": ["string", "null"]},
        {"type": ["null", "integer"]},
        {"type": "object", "required": ["x"]},
        {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "string"}},
        {"properties": {"a": {"type": "string"}}},
        {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 1}}}]},
        {"anyOf": [False, {"type": "integer"}]},
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "anyOf": [{"properties": {"b": {"const": 1}}, "required": ["b"]}, False],
        },
        {"oneOf": [{"type": "number"}, {"type": "integer"}, {"type": "string"}]},
        {"type": "string", "default": 3},
        {"type": "integer", "default": 7},
    ],
)
def test_sample_is_valid(schema: Any, style: Style) -> None:
    made(schema, style)


def test_plain_samples_use_valid_defaults() -> None:
    assert made({"type": "integer", "default": 7}, "plain") == 7
    assert made({"type": "integer", "default": "x"}, "plain") == 0


def test_plain_samples_have_nulls_and_rich_samples_values() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert (made(schema, "plain"), made(schema, "rich")) == (None, "hint")


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"anyOf": [False]},
        {"enum": []},
        {"type": "string", "pattern": "^z{40}$"},
        {"$ref": "#/components/schemas/Nothing"},
        {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True},
    ],
)
def test_unsatisfiable_schemas(schema: Any) -> None:
    with pytest.raises(Unsatisfiable):
        made(schema)


def test_recursion_ends() -> None:
    ref = {"$ref": "#/components/schemas/Tree"}
    tree = {
        "type": "object",
        "properties": {
            "children": {"type": "array", "items": ref},
            "parent": {"anyOf": [ref, {"type": "null"}]},
            "either": {"anyOf": [ref, {"type": "integer"}]},
        },
        "required": ["either", "parent"],
    }
    for style in STYLES:
        made(ref, style, {"Tree": tree})


def test_mutual_recursion_ends() -> None:
    components = {
        "A": {
            "type": "object",
            "properties": {"b": {"$ref": "#/components/schemas/B"}},
            "required": ["b"],
        },
        "B": {
            "anyOf": [
                {"$ref": "#/components/schemas/A"},
                {"type": "array", "items": {"$ref": "#/components/schemas/A"}, "minItems": 1},
                {"const": "leaf"},
            ]
        },
    }
    for style in STYLES:
        made({"$ref": "#/components/schemas/A"}, style, components)


def test_a_component_that_requires_itself() -> None:
    ref = {"$ref": "#/components/schemas/Endless"}
    endless = {"type": "object", "properties": {"next": ref}, "required": ["next"]}
    with pytest.raises(Unsatisfiable):
        made(ref, "rich", {"Endless": endless})


def test_directions() -> None:
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "password": {"type": "string", "writeOnly": True},
            "name": {"type": "string"},
        },
        "required": ["id", "name", "password"],
    }
    catalogue = Catalogue({})
    assert SampleGenerator(catalogue, "request").value(schema).keys() == {"name", "password"}
    assert SampleGenerator(catalogue, "response").value(schema).keys() == {"id", "name"}


def test_samples_are_not_shared() -> None:
    catalogue = Catalogue({"A": {"type": "object", "properties": {"a": {"type": "array"}}}})
    synthesiser = SampleGenerator(catalogue)
    synthesiser.component("A")["a"].append(1)
    assert 1 not in synthesiser.component("A")["a"]


@st.composite
def scalars(draw: st.DrawFn) -> dict[str, Any]:
    least, extra = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    low = draw(st.integers(-50, 50))
    return draw(
        st.sampled_from(
            [
                {"type": "integer", "minimum": low, "maximum": low + extra},
                {"type": "string", "minLength": least, "maxLength": least + extra},
                {"type": "boolean"},
                {"type": "null"},
                {"enum": ["a", 1, None]},
                {"type": "string", "format": "uuid"},
                {"type": "string", "format": "date-time"},
                {"type": ["number", "null"]},
            ]
        )
    )


@st.composite
def nested(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    names = st.sampled_from(["a", "b", "c"])
    kind = draw(st.sampled_from(["array", "union", "object"]))
    if kind == "array":
        return {"type": "array", "items": draw(inner), "minItems": draw(st.integers(0, 3))}
    if kind == "union":
        return {"anyOf": draw(st.lists(inner, min_size=1, max_size=3))}
    return {
        "type": "object",
        "properties": draw(st.dictionaries(names, inner, max_size=3)),
        "required": sorted(draw(st.sets(names))),
        "additionalProperties": draw(inner),
    }


@settings(max_examples=150, deadline=None)
@given(schema=st.recursive(scalars(), nested, max_leaves=8), style=st.sampled_from(STYLES))
def test_generated_schemas(schema: Any, style: Style) -> None:
    assert made(schema, style) == made(schema, style)


def test_strings_are_named_after_their_property() -> None:
    value = made({"type": "object", "properties": {"colour": {"type": "string"}}})
    assert re.fullmatch("colour", value["colour"])
