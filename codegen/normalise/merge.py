"""What has to hold at once: `allOf`, and keywords beside a reference or a union.

OpenAPI has no good form for an intersection, and neither have classes. So the parts become one
schema. Where that changes nothing about a referenced component, the reference stays.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from .context import Context
from .keywords import BLANK, Schema, is_null, split
from .pointers import child
from .unions import tagged, union
from .values import matches
from .walk import bare

__all__ = ["intersect"]

# For each limit, what has to hold between it and a value, or the length of a value.
_HOLDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "exclusiveMaximum": operator.lt,
    "exclusiveMinimum": operator.gt,
    "maxLength": lambda value, limit: len(value) <= limit,
    "maximum": operator.le,
    "minLength": lambda value, limit: len(value) >= limit,
    "minimum": operator.ge,
}
_TIGHTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "exclusiveMaximum": min,
    "exclusiveMinimum": max,
    "maxItems": min,
    "maxLength": min,
    "maxProperties": min,
    "maximum": min,
    "minItems": max,
    "minLength": max,
    "minProperties": max,
    "minimum": max,
}


def intersect(left: Schema, right: Schema, at: str, context: Context) -> Schema | None:
    """Return the core that allows what both cores allow, or None if nothing is left.

    Where both say something that cannot be combined, the right one wins, with a finding.
    """
    if not left or not right or left == right:
        return left or right
    for one, other, flipped in ((left, right, False), (right, left, True)):
        for key in ("anyOf", "oneOf"):
            if key in one:
                return _distribute(one, key, other, flipped, at, context)
    if "$ref" in left:
        return _resolved(left, right, False, at, context)
    if "$ref" in right:
        return _resolved(right, left, True, at, context)
    return _combine(left, right, at, context)


def _distribute(
    one: Schema, key: str, other: Schema, flipped: bool, at: str, context: Context
) -> Schema | None:
    found = [
        both
        for branch in one[key]
        if (both := _ordered(branch, other, flipped, at, context)) is not None
    ]
    if not found:
        return None
    both = union(found)
    return tagged(both, one["discriminator"]) if key == "oneOf" else both


def _ordered(one: Schema, other: Schema, flipped: bool, at: str, context: Context) -> Schema | None:
    return intersect(other, one, at, context) if flipped else intersect(one, other, at, context)


def _resolved(
    reference: Schema, other: Schema, flipped: bool, at: str, context: Context
) -> Schema | None:
    target = context.resolve(reference["$ref"])
    if target is None and is_null(other):
        return None
    if target is None:
        if other.keys() != {"type"}:
            context.report(at, "narrows a schema from within itself; the schema is kept as it is")
        return reference
    core, _ = split(target)
    both = _ordered(core, other, flipped, at, context)
    return reference if both is not None and bare(both) == bare(core) else both


def _combine(left: Schema, right: Schema, at: str, context: Context) -> Schema | None:
    kind = _common_type(left["type"], right["type"])
    if kind is None:
        return None
    both: Schema = {"type": kind}
    values = _common_values(left, right, kind)
    if values is not None:
        if not values:
            return None
        if values == [""]:
            return dict(BLANK)
        const = "const" in left or "const" in right
        both |= {"const": values[0]} if const else {"enum": values}
    if kind == "object":
        _combine_objects(both, left, right, at, context)
    for key in sorted((left.keys() | right.keys()) - both.keys() - {"const", "enum"}):
        if key not in left or key not in right:
            both[key] = left[key] if key in left else right[key]
        else:
            both[key] = _keyword(key, left[key], right[key], at, context)
    return both


def _keyword(key: str, left: Any, right: Any, at: str, context: Context) -> Any:
    if left == right:
        return right
    if key in _TIGHTER:
        return _TIGHTER[key](left, right)
    if key in {"items", "propertyNames"}:
        return _both(left, right, child(at, key), context)
    context.report(child(at, key), f"has to be both {left!r} and {right!r}; the latter is kept")
    return right


def _common_type(left: str, right: str) -> str | None:
    if left == right:
        return left
    return "integer" if {left, right} == {"integer", "number"} else None


def _common_values(left: Schema, right: Schema, kind: str) -> list[Any] | None:
    lists = [
        [part["const"]] if "const" in part else part["enum"]
        for part in (left, right)
        if "const" in part or "enum" in part
    ]
    if not lists:
        return None
    return [
        value
        for value in lists[0]
        if matches(value, kind)
        and all(value in other for other in lists[1:])
        and all(_holds(value, part) for part in (left, right))
    ]


def _holds(value: Any, limits: Mapping[str, Any]) -> bool:
    return all(check(value, limits[key]) for key, check in _HOLDS.items() if key in limits)


def _combine_objects(both: Schema, left: Schema, right: Schema, at: str, context: Context) -> None:
    properties: Schema = dict(left.get("properties", {}))
    for name, value in right.get("properties", {}).items():
        where = child(at, "properties", name)
        properties[name] = (
            _both(properties[name], value, where, context) if name in properties else value
        )
    if properties:
        both["properties"] = properties
    required = {*left.get("required", ()), *right.get("required", ())}
    if required:
        both["required"] = sorted(required)
    extra = [
        part["additionalProperties"] for part in (left, right) if "additionalProperties" in part
    ]
    # Each part names its own properties, so one that is closed does not exclude the other's.
    if False in extra:
        both["additionalProperties"] = False
    elif schemas := [value for value in extra if value is not True]:
        where = child(at, "additionalProperties")
        both["additionalProperties"] = (
            schemas[0] if len(schemas) == 1 else _both(schemas[0], schemas[1], where, context)
        )
    elif extra:
        both["additionalProperties"] = True


def _both(left: Schema, right: Schema, at: str, context: Context) -> Schema:
    """Intersect two whole schemas; the right one's annotations win."""
    (core, notes), (other, others) = split(left), split(right)
    both = intersect(core, other, at, context)
    if both is None:
        context.report(at, "two schemas that no value satisfies; the latter is kept")
        both = other
    return both | notes | others
