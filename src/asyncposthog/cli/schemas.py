"""Convert text of the command line to JSON values by the schema of a field. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final

from asyncposthog.catalog.schema import JSON_TYPES, resolve, types_of

from .error_messages import UsageError

__all__ = ["json_types_of", "parse_value"]

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
    properties: Mapping[str, Any] = resolve({"$ref": component}).get("properties", {})
    return types_of(properties.get(field))


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
        json_type = JSON_TYPES[type(value)]
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
