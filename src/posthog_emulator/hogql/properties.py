"""Properties in JSON text: how they are read, and made the type of their definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .context import Context
from .errors import HogQLError
from .escape import string
from .values import Printed

__all__ = ["best_effort", "element", "read_property"]

_ALWAYS_TEXT: Final = frozenset(
    f"$ai_{name}_id" for name in ("trace", "session", "parent", "span", "generation", "experiment")
)


def best_effort(sql: str, zone: str) -> str:
    """Return the SQL of a moment read from text, NULL where it is none."""
    # Equal to parseDateTime64BestEffortOrNull, which the lite build lacks, with the setting
    # cast_string_to_date_time_mode = 'best_effort'.
    return f"accurateCastOrNull({sql}, {string(f'DateTime64(6, {string(zone)})')})"


def element(value: Printed, key: str | int, context: Context) -> Printed:
    """Return what a value holds under a constant key.

    Raises:
        HogQLError: The key is 0.
    """
    if key == 0 and not isinstance(key, bool):
        raise HogQLError("SQL indexes start from one, not from zero. E.g: array.1")
    if value.path is not None:
        return read_property(value.path[0], [*value.path[1], key], value.scope, context)
    if value.scope or value.kind == "string":
        return read_property(value.sql, [key], value.scope, context)
    if isinstance(key, str) and value.kind == "unknown":
        return read_property(value.sql, [key], "", context)
    function = "tupleElement" if value.kind in {"tuple", "unknown"} else "arrayElement"
    text = str(key) if isinstance(key, int) else string(key)
    return Printed(f"{function}({value.sql}, {text})")


def read_property(json: str, keys: Sequence[str | int], scope: str, context: Context) -> Printed:
    """Return the value under keys of JSON text, as a string or of the type of its definition."""
    path = ", ".join(string(key) if isinstance(key, str) else str(key) for key in keys)
    raw = f"nullIf(nullIf(JSONExtractRaw({json}, {path}), ''), 'null')"
    sql = f"replaceRegexpAll({raw}, '^\"|\"$', '')"
    made = Printed(
        sql, "string", path=(json, tuple(keys)), name="__".join(map(str, keys)), scope=scope
    )
    if len(keys) != 1 or not scope or not isinstance(keys[0], str) or keys[0] in _ALWAYS_TEXT:
        return made
    kind = _type(keys[0], scope, context)
    if kind == "Numeric":
        made.sql, made.kind = f"accurateCastOrNull({sql}, 'Float64')", "float"
    elif kind == "DateTime":
        made.sql, made.kind = best_effort(sql, context.timezone), "datetime"
    elif kind == "Boolean":
        made.sql, made.kind = (
            f"toBool(transform(toString({sql}), ['true', 'false'], [1, 0], NULL))",
            "bool",
        )
    return made


def _type(name: str, scope: str, context: Context) -> str | None:
    types = context.property_types
    found = types.get((scope, name))
    if found is None and scope.startswith("group_"):
        found = types.get(("group", name))
    return found
