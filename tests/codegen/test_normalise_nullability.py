"""Differences between OpenAPI 3.0 and 3.1 are normalised."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.document import dump

from .normalise_helpers import BLANK, NULL, REF, TEXT, form, nullable, operation, ref, run

BOTH = {
    "scalar": (
        {"type": "string", "nullable": True, "maxLength": 4},
        {"type": ["string", "null"], "maxLength": 4},
        nullable({"type": "string", "maxLength": 4}),
    ),
    "format": (
        {"type": "string", "format": "date-time", "nullable": True, "readOnly": True},
        {"type": ["string", "null"], "format": "date-time", "readOnly": True},
        nullable({"type": "string", "format": "date-time"}, readOnly=True),
    ),
    "array": (
        {"type": "array", "items": {"type": "string", "nullable": True}, "nullable": True},
        {"type": ["array", "null"], "items": {"type": ["null", "string"]}},
        nullable({"type": "array", "items": nullable(TEXT)}),
    ),
    "object": (
        {
            "type": "object",
            "additionalProperties": False,
            "nullable": True,
            "properties": {"a": {}},
        },
        {"type": ["object", "null"], "additionalProperties": False, "properties": {"a": {}}},
        nullable({"type": "object", "additionalProperties": False, "properties": {"a": {}}}),
    ),
    "map": (
        {"type": "object", "additionalProperties": {"type": "integer", "nullable": True}},
        {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
        {"type": "object", "additionalProperties": nullable({"type": "integer"})},
    ),
    "reference": (
        {"allOf": [ref("User")], "nullable": True, "readOnly": True},
        {"oneOf": [ref("User"), NULL], "readOnly": True},
        nullable(ref("User"), readOnly=True),
    ),
    "reference beside null": (
        {**ref("User"), "nullable": True},
        {"anyOf": [ref("User"), NULL]},
        nullable(ref("User")),
    ),
    "null inside allOf": (
        {"oneOf": [{"allOf": [ref("User")], "nullable": True}], "nullable": True},
        {"oneOf": [{"allOf": [ref("User"), NULL]}, NULL]},
        nullable(ref("User")),
    ),
    "nothing inside allOf": (
        {"allOf": [ref("User"), {}], "nullable": True},
        {"oneOf": [{"allOf": [ref("User"), {}]}, NULL]},
        nullable(ref("User")),
    ),
    "enum, blank and null": (
        {"nullable": True, "oneOf": [ref("Role"), ref("BlankEnum"), ref("NullEnum")]},
        {"oneOf": [ref("Role"), ref("NullEnum"), ref("BlankEnum")]},
        nullable(ref("Role"), BLANK),
    ),
    "enum and null": (
        {"oneOf": [ref("Role"), ref("NullEnum")], "nullable": True},
        {"oneOf": [ref("Role"), ref("Nothing")]},
        nullable(ref("Role")),
    ),
    "enum and blank": (
        {"oneOf": [ref("Role"), ref("BlankEnum")], "default": "admin"},
        {"anyOf": [ref("Role"), {"const": ""}], "default": "admin"},
        {"anyOf": [ref("Role"), BLANK], "default": "admin"},
    ),
    "null in an enum": (
        {"type": "string", "enum": ["a", "b", None], "nullable": True},
        {"type": ["string", "null"], "enum": ["a", None, "b"]},
        nullable({"type": "string", "enum": ["a", "b"]}),
    ),
    "null in an enum without type": (
        {"enum": ["a", None]},
        {"enum": [None, "a"]},
        nullable({"type": "string", "enum": ["a"]}),
    ),
    "nullable enum that does not list null": (
        {"type": "string", "enum": ["a"], "nullable": True},
        {"type": ["string", "null"], "enum": ["a"]},
        nullable({"type": "string", "enum": ["a"]}),
    ),
    "default null": (
        {"type": "integer", "nullable": True, "default": None},
        {"anyOf": [{"type": "integer"}, NULL], "default": None, "title": "It"},
        nullable({"type": "integer"}, default=None),
    ),
    "annotations on the branch": (
        {"type": "string", "nullable": True, "readOnly": True, "deprecated": True},
        {"anyOf": [{"type": "string", "readOnly": True, "deprecated": True}, NULL]},
        nullable(TEXT, readOnly=True, deprecated=True),
    ),
    "wrapper of one": (
        {"allOf": [ref("Role")], "default": "admin", "writeOnly": True, "readOnly": False},
        {**ref("Role"), "default": "admin", "writeOnly": True},
        {**ref("Role"), "default": "admin", "writeOnly": True},
    ),
    "any": ({"description": "what it is"}, {"title": "X"}, {}),
    "nullable any": ({"nullable": True}, {"oneOf": [{}, NULL]}, {}),
    "array of anything": (
        {"type": "array"},
        {"type": "array", "items": True},
        {"type": "array", "items": {}},
    ),
    "exclusive bounds": (
        {
            "type": "number",
            "minimum": 0,
            "exclusiveMinimum": True,
            "maximum": 9.0,
            "exclusiveMaximum": False,
        },
        {"type": "number", "exclusiveMinimum": 0.0, "maximum": 9},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 9},
    ),
    "64-bit bounds": (
        {
            "type": "integer",
            "format": "int64",
            "minimum": -9.223372036854775808e18,
            "maximum": 9.223372036854775807e18,
        },
        {
            "type": "integer",
            "format": "int64",
            "minimum": -9223372036854775808,
            "maximum": 9223372036854776000,
        },
        {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    ),
    "constraints of other types": (
        {"type": "integer", "maxLength": 3, "items": {}, "minimum": 1},
        {"type": "integer", "pattern": "x", "properties": {}, "minimum": 1},
        {"type": "integer", "minimum": 1},
    ),
    "required": (
        {"type": "object", "properties": {"b": {}, "a": {}}, "required": ["b", "a", "b"]},
        {"properties": {"a": {}, "b": {}}, "required": ["a", "b"], "x-order": 1},
        {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]},
    ),
    "no properties": (
        {"type": "object", "properties": {}, "required": []},
        {"type": "object"},
        {"type": "object"},
    ),
}


@pytest.mark.parametrize("name", BOTH)
def test_openapi_3_0_and_3_1_have_one_form(name: str) -> None:
    old, new, expected = BOTH[name]

    assert form(old, "3.0.3") == expected
    assert form(new, "3.1.0") == expected


def test_whole_documents_come_out_in_the_same_bytes() -> None:
    old = {"properties": {name: old for name, (old, _, _) in BOTH.items()}}
    new = {"type": "object", "properties": {name: new for name, (_, new, _) in BOTH.items()}}

    def dumped(schema: Any, version: str) -> str:
        paths = {"/api/x/": {"post": operation({"$ref": REF + "It"})}}
        result = run(schema, version, paths=paths)
        assert result.diagnostics == ()
        return dump(result.document)

    assert dumped(old, "3.0.3") == dumped(new, "3.1.0")
