"""Schemas brought into the form that jsf can make values of.

jsf reads most of JSON Schema, but follows no recursion, mixes up definitions of which one's name
begins with another's, and makes 1 of a `true` in an enum. A narrowed schema allows less than the
original, never more: whatever is made of it is valid. (Every value is checked against the original
all the same.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from .document import Direction, components, edges

__all__ = ["Choice", "Unsatisfiable", "narrowed"]

Schema = Mapping[str, Any]

_DEPTHS = (0, 1, 2, 4, 8)

_DATE = "20[012][0-9]-(0[1-9]|1[012])-(0[1-9]|1[0-9]|2[0-8])"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_PATTERNS = {
    # jsf makes moments between 1970 and now, which are others every day.
    "date": _DATE,
    "time": _TIME,
    "date-time": _DATE + "T" + _TIME + r"(\.[0-9]{6})?(Z|\+00:00|-03:30)",
}
_DROPPED = frozenset({"readOnly", "writeOnly", "deprecated", "default", "description", "title"})

_TAG = "x-tag"
"""Where a branch of a discriminated union has the name and the values of its discriminator."""


class Unsatisfiable(Exception):
    """No finite value fits."""


@dataclass(frozen=True)
class Choice:
    """What of a schema is kept."""

    seed: str = ""
    """Which branches are taken of a union with many."""
    branches: int = 2
    """How many: jsf copies a definition for each use, and queries are unions all over."""
    null: bool = True
    """Whether null is one of them where something else will do."""
    optional: bool = True
    """Whether properties that are not required are kept."""
    tags: bool = False
    """Whether those are kept at least that can only have one value."""


def narrowed(schema: Schema, direction: Direction, choice: Choice) -> dict[str, Any]:
    """Return a schema of its own, with definitions, without recursion.

    Args:
        schema: A schema that refers to components.
        direction: Which way its values are to be sent.
        choice: What of it is kept.

    Raises:
        Unsatisfiable: Every value of it would be infinite.
    """
    for depth in _DEPTHS:
        narrower = _Narrower(direction, depth, choice)
        try:
            root = narrower.narrow(schema, None, 0)
        except Unsatisfiable:
            continue
        return {**root, "$defs": narrower.definitions}
    raise Unsatisfiable(schema)


class _Narrower:
    def __init__(self, direction: Direction, depth: int, choice: Choice) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._components = components(direction)
        self._direction: Direction = direction
        self._depth = depth
        self._choice = choice
        self._random = Random(choice.seed)
        self._made: dict[tuple[str, int, Any], str | None] = {}

    def narrow(self, schema: Schema, owner: str | None, depth: int) -> dict[str, Any]:
        """Narrow a schema that stands in the component `owner`, itself `depth` circles deep."""
        schema = {key: value for key, value in schema.items() if key not in _DROPPED}
        if "not" in schema:
            raise Unsatisfiable
        if "$ref" in schema:
            tag = schema.get(_TAG)
            return {"$ref": f"#/$defs/{self._define(schema['$ref'], tag, owner, depth)}"}
        if "const" in schema or "enum" in schema:
            return _constant(schema)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                # Whether a value fits only one branch is checked against the original.
                branches = [_tagged(schema, branch, self._components) for branch in schema[key]]
                return {"anyOf": list(self._branches(branches, owner, depth))}
        if schema.get("type") == "object":
            return self._object(schema, owner, depth)
        if schema.get("type") == "array":
            return self._array(schema, owner, depth)
        if schema.get("format") in _PATTERNS:
            return {"type": "string", "pattern": _PATTERNS[schema["format"]]}
        return schema

    def _define(
        self, reference: str, tag: tuple[str, tuple[Any, ...]] | None, owner: str | None, depth: int
    ) -> str:
        name = reference.rpartition("/")[2]
        if owner is not None and owner in _circle(self._direction, name):
            depth += 1
        else:
            depth = 0
        key = name, depth, tag
        if key not in self._made:
            # Numbers of one length: jsf takes a name that begins with another's for a recursion.
            number = f"{len(self._made):05}"
            self._made[key] = None
            if depth <= self._depth:
                try:
                    schema = _with_tag(self._components[name], tag)
                    self.definitions[number] = self.narrow(schema, name, depth)
                except Unsatisfiable:
                    pass
                else:
                    self._made[key] = number
        made = self._made[key]
        if made is None:
            raise Unsatisfiable(name)
        return made

    def _branches(
        self, branches: list[Schema], owner: str | None, depth: int
    ) -> Iterator[dict[str, Any]]:
        found = 0
        null = any(branch.get("type") == "null" for branch in branches)
        others = [branch for branch in branches if branch.get("type") != "null"]
        for branch in self._random.sample(others, len(others)):
            if found == self._choice.branches:
                break
            try:
                yield self.narrow(branch, owner, depth)
            except Unsatisfiable:
                continue
            found += 1
        if null and not (found and not self._choice.null):
            yield {"type": "null"}
        elif not found:
            raise Unsatisfiable

    def _object(self, schema: Schema, owner: str | None, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            if name not in required and not self._kept(field):
                continue
            try:
                properties[name] = self.narrow(field, owner, depth)
            except Unsatisfiable:
                if name in required:
                    raise
        missing = set(required) - set(properties)
        extra = schema.get("additionalProperties")
        more = extra if isinstance(extra, dict) else {}
        if missing or (
            self._choice.optional and (more or not properties)
        ):  # jsf makes no additional properties by itself
            names = missing or {"first key", "second_key"} - set(properties)
            if extra is not False:
                for name in sorted(names):
                    try:
                        properties[name] = self.narrow(more, owner, depth)
                    except Unsatisfiable:
                        break
        return {"type": "object", "properties": properties, "required": sorted(required)}

    def _kept(self, field: Schema) -> bool:
        if "$ref" in field:
            field = self._components[field["$ref"].rpartition("/")[2]]
        tag = "const" in field or len(field.get("enum", ())) == 1
        return self._choice.optional or (self._choice.tags and tag)

    def _array(self, schema: Schema, owner: str | None, depth: int) -> dict[str, Any]:
        bounds = {key: schema[key] for key in ("minItems", "maxItems") if key in schema}
        least = bounds.get("minItems", 0)
        bounds.setdefault("maxItems", max(2, least))
        bounds["maxItems"] = max(least, min(2, bounds["maxItems"]))
        try:
            items = self.narrow(schema.get("items", {}), owner, depth)
        except Unsatisfiable:
            if least:
                raise
            return {"type": "array", "items": {"type": "null"}, "maxItems": 0}
        return {"type": "array", "items": items, **bounds}


def _tagged(union: Schema, branch: Schema, components: Mapping[str, Any]) -> Schema:
    """Note on a branch of a discriminated union the property that has to name it, and how.

    OpenAPI demands that property of every branch, even where the branch itself does not.
    """
    discriminator, reference = union.get("discriminator"), branch.get("$ref")
    if discriminator is None or reference is None:
        return branch
    if "properties" not in components[reference.rpartition("/")[2]]:
        return branch
    mapping = discriminator.get("mapping", {})
    values = tuple(value for value, target in mapping.items() if target == reference)
    return {**branch, _TAG: (discriminator["propertyName"], values)}


def _with_tag(schema: Schema, tag: tuple[str, tuple[Any, ...]] | None) -> Schema:
    """Return a component in which the property that names it is required, with its values."""
    if tag is None:
        return schema
    name, values = tag
    named = {"enum": list(values)} if values else schema["properties"].get(name, {})
    return {
        **schema,
        "properties": {**schema["properties"], name: named},
        "required": sorted({*schema.get("required", ()), name}),
    }


def _constant(schema: Schema) -> dict[str, Any]:
    values = schema.get("enum", [schema.get("const")])
    if all(isinstance(value, bool) for value in values):
        return {"type": "boolean", "$provider": f"lambda: {values[0]!r}"}
    return {"enum": values}


@cache
def _circle(direction: Direction, name: str) -> frozenset[str]:
    """Return the components that a component reaches and that reach it."""
    return frozenset(other for other in _reach(direction, name) if name in _reach(direction, other))


@cache
def _reach(direction: Direction, name: str) -> frozenset[str]:
    found: set[str] = set()
    pending = [name]
    while pending:
        for target in edges(direction, pending.pop()):
            if target not in found:
                found.add(target)
                pending.append(target)
    return frozenset(found)
