"""Calls of functions: which are known, with how many arguments, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from typing import Final

from .channel_type import LOOKUPS
from .comparisons import NAMES
from .context import Context
from .errors import HogQLError
from .escape import string
from .functions.rewrites import rewritten
from .functions.tables import Function, aggregate_functions, scalar_functions
from .parse import Node, children
from .values import CONTAINERS, MOMENTS, NOTHING, Printed

__all__ = [
    "MACROS",
    "aggregate",
    "aggregate_name",
    "check_count",
    "has_aggregate",
    "scalar",
    "scalar_name",
]

MACROS: Final = {
    "matchesAction": (1, 1), "sparkline": (1, 1), "recordingButton": (1, 2),
    "explainCSPReport": (1, 1), "embedText": (1, 2), "getSurveyResponse": (1, 3),
    "uniqueSurveySubmissionsFilter": (1, 3), "getTrafficType": (1, 1),
    "getTrafficCategory": (1, 1), "isLikelyBot": (1, 1), "getBotType": (1, 1),
    "getBotName": (1, 1), "getBotOperator": (1, 1),
}  # fmt: skip
"""PostHog's functions that are written in HogQL, and the numbers of their arguments."""
_POSTHOG: Final = {
    "convertCurrency": Function("convertCurrency", 3, 4, "number"),
    **{name: Function(name, 1, 1, "string") for name in LOOKUPS},
}  # fmt: skip
_NEVER_NULL: Final = frozenset(
    {"isnull", "isNotNull", "assumeNotNull", "toTypeName", "isEmpty", "empty", "notEmpty",
     "isNotEmpty", "has", "tuple", "array", "map", "rand", "pi", "e", "indexHint"}
)  # fmt: skip
_MAYBE_NULL: Final = frozenset(
    {"nullif", "transform", "JSON_VALUE", "JSONExtract", "arrayElement", "tupleElement",
     "hasTokenOrNull", "hasTokenCaseInsensitiveOrNull", "toNullable", "tryBase64Decode",
     "regexpExtract", "lag", "lead", "first_value", "last_value", "nth_value", "dateName"}
)  # fmt: skip


@cache
def _any_case() -> dict[str, str]:
    tables = (scalar_functions(), aggregate_functions())
    return {
        name.lower(): name
        for table in tables
        for name, function in table.items()
        if function.any_case
    }


def aggregate_name(name: str) -> str | None:
    """Return the name of an aggregate function as its table has it, or None."""
    table = aggregate_functions()
    if name in table:
        return name
    other = _any_case().get(name.lower())
    return other if other in table else None


def has_aggregate(node: Node) -> bool:
    """Return whether an expression is about many rows, not counting subqueries and windows."""
    if node["node"] in {"WindowFunction", "SelectQuery", "SelectSetQuery"}:
        return False
    if node["node"] == "Call" and aggregate_name(node["name"]) is not None:
        return True
    return any(has_aggregate(child) for child in children(node))


def scalar_name(name: str) -> str:
    """Return the name of a function as its table has it.

    Raises:
        HogQLError: There is no such function.
    """
    table = scalar_functions()
    if name in table or name in _POSTHOG:
        return name
    other = _any_case().get(name.lower())
    if other is not None and other in table:
        return other
    raise HogQLError(f"Unsupported function call '{name}(...)'.{_hint(name)}")


def _hint(name: str) -> str:
    names = [*aggregate_functions(), *scalar_functions(), *NAMES, *_POSTHOG, *MACROS]
    exposed = [function for function in names if not function.startswith("_")]
    close = get_close_matches(name, exposed, 1)
    return f" Perhaps you meant '{close[0]}(...)'?" if close else ""


def check_count(
    name: str, count: int, least: int, most: int | None, *, what: str = "Function",
    counted: str = "argument",
) -> None:  # fmt: skip
    """Raise an error for a wrong number of arguments.

    Raises:
        HogQLError: There are fewer or more.
    """
    if count >= least and (most is None or count <= most):
        return
    limit, words = (least, "at least ") if count < least else (most or 0, "at most ")
    words = "" if most == least else words
    plural = "" if limit == 1 else "s"
    raise HogQLError(f"{what} '{name}' expects {words}{limit} {counted}{plural}, found {count}")


_SYNTAX: Final = frozenset({"untuple"})
"""Functions that are part of the engine's syntax, and so not in its list."""


