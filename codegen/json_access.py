"""Typed access to plain JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

from .diagnostics import SchemaError

__all__ = [
    "MISSING",
    "Schema",
    "as_mapping",
    "as_sequence",
    "as_text",
    "join_pointer",
    "lookup",
    "mapping",
    "objects",
    "properties",
    "split_pointer",
    "strings",
]

Schema: TypeAlias = Mapping[str, Any]
"""A JSON object: a schema, an operation, a whole document."""


def mapping(node: Schema, key: str) -> dict[str, Any]:
    """Return the object at `key`, or an empty one."""
    value = node.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def objects(node: Schema, key: str) -> list[dict[str, Any]]:
    """Return the list of objects at `key`, or an empty one."""
    value = node.get(key)
    return cast("list[dict[str, Any]]", value) if isinstance(value, list) else []


def strings(node: Schema, key: str) -> list[str]:
    """Return the list of strings at `key`, or an empty one."""
    value = node.get(key)
    return cast("list[str]", value) if isinstance(value, list) else []


def properties(schema: Schema) -> dict[str, dict[str, Any]]:
    """Return the properties of an object schema."""
    return mapping(schema, "properties")


MISSING: Final = object()
"""What `lookup` returns where there is nothing."""

_FIX_DOCUMENT = "Mend the document, or get a fresh one with `python -m codegen fetch`"


def join_pointer(pointer: str, *names: str | int) -> str:
    """Return the pointer to something below `at`."""
    return pointer + "".join(
        "/" + str(name).replace("~", "~0").replace("/", "~1") for name in names
    )


def split_pointer(pointer: str) -> tuple[str, ...]:
    """Return the unescaped tokens of a pointer, or of the fragment of a reference."""
    parts = unquote(pointer.removeprefix("#")).split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def lookup(document: Any, path: Sequence[str]) -> Any:
    """Return what stands at `path`, or `MISSING`."""
    value = document
    for token in path:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(token, MISSING)
        elif isinstance(value, list) and token.isdecimal():
            items = cast("list[Any]", value)
            value = items[int(token)] if int(token) < len(items) else MISSING
        else:
            return MISSING
    return value


def as_mapping(value: Any, pointer: str) -> Mapping[str, Any]:
    """Return `value` as an object.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    raise SchemaError(
        f"#{pointer}", f"an object is expected here, not {_json_type(value)}", _FIX_DOCUMENT
    )


def as_sequence(value: Any, pointer: str) -> Sequence[Any]:
    """Return `value` as an array.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(value, list | tuple):
        return cast("Sequence[Any]", value)
    raise SchemaError(
        f"#{pointer}", f"an array is expected here, not {_json_type(value)}", _FIX_DOCUMENT
    )


def as_text(value: Any, pointer: str) -> str:
    """Return `value` as a string.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(value, str):
        return value
    raise SchemaError(
        f"#{pointer}", f"a string is expected here, not {_json_type(value)}", _FIX_DOCUMENT
    )


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, int | float):
        return "a number"
    return "an object" if isinstance(value, Mapping) else "an array"
