"""Comparisons, arithmetic and logic, with the NULL and type rules of HogQL and ClickHouse."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Final

from .problems import HogQLError, illegal_type, no_common_type
from .types import DATETIME, FLOAT, Type, bits_of, common, integer, tuple_
from .values import Value, constant, quoted, truth

__all__ = ["COMPARISONS", "arithmetic", "both", "compare", "compare_tuples", "contains", "negated",
           "shift", "sort_key", "unified"]  # fmt: skip

COMPARISONS: Mapping[str, str] = {
    "equals": "=",
    "notEquals": "<>",
    "less": "<",
    "greater": ">",
    "lessOrEquals": "<=",
    "greaterOrEquals": ">=",
}
"""HogQL's functions for them, and SQL's operators."""

_MOMENT: Final = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?))?\s*(Z|[+-]\d\d:?\d\d)?\s*\Z"
)
_UUID: Final = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\Z", re.IGNORECASE)


def moment(text: str) -> str | None:
    """Convert a timestamp in text to DuckDB's format in UTC; None if it is not one."""
    found = _MOMENT.match(text)
    if found is None:
        return None
    day, time, zone = found.groups()
    fraction = re.search(r"[.,](\d+)", time or "")
    digits = "" if fraction is None else f".{fraction[1][:6]:<06}"
    clock = "00:00:00" if time is None else re.split(r"[.,]", time)[0]
    clock = clock if clock.count(":") == 2 else f"{clock}:00"
    try:
        read = datetime.fromisoformat(f"{day}T{clock}{digits}{zone or '+00:00'}")
    except ValueError:
        return None
    whole = (read - (read.utcoffset() or read - read)).replace(tzinfo=None)
    return whole.isoformat(sep=" ")


def _of_string(value: Value, type: Type) -> Value:
    """Convert a string constant as ClickHouse does in a comparison with another type."""
    text = str(value.literal)
    refused = HogQLError(f"Cannot convert string '{text}' to type {type.plain}", "type_mismatch")
    if type.name == "UUID":
        if not _UUID.match(text):
            raise HogQLError(f"Cannot parse uuid {text}", "cannot_parse_uuid")
        return Value(f"{quoted(text)}::UUID", type.plain, value.text)
    if type.is_day:
        read = moment(text)
        if read is None:
            raise refused
        wanted = type.plain if type.is_moment else DATETIME
        if type.name == "Date" and len(text.strip()) <= 10:
            wanted = type.plain
            return Value(f"DATE '{read[:10]}'", wanted, value.text)
        return Value(f"TIMESTAMP '{read}'", wanted, value.text)
    if type.name == "Bool":
        if text.lower() not in {"true", "false", "1", "0"}:
            raise HogQLError(f"Cannot parse boolean value {text}", "cannot_parse_bool")
        return Value(str(text.lower() in {"true", "1"}).lower(), type.plain, value.text)
    try:
        number = constant(float(text) if type.is_float or "." in text else int(text))
    except ValueError:
        raise refused from None
    return Value(number.sql, number.type, value.text)


def unified(left: Value, right: Value) -> tuple[str, str, Type]:
    """Return two values as SQL of a common type, and the type.

    Raises:
        HogQLError: The values have no common type.
    """
    for one, other in ((left, right), (right, left)):
        is_text = isinstance(one.literal, str) and one.type.name == "String"
        if is_text and (other.type.is_day or other.type.is_number or other.type.name == "UUID"):
            read = _of_string(one, other.type)
            pair = (read, other) if one is left else (other, read)
            return unified(*pair)
    for kind in (left.type, right.type):
        if kind.is_interval or kind.name == "Map":
            raise illegal_type("equals", kind, "something that can be compared")
    names = {left.type.name, right.type.name}
    if left.type.is_number and right.type.is_number:
        wanted = common(left.type, right.type)
        if wanted.is_float or wanted.name == "Decimal":
            return left.cast(wanted), right.cast(wanted), wanted
        return left.number, right.number, wanted
    if "Nothing" not in names and "String" in names and len(names) > 1:
        raise no_common_type(left.type, right.type)
    wanted = common(left.type, right.type)
    return left.cast(wanted), right.cast(wanted), wanted


def compare(name: str, left: Value, right: Value, *, joining: bool = False) -> Value:
    """Compare two values as HogQL does: NULL equals only NULL.

    Args:
        name: The function.
        left: A value.
        right: Another.
        joining: Whether it is a condition of a JOIN, where nothing missing is equal.

    Raises:
        HogQLError: The values cannot be compared.
    """
    text = f"{name}({left.text}, {right.text})"
    if left.literal is None or right.literal is None:
        return _with_null(name, left, right, text)
    if left.type.name == right.type.name == "Tuple":
        return compare_tuples(name, left, right)
    a, b, kind = unified(left, right)
    if kind.name == "UUID" and name not in {"equals", "notEquals"}:
        a, b = sort_key(a, kind)[0], sort_key(b, kind)[0]
    sql = f"({a} {COMPARISONS[name]} {b})"
    if kind.is_float:
        sql = _of_floats(name, sql, [(left, a), (right, b)])
    nullable = (left.type.nullable, right.type.nullable)
    if any(nullable) and not joining:
        missing = "false"
        if name == "equals" and all(nullable):
            missing = f"({left.sql} IS NULL AND {right.sql} IS NULL)"
        elif name == "notEquals":
            missing = "true"
            if all(nullable):
                missing = f"({left.sql} IS NOT NULL OR {right.sql} IS NOT NULL)"
        sql = f"coalesce({sql}, {missing})"
    return truth(sql, text, left, right, nullable=joining and any(nullable))


