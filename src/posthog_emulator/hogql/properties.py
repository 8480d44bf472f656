"""Properties in JSON text: how they are read, and made the type of their definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .context import Context
from .errors import HogQLError
from .escape import string
from .values import Printed

__all__ = ["best_effort", "element", "property_text", "untyped"]

_ALWAYS_TEXT: Final = frozenset(
    f"$ai_{name}_id" for name in ("trace", "session", "parent", "span", "generation", "experiment")
)


def best_effort(sql: str, zone: str) -> str:
    """Return the SQL of a moment read from text, NULL where it is none."""
    # Equal to parseDateTime64BestEffortOrNull, which the lite build lacks, with the setting
    # cast_string_to_date_time_mode = 'best_effort'.
    return f"accurateCastOrNull({sql}, {string(f'DateTime64(6, {string(zone)})')})"


def property_text(json: str, keys: Sequence[str | int]) -> str:
    """Return the SQL of what is under keys of JSON text; strings without their quotes.

    Escapes inside of strings stay, as at PostHog, which removes the quotes by
    `replaceRegexpAll(nullIf(nullIf(JSONExtractRaw(…), ''), 'null'), '^"|"$', '')`.
    """
    path = ", ".join(string(key) if isinstance(key, str) else str(key) for key in keys)
    raw = f"JSONExtractRaw({json}, {path})"
    inner = f"substring({raw}, 2, length({raw}) - 2)"
    # A third faster than with the regular expression; equal parts are computed once.
    return f"if({raw} IN ('', 'null'), NULL, if(startsWith({raw}, '\"'), {inner}, {raw}))"


def element(value: Printed, key: str | int, context: Context) -> Printed:
    """Return what a value holds under a constant key.

    Raises:
        HogQLError: The key is 0.
    """
    if key == 0:
        raise HogQLError("SQL indexes start from one, not from zero. E.g: array.1")
    is_json = value.path is not None or value.scope or value.kind == "string"
    if is_json or (isinstance(key, str) and value.kind == "unknown"):
        json, keys = value.path or (value.sql, ())
        return _property(value, json, (*keys, key), context)
    function = "tupleElement" if value.kind in {"tuple", "unknown"} else "arrayElement"
    return Printed(f"{function}({value.sql}, {string(key) if isinstance(key, str) else key})")


def _property(value: Printed, json: str, keys: tuple[str | int, ...], context: Context) -> Printed:
    """Return a property, of the type of its definition."""
    sql = property_text(json, keys)
    if value.pull is not None:
        sql = value.pull(keys, len(keys) > 1)
    printed = Printed(
        sql, "string", scope=value.scope, path=(json, keys), name="__".join(map(str, keys)),
        pull=value.pull, text=sql,
    )  # fmt: skip
    if len(keys) != 1 or not value.scope or keys[0] in _ALWAYS_TEXT:
        return printed
    types, name = context.property_types, str(keys[0])
    kind = types.get((value.scope, name))
    if kind is None and value.scope.startswith("group_"):
        kind = types.get(("group", name))
    if kind == "Numeric":
        printed.sql, printed.kind = f"accurateCastOrNull({sql}, 'Float64')", "float"
    elif kind == "DateTime":
        printed.sql, printed.kind = best_effort(sql, context.timezone), "datetime"
    elif kind == "Boolean":
        truth = f"transform(toString({sql}), ['true', 'false'], [1, 0], NULL)"
        printed.sql, printed.kind = f"toBool({truth})", "bool"
    return printed


def untyped(value: Printed) -> Printed:
    """Return a property as its text, whatever the type of its definition; else the value."""
    return Printed(value.text, "string") if value.text else value
