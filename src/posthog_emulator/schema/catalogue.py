"""The component schemas, and the few questions the emulator asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, cast

from asyncposthog.operation import Operation
from posthog_emulator.json_types import is_array, is_mapping

__all__ = ["Catalogue", "Direction", "Schema", "ref_name", "stripped"]

Schema: TypeAlias = Mapping[str, Any]
Direction: TypeAlias = Literal["request", "response"]

_PREFIX = "#/components/schemas/"
_HIDDEN: dict[Direction, str] = {"request": "readOnly", "response": "writeOnly"}
_DATA = frozenset({"default", "enum", "const", "example", "examples"})


def ref_name(schema: Schema) -> str | None:
    """The component a schema refers to, if it is a reference."""
    ref = schema.get("$ref")
    return ref[len(_PREFIX) :] if isinstance(ref, str) and ref.startswith(_PREFIX) else None


class Catalogue(Mapping[str, Schema]):
    """Component schemas by name."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        components = schemas.get("components")
        inner = components.get("schemas") if is_mapping(components) else None
        self._schemas = schemas if inner is None else inner

    def __getitem__(self, name: str) -> Schema:
        """The component of that name."""
        return self._schemas[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._schemas)

    def __len__(self) -> int:
        """How many components there are."""
        return len(self._schemas)

    def resolve(self, schema: Any) -> dict[str, Any]:
        """Follow references and wrappers of one; what stands beside a reference wins."""
        seen: set[str] = set()
        current: dict[str, Any] = dict(schema) if is_mapping(schema) else {}
        while True:
            name = ref_name(current)
            if name is not None:
                if name in seen or name not in self:
                    return {}
                seen.add(name)
                beside = {key: value for key, value in current.items() if key != "$ref"}
                current = {**self[name], **beside}
                continue
            parts = current.get("allOf")
            if is_array(parts) and parts:
                current = self._merge(current, parts, seen)
                continue
            return current

    def _merge(self, schema: Schema, parts: list[Any], seen: set[str]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        properties: dict[str, Any] = {}
        needed: list[str] = []
        beside = {key: value for key, value in schema.items() if key != "allOf"}
        names = {ref_name(part) for part in parts if is_mapping(part)}
        if names & seen:
            return beside
        for part in [*(self.resolve(part) for part in parts), beside]:
            properties |= part.get("properties", {})
            needed += part.get("required", ())
            merged |= part
        if properties:
            merged["properties"] = properties
        if needed:
            merged["required"] = sorted(set(needed))
        return merged

    def properties(self, schema: Any) -> dict[str, Schema]:
        """The properties of an object, or of the object branch of a union."""
        return self.object_branch(schema).get("properties", {})

    def object_branch(self, schema: Any) -> dict[str, Any]:
        """The first branch of a union that is an object; the schema itself when it is none."""
        flat = self.resolve(schema)
        if "properties" in flat or flat.get("type") == "object":
            return flat
        for branch in flat.get("anyOf", flat.get("oneOf", ())):
            inner = self.object_branch(branch)
            if inner:
                return inner
        return {}

    def types(self, schema: Any) -> set[str]:
        """Every JSON type a schema admits, as far as it says."""
        flat = self.resolve(schema)
        declared = flat.get("type")
        if isinstance(declared, str):
            return {declared}
        if is_array(declared):
            return set(cast("list[str]", declared))
        found: set[str] = set()
        for branch in flat.get("anyOf", flat.get("oneOf", ())):
            found |= self.types(branch)
        return found

    def answer(self, operation: Operation) -> Schema | None:
        """The schema of an operation's whole successful answer."""
        name = operation.result.schema
        if name is None or name not in self:
            return None
        ref: dict[str, Any] = {"$ref": _PREFIX + name}
        return {"type": "array", "items": ref} if operation.result.array else ref

    def item(self, operation: Operation) -> Schema | None:
        """The schema of the one thing an operation answers with, or lists."""
        whole = self.answer(operation)
        if whole is None or operation.pagination is None:
            return whole
        field = operation.pagination.items
        listed = whole if field is None else self.properties(whole).get(field)
        items = self.resolve(listed).get("items") if listed is not None else None
        return items if is_mapping(items) else None

    def form(self, name: str, direction: Direction) -> Schema:
        """A component as it binds one direction.

        `required` speaks of answers, and the same component is reused for requests: there,
        read-only properties are neither required nor looked at (and write-only ones in answers).
        """
        return stripped(self[name], direction)


def stripped(schema: Any, direction: Direction) -> Any:
    """A schema in which the properties hidden from a direction are not looked at."""
    return _strip(schema, _HIDDEN[direction])


def _strip(schema: Any, flag: str) -> Any:
    if is_array(schema):
        return [_strip(part, flag) for part in schema]
    if not is_mapping(schema):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"properties", "patternProperties", "$defs"} and is_mapping(value):
            inner = value
            out[key] = {
                name: True if is_mapping(sub) and sub.get(flag) else _strip(sub, flag)
                for name, sub in inner.items()
            }
        else:
            out[key] = value if key in _DATA else _strip(value, flag)
    properties = schema.get("properties")
    if is_mapping(properties) and "required" in out:
        hidden = {name for name, sub in properties.items() if is_mapping(sub) and sub.get(flag)}
        out["required"] = [name for name in out["required"] if name not in hidden]
    return out
