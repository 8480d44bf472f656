"""Text of the command line as a JSON value, by what the schema says a field is. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final, cast

from asyncposthog import registry

from .error_messages import UsageProblem

__all__ = ["kinds_of", "read_value", "resolved"]

_TYPES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_WORDS: Final = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a JSON array",
    "object": "a JSON object",
    "null": "null",
}
_YES: Final = frozenset({"true", "yes", "on"})
_NO: Final = frozenset({"false", "no", "off"})


def kinds_of(component: str | None, field: str) -> frozenset[str]:
    """Return the JSON types that a field of a component takes; none where anything goes."""
    if component is None:
        return frozenset()
    properties: Mapping[str, Any] = resolved({"$ref": component}).get("properties", {})
    return _kinds(properties.get(field), 0)


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or the component that it refers to."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    return registry.schemas().get(reference.rpartition("/")[2], {})


def _kinds(schema: Any, depth: int) -> frozenset[str]:
    if not isinstance(schema, Mapping) or depth > 8:
        return frozenset()
    found = resolved(cast("Mapping[str, Any]", schema))
    kind = found.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    if isinstance(kind, list):
        return frozenset(cast("list[str]", kind))
    values = found.get("enum", [found["const"]] if "const" in found else None)
    if values is not None:
        return frozenset(_TYPES[type(value)] for value in values)
    for word in ("anyOf", "oneOf"):
        branches = [_kinds(branch, depth + 1) for branch in found.get(word, ())]
        if branches:
            return frozenset[str]().union(*branches) if all(branches) else frozenset()
    return frozenset()


def read_value(name: str, text: str, kinds: Set[str]) -> Any:
    """Return the value that text stands for.

    Where text is allowed it is taken as it stands, unless only JSON of another allowed type can
    be meant. Where nothing is known, JSON is read as JSON and all else is text.

    Raises:
        UsageProblem: It is none of the types.
    """
    value, is_json = _json(text)
    if not kinds:
        return value if is_json else text
    if "boolean" in kinds and text.lower() in _YES | _NO:
        return text.lower() in _YES
    if is_json and not isinstance(value, str):
        kind = _TYPES[type(value)]
        if kind in kinds or (kind == "integer" and "number" in kinds):
            return value
    if "string" in kinds:
        return text
    wanted = " or ".join(_WORDS.get(kind, kind) for kind in sorted(kinds))
    raise UsageProblem(f"{name} must be {wanted}, not {text[:80]!r}.")


def _json(text: str) -> tuple[Any, bool]:
    try:
        return json.loads(text), True
    except ValueError:
        return None, False
