"""Systematic errors of drf-spectacular are corrected."""

from __future__ import annotations

from typing import Any

from codegen.normalise import normalise


def components(schemas: dict[str, Any]) -> dict[str, Any]:
    document = {"openapi": "3.1.0", "info": {}, "paths": {}, "components": {"schemas": schemas}}
    return normalise(document).document["components"]["schemas"]


def test_null_only_property_accepts_any_value() -> None:
    result = components(
        {
            "Thing": {
                "type": "object",
                "properties": {
                    "a": {"type": "null", "readOnly": True},
                    "b": {"type": "array", "items": {"type": "null"}},
                    "e": {"type": ["array", "null"], "items": {"type": "null"}},
                    "c": {"type": "object", "properties": {"d": {"type": "null"}}},
                },
            }
        }
    )["Thing"]["properties"]
    assert result["a"] == {"readOnly": True}
    assert result["b"]["items"] == {}
    assert result["e"] == {"anyOf": [{"type": "array", "items": {}}, {"type": "null"}]}
    assert result["c"]["properties"]["d"] == {}


def test_patched_component_keeps_read_only_marks() -> None:
    result = components(
        {
            "Thing": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string"},
                },
            },
            "PatchedThing": {
                "type": "object",
                "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
            },
        }
    )["PatchedThing"]["properties"]
    assert result["id"]["readOnly"] is True
    assert "readOnly" not in result["name"]
