"""Whatever hypothesis comes up with takes the form, and means what it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from codegen.normalise import normalise
from codegen.schema import dump

from .normalise_helpers import REF, check, document, operation

NAMES = ("A", "B", "C")
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
        {"type": "object", "minProperties": 1},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {},
    ]
)
values = st.lists(scalars, min_size=1, max_size=4).map(lambda found: {"enum": found})


def refs(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(names).map(lambda name: {"$ref": REF + name})


def object_of(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def beside(base: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
    return {**base, "anyOf": parts}


def union_of(variants: list[Any], key: str, mapping: dict[str, str], null: bool) -> dict[str, Any]:
    tag = {"propertyName": key, **({"mapping": mapping} if mapping else {})}
    return {"oneOf": [*variants, *([{"type": "null"}] if null else [])], "discriminator": tag}


def with_notes(schema: Any, words: dict[str, Any], note: dict[str, Any]) -> Any:
    return schema if isinstance(schema, bool) else {**schema, **words, **note}


def shapes(
    inner: st.SearchStrategy[Any], here: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas of `inner` ones; those that hold for the same value come from `here`."""
    parts = st.lists(here, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            object_of,
            st.dictionaries(st.sampled_from(["p", "items", "$ref", "type"]), inner, max_size=3),
            st.lists(st.sampled_from(["p", "type"]), unique=True),
        ),
        inner.map(lambda items: {"type": "array", "items": items}),
        inner.map(lambda extra: {"type": "object", "additionalProperties": extra}),
        parts.map(lambda found: {"anyOf": found}),
        parts.map(lambda found: {"allOf": found}),
        st.builds(beside, plain, parts),
    )


def exact(after: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas whose meaning in 3.1 is beyond doubt.

    Only components in `after` are named outside of properties, so that nothing is its own part.
    """
    everywhere = st.one_of(plain, values, refs(NAMES))
    leaves = st.one_of(plain, values, refs(after)) if after else st.one_of(plain, values)
    inner = st.recursive(everywhere, lambda found: shapes(found, leaves), max_leaves=4)
    return st.recursive(leaves, lambda found: shapes(inner, found), max_leaves=6)


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    union_of,
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
    return st.builds(with_notes, found, prose, notes)


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
