"""Aggregate functions. `tail` is the FILTER and OVER clause that follows DuckDB's function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from posthog_emulator.hogql.problems import HogQLError, untranslated
from posthog_emulator.hogql.types import FLOAT, INT64, UINT64, Type, array, bits_of
from posthog_emulator.hogql.values import Value

from .table import AGGREGATES, Aggregate, Call, checked

__all__: list[str] = []

Make: TypeAlias = "Callable[[Call, str], Value]"


def _aggregate(
    *names: str, least: int, most: int | None = -1, parameters: tuple[int, int] = (0, 0)
) -> Callable[[Make], Make]:
    def enter(make: Make) -> Make:
        entry = Aggregate(least, least if most == -1 else most, make, parameters)
        AGGREGATES.update(dict.fromkeys(names, entry))
        return make

    return enter


def _filled(sql: str, type: Type) -> str:
    """Return the SQL of an aggregate with the empty value where there are no rows."""
    # ClickHouse returns NULL for no rows only if the argument can be NULL; DuckDB always does.
    return sql if type.nullable else f"coalesce({sql}, {type.empty})"


def _present(call: Call, tail: str) -> str:
    """Return the FILTER and OVER clause without rows in which an argument is NULL."""
    tests = [f"{value.sql} IS NOT NULL" for value in call.arguments if value.type.nullable]
    if not tests:
        return tail
    test = " AND ".join(tests)
    if tail.startswith(" FILTER (WHERE "):
        return tail.replace(" FILTER (WHERE ", f" FILTER (WHERE {test} AND ", 1)
    return f" FILTER (WHERE {test}){tail}"


@_aggregate("count", least=0, most=None)
def _count(call: Call, tail: str) -> Value:
    if call.distinct:
        return _uniq(call, tail)
    if not call.arguments:
        return call.make(f"count(*){tail}", UINT64, nullable=False)
    if len(call.arguments) > 1:
        raise HogQLError("Aggregation 'count' expects at most 1 argument.")
    return call.make(f"count({call.arguments[0].plain}){tail}", UINT64, nullable=False)


@_aggregate("uniq", "uniqExact", "uniqCombined", "uniqHLL12", "countDistinct", least=1, most=None)
def _uniq(call: Call, tail: str) -> Value:
    parts = [value.plain for value in call.arguments]
    what = parts[0] if len(parts) == 1 else f"row({', '.join(parts)})"
    return call.make(f"count(DISTINCT {what}){_present(call, tail)}", UINT64, nullable=False)


@_aggregate("sum", least=1)
def _sum(call: Call, tail: str) -> Value:
    checked(call, "n")
    value = call.arguments[0]
    if value.type.is_float:
        kind, sql = FLOAT, f"sum({value.sql}){tail}"
    elif value.type.name == "Decimal":
        kind = Type("Decimal", parameters=(38, value.type.parameters[1]))
        sql = f"sum({value.sql}){tail}"
    else:
        kind = INT64 if bits_of(value.type)[0] else UINT64
        sql = f"CAST(sum({value.number}){tail} AS BIGINT)"
    kind = kind.or_null(value.type.nullable)
    return call.make(_filled(sql, kind), kind)


@_aggregate("avg", least=1)
def _avg(call: Call, tail: str) -> Value:
    checked(call, "n")
    value = call.arguments[0]
    kind = FLOAT.or_null(value.type.nullable)
    sql = f"avg({value.cast(FLOAT)}){tail}"
    return call.make(sql if kind.nullable else f"coalesce({sql}, 'nan'::DOUBLE)", kind)


@_aggregate("min", "max", least=1)
def _extreme(call: Call, tail: str) -> Value:
    value = call.arguments[0]
    if value.type.name == "UUID":
        raise untranslated(f"{call.name} of a UUID")
    return call.make(_filled(f"{call.name}({value.plain}){tail}", value.type), value.type)


@_aggregate("any", "anyLast", "first_value", "last_value", least=1)
def _any(call: Call, tail: str) -> Value:
    value = call.arguments[0]
    name = "last" if call.name in {"anyLast", "last_value"} else "first"
    sql = f"{name}({value.plain}){_present(call, tail)}"
    return call.make(_filled(sql, value.type), value.type)


@_aggregate("argMin", "argMax", least=2)
def _arg(call: Call, tail: str) -> Value:
    value, by = call.arguments
    if by.type.name == "UUID":
        raise untranslated(f"{call.name} by a UUID")
    name = "arg_min" if call.name == "argMin" else "arg_max"
    sql = f"{name}({value.plain}, {by.plain}){_present(call, tail)}"
    return call.make(_filled(sql, value.type), value.type)


@_aggregate("stddevPop", "stddevSamp", "varPop", "varSamp", least=1)
def _spread(call: Call, tail: str) -> Value:
    checked(call, "n")
    name = {"stddevPop": "stddev_pop", "stddevSamp": "stddev_samp", "varPop": "var_pop",
            "varSamp": "var_samp"}[call.name]  # fmt: skip
    value = call.arguments[0]
    sql = f"coalesce({name}({value.cast(FLOAT)}){tail}, 'nan'::DOUBLE)"
    return call.make(sql, FLOAT, nullable=False)


def _levels(call: Call, default: tuple[float, ...] = ()) -> list[float]:
    levels: list[float] = []
    for value in call.parameters:
        if not isinstance(value.literal, int | float) or not 0 <= value.literal <= 1:
            raise HogQLError(f"The level of {call.name} must be a number from 0 to 1.")
        levels.append(float(value.literal))
    return levels or list(default)


@_aggregate("quantile", "median", least=1, parameters=(0, 1))
def _quantile(call: Call, tail: str) -> Value:
    checked(call, "n")
    value, level = call.arguments[0], _levels(call, (0.5,))[0]
    kind = FLOAT.or_null(value.type.nullable)
    sql = f"quantile_cont({value.cast(FLOAT)}, {level}){tail}"
    return call.make(sql if kind.nullable else f"coalesce({sql}, 'nan'::DOUBLE)", kind)


@_aggregate("quantiles", least=1, parameters=(1, 100))
def _quantiles(call: Call, tail: str) -> Value:
    checked(call, "n")
    value, levels = call.arguments[0], _levels(call)
    nothing = ", ".join(["'nan'::DOUBLE"] * len(levels))
    sql = f"coalesce(quantile_cont({value.cast(FLOAT)}, {levels}){tail}, [{nothing}])"
    return call.make(sql, array(FLOAT), nullable=False)


@_aggregate("quantileExact", "medianExact", least=1, parameters=(0, 1))
def _exact(call: Call, tail: str) -> Value:
    checked(call, "n")
    value, level = call.arguments[0], _levels(call, (0.5,))[0]
    kept = f"list_sort(list({value.number}){_present(call, tail)})"
    place = f"least(CAST(floor({level} * len({kept})) AS BIGINT) + 1, len({kept}))"
    return call.make(_filled(f"({kept})[{place}]", value.type), value.type)


def _some(call: Call, sql: str) -> str:
    """Return the SQL of the first n elements of a list, if a parameter gives n."""
    if not call.parameters:
        return sql
    count = call.parameters[0].literal
    if not isinstance(count, int) or count < 1:
        raise HogQLError(f"The parameter of {call.name} must be a number above 0.")
    return f"({sql})[:{count}]"


@_aggregate("groupArray", least=1, parameters=(0, 1))
def _group_array(call: Call, tail: str) -> Value:
    kind = array(call.arguments[0].type.plain)
    sql = f"list({call.arguments[0].plain}){_present(call, tail)}"
    return call.make(_filled(_some(call, sql), kind), kind, nullable=False)


@_aggregate("groupUniqArray", least=1, parameters=(0, 1))
def _group_uniq(call: Call, tail: str) -> Value:
    kind = array(call.arguments[0].type.plain)
    sql = f"list(DISTINCT {call.arguments[0].plain}){_present(call, tail)}"
    return call.make(_filled(_some(call, sql), kind), kind, nullable=False)


@_aggregate("topK", least=1, parameters=(1, 1))
def _top(call: Call, tail: str) -> Value:
    value, count = call.arguments[0], call.parameters[0].literal
    if not isinstance(count, int) or not 1 <= count <= 65536:
        raise HogQLError("The parameter of topK must be a number from 1 to 65536.")
    if tail.endswith(")") and " OVER (" in tail:
        raise untranslated("topK over a window")
    kind = array(value.type.plain)
    counted = f"map_entries(histogram({value.plain}){_present(call, tail)})"
    ranked = (
        f"list_sort(list_transform({counted}, "
        "lambda e: struct_pack(n := -CAST(e.value AS BIGINT), v := e.key)))"
    )
    sql = f"list_transform(({ranked})[:{count}], lambda e: e.v)"
    return call.make(_filled(sql, kind), kind, nullable=False)


@_aggregate("groupBitAnd", "groupBitOr", "groupBitXor", least=1)
def _bits(call: Call, tail: str) -> Value:
    checked(call, "i")
    name = f"bit_{call.name.removeprefix('groupBit').lower()}"
    value = call.arguments[0]
    if call.name == "groupBitAnd":
        raise untranslated("groupBitAnd")
    return call.make(_filled(f"{name}({value.number}){tail}", value.type), value.type)


@_aggregate("corr", "covarPop", "covarSamp", least=2)
def _pairs(call: Call, tail: str) -> Value:
    checked(call, "nn")
    name = {"corr": "corr", "covarPop": "covar_pop", "covarSamp": "covar_samp"}[call.name]
    y, x = (value.cast(FLOAT) for value in call.arguments)
    return call.make(f"coalesce({name}({y}, {x}){tail}, 'nan'::DOUBLE)", FLOAT, nullable=False)
