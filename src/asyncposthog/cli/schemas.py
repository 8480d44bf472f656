"""Convert text of the command line to JSON values by the schema of a field. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final, cast

from asyncposthog import registry

from .error_messages import UsageError

__all__ = ["json_types_of", "parse_value", "resolve_reference"]

_TYPES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_TYPE_NAMES: Final = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a JSON array",
    "object": "a JSON object",
    "null": "null",
}
_TRUE_WORDS: Final = frozenset({"true", "yes", "on"})
_FALSE_WORDS: Final = frozenset({"false", "no", "off"})


def json_types_of(component: str | None, field: str) -> frozenset[str]:
    """Return the JSON types that a field of a component accepts; an empty set: any."""
    if component is None:
        return frozenset()
    properties: Mapping[str, Any] = resolve_reference({"$ref": component}).get("properties", {})
    return _json_types(properties.get(field), 0)


def resolve_reference(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or the component that it refers to."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    return registry.schemas().get(reference.rpartition("/")[2], {})


def _json_types(schema: Any, depth: int) -> frozenset[str]:
    # Schemas can refer to themselves. An empty set means that any type is accepted.
    if not isinstance(schema, Mapping) or depth > 8:
        return frozenset()
    schema_ = resolve_reference(cast("Mapping[str, Any]", schema))
    json_type = schema_.get("type")
    if isinstance(json_type, str):
        return frozenset({json_type})
    if isinstance(json_type, list):
        return frozenset(cast("list[str]", json_type))
    values = schema_.get("enum", [schema_["const"]] if "const" in schema_ else None)
    if values is not None:
        return frozenset(_TYPES[type(value)] for value in values)
    for keyword in ("anyOf", "oneOf"):
        branches = [_json_types(branch, depth + 1) for branch in schema_.get(keyword, ())]
        if branches:
            # One alternative that accepts anything makes the whole field accept anything.
            return frozenset[str]().union(*branches) if all(branches) else frozenset()
    return frozenset()


def parse_value(name: str, text: str, json_types: Set[str]) -> Any:
    """Return the JSON value of a text.

    If the field accepts text, the text is used as it is, unless it can only mean JSON of another
    accepted type. If the types are unknown, JSON is parsed and anything else is text.

    Raises:
        UsageError: The text is of none of the types.
    """
    value, is_json = _parse_json(text)
    if not json_types:
        return value if is_json else text
    # Also yes, no, on and off: people type them, and none of them is JSON.
    if "boolean" in json_types and text.lower() in _TRUE_WORDS | _FALSE_WORDS:
        return text.lower() in _TRUE_WORDS
    if is_json and not isinstance(value, str):
        json_type = _TYPES[type(value)]
        if json_type in json_types or (json_type == "integer" and "number" in json_types):
            return value
    if "string" in json_types:
        return text
    expected = " or ".join(
        _TYPE_NAMES.get(json_type, json_type) for json_type in sorted(json_types)
    )
    raise UsageError(f"{name} must be {expected}, not {text[:80]!r}.")


def _parse_json(text: str) -> tuple[Any, bool]:
    try:
        return json.loads(text), True
    except ValueError:
        return None, False
