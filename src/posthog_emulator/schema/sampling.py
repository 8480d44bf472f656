"""Bodies made up from schemas: valid, deterministic, and finite where schemas recurse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Literal, TypeAlias, cast

from posthog_emulator.json_types import is_array, is_mapping

from .catalogue import Catalogue, Direction, Schema, ref_name
from .validation import fits

__all__ = ["SampleGenerator", "Style", "Unsatisfiable"]

Style: TypeAlias = Literal["plain", "rich", "bare"]
"""`plain` is a new object of which nothing was said (nulls, defaults, empty lists), `rich` fills
every field, `bare` has the required fields only."""

_DEPTH = 4
_BUDGET = 1500
_HIDDEN: dict[Direction, str] = {"request": "readOnly", "response": "writeOnly"}
_EXAMPLES = {
    "uuid": "018f0000-0000-7000-8000-000000000001",
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00",
    "uri": "https://example.com/",
    "email": "someone@example.com",
    "decimal": "1.0",
    "ipv4": "192.0.2.1",
    "binary": "",
}
_CANDIDATES = (
    "", "a", "A", "1", "0", "abc", "ABC", "a-b", "a_b", "1.0", "0.5", "-1", "10", "a1", "A1",
    "#000000", "#000", "2026-01-01", "2026-01-01T00:00:00Z", "12:00", "12:00:00",
    "018f0000-0000-7000-8000-000000000001", "someone@example.com", "https://example.com/",
    "example.com", "/a", "a/b", "a.b", "1d", "-1d", "a" * 8, "a" * 16, "0" * 32, "a" * 40, "a" * 64,
)  # fmt: skip


class Unsatisfiable(ValueError):
    """A schema that no finite value meets, or none that we can think of."""


class SampleGenerator:
    """Makes values of schemas.

    Args:
        catalogue: The components.
        direction: Leaves out what only the other direction carries.
        style: How much to fill in.
        checker: Tells whether a value meets a schema: used for defaults, and for unions of which
            exactly one branch must match. Without it they are trusted.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        direction: Direction = "response",
        style: Style = "rich",
        checker: Callable[[Any, Direction], Callable[[Any], bool]] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._direction: Direction = direction
        self._style: Style = style
        self._checker = checker
        self._texts: dict[str, str] = {}
        self._bare: dict[str, str] = {}
        self._spent = 0
        self._lock = Lock()

    def component(self, name: str) -> Any:
        """A fresh value of a component."""
        text = self._texts.get(name)
        if text is None:
            text = json.dumps(self.value({"$ref": f"#/components/schemas/{name}"}))
            self._texts[name] = text
        return json.loads(text)

    def value(self, schema: Any, hint: str = "") -> Any:
        """A value of any schema.

        Args:
            schema: The schema; its references lead into the catalogue.
            hint: A property name, which made-up strings are called after.

        Raises:
            Unsatisfiable: No value was found.
        """
        with self._lock:
            self._spent = 0
            return self._make(schema, hint, (), self._style)

    def _make(self, schema: Any, hint: str, stack: tuple[str, ...], style: Style) -> Any:
        if schema is True or not is_mapping(schema):
            if schema is False:
                raise Unsatisfiable("the schema is false")
            return None
        self._spent += 1
        given = schema
        name = ref_name(given)
        if name is not None:
            return self._component(name, given, hint, stack, style)
        if "const" in given:
            return _copy(given["const"])
        if style == "plain" and "default" in given and self._satisfies(given, given["default"]):
            return _copy(given["default"])
        if "enum" in given:
            return self._enum(given)
        for keyword in ("anyOf", "oneOf"):
            if keyword in given:
                return self._union(given, keyword, hint, stack, style)
        if "allOf" in given:
            return self._make(self._catalogue.resolve(given), hint, stack, style)
        return self._typed(given, hint, stack, style)

    def _component(
        self, name: str, schema: Schema, hint: str, stack: tuple[str, ...], style: Style
    ) -> Any:
        if name not in self._catalogue:
            raise Unsatisfiable(f"there is no component {name}")
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        target: Schema = {**self._catalogue[name], **beside}
        if style == "bare":
            # A smallest value never holds a component inside itself: such a path is a dead end.
            if name in stack:
                raise Unsatisfiable(f"{name} holds itself")
            if name in self._bare and not stack:
                return json.loads(self._bare[name])
            made = self._make(target, hint, (*stack, name), "bare")
            if not stack:
                self._bare[name] = json.dumps(made)
            return made
        if name in stack or len(stack) >= _DEPTH or self._spent > _BUDGET:
            return self._component(name, schema, hint, (), "bare")
        return self._make(target, hint, (*stack, name), style)

    def _enum(self, schema: Schema) -> Any:
        values = schema["enum"]
        if not values:
            raise Unsatisfiable("an enum without values")
        return _copy(next((value for value in values if value not in (None, "")), values[0]))

    def _union(
        self, schema: Schema, keyword: str, hint: str, stack: tuple[str, ...], style: Style
    ) -> Any:
        branches = schema[keyword]
        base = {
            key: value
            for key, value in schema.items()
            if key in {"type", "properties", "required", "additionalProperties"}
        }
        first = style == "plain" or (style == "bare" and bool(stack))
        ordered = sorted(branches, key=lambda branch: self._rank(branch, nulls_first=first))
        strict = keyword == "oneOf" and len(branches) > 1
        for branch in ordered:
            try:
                made = self._make(self._joined(base, branch), hint, stack, style)
            except Unsatisfiable:
                continue
            if not strict or self._satisfies(schema, made):
                return made
        raise Unsatisfiable(f"no branch of {keyword} has a value")

    def _joined(self, base: Schema, branch: Any) -> Any:
        if "properties" not in base or not is_mapping(branch):
            return branch
        inner = self._catalogue.resolve(branch)
        properties = {**base["properties"], **inner.get("properties", {})}
        needed = sorted({*base.get("required", ()), *inner.get("required", ())})
        return {**base, **inner, "properties": properties, "required": needed}

    def _rank(self, branch: Any, *, nulls_first: bool) -> int:
        if not is_mapping(branch):
            return 1
        schema = branch
        if schema.get("type") == "null":
            return 0 if nulls_first else 3
        return 2 if schema.get("const") == "" else 1

    def _satisfies(self, schema: Schema, value: Any) -> bool:
        return self._checker is None or self._checker(schema, self._direction)(value)

    def _typed(self, schema: Schema, hint: str, stack: tuple[str, ...], style: Style) -> Any:
        declared = schema.get("type")
        if is_array(declared):
            kinds = cast("list[str]", declared)
            if style == "plain" and "null" in kinds:
                return None
            declared = next((kind for kind in kinds if kind != "null"), "null")
        if declared == "object" or (declared is None and "properties" in schema):
            return self._object(schema, stack, style)
        if declared == "array" or (declared is None and "items" in schema):
            return self._array(schema, hint, stack, style)
        if declared == "string":
            return _string(schema, hint, style)
        if declared in {"integer", "number"}:
            return _number(schema, style, whole=declared == "integer")
        if declared == "boolean":
            return style == "rich"
        return None if declared == "null" or style != "rich" else {}

    def _object(self, schema: Schema, stack: tuple[str, ...], style: Style) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties", {})
        needed: set[str] = set(schema.get("required", ()))
        hidden = _HIDDEN[self._direction]
        made: dict[str, Any] = {}
        for name, sub in properties.items():
            if is_mapping(sub) and sub.get(hidden):
                continue
            if name in needed:
                made[name] = self._make(sub, name, stack, style)
            elif style != "bare" and self._spent <= _BUDGET:
                try:
                    made[name] = self._make(sub, name, stack, style)
                except Unsatisfiable:
                    continue
        extra = schema.get("additionalProperties")
        for name in sorted(needed - properties.keys()):
            made[name] = self._make(extra, name, stack, style)
        wanted = int(schema.get("minProperties", 0)) - len(made)
        if wanted <= 0 and style == "rich" and is_mapping(extra) and extra:
            wanted = 1
        for index in range(max(wanted, 0)):
            made[f"key{index + 1}"] = self._make(extra, "value", stack, style)
        return made

    def _array(self, schema: Schema, hint: str, stack: tuple[str, ...], style: Style) -> list[Any]:
        items: Any = schema.get("items", True)
        made: list[Any] = [
            self._make(part, hint, stack, style) for part in schema.get("prefixItems", ())
        ]
        least = int(schema.get("minItems", 0))
        if not made and not least and style == "rich" and schema.get("maxItems") != 0:
            try:
                return [self._make(items, hint, stack, style)]
            except Unsatisfiable:
                return []
        while len(made) < least:
            made.append(self._distinct(items, hint, stack, style, made, schema))
        return made

    def _distinct(
        self,
        items: Any,
        hint: str,
        stack: tuple[str, ...],
        style: Style,
        made: list[Any],
        schema: Schema,
    ) -> Any:
        one = self._make(items, hint, stack, style)
        if not schema.get("uniqueItems") or one not in made:
            return one
        choices = self._catalogue.resolve(items).get("enum", ())
        for choice in [*choices, *(f"{one}{index}" for index in range(len(made) + 1))]:
            if choice not in made and (isinstance(one, str) or choice in choices):
                return choice
        raise Unsatisfiable("no further distinct item")


