"""Arguments given as JSON: conversions that are clear, and errors that say what to change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog import registry
from asyncposthog.catalog.arguments import ArgumentError, prepare_arguments
from asyncposthog.catalog.schema import MAX_SCHEMA_CHARS, arguments, describe_fields, input_schema
from asyncposthog.types import OMIT


def prepared(operation_id: str, **given: Any) -> Any:
    return prepare_arguments(registry.find(operation_id), given)


def test_arguments_are_sorted_by_where_they_are_sent() -> None:
    path, query, headers, body = prepared("persons.update", id="p", format="json", properties={})
    assert (path, query, headers, body) == (("p",), {"format": "json"}, {}, {"properties": {}})


def test_a_soft_delete_has_its_fixed_body() -> None:
    assert prepared("feature_flags.delete", id=3)[3] == {"deleted": True}


def test_a_read_has_no_body() -> None:
    assert prepared("feature_flags.get", id=3)[3] is OMIT


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"active": "false"}, {"active": False}),
        ({"active": "False"}, {"active": False}),
        ({"filters": '{"groups": []}'}, {"filters": {"groups": []}}),
        ({"tags": "one"}, {"tags": ["one"]}),
        ({"tags": '["a", "b"]'}, {"tags": ["a", "b"]}),
        ({"name": 7}, {"name": "7"}),
    ],
)
def test_what_is_clear_is_converted(given: dict[str, Any], body: dict[str, Any]) -> None:
    assert prepared("feature_flags.update", id="12", **given) == ((12,), {}, {}, body)


@pytest.mark.parametrize(
    ("given", "field", "expected", "near"),
    [
        ({}, "id", "integer", ()),
        ({"id": "x"}, "id", "integer", ()),
        ({"id": 1, "activ": True}, "activ", None, ("active",)),
        ({"id": 1, "active": "maybe"}, "active", "boolean", ()),
        ({"id": 1, "evaluation_runtime": "servr"}, "evaluation_runtime", None, ("server",)),
    ],
)
def test_an_error_names_the_field_and_what_was_expected(
    given: dict[str, Any], field: str, expected: str | None, near: tuple[str, ...]
) -> None:
    with pytest.raises(ArgumentError) as raised:
        prepared("feature_flags.update", **given)
    assert raised.value.field == field
    if expected is not None:
        assert raised.value.expected == expected
    assert set(near) <= set(raised.value.near)


def test_all_missing_arguments_are_named() -> None:
    with pytest.raises(ArgumentError) as raised:
        prepared("experiments.create")
    assert raised.value.missing == ("feature_flag_key", "name")


def test_unknown_fields_are_sent_if_the_caller_says_so() -> None:
    operation = registry.find("dashboards.create")
    body = prepare_arguments(operation, {"name": "x", "new": 1}, unknown_fields=True)[3]
    assert body == {"name": "x", "new": 1}


def test_files_are_text_or_base64() -> None:
    operation = next(
        o for o in registry.operations() if o.body is not None and o.body.files and o.body.flat
    )
    assert operation.body is not None
    name = next(n for n, a in arguments(operation).items() if a.is_file)
    others: dict[str, Any] = {
        n: "x" for n, a in arguments(operation).items() if a.required and n != name
    }
    body: Any = prepare_arguments(operation, {**others, name: "text"})[3]
    wire = arguments(operation)[name].wire_name
    assert body[wire] == (wire, b"text")
    body = prepare_arguments(operation, {**others, name: {"name": "a.png", "base64": "AAE="}})[3]
    assert body[wire] == ("a.png", b"\x00\x01")
    with pytest.raises(ArgumentError, match="is a file"):
        prepare_arguments(operation, {**others, name: 7})


def test_every_operation_has_a_schema_that_clients_accept() -> None:
    import json

    for operation in registry.operations():
        schema = input_schema(operation)
        assert len(json.dumps(schema)) <= MAX_SCHEMA_CHARS, operation.id
        assert set(schema.get("required", ())) <= set(schema["properties"])
        assert "$ref" not in json.dumps(schema)


def test_the_fields_of_a_union_are_described_together() -> None:
    questions = arguments(registry.find("surveys.create"))["questions"]
    fields = describe_fields(questions.schema)
    assert fields["question"] == "string, required"
    assert '"single_choice"' in fields["type"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
_NAMES = st.sampled_from(sorted(arguments(registry.find("feature_flags.update")))) | st.text()


@settings(max_examples=50)
@given(st.dictionaries(_NAMES, _JSON, max_size=5))
def test_any_arguments_are_accepted_or_refused_as_such(given: dict[str, Any]) -> None:
    path, message = None, ""
    try:
        path, _, _, _ = prepared("feature_flags.update", **{**given, "id": 1})
    except ArgumentError as error:
        message = error.message
    assert path == (1,) or message
