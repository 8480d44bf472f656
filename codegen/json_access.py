"""Typed access to plain JSON data: objects, values and their types, JSON pointers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

from .diagnostics import FIX_DOCUMENT, SchemaError

__all__ = [
    "JSON_TYPES",
    "MISSING",
    "JsonObject",
    "ResolvedObject",
    "as_mapping",
    "as_sequence",
    "as_text",
    "follow_reference",
    "iter_objects",
    "join_pointer",
    "lookup",
    "mapping",
    "matches_type",
    "objects",
    "properties",
    "split_pointer",
    "strings",
    "type_of",
    "unique",
]

JsonObject: TypeAlias = Mapping[str, Any]
ResolvedObject: TypeAlias = tuple[JsonObject, str]
"""An object, and the pointer of the place it was read from after following references."""
MISSING: Final = object()
"""Returned by `lookup` if there is no value at the path."""

# `bool` is a subclass of `int` in Python, so it has to be tested first.
_PYTHON_TYPES: Final = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (Mapping, "object"),
    (Sequence, "array"),
)
JSON_TYPES: Final = frozenset({"null", *(name for _, name in _PYTHON_TYPES)})
_WITH_ARTICLE: Final = {
    "array": "an array",
    "integer": "a number",
    "null": "null",
    "object": "an object",
}


def mapping(node: JsonObject, key: str) -> dict[str, Any]:
    """Return the object at `key`, or an empty one."""
    value = node.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def objects(node: JsonObject, key: str) -> list[dict[str, Any]]:
    """Return the list of objects at `key`, or an empty one."""
    value = node.get(key)
    return cast("list[dict[str, Any]]", value) if isinstance(value, list) else []


def strings(node: JsonObject, key: str) -> list[str]:
    """Return the list of strings at `key`, or an empty one."""
    value = node.get(key)
    return cast("list[str]", value) if isinstance(value, list) else []


def properties(schema: JsonObject) -> dict[str, dict[str, Any]]:
    """Return the properties of an object schema."""
    return mapping(schema, "properties")


def iter_objects(value: Any) -> Iterator[JsonObject]:
    """Yield every object in JSON data, at any depth."""
    if isinstance(value, Mapping):
        node = cast("JsonObject", value)
        yield node
        for inner in node.values():
            yield from iter_objects(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from iter_objects(inner)


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    for python_type, name in _PYTHON_TYPES:
        if isinstance(value, python_type):
            return name
    return "null"


def matches_type(value: Any, kind: str) -> bool:
    """Whether a value is of a JSON type.

    JSON has one kind of number: `1.0` is an integer too, and every integer is a number.
    """
    value_type = type_of(value)
    if kind == "integer" and value_type == "number":
        return float(value).is_integer()
    return value_type == kind or (kind == "number" and value_type == "integer")


def unique(values: Sequence[Any]) -> list[Any]:
    """Return the values without repetitions, as JSON compares them: 1 is 1.0, but not true."""
    seen: dict[str, Any] = {}
    for value in values:
        whole = isinstance(value, float) and value.is_integer()
        seen.setdefault(json.dumps(int(value) if whole else value, sort_keys=True), value)
    return list(seen.values())


def join_pointer(pointer: str, *tokens: str | int) -> str:
    """Return the JSON pointer (RFC 6901) to something below `pointer`.

    Args:
        pointer: The pointer to start from; `""` is the whole document.
        tokens: Keys and indexes, not escaped.
    """
    for token in tokens:
        text = str(token)
        if "~" in text or "/" in text:
            text = text.replace("~", "~0").replace("/", "~1")
        pointer = f"{pointer}/{text}"
    return pointer


def split_pointer(pointer: str) -> tuple[str, ...]:
    """Return the tokens of a JSON pointer or of the fragment of a reference, not escaped."""
    # In a `$ref` the pointer is part of a URI, so it is percent-encoded as well.
    parts = unquote(pointer.removeprefix("#")).split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def lookup(document: Any, path: Sequence[str]) -> Any:
    """Return the value at `path`, or `MISSING`."""
    value = document
    for token in path:
        if isinstance(value, Mapping):
            value = cast("JsonObject", value).get(token, MISSING)
        elif isinstance(value, list) and token.isdecimal():
            items = cast("list[Any]", value)
            value = items[int(token)] if int(token) < len(items) else MISSING
        else:
            return MISSING
    return value


def follow_reference(document: JsonObject, value: Any, pointer: str) -> ResolvedObject:
    """Return an object, or the object it refers to, with its pointer.

    Args:
        document: The document that references lead into.
        value: An object that may be a reference: a parameter, a body, a response.
        pointer: The pointer of `value`.

    Raises:
        SchemaError: The reference leads nowhere, in circles, or out of the document.
    """
    start, seen = pointer, {pointer}
    target = as_mapping(value, pointer)
    while "$ref" in target:
        text = as_text(target["$ref"], join_pointer(pointer, "$ref"))
        path = split_pointer(text)
        pointer = join_pointer("", *path)
        value = lookup(document, path) if text.startswith("#/") else MISSING
        if value is MISSING or pointer in seen:
            problem = "leads in circles" if pointer in seen else "names nothing in the document"
            raise SchemaError(f"#{start}", f"its reference {text!r} {problem}", FIX_DOCUMENT)
        seen.add(pointer)
        target = as_mapping(value, pointer)
    return target, pointer


def as_mapping(value: Any, pointer: str) -> JsonObject:
    """Return `value`, which has to be an object.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(value, Mapping):
        return cast("JsonObject", value)
    raise _type_error("an object", value, pointer)


def as_sequence(value: Any, pointer: str) -> Sequence[Any]:
    """Return `value`, which has to be an array.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(value, list | tuple):
        return cast("Sequence[Any]", value)
    raise _type_error("an array", value, pointer)


def as_text(value: Any, pointer: str) -> str:
    """Return `value`, which has to be a string.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(value, str):
        return value
    raise _type_error("a string", value, pointer)


def _type_error(expected: str, value: Any, pointer: str) -> SchemaError:
    kind = type_of(value)
    reason = f"{expected} is expected here, not {_WITH_ARTICLE.get(kind, f'a {kind}')}"
    return SchemaError(f"#{pointer}", reason, FIX_DOCUMENT)
