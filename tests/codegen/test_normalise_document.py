"""Whole documents: the pinned one, and whatever hypothesis comes up with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from codegen.normalise import normalise
from codegen.schema import dump

PINNED = Path(__file__).parents[2] / "openapi" / "posthog.json"
REF = "#/components/schemas/"
NAMES = ("A", "B", "C")
METHODS = ("get", "put", "post", "patch", "delete")
Found = Iterator[dict[str, Any]]


def document(schemas: dict[str, Any], version: str = "3.1.0", **paths: Any) -> dict[str, Any]:
    return {
        "openapi": version,
        "info": {"title": "t", "version": "1", "description": "about it"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def every(schema: Any) -> Found:
    """Walk a normalised schema by a table of its own, not by the generator's."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("items", "additionalProperties", "propertyNames"):
        yield from every(schema.get(key))
    for key in ("anyOf", "oneOf", "prefixItems"):
        for value in schema.get(key, ()):
            yield from every(value)
    for value in schema.get("properties", {}).values():
        yield from every(value)


def all_schemas(found: dict[str, Any]) -> Found:
    for schema in found["components"]["schemas"].values():
        yield from every(schema)
    for item in found["paths"].values():
        for operation in item.values():
            holders = [*operation.get("parameters", ())]
            bodies = [operation.get("requestBody", {}), *operation.get("responses", {}).values()]
            for body in [*bodies, *holders]:
                holders += body.get("content", {}).values()
            for holder in holders:
                yield from every(holder.get("schema"))


def check(found: dict[str, Any]) -> None:
    """Check what the form promises."""
    components = found["components"]["schemas"]
    for schema in all_schemas(found):
        assert not schema.keys() & {"nullable", "allOf", "not", "title", "description"}
        assert isinstance(schema.get("type", ""), str)
        assert None not in schema.get("enum", ())
        assert "type" in schema or not schema.keys() & {"enum", "const"}
        if "$ref" in schema:
            assert schema["$ref"].removeprefix(REF) in components
        if "anyOf" in schema:
            branches = schema["anyOf"]
            assert len(branches) > 1
            assert not any("anyOf" in branch for branch in branches)
            assert {"type": "null"} not in branches[:-1]
            assert not any(branch.keys() & {"default", "readOnly"} for branch in branches)
        assert ("oneOf" in schema) == ("discriminator" in schema)
        if "discriminator" in schema:
            check_tagged(schema, components)
    constants = ({"type": "null"}, {"const": "", "type": "string"})
    assert not any(schema in constants for schema in components.values())


def check_tagged(schema: dict[str, Any], components: dict[str, Any]) -> None:
    tag = schema["discriminator"]
    mapping = tag["mapping"]
    assert [variant.keys() for variant in schema["oneOf"]] == [{"$ref"}] * len(schema["oneOf"])
    assert {variant["$ref"] for variant in schema["oneOf"]} == set(mapping.values())
    for variant in schema["oneOf"]:
        own = components[variant["$ref"].removeprefix(REF)]["properties"][tag["propertyName"]]
        values = own["enum"] if "enum" in own else [own["const"]]
        texts = {str(value).lower() if isinstance(value, bool) else str(value) for value in values}
        assert texts == {value for value in mapping if mapping[value] == variant["$ref"]}


def test_the_pinned_document_is_in_its_form_already() -> None:
    text = PINNED.read_text(encoding="utf-8")
    pinned = json.loads(text)

    again = normalise(pinned)

    assert again.findings == ()
    assert dump(again.document) == text
    check(pinned)


def test_the_pinned_document_holds_the_whole_api() -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    operations = [method for item in pinned["paths"].values() for method in item]

    assert len(operations) == 1043
    assert set(operations) <= set(METHODS)
    assert not {"BlankEnum", "NullEnum"} & pinned["components"]["schemas"].keys()
    assert pinned.keys() == {"components", "info", "openapi", "paths"}
    for item in pinned["paths"].values():
        for operation in item.values():
            assert len(operation.get("requestBody", {"content": [1]})["content"]) == 1
            assert operation["responses"]


def test_the_pinned_document_is_valid_openapi() -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))

    assert not list(OpenAPIV31SpecValidator(pinned).iter_errors())


