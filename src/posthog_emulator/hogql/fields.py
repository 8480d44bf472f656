"""Resolve fields: chains of names, from tables to the JSON of properties."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from . import operators
from .problems import HogQLError, illegal_type, untranslated
from .scope import Scope
from .tree import exp
from .types import BOOL, DATETIME64, FLOAT, STRING
from .values import Json, Value, identifier, quoted

__all__ = [
    "NotAField", "best_effort", "chain", "element", "extended", "key_of", "number_in", "path",
    "resolve",
]  # fmt: skip

Key: TypeAlias = "str | int"
Types: TypeAlias = "Mapping[tuple[str, str], str]"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_$ .:@/-]+\Z")
_ISO: Final = r"\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?\s*(Z|[+-]\d\d(:?\d\d)?)?\s*"
_OTHER: Final = (
    r"^\s*(\d{4}|\d{6}|\d{8}|\d{9,14}(\.\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|"
    r"\d{1,2}\s+[A-Za-z]{3,9}.*|[A-Za-z]{3,9},?\s+\d{1,2}.*)\s*$"
)
"""Formats that ClickHouse may parse as a timestamp as well; the emulator raises an error."""


class NotAField(Exception):
    """An expression with a dot is not a chain of names."""


def key_of(node: Any) -> Key:
    """Return the key after a dot."""
    if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
        return int(str(node.this))
    if isinstance(node, exp.Identifier):
        return str(node.this)
    raise untranslated("this expression after a dot")


def chain(node: Any) -> list[Key]:
    """Return the names of a field, outermost first.

    Raises:
        NotAField: It is something else.
    """
    if isinstance(node, exp.Identifier):
        return [str(node.this)]
    if isinstance(node, exp.Dot):
        return [*chain(node.this), key_of(node.expression)]
    if isinstance(node, exp.Column):
        if isinstance(node.this, exp.Star):
            raise untranslated("`table.*` inside an expression")
        parts = (node.args.get(part) for part in ("catalog", "db", "table", "this"))
        return [key_of(part) for part in parts if part is not None]
    raise NotAField


def resolve(scope: Scope, names: Sequence[Key], types: Types) -> Value:
    """Resolve a chain of names.

    Raises:
        HogQLError: The name cannot be resolved.
    """
    text = ".".join(identifier(str(name)) for name in names)
    first = str(names[0])
    source = scope.source(first) if len(names) > 1 else None
    if source is None or first in scope.locals:
        value, rest = scope.column(first), names[1:]
        if value is None:
            raise HogQLError(f"Unable to resolve field: {first}")
        if len(names) == 1:
            return value
        value = replace(value, text=identifier(first))
    else:
        at = 1
        while at < len(names) - 1 and source.field(str(names[at])) is None:
            inner = source.child(str(names[at]))
            if inner is None:
                raise HogQLError(f"Field not found: {names[at]}")
            source, at = inner, at + 1
        found = source.field(str(names[at]))
        if found is None:
            raise HogQLError(f"Field not found: {names[at]}")
        shown = ".".join(identifier(str(name)) for name in names[: at + 1])
        value, rest = replace(found, text=shown), names[at + 1 :]
    for key in rest:
        value = extended(value, key, types)
    return replace(value, text=text)


def extended(value: Value, key: Key, types: Types) -> Value:
    """Access a property by name, or an element by number.

    Raises:
        HogQLError: The value has no such property or element.
    """
    text = f"{value.text}.{identifier(key) if isinstance(key, str) else key}"
    if value.type.name == "Tuple" and isinstance(key, int):
        parts = operators.elements(value)
        if not 1 <= key <= len(parts):
            raise HogQLError(f"Tuple has no element {key}: {value.type}", "not_found_column")
        return replace(parts[key - 1], text=text, name=None)
    if value.json is None:
        raise HogQLError(f"Can not access property `{key}` on {value.text} of type {value.type}.")
    json = replace(value.json, keys=(*value.json.keys, key))
    made = _property(json, types)
    name = "__".join(str(part) for part in json.keys)
    return replace(made, text=text, name=name, json=json, aggregate=value.aggregate)


def _property(json: Json, types: Types) -> Value:
    sql = f"json_extract_string({json.root}, {path(json.keys)})"
    # HogQL casts a property to the type its definition has; nested keys have no definition.
    declared = types.get((json.scope, str(json.keys[0]))) if len(json.keys) == 1 else None
    if declared == "Numeric":
        return Value(number_in(sql), FLOAT.or_null(), "")
    if declared == "Boolean":
        choice = f"(CASE {sql} WHEN 'true' THEN true WHEN 'false' THEN false END)"
        return Value(choice, BOOL.or_null(), "")
    if declared == "DateTime":
        return Value(best_effort(sql), DATETIME64.or_null(), "")
    return Value(sql, STRING.or_null(), "")


def path(keys: Sequence[Key]) -> str:
    """Return the SQL of a JSON path; numbers count from 1, as in ClickHouse."""
    # DuckDB's JSON paths cannot quote every character; a JSON pointer can express any key.
    pointer = any(isinstance(key, str) and not _PLAIN.match(key) for key in keys)
    if pointer:
        steps = [
            str(key - 1) if isinstance(key, int) else key.replace("~", "~0").replace("/", "~1")
            for key in keys
        ]
        return quoted("".join(f"/{step}" for step in steps))
    steps = [f"[{key - 1}]" if isinstance(key, int) else f'."{key}"' for key in keys]
    return quoted("$" + "".join(steps))


def best_effort(sql: str) -> str:
    """Return the SQL of a timestamp in text: ISO 8601 or seconds since 1970, else NULL."""
    number = f"regexp_full_match({sql}, '\\d{{9,10}}')"
    # Returning NULL for the other formats would be wrong silently, so the query fails instead.
    told = quoted("the emulator parses timestamps in ISO 8601 or seconds since 1970 only")
    return (
        f"(CASE WHEN regexp_full_match({sql}, '{_ISO}') "
        f"THEN timezone('UTC', TRY_CAST({sql} AS TIMESTAMPTZ)) "
        f"WHEN {number} THEN make_timestamp(CAST({sql} AS BIGINT) * 1000000) "
        f"WHEN regexp_matches({sql}, '{_OTHER}') THEN CAST(error({told}) AS TIMESTAMP) END)"
    )


def number_in(sql: str) -> str:
    """Return the SQL of a number in text; NULL if it is not a number.

    Unlike DuckDB, ClickHouse accepts no spaces around a number and no `_` between digits.
    """
    return (
        f"(CASE WHEN regexp_matches({sql}, '[\\s_]') THEN NULL ELSE TRY_CAST({sql} AS DOUBLE) END)"
    )


def element(value: Value, index: Value, text: str) -> Value:
    """Access an element of an array or tuple, from 1; the empty value past the end.

    Raises:
        HogQLError: The value has no elements.
    """
    if value.type.name == "Tuple" and isinstance(index.literal, int):
        return replace(extended(value, index.literal, {}), text=text)
    if value.type.name != "Array":
        raise illegal_type("arrayElement", value.type, "an Array")
    if index.literal == 0:
        raise HogQLError("SQL indexes start from one, not from zero. E.g: array[1]")
    if not index.type.is_integer:
        raise illegal_type("arrayElement", index.type, "a whole number")
    item = value.type.items[0]
    sql = f"({value.sql})[{index.number}]"
    if not item.nullable:
        sql = f"coalesce({sql}, {item.empty})"
    return operators.combined(sql, item, text, value, index, nullable=item.nullable)