def _copy(value: Any) -> Any:
    """A value of the schema's own that may be changed."""
    return json.loads(json.dumps(value)) if is_array(value) or is_mapping(value) else value


def _number(schema: Schema, style: Style, *, whole: bool) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf", 1)
    value: int | float = 1.0 if style == "rich" else 0.0
    if low is not None and (value < low or value == schema.get("exclusiveMinimum")):
        value = low + (step if "exclusiveMinimum" in schema else 0)
    if high is not None and (value > high or value == schema.get("exclusiveMaximum")):
        value = high - (step if "exclusiveMaximum" in schema else 0)
        if low is not None and value < low:
            value = (low + high) / 2
    if step != 1:
        value = -(-value // step) * step
    return int(value) if whole else value


def _string(schema: Schema, hint: str, style: Style) -> str:
    least = int(schema.get("minLength", 0))
    most = schema.get("maxLength")
    pattern = schema.get("pattern")
    form: str = schema.get("format") or ""
    example = _EXAMPLES.get(form)
    text = example if example is not None else ("" if style == "plain" else hint or "text")
    options = [text, example or "", hint, *_CANDIDATES] if pattern is not None else [text]
    for option in options:
        padded = option if example is not None else option.ljust(least, "a")
        if most is not None and example is None:
            padded = padded[: int(most)]
        if (pattern is None or re.search(pattern, padded)) and fits(form, padded):
            return padded
    raise Unsatisfiable(f"no text for the pattern {pattern!r}")
