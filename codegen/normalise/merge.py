"""What has to hold at once: `allOf`, and keywords beside a reference or a union.

OpenAPI has no good form for an intersection, and neither have classes. So the parts become one
schema. Where that changes nothing about a referenced component, the reference stays.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from codegen.json_access import join_pointer, matches_type

from .keywords import BLANK, Context, Schema, is_null, split
from .unions import discriminated, union
from .walk import without_prose

__all__ = ["Merger"]

# For each limit, what has to hold between it and a value, or the length of a value.
_LIMIT_CHECKS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "exclusiveMaximum": operator.lt,
    "exclusiveMinimum": operator.gt,
    "maxLength": lambda value, limit: len(value) <= limit,
    "maximum": operator.le,
    "minLength": lambda value, limit: len(value) >= limit,
    "minimum": operator.ge,
}
_STRICTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
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


class Merger:
    """Intersects the schemas of one document."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # What a reference and something else come to; the reference itself until that is known.
        self._results: dict[str, Schema | None] = {}
        self._pending: set[str] = set()

    def intersect(self, left: Schema, right: Schema, pointer: str) -> Schema | None:
        """Return the core that allows what both cores allow, or None if nothing is left.

        Where both say something that cannot be combined, the right one wins, with a finding.
        """
        if not left or not right or left == right:
            return left or right
        for first, second, swapped in ((left, right, False), (right, left, True)):
            for key in ("anyOf", "oneOf"):
                if key in first:
                    return self._distribute(first, key, second, swapped, pointer)
        for first, second, swapped in ((left, right, False), (right, left, True)):
            if "$ref" in first:
                return self._intersect_reference(first, second, swapped, pointer)
        return self._combine(left, right, pointer)

    def _distribute(
        self, union_core: Schema, key: str, other: Schema, swapped: bool, pointer: str
    ) -> Schema | None:
        intersections = [
            both
            for branch in union_core[key]
            if (both := self._intersect_in_order(branch, other, swapped, pointer)) is not None
        ]
        if not intersections:
            return None
        both = union(intersections)
        return discriminated(both, union_core["discriminator"]) if key == "oneOf" else both

    def _intersect_in_order(
        self, first: Schema, second: Schema, swapped: bool, pointer: str
    ) -> Schema | None:
        left, right = (second, first) if swapped else (first, second)
        return self.intersect(left, right, pointer)

    def _intersect_reference(
        self, reference: Schema, other: Schema, swapped: bool, pointer: str
    ) -> Schema | None:
        target = self._context.resolve(reference["$ref"])
        if target is None and is_null(other):
            return None
        key = json.dumps([reference, other, swapped], sort_keys=True)
        if target is None or key in self._pending:
            if other.keys() != {"type"}:
                reason = "narrows a schema from within itself; the schema is kept as it is"
                self._context.report(pointer, reason)
            return reference
        if key not in self._results:
            self._pending.add(key)
            core, _ = split(target)
            both = self._intersect_in_order(core, other, swapped, pointer)
            same = both is not None and without_prose(both) == without_prose(core)
            self._results[key] = reference if same else both
            self._pending.discard(key)
        return self._results[key]

    def _combine(self, left: Schema, right: Schema, pointer: str) -> Schema | None:
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
            self._combine_objects(both, left, right, pointer)
        for key in sorted((left.keys() | right.keys()) - both.keys() - {"const", "enum"}):
            if key not in left or key not in right:
                both[key] = left[key] if key in left else right[key]
            else:
                both[key] = self._combine_keyword(
                    key, left[key], right[key], join_pointer(pointer, key)
                )
        return both

    def _combine_keyword(self, key: str, left: Any, right: Any, pointer: str) -> Any:
        if left == right:
            return right
        if key in _STRICTER:
            return _STRICTER[key](left, right)
        if key in {"items", "propertyNames"}:
            return self._intersect_schemas(left, right, pointer)
        reason = f"has to be both {left!r} and {right!r}; the latter is kept"
        self._context.report(pointer, reason)
        return right

    def _combine_objects(self, both: Schema, left: Schema, right: Schema, pointer: str) -> None:
        properties: Schema = dict(left.get("properties", {}))
        for name, value in right.get("properties", {}).items():
            where = join_pointer(pointer, "properties", name)
            properties[name] = (
                self._intersect_schemas(properties[name], value, where)
                if name in properties
                else value
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
            where = join_pointer(pointer, "additionalProperties")
            both["additionalProperties"] = (
                schemas[0]
                if len(schemas) == 1
                else self._intersect_schemas(schemas[0], schemas[1], where)
            )
        elif extra:
            both["additionalProperties"] = True

    def _intersect_schemas(self, left: Schema, right: Schema, pointer: str) -> Schema:
        """Intersect two whole schemas; the right one's annotations win."""
        (core, notes), (other, other_notes) = split(left), split(right)
        both = self.intersect(core, other, pointer)
        if both is None:
            self._context.report(pointer, "two schemas that no value satisfies; the latter is kept")
            both = other
        return both | notes | other_notes


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
        if matches_type(value, kind)
        and all(value in other for other in lists[1:])
        and all(_satisfies_limits(value, part) for part in (left, right))
    ]


def _satisfies_limits(value: Any, limits: Mapping[str, Any]) -> bool:
    return all(check(value, limits[key]) for key, check in _LIMIT_CHECKS.items() if key in limits)