def _has(name: str, context: Context) -> None:
    available = context.engine_functions
    if available is not None and name and name not in available and name not in _SYNTAX:
        raise HogQLError(
            f"The installed build of ClickHouse has no function {name}. "
            "If it is chdb-core-lite, install chdb-core in its place."
        )


def scalar(name: str, args: Sequence[Printed], context: Context) -> Printed:
    """Return the call of a function of single rows.

    Args:
        name: As `scalar_name` returned it.
        args: The arguments.
        context: For the time zone, and the functions of the engine.

    Raises:
        HogQLError: The number of arguments is wrong, or the engine lacks the function.
    """
    function = _POSTHOG.get(name) or scalar_functions()[name]
    check_count(name, len(args), function.least, function.most)
    call = rewritten(name, args, context)
    if call is not None:
        _has(call.sql.partition("(")[0], context)
        return call
    _has(function.name, context)
    parts = [arg.sql for arg in args]
    if function.with_zone and len(args) < (function.most or 0):
        parts.append(string(context.timezone))
    return Printed(
        f"{function.name}({', '.join(parts)})", _kind(function.kind, args), _nullable(name, args)
    )


def _kind(kind: str, args: Sequence[Printed]) -> str:
    if kind.isdigit():
        at = int(kind)
        return args[at].kind if at < len(args) else "unknown"
    if kind == "sum":
        kinds = {arg.kind for arg in args}
        if kinds & MOMENTS:
            return (
                "datetime"
                if "datetime" in kinds
                else "date"
                if kinds <= {"date", "int", "number"}
                else "unknown"
            )
        return "interval" if "interval" in kinds else "number"
    return kind


def _nullable(name: str, args: Sequence[Printed]) -> bool:
    if name in _NEVER_NULL:
        return False
    if name in _MAYBE_NULL:
        return True
    if name in {"coalesce", "ifnull"}:
        return all(arg.nullable for arg in args)
    return any(arg.nullable or arg.kind in CONTAINERS for arg in args)


def aggregate(
    name: str, parameters: Sequence[Printed], args: Sequence[Printed], context: Context, *,
    distinct: bool,
) -> Printed:  # fmt: skip
    """Return the call of an aggregate function.

    Args:
        name: As `aggregate_name` returned it.
        parameters: The parameters.
        args: The arguments.
        context: For the functions of the engine.
        distinct: Whether only different values count.

    Raises:
        HogQLError: A number of arguments is wrong, or the engine lacks the function.
    """
    function = aggregate_functions()[name]
    check_count(name, len(args), function.least, None if distinct else function.most,
                what="Aggregation")  # fmt: skip
    if function.parameters is not None:
        least, most = function.parameters
        if not parameters:
            raise HogQLError(f"Aggregation '{name}' requires parameters in addition to arguments")
        check_count(name, len(parameters), least, most, what="Aggregation", counted="parameter")
    _has_aggregate(function.name, context)
    values = ", ".join(arg.sql for arg in args)
    kind = _kind(function.kind, args)
    nullable = "OrNull" in name or (
        kind not in {"int"} and any(arg.nullable or arg.kind in CONTAINERS for arg in args)
    )
    written = {
        "json_agg": f"toJSONString(groupArray({values}))",
        "every": f"toBool(min({values}))",
        "md5": f"hex(MD5({values}))",
        "string_agg": f"arrayStringConcat(groupArray({args[0].sql if args else ''}), "
        f"{args[-1].sql if args else ''})",
    }.get(name)
    if written is not None:
        return Printed(written, "string" if name != "every" else "bool", nullable)
    parameter_list = f"({', '.join(arg.sql for arg in parameters)})" if parameters else ""
    word = "DISTINCT " if distinct else ""
    return Printed(
        f"{function.name}{parameter_list}({word}{values})", kind, nullable, constant=NOTHING
    )


_SUFFIXES: Final = (
    "If", "OrDefault", "OrNull", "Array", "Map", "State", "Merge", "ForEach", "ArgMin", "ArgMax",
)  # fmt: skip
_WRITTEN: Final = frozenset({"json_agg", "every", "md5", "string_agg"})


def _has_aggregate(name: str, context: Context) -> None:
    available = context.engine_functions
    if available is None or name in _WRITTEN:
        return
    base = name
    while base not in available:
        suffix = next((ending for ending in _SUFFIXES if base.endswith(ending)), None)
        if suffix is None:
            _has(name, context)
            return
        base = base.removesuffix(suffix)
