"""Intersect schemas: `allOf`, and keywords beside a reference or a union.

Generated classes cannot express an intersection, so the parts become one schema. If the result
equals a referenced component, the reference stays, so that the class is shared.
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

# How a value, or its length, is compared with each limit.
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
        # Intersections of a reference with something else, by both.
        self._results: dict[str, Schema | None] = {}
        self._pending: set[str] = set()

    def intersect(self, left: Schema, right: Schema, pointer: str) -> Schema | None:
        """Return the core that allows what both cores allow, or None if no value is left.

        If both have a keyword that cannot be combined, the right one is kept and reported.
        """
        # An empty core allows anything.
        if not left or not right or left == right:
            return left or right
        # Unions before references, so that a reference is narrowed by each branch on its own.
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
        # The component is being normalised, or refers back to this intersection, so its normalised
        # form is not known yet.
        if target is None or key in self._pending:
            if other.keys() != {"type"}:
                reason = "it narrows a schema that contains it; the schema is kept unchanged"
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
        reason = f"it has to be both {left!r} and {right!r}; the latter is kept"
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
        # Parts of an `allOf` list their own properties only. Taken literally, a closed part would
        # forbid the properties of the other one, and no value would match two closed objects.
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
        """Intersect two schemas with their annotations; those of the right one win."""
        (core, notes), (other, other_notes) = split(left), split(right)
        both = self.intersect(core, other, pointer)
        if both is None:
            self._context.report(pointer, "no value matches both schemas; the latter is kept")
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
