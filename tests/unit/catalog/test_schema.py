"""The types that a schema accepts, for tools and for the command line."""

from __future__ import annotations

from typing import Any

import pytest

from asyncposthog.catalog.schema import types_of
from asyncposthog.cli.schemas import json_types_of, parse_value


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({}, set()),
        (None, set()),
        ({"type": "string"}, {"string"}),
        ({"type": ["integer", "null"]}, {"integer", "null"}),
        ({"enum": ["a", 1, None]}, {"string", "integer", "null"}),
        ({"const": True}, {"boolean"}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"string", "null"}),
        ({"oneOf": [{"type": "string"}, {}]}, set()),
        ({"properties": {"a": {}}}, {"object"}),
    ],
)
def test_types(schema: Any, types: set[str]) -> None:
    assert types_of(schema) == types


def test_the_command_line_has_the_types_of_the_registry() -> None:
    component = "#/components/schemas/FeatureFlag"
    assert json_types_of(component, "active") == {"boolean"}
    assert parse_value("active", "yes", json_types_of(component, "active")) is True
    assert json_types_of(component, "no_such_field") == json_types_of(None, "key") == frozenset()
