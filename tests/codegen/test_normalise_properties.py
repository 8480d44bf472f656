"""Generated documents are normalised without changing their meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from codegen.document import dump
from codegen.normalise import normalise

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
values = st.lists(scalars, min_size=1, max_size=4).map(lambda child: {"enum": child})


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
        parts.map(lambda child: {"anyOf": child}),
        parts.map(lambda child: {"allOf": child}),
        st.builds(beside, plain, parts),
    )


def exact(after: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas with an unambiguous meaning in OpenAPI 3.1.

    Outside properties, only components in `after` are referred to, so no schema contains itself.
    """
    everywhere = st.one_of(plain, values, refs(NAMES))
    leaves = st.one_of(plain, values, refs(after)) if after else st.one_of(plain, values)
    inner = st.recursive(everywhere, lambda child: shapes(child, leaves), max_leaves=4)
    return st.recursive(leaves, lambda child: shapes(inner, child), max_leaves=6)


exact_components = st.fixed_dictionaries(
    {name: exact(NAMES[index + 1 :]) for index, name in enumerate(NAMES)}
)
instances = st.recursive(
    st.one_of(st.none(), scalars),
    lambda child: st.one_of(
        st.lists(child, max_size=2),
        st.dictionaries(st.sampled_from(["p", "items", "$ref", "type", "q"]), child, max_size=3),
    ),
    max_leaves=5,
)


def accepts(components: dict[str, Any], name: str) -> Callable[[Any], bool]:
    root = {"$ref": REF + name, "components": {"schemas": components}}
    return Draft202012Validator(root).is_valid


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(components=exact_components, tries=st.lists(instances, min_size=1, max_size=8))
def test_normalisation_keeps_the_set_of_valid_values(
    components: dict[str, Any], tries: list[Any]
) -> None:
    result = normalise(document(components))
    assume(not result.diagnostics)
    check(result.document)
    normalised = result.document["components"]["schemas"]

    for name in normalised:
        before, after = accepts(components, name), accepts(normalised, name)
        for instance in tries:
            assert before(instance) == after(instance), (name, instance, normalised)


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


def annotated(child: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(with_notes, child, prose, notes)


anything = st.recursive(
    annotated(st.one_of(plain, values, refs(names), tagged, odd)),
    lambda child: annotated(
        st.one_of(
            shapes(child, child),
            st.lists(child, max_size=3).map(lambda parts: {"oneOf": parts}),
            child.map(lambda part: {"allOf": [part], "nullable": True}),
        )
    ),
    max_leaves=8,
)
components_of_anything = st.fixed_dictionaries(dict.fromkeys(NAMES, anything)).map(
    lambda child: {
        **child,
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
def test_any_document_is_normalised(components: dict[str, Any], schema: Any, version: str) -> None:
    raw = document(components, version, **{"/api/x/": {"post": operation(schema)}})
    before = json.dumps(raw)

    result = normalise(raw)
    again = normalise(result.document)
    with_prose = normalise(raw, keep_prose=True)

    assert json.dumps(raw) == before
    check(result.document)
    assert again.document == result.document
    assert dump(again.document) == dump(result.document)
    assert normalise(with_prose.document, keep_prose=True).document == with_prose.document
    assert normalise(with_prose.document).document == result.document
    assert with_prose.diagnostics == result.diagnostics