def test_nothing_is_needed_but_a_version() -> None:
    found = normalise({"openapi": "3.0.3", "info": {"title": "t", "version": 1.0}})

    assert found.document == {
        "components": {"schemas": {}},
        "info": {"title": "t", "version": "1.0"},
        "openapi": "3.1.0",
        "paths": {},
    }
    assert found.findings == ()


def test_the_rest_of_a_document() -> None:
    raw = document({}) | {
        "servers": [{"url": "/"}],
        "tags": [{"name": "a"}],
        "x-tagGroups": [],
        "security": [{"PersonalAPIKeyAuth": ["a:read"]}],
        "webhooks": {"w": {}},
        "paths": {"/api/x/": {"get": {}, "post": {"security": [{}]}}},
    }
    scheme = {"type": "http", "scheme": "bearer", "description": "a key", "x-y": 1}
    raw["components"]["securitySchemes"] = {"PersonalAPIKeyAuth": scheme}

    found = normalise(raw)

    assert found.document.keys() == {"components", "info", "openapi", "paths"}
    assert found.document["components"]["securitySchemes"] == {
        "PersonalAPIKeyAuth": {"type": "http", "scheme": "bearer"}
    }
    assert found.document["paths"]["/api/x/"] == {
        "get": {"security": [{"PersonalAPIKeyAuth": ["a:read"]}]},
        "post": {"security": []},
    }
    assert [finding.pointer for finding in found.findings] == ["/webhooks"]
    kept = normalise(raw, keep_prose=True).document
    assert kept["info"]["description"] == "about it"
    assert kept["components"]["securitySchemes"]["PersonalAPIKeyAuth"]["description"] == "a key"


scalars = st.sampled_from(["", "a", "b", 0, 1, -1, True, False, 1.5])
plain = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 1},
        {"type": "string", "minLength": 1},
        {"type": "integer"},
        {"type": "integer", "minimum": 1},
        {"type": "number", "maximum": 1},
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "boolean"},
        {"type": ["string", "null"], "maxLength": 1},
        {"type": ["integer", "string"], "minimum": 0},
        {"type": ["object", "null"], "minProperties": 1},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {},
    ]
)
values = st.lists(scalars, min_size=1, max_size=4).map(lambda found: {"enum": found})


