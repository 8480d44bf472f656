"""JSON values and their types; `enum` and `const`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from codegen.json_access import as_sequence, join_pointer

from .context import Context

__all__ = ["allowed_values", "matches", "type_of", "unique"]

# True and False are integers to Python, so they come first.
_KINDS: Final = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (Mapping, "object"),
    (Sequence, "array"),
)


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "null"


def matches(value: Any, kind: str) -> bool:
    """Whether a value is of a JSON type. A whole number is an integer however it is written."""
    value_type = type_of(value)
    if kind == "integer" and value_type == "number":
        return float(value).is_integer()
    return value_type == kind or (kind == "number" and value_type == "integer")


def unique(values: Sequence[Any]) -> list[Any]:
    """Drop values that are there already. True is not 1; 1.0 is."""
    seen: dict[str, Any] = {}
    for value in values:
        whole = isinstance(value, float) and value.is_integer()
        seen.setdefault(json.dumps(int(value) if whole else value, sort_keys=True), value)
    return list(seen.values())


def allowed_values(raw: Mapping[str, Any], pointer: str, context: Context) -> list[Any] | None:
    """Return the values `const` and `enum` leave, or None where there is neither."""
    values = None
    if "enum" in raw:
        listed = as_sequence(raw["enum"], join_pointer(pointer, "enum"))
        values = unique(listed)
        if len(values) < len(listed):
            context.report(
                join_pointer(pointer, "enum"), "the enum repeats values; each is kept once"
            )
        if not values:
            context.report(join_pointer(pointer, "enum"), "the enum is empty; it is dropped")
            values = None
    if "const" in raw:
        if values is not None and raw["const"] not in values:
            context.report(
                join_pointer(pointer, "const"), "the const is not in the enum; the const is kept"
            )
        values = [raw["const"]]
    return values
