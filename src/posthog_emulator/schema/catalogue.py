"""The component schemas of the API, and lookups in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, cast

from asyncposthog.operation import Operation
from posthog_emulator.json_types import is_array, is_mapping

__all__ = ["Catalogue", "Direction", "Schema", "ref_name", "schema_for"]

Schema: TypeAlias = Mapping[str, Any]
Direction: TypeAlias = Literal["request", "response"]

_PREFIX = "#/components/schemas/"
_HIDDEN: dict[Direction, str] = {"request": "readOnly", "response": "writeOnly"}
_DATA_KEYWORDS = frozenset({"default", "enum", "const", "example", "examples"})
"""Keywords whose values are data, not schemas: a key named `properties` in them means nothing."""


def ref_name(schema: Schema) -> str | None:
    """Return the name of the component that a schema refers to; None if it is no reference."""
    ref = schema.get("$ref")
    return ref[len(_PREFIX) :] if isinstance(ref, str) and ref.startswith(_PREFIX) else None


class Catalogue(Mapping[str, Schema]):
    """Component schemas by name.

    Args:
        schemas: The components, or an OpenAPI document that contains them.
    """

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        components = schemas.get("components")
        inner = components.get("schemas") if is_mapping(components) else None
        self._schemas = schemas if inner is None else inner

    def __getitem__(self, name: str) -> Schema:
        """Return the component with a name."""
        return self._schemas[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._schemas)

    def __len__(self) -> int:
        """Return the number of components."""
        return len(self._schemas)

    def resolve(self, schema: Any) -> dict[str, Any]:
        """Return a schema with references followed and `allOf` merged at its top level.

        Keywords beside a reference win over those of its target. A circular reference resolves to
        an empty schema.
        """
        seen: set[str] = set()
        current: dict[str, Any] = dict(schema) if is_mapping(schema) else {}
        while True:
            name = ref_name(current)
            if name is not None:
                if name in seen or name not in self:
                    return {}
                seen.add(name)
                siblings = {key: value for key, value in current.items() if key != "$ref"}
                current = {**self[name], **siblings}
                continue
            parts = current.get("allOf")
            if is_array(parts) and parts:
                current = self._merge(current, parts, seen)
                continue
            return current

    def _merge(self, schema: Schema, parts: list[Any], seen: set[str]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        properties: dict[str, Any] = {}
        required: list[str] = []
        siblings = {key: value for key, value in schema.items() if key != "allOf"}
        names = {ref_name(part) for part in parts if is_mapping(part)}
        # A component that contains itself by `allOf`: resolving it again would never end.
        if names & seen:
            return siblings
        for part in [*(self.resolve(part) for part in parts), siblings]:
            properties |= part.get("properties", {})
            required += part.get("required", ())
            merged |= part
        if properties:
            merged["properties"] = properties
        if required:
            # Sorted, so that samples and error messages are the same in every run.
            merged["required"] = sorted(set(required))
        return merged

    def properties(self, schema: Any) -> dict[str, Schema]:
        """Return the properties of an object schema, or of the object branch of a union."""
        return self.object_branch(schema).get("properties", {})

    def object_branch(self, schema: Any) -> dict[str, Any]:
        """Return an object schema itself, or the first object branch of a union; else `{}`."""
        flat = self.resolve(schema)
        if "properties" in flat or flat.get("type") == "object":
            return flat
        for branch in flat.get("anyOf", flat.get("oneOf", ())):
            inner = self.object_branch(branch)
            if inner:
                return inner
        return {}

    def types(self, schema: Any) -> set[str]:
        """Return the JSON types that a schema declares, those of all branches for a union."""
        flat = self.resolve(schema)
        declared = flat.get("type")
        if isinstance(declared, str):
            return {declared}
        if is_array(declared):
            return set(cast("list[str]", declared))
        types: set[str] = set()
        for branch in flat.get("anyOf", flat.get("oneOf", ())):
            types |= self.types(branch)
        return types

    def response_schema(self, operation: Operation) -> Schema | None:
        """Return the schema of an operation's successful response; None if there is none."""
        name = operation.result.schema
        if name is None or name not in self:
            return None
        ref: dict[str, Any] = {"$ref": _PREFIX + name}
        return {"type": "array", "items": ref} if operation.result.array else ref

    def item_schema(self, operation: Operation) -> Schema | None:
        """Return the schema of the object that an operation returns, or of the items it lists."""
        response = self.response_schema(operation)
        if response is None or operation.pagination is None:
            return response
        field = operation.pagination.items
        rows = response if field is None else self.properties(response).get(field)
        items = self.resolve(rows).get("items") if rows is not None else None
        return items if is_mapping(items) else None

    def for_direction(self, name: str, direction: Direction) -> Schema:
        """Return a component as it applies to requests or to responses.

        One component describes both, and its `required` is meant for responses. In a request,
        read-only properties are neither required nor validated; in a response, write-only ones.
        """
        return schema_for(self[name], direction)


def schema_for(schema: Any, direction: Direction) -> Any:
    """Return a schema that does not validate the properties of the other direction."""
    return _strip(schema, _HIDDEN[direction])


def _strip(schema: Any, flag: str) -> Any:
    if is_array(schema):
        return [_strip(part, flag) for part in schema]
    if not is_mapping(schema):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"properties", "patternProperties", "$defs"} and is_mapping(value):
            # True is the schema that every value meets.
            result[key] = {
                name: True if is_mapping(sub) and sub.get(flag) else _strip(sub, flag)
                for name, sub in value.items()
            }
        else:
            result[key] = value if key in _DATA_KEYWORDS else _strip(value, flag)
    properties = schema.get("properties")
    if is_mapping(properties) and "required" in result:
        hidden = {name for name, sub in properties.items() if is_mapping(sub) and sub.get(flag)}
        result["required"] = [name for name in result["required"] if name not in hidden]
    return result