def refs(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(names).map(lambda name: {"$ref": REF + name})


def shapes(
    inner: st.SearchStrategy[Any], here: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas of `inner` ones; those that hold for the same value come from `here`."""
    parts = st.lists(here, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            lambda properties, required: {
                "type": "object",
                "properties": properties,
                "required": required,
            },
            st.dictionaries(st.sampled_from(["p", "items", "$ref", "type"]), inner, max_size=3),
            st.lists(st.sampled_from(["p", "type"]), unique=True),
        ),
        inner.map(lambda items: {"type": "array", "items": items}),
        inner.map(lambda extra: {"type": "object", "additionalProperties": extra}),
        parts.map(lambda found: {"anyOf": found}),
        parts.map(lambda found: {"allOf": found}),
        st.builds(lambda base, found: {**base, "anyOf": found}, plain, parts),
    )


def exact(after: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas whose meaning in 3.1 is beyond doubt.

    Only components in `after` are named outside of properties, so that nothing is its own part.
    """
    everywhere = st.one_of(plain, values, refs(NAMES))
    leaves = st.one_of(plain, values, refs(after)) if after else st.one_of(plain, values)
    inner = st.recursive(everywhere, lambda found: shapes(found, leaves), max_leaves=4)
    here = st.recursive(leaves, lambda found: shapes(inner, found), max_leaves=6)
    return here


exact_components = st.fixed_dictionaries(
    {name: exact(NAMES[index + 1 :]) for index, name in enumerate(NAMES)}
)
instances = st.recursive(
    st.one_of(st.none(), scalars),
    lambda found: st.one_of(
        st.lists(found, max_size=2),
        st.dictionaries(st.sampled_from(["p", "items", "$ref", "type", "q"]), found, max_size=3),
    ),
    max_leaves=5,
)


def accepts(components: dict[str, Any], name: str) -> Callable[[Any], bool]:
    root = {"$ref": REF + name, "components": {"schemas": components}}
    return Draft202012Validator(root).is_valid


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(components=exact_components, tries=st.lists(instances, min_size=1, max_size=8))
def test_the_same_values_are_valid(components: dict[str, Any], tries: list[Any]) -> None:
    found = normalise(document(components))
    assume(not found.findings)
    check(found.document)
    kept = found.document["components"]["schemas"]

    for name in kept:
        before, after = accepts(components, name), accepts(kept, name)
        for instance in tries:
            assert before(instance) == after(instance), (name, instance, kept)


prose = st.sampled_from([{}, {"description": "x"}, {"title": "y", "example": 1}])
notes = st.sampled_from(
    [{}, {}, {"readOnly": True}, {"default": None}, {"default": 1}, {"writeOnly": False}]
)
names = (*NAMES, "BlankEnum", "NullEnum", "Nothing", "Dup")
tagged = st.builds(
    lambda variants, key, mapping, null: {
        "oneOf": [*variants, *([{"type": "null"}] if null else [])],
        "discriminator": {"propertyName": key, **({"mapping": mapping} if mapping else {})},
    },
    st.lists(refs(NAMES), min_size=1, max_size=3),
    st.sampled_from(["type", "p"]),
    st.dictionaries(st.sampled_from(["a", "b", "1"]), st.sampled_from(NAMES), max_size=2),
    st.booleans(),
)
odd = st.sampled_from(
    [
        {"nullable": True},
        {"type": "string", "nullable": True, "enum": ["a", None]},
        {"type": "number", "minimum": 1, "exclusiveMinimum": True},
        {"enum": [None]},
        {"const": ""},
        {"not": {}},
        {"type": "array", "items": [{"type": "string", "nullable": True}]},
        {"maxLength": 0},
        {"format": "uri"},
        {"x-order": 1},
        {"type": "file"},
        True,
    ]
)


def noted(found: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda schema, words, note: (
            schema if isinstance(schema, bool) else {**schema, **words, **note}
        ),
        found,
        prose,
        notes,
    )


anything = st.recursive(
    noted(st.one_of(plain, values, refs(names), tagged, odd)),
    lambda found: noted(
        st.one_of(
            shapes(found, found),
            st.lists(found, max_size=3).map(lambda parts: {"oneOf": parts}),
            found.map(lambda part: {"allOf": [part], "nullable": True}),
        )
    ),
    max_leaves=8,
)
components_of_anything = st.fixed_dictionaries(dict.fromkeys(NAMES, anything)).map(
    lambda found: {
        **found,
        "BlankEnum": {"enum": [""]},
        "NullEnum": {"enum": [None]},
        "Nothing": {"type": "null", "description": "nothing"},
        "Dup": {"type": "object", "properties": {"type": {"enum": ["a", "b"]}}},
    }
)


def operation(schema: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": schema}}
    return {
        "operationId": "x",
        "parameters": [{"in": "query", "name": "q", "schema": schema}],
        "requestBody": {"content": content},
        "responses": {"200": {"description": "fine", "content": content}},
    }


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    components=components_of_anything,
    schema=anything,
    version=st.sampled_from(["3.0.3", "3.1.0"]),
)
def test_any_document_takes_the_form(components: dict[str, Any], schema: Any, version: str) -> None:
    raw = document(components, version, **{"/api/x/": {"post": operation(schema)}})
    before = json.dumps(raw)

    found = normalise(raw)
    again = normalise(found.document)
    kept = normalise(raw, keep_prose=True)

    assert json.dumps(raw) == before
    check(found.document)
    assert again.document == found.document
    assert dump(again.document) == dump(found.document)
    assert normalise(kept.document, keep_prose=True).document == kept.document
    assert normalise(kept.document).document == found.document
    assert kept.findings == found.findings


def test_the_order_of_keys_does_not_matter() -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(part) for part in value] if isinstance(value, list) else value

    pinned = json.loads(PINNED.read_text(encoding="utf-8"))

    assert dump(normalise(turned(pinned)).document) == dump(pinned)


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_a_small_document_of_many_idioms_is_valid_openapi(version: str) -> None:
    mute = {"type": "object", "properties": {"url": {"type": "string"}}}
    union = {
        "oneOf": [{"$ref": REF + "A"}, {"$ref": REF + "B"}],
        "discriminator": {"propertyName": "type", "mapping": {"a": "A", "b": REF + "B"}},
    }
    raw = document(
        {"A": mute, "B": mute, "C": {"allOf": [{"$ref": REF + "A"}], "nullable": True}},
        version,
        **{"/api/{id}/": {"post": operation(union)}},
    )

    found = normalise(raw).document

    check(found)
    assert not list(OpenAPIV31SpecValidator(found).iter_errors())
