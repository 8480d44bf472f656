"""Comparisons, in which NULL equals NULL alone and no comparison is NULL."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from .context import Context
from .escape import string
from .values import Printed

__all__ = ["NAMES", "OPERATORS", "between", "compared", "negated"]

NAMES: Final[Mapping[str, str]] = {
    "equals": "==", "notEquals": "!=", "less": "<", "greater": ">", "lessOrEquals": "<=",
    "greaterOrEquals": ">=", "like": "like", "ilike": "ilike", "notLike": "not like",
    "notILike": "not ilike", "in": "in", "notIn": "not in",
}  # fmt: skip
"""Operators by the names of their functions."""
OPERATORS: Final[Mapping[str, str]] = {operator: name for name, operator in NAMES.items()}
"""Functions by operator."""

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
    "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
_NEGATIVE: Final = frozenset({"!=", "not like", "not ilike", "!~", "!~*"})
_RANGES: Final = frozenset({"<", ">", "<=", ">="})
_PATTERNS: Final = frozenset({"=~", "!~", "=~*", "!~*"})
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?\Z"
)


def _moment(text: str, zone: str) -> str | None:
    """Return the SQL of a moment in the project's time zone, or None for other text."""
    if not _MOMENT.match(text):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is not None:
        try:
            at = at.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)).replace(tzinfo=None)
        except (OverflowError, ValueError):
            return None
    return f"toDateTime64('{at.isoformat(' ', 'microseconds')}', 6, {string(zone)})"


def _aligned(left: Printed, right: Printed, context: Context, *, turn: bool) -> tuple[str, str]:
    """Return both sides, constant text against a moment read as a moment.

    Args:
        left: The left side.
        right: The right side.
        context: For the time zone.
        turn: Whether columns of moments may stand bare, which lets the engine skip data.
    """
    sides = [left.sql, right.sql]
    for own, other, at in ((left, right, 0), (right, left, 1)):
        if own.kind != "datetime":
            continue
        if isinstance(other.constant, str):
            moment = _moment(other.constant, context.timezone)
            if moment is None:
                continue
            sides[1 - at] = moment
        if turn and own.bare and (isinstance(other.constant, str) or other.kind == "datetime"):
            sides[at] = own.bare
            if other.bare and not isinstance(other.constant, str):
                sides[1 - at] = other.bare
    return sides[0], sides[1]


def compared(
    op: str, left: Printed, right: Printed, context: Context, *, bare: bool, turn: bool
) -> Printed:
    """Return a comparison.

    Args:
        op: `==`, `!=`, `<`, `like`, `not ilike`, `=~*`, `in` and kin.
        left: The left side.
        right: The right side.
        context: For the time zone.
        bare: Whether NULL may be the result, as in conditions of joins.
        turn: Whether columns of moments may stand bare in comparisons of ranges.
    """
    if op in {"in", "not in"}:
        side = right.sql if right.kind != "null" else "tuple(NULL)"
        return Printed(f"{'in' if op == 'in' else 'notIn'}({left.sql}, {side})", "bool", False)
    folded = _folded(op, left, right)
    if folded is not None:
        return folded
    a, b = _aligned(left, right, context, turn=turn and op in _RANGES)
    if op in _PATTERNS:
        pattern = f"concat('(?i)', {b})" if op.endswith("*") else b
        sql = f"match({a}, {pattern})"
        sql = f"not({sql})" if op.startswith("!") else sql
    else:
        sql = f"{OPERATORS[op]}({a}, {b})"
    if bare or not (left.nullable or right.nullable):
        return Printed(sql, "bool", bare and (left.nullable or right.nullable))
    return Printed(_with_null(op, sql, left, right), "bool", False)


def _folded(op: str, left: Printed, right: Printed) -> Printed | None:
    """Return a comparison whose result is known without the engine."""
    if op not in _ORDER:
        return None
    if left.is_constant and right.is_constant:
        first: Any = left.constant
        second: Any = right.constant
        if first is None or second is None:
            result = op not in _RANGES and _ORDER[op](first is None, second is None)
        elif isinstance(first, str) is not isinstance(second, str) or type(first) not in _FOLDED:
            return None
        else:
            result = type(second) in _FOLDED and _ORDER[op](first, second)
        return Printed("1" if result else "0", "bool", False)
    if (left.is_constant and left.constant is None) or (
        right.is_constant and right.constant is None
    ):
        other = right if left.is_constant else left
        if op in _RANGES:
            return Printed("0", "bool", False)
        return Printed(f"{'isNull' if op == '==' else 'isNotNull'}({other.sql})", "bool", False)
    return None


_FOLDED: Final = frozenset({bool, int, float, str})


def _with_null(op: str, sql: str, left: Printed, right: Printed) -> str:
    if op in _RANGES:
        return f"ifNull({sql}, 0)"
    negative = op in _NEGATIVE
    fixed = any(side.is_constant and side.constant is not None for side in (left, right))
    if fixed or not (left.nullable and right.nullable):
        return f"ifNull({sql}, {1 if negative else 0})"
    if negative:
        return f"ifNull({sql}, isNotNull({left.sql}) or isNotNull({right.sql}))"
    return f"ifNull({sql}, isNull({left.sql}) and isNull({right.sql}))"


def between(
    value: Printed, low: Printed, high: Printed, context: Context, *, negate: bool, bare: bool,
    turn: bool,
) -> Printed:  # fmt: skip
    """Return whether a value lies between two others, both included."""
    a, first = _aligned(value, low, context, turn=turn)
    b, last = _aligned(value, high, context, turn=turn)
    shown = a if a == b else value.sql
    sql = f"{shown} {'NOT ' if negate else ''}BETWEEN {first} AND {last}"
    if bare or not (value.nullable or low.nullable or high.nullable):
        return Printed(f"({sql})", "bool", False)
    return Printed(f"ifNull({sql}, 0)", "bool", False)


def negated(value: Printed) -> Printed:
    """Return the negation."""
    return Printed(f"not({value.sql})", "bool", value.nullable)