def _of_floats(name: str, sql: str, sides: Sequence[tuple[Value, str]]) -> str:
    """Return a comparison of floats in which NaN equals nothing."""
    # In DuckDB, NaN equals itself and is greater than all numbers.
    doubtful = [f"isnan({side})" for value, side in sides if not _is_finite(value)]
    if not doubtful:
        return sql
    if name == "notEquals":
        return f"({sql} OR {' OR '.join(doubtful)})"
    return f"({sql} AND NOT ({' OR '.join(doubtful)}))"


def _is_finite(value: Value) -> bool:
    return value.type.is_integer or (isinstance(value.literal, float) and isfinite(value.literal))


def _with_null(name: str, left: Value, right: Value, text: str) -> Value:
    other = left if right.literal is None else right
    if name == "equals":
        return truth(f"({other.sql} IS NULL)", text, other)
    if name == "notEquals":
        return truth(f"({other.sql} IS NOT NULL)", text, other)
    return truth("false", text, other)


def compare_tuples(name: str, left: Value, right: Value) -> Value:
    """Compare tuples, element by element."""
    a, b = elements(left), elements(right)
    text = f"{name}({left.text}, {right.text})"
    if len(a) != len(b) or not a:
        raise HogQLError(
            f"Cannot compare tuples of different sizes: {left.type} and {right.type}.",
            "bad_arguments",
        )
    equal = " AND ".join(compare("equals", x, y).sql for x, y in zip(a, b, strict=True))
    if name in {"equals", "notEquals"}:
        sql = f"({equal})" if name == "equals" else f"(NOT ({equal}))"
        return truth(sql, text, left, right)
    strict = "less" if name.startswith("less") else "greater"
    sql = "false" if name in {"less", "greater"} else "true"
    # Lexicographic order, built from the last element outwards.
    for x, y in reversed(list(zip(a, b, strict=True))):
        first, same = compare(strict, x, y).sql, compare("equals", x, y).sql
        sql = f"({first} OR ({same} AND {sql}))"
    return truth(sql, text, left, right)


def elements(value: Value) -> list[Value]:
    """Return the elements of a tuple."""
    if value.elements:
        return list(value.elements)
    return [
        Value(f"({value.sql}).e{n}", item, f"{value.text}.{n}")
        for n, item in enumerate(value.type.items, 1)
    ]


def contains(value: Value, options: Sequence[Value], *, negate: bool, text: str) -> Value:
    """Translate IN with a list of values; NULL matches a NULL in the list."""
    # HogQL's IN finds NULL in a list with NULL; SQL's does not, so that it is a test of its own.
    missing = any(option.literal is None for option in options)
    known = [option for option in options if option.literal is not None]
    tests: list[str] = []
    if value.type.name == "Tuple":
        tests = [compare("equals", value, option).sql for option in known]
    elif known:
        left, rights = value.sql, list[str]()
        for option in known:
            left, right, _ = unified(value, option)
            rights.append(right)
        plain = _is_finite(value) or not value.type.is_float
        if plain and len({unified(value, option)[0] for option in known}) == 1:
            tests = [f"({left} IN ({', '.join(rights)}))"]
        else:
            tests = [compare("equals", value, option).sql for option in known]
    if missing:
        tests.append(f"({value.sql} IS NULL)")
    sql = f"coalesce({' OR '.join(tests) or 'false'}, false)"
    return truth(f"(NOT {sql})" if negate else sql, text, value, *options)


_ARITHMETIC: Mapping[str, str] = {"plus": "+", "minus": "-", "multiply": "*"}


