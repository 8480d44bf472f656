"""Generate sample values of schemas: valid, deterministic, and finite for recursive schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Literal, TypeAlias, cast

from posthog_emulator.json_types import is_array, is_mapping, is_object

from .catalogue import Catalogue, Direction, Schema, ref_name
from .validation import matches_format

__all__ = ["SampleGenerator", "Style", "Unsatisfiable"]

Style: TypeAlias = Literal["plain", "rich", "bare"]
"""How many fields a sample has.

- `plain`: all fields, with null, the default or an empty value, as in a new object;
- `rich`: all fields, with a value;
- `bare`: the required fields only.
"""

_MAX_DEPTH = 4
"""Components inside components, below which only required fields are filled."""
_MAX_SCHEMAS = 1500
"""Schemas visited for one sample, after which only required fields are filled. It bounds the size
of samples of schemas that refer to each other in many places, as those of queries do."""
_EMPTY: Schema = {}
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
_PATTERN_CANDIDATES = (
    "", "a", "A", "1", "0", "abc", "ABC", "a-b", "a_b", "1.0", "0.5", "-1", "10", "a1", "A1",
    "#000000", "#000", "2026-01-01", "2026-01-01T00:00:00Z", "12:00", "12:00:00",
    "018f0000-0000-7000-8000-000000000001", "someone@example.com", "https://example.com/",
    "example.com", "/a", "a/b", "a.b", "1d", "-1d", "a" * 8, "a" * 16, "0" * 32, "a" * 40, "a" * 64,
)  # fmt: skip
"""Texts that are tried for a `pattern`: regular expressions are matched, not generated from."""


class Unsatisfiable(ValueError):
    """Raised for a schema of which no finite value exists, or none was found."""


class SampleGenerator:
    """Generates sample values of schemas.

    Args:
        catalogue: The component schemas.
        direction: Whether samples are requests, without read-only fields, or responses, without
            write-only fields.
        style: How many fields to fill.
        checker: Returns the validator of a schema. It is used for defaults, which may violate
            their own schema, and for `oneOf`, of which exactly one branch must match. Without it
            neither is validated.
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
        # As text: each caller gets a copy of its own, and parsing is the fastest way to copy.
        self._components: dict[str, str] = {}
        self._bare_components: dict[str, str] = {}
        self._visited = 0
        self._lock = Lock()

    def component(self, name: str) -> Any:
        """Return a new sample of a component."""
        text = self._components.get(name)
        if text is None:
            text = json.dumps(self.value({"$ref": f"#/components/schemas/{name}"}))
            self._components[name] = text
        return json.loads(text)

    def value(self, schema: Any, hint: str = "") -> Any:
        """Return a sample of any schema.

        Args:
            schema: The schema; its references are resolved in the catalogue.
            hint: A property name, used as the value of strings.

        Raises:
            Unsatisfiable: No valid value was found.
        """
        # One at a time, because the count of visited schemas belongs to one sample.
        with self._lock:
            self._visited = 0
            return self._generate(schema, hint, (), self._style)

    def _generate(self, schema: Any, hint: str, stack: tuple[str, ...], style: Style) -> Any:
        if schema is True or not is_mapping(schema):
            if schema is False:
                raise Unsatisfiable("the schema is false")
            return None
        self._visited += 1
        name = ref_name(schema)
        if name is not None:
            return self._component(name, schema, hint, stack, style)
        if "const" in schema:
            return _copy(schema["const"])
        if style == "plain" and "default" in schema and self._is_valid(schema, schema["default"]):
            return _copy(schema["default"])
        if "enum" in schema:
            return self._enum(schema)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._union(schema, keyword, hint, stack, style)
        if "allOf" in schema:
            return self._generate(self._catalogue.resolve(schema), hint, stack, style)
        return self._typed(schema, hint, stack, style)

    def _component(
        self, name: str, schema: Schema, hint: str, stack: tuple[str, ...], style: Style
    ) -> Any:
        if name not in self._catalogue:
            raise Unsatisfiable(f"component {name} does not exist")
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        target: Schema = {**self._catalogue[name], **siblings}
        if style == "bare":
            # A value with required fields only need not contain a component inside itself: if a
            # finite value exists, another branch of a union leads to it.
            if name in stack:
                raise Unsatisfiable(f"{name} requires itself")
            if name in self._bare_components and not stack:
                return json.loads(self._bare_components[name])
            value = self._generate(target, hint, (*stack, name), "bare")
            if not stack:
                self._bare_components[name] = json.dumps(value)
            return value
        if name in stack or len(stack) >= _MAX_DEPTH or self._visited > _MAX_SCHEMAS:
            return self._component(name, schema, hint, (), "bare")
        return self._generate(target, hint, (*stack, name), style)

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
        nulls_first = style == "plain" or (style == "bare" and bool(stack))
        ordered = sorted(branches, key=lambda branch: self._rank(branch, nulls_first=nulls_first))
        exclusive = keyword == "oneOf" and len(branches) > 1
        for branch in ordered:
            try:
                value = self._generate(self._with_base(base, branch), hint, stack, style)
                self._add_tag(value, schema, branch)
            except Unsatisfiable:
                continue
            if not exclusive or self._is_valid(schema, value):
                return value
        raise Unsatisfiable(f"no branch of {keyword} has a value")

    def _add_tag(self, value: Any, schema: Schema, branch: Any) -> None:
        """Add the discriminator of a union, which its branches need not require themselves."""
        name = schema.get("discriminator", _EMPTY).get("propertyName")
        if name is not None and is_object(value) and name not in value:
            tag = self._catalogue.properties(branch).get(name)
            if tag is not None:
                value[name] = self._generate(tag, name, (), "bare")

    def _with_base(self, base: Schema, branch: Any) -> Any:
        """Return a branch together with the keywords that stand beside the union."""
        if "properties" not in base or not is_mapping(branch):
            return branch
        inner = self._catalogue.resolve(branch)
        properties = {**base["properties"], **inner.get("properties", {})}
        required = sorted({*base.get("required", ()), *inner.get("required", ())})
        return {**base, **inner, "properties": properties, "required": required}

    def _rank(self, branch: Any, *, nulls_first: bool) -> int:
        if not is_mapping(branch):
            return 1
        if branch.get("type") == "null":
            return 0 if nulls_first else 3
        # Optional enums have "" as a second branch, which says less than a member of the enum.
        return 2 if branch.get("const") == "" else 1

    def _is_valid(self, schema: Schema, value: Any) -> bool:
        return self._checker is None or self._checker(schema, self._direction)(value)

    def _typed(self, schema: Schema, hint: str, stack: tuple[str, ...], style: Style) -> Any:
        declared = schema.get("type")
        if is_array(declared):
            types = cast("list[str]", declared)
            if style == "plain" and "null" in types:
                return None
            declared = next((type_ for type_ in types if type_ != "null"), "null")
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
        required: set[str] = set(schema.get("required", ()))
        hidden = _HIDDEN[self._direction]
        value: dict[str, Any] = {}
        for name, sub in properties.items():
            if is_mapping(sub) and sub.get(hidden):
                continue
            if name in required:
                value[name] = self._generate(sub, name, stack, style)
            elif style != "bare" and self._visited <= _MAX_SCHEMAS:
                try:
                    value[name] = self._generate(sub, name, stack, style)
                except Unsatisfiable:
                    # An optional property may be left out.
                    continue
        extra = schema.get("additionalProperties")
        for name in sorted(required - properties.keys()):
            value[name] = self._generate(extra, name, stack, style)
        missing = int(schema.get("minProperties", 0)) - len(value)
        if missing <= 0 and style == "rich" and is_mapping(extra) and extra:
            missing = 1
        for index in range(max(missing, 0)):
            value[f"key{index + 1}"] = self._generate(extra, "value", stack, style)
        return value

    def _array(self, schema: Schema, hint: str, stack: tuple[str, ...], style: Style) -> list[Any]:
        items: Any = schema.get("items", True)
        values: list[Any] = [
            self._generate(part, hint, stack, style) for part in schema.get("prefixItems", ())
        ]
        min_items = int(schema.get("minItems", 0))
        if not values and not min_items and style == "rich" and schema.get("maxItems") != 0:
            try:
                return [self._generate(items, hint, stack, style)]
            except Unsatisfiable:
                return []
        while len(values) < min_items:
            values.append(self._distinct(items, hint, stack, style, values, schema))
        return values

    def _distinct(
        self,
        items: Any,
        hint: str,
        stack: tuple[str, ...],
        style: Style,
        earlier: list[Any],
        schema: Schema,
    ) -> Any:
        """Return a further item of an array, different from the earlier ones if it must be."""
        item = self._generate(items, hint, stack, style)
        if not schema.get("uniqueItems") or item not in earlier:
            return item
        choices = self._catalogue.resolve(items).get("enum", ())
        for choice in [*choices, *(f"{item}{index}" for index in range(len(earlier) + 1))]:
            if choice not in earlier and (isinstance(item, str) or choice in choices):
                return choice
        raise Unsatisfiable("no further distinct item was found")


def _copy(value: Any) -> Any:
    """Return a copy of a value of the schema, which callers may change."""
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
    min_length = int(schema.get("minLength", 0))
    max_length = schema.get("maxLength")
    pattern = schema.get("pattern")
    format_name: str = schema.get("format") or ""
    example = _EXAMPLES.get(format_name)
    text = example if example is not None else ("" if style == "plain" else hint or "text")
    options = [text, example or "", hint, *_PATTERN_CANDIDATES] if pattern is not None else [text]
    for option in options:
        padded = option if example is not None else option.ljust(min_length, "a")
        if max_length is not None and example is None:
            padded = padded[: int(max_length)]
        if (pattern is None or re.search(pattern, padded)) and matches_format(format_name, padded):
            return padded
    raise Unsatisfiable(f"no text was found for the pattern {pattern!r}")