def arithmetic(name: str, left: Value, right: Value) -> Value:
    """Add, subtract, multiply, divide or take the remainder."""
    text = f"{name}({left.text}, {right.text})"
    if name in {"plus", "minus"}:
        a, b = left, right
        if name == "plus" and (a.type.is_interval or (a.type.is_number and b.type.is_day)):
            a, b = b, a
        # A plain number added to a date is days, added to a timestamp seconds.
        if a.type.is_day and (b.type.is_interval or b.type.is_number):
            return shift(a, b, "+" if name == "plus" else "-", text)
        if name == "minus" and a.type.name == b.type.name == "Date":
            sql = f"date_diff('day', {b.sql}, {a.sql})"
            return combined(sql, Type("Int32"), text, a, b)
    for value in (left, right):
        if not value.type.is_number and value.type.name != "Nothing":
            raise illegal_type(name, value.type, "a number")
    if "Nothing" in {left.type.name, right.type.name}:
        return combined("NULL", left.type if right.type.name == "Nothing" else right.type, text,
                        left, right, nullable=True)  # fmt: skip
    wanted = common(left.type, right.type)
    if name == "divide":
        return combined(f"({left.cast(FLOAT)} / {right.cast(FLOAT)})", FLOAT, text, left, right)
    if name == "modulo":
        return _modulo(left, right, text)
    if wanted.is_float:
        sql = f"({left.cast(FLOAT)} {_ARITHMETIC[name]} {right.cast(FLOAT)})"
        return combined(sql, FLOAT, text, left, right)
    sql = f"({left.number} {_ARITHMETIC[name]} {right.number})"
    if wanted.name == "Decimal":
        return combined(f"CAST({sql} AS {wanted.duckdb})", wanted.plain, text, left, right)
    # ClickHouse gives the result of integer arithmetic twice the bits of the larger operand.
    (signed_a, bits_a), (signed_b, bits_b) = bits_of(left.type), bits_of(right.type)
    signed = signed_a or signed_b or name == "minus"
    kind = integer(min(64, max(bits_a, bits_b) * 2), signed=signed)
    return combined(sql, kind, text, left, right)


def _modulo(left: Value, right: Value, text: str) -> Value:
    wanted = common(left.type, right.type)
    if wanted.is_float:
        sql = f"({left.cast(FLOAT)} % {right.cast(FLOAT)})"
        return combined(sql, FLOAT, text, left, right)
    whole = f"({left.number} % {divisor(right)})"
    signed, bits = bits_of(left.type)[0], bits_of(right.type)[1]
    kind = integer(bits * 2 if signed else bits, signed=signed)
    return combined(whole, kind, text, left, right)


def divisor(value: Value) -> str:
    """Return the SQL of an integer divisor."""
    if value.is_constant and value.literal:
        return value.number
    # Whole division by zero is an error in ClickHouse and NULL in DuckDB.
    return f"(CASE WHEN {value.number} = 0 THEN error('Division by zero') ELSE {value.number} END)"


def shift(day: Value, by: Value, sign: str, text: str) -> Value:
    """Add or subtract an interval, or a number of days or seconds."""
    if by.type.is_interval:
        coarse = by.type.name[8:].lower() in {"day", "week", "month", "quarter", "year"}
        interval = by.sql
    else:
        coarse = day.type.name == "Date"
        unit = "days" if coarse else "seconds"
        interval = f"to_{unit}(CAST({by.number} AS {'INTEGER' if coarse else 'DOUBLE'}))"
    sql = f"({day.sql} {sign} {interval})"
    if day.type.is_moment:
        return combined(sql, day.type, text, day, by)
    if coarse:
        return combined(f"CAST({sql} AS DATE)", day.type, text, day, by)
    return combined(sql, DATETIME, text, day, by)


def combined(sql: str, type: Type, text: str, *parts: Value, nullable: bool | None = None) -> Value:
    """Return a value computed from others; by default it is NULL if one of them is."""
    maybe = any(part.type.nullable for part in parts) if nullable is None else nullable
    return Value(
        sql,
        type.or_null(maybe or type.nullable),
        text,
        aggregate=any(part.aggregate for part in parts),
        window=any(part.window for part in parts),
    )


def both(name: str, parts: Sequence[Value]) -> Value:
    """Join conditions by `and`, `or` or `xor`."""
    text = f"{name}({', '.join(part.text for part in parts)})"
    nullable = any(part.type.nullable for part in parts)
    conditions = [part.condition for part in parts]
    if name == "xor":
        sql = conditions[0]
        for condition in conditions[1:]:
            sql = f"({sql} <> {condition})"
    else:
        sql = f"({f' {name.upper()} '.join(conditions)})"
    return truth(sql, text, *parts, nullable=nullable)


def negated(value: Value) -> Value:
    """Negate a condition."""
    sql = f"(NOT {value.condition})"
    return truth(sql, f"not({value.text})", value, nullable=value.type.nullable)


def sort_key(sql: str, type: Type) -> tuple[str, ...]:
    """Return the SQL of sort keys: ClickHouse compares the second half of a UUID first."""
    # ClickHouse stores a UUID as two 64-bit halves and compares the second one first.
    if type.name == "UUID":
        text = f"CAST({sql} AS VARCHAR)"
        return (f"({text}[20:] || {text}[:18])",)
    return (sql,)


def tuple_of(values: Sequence[Value], text: str) -> Value:
    """Return a tuple of values."""
    fields = ", ".join(f"e{n} := {value.plain}" for n, value in enumerate(values, 1))
    sql = f"struct_pack({fields})" if values else "NULL"
    made = combined(sql, tuple_(*(value.type for value in values)), text, *values, nullable=False)
    return Value(
        made.sql,
        made.type,
        text,
        aggregate=made.aggregate,
        window=made.window,
        literal=made.literal,
        elements=tuple(values),
    )
