"""Conditional functions, comparisons as functions, and functions for NULL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from posthog_emulator.hogql import operators
from posthog_emulator.hogql.problems import HogQLError, illegal_type
from posthog_emulator.hogql.tree import exp
from posthog_emulator.hogql.types import NOTHING, STRING, Type, common
from posthog_emulator.hogql.values import Value, constant, quoted, truth

from .table import Call, check_count, function, special

if TYPE_CHECKING:
    from posthog_emulator.hogql.expressions import Expressions

__all__ = ["chosen"]

for _name in operators.COMPARISONS:

    @function(_name, least=2)
    def _compare(call: Call) -> Value:
        return operators.compare(call.name, *call.arguments)


@function("and", "or", "xor", least=2, most=None)
def _joined(call: Call) -> Value:
    return operators.both(call.name, call.arguments)


@function("not", least=1)
def _not(call: Call) -> Value:
    return operators.negated(call.arguments[0])


@function("plus", "minus", "multiply", "divide", "modulo", least=2)
def _arithmetic(call: Call) -> Value:
    return operators.arithmetic(call.name, *call.arguments)


def chosen(text: str, cases: Sequence[tuple[Value, Value]], default: Value) -> Value:
    """Return the value of the first condition that is true.

    Args:
        text: As HogQL writes it.
        cases: Conditions and values.
        default: The value when none holds.
    """
    results = [value for _, value in cases] + [default]
    kind = results[0].type
    for result in results[1:]:
        kind = common(kind, result.type)
    whens = " ".join(f"WHEN {test.condition} THEN {value.cast(kind)}" for test, value in cases)
    sql = f"(CASE {whens} ELSE {default.cast(kind)} END)"
    parts = [*results, *(test for test, _ in cases)]
    return operators.combined(sql, kind, text, *parts, nullable=kind.nullable)


@function("if", least=3)
def _if(call: Call) -> Value:
    test, then, otherwise = call.arguments
    return chosen(call.text, [(test, then)], otherwise)


@function("multiIf", least=3, most=None)
def _multi_if(call: Call) -> Value:
    given = call.arguments
    if len(given) % 2 == 0:
        raise HogQLError(
            "Invalid number of arguments for function multiIf",
            "number_of_arguments_doesnt_match",
        )
    pairs = list(zip(given[:-1:2], given[1:-1:2], strict=True))
    return chosen(call.text, pairs, given[-1])


@function("coalesce", least=1, most=None)
def _coalesce(call: Call) -> Value:
    kind = NOTHING
    for value in call.arguments:
        kind = common(kind, value.type) if kind is not NOTHING else value.type
    nullable = all(value.type.nullable for value in call.arguments)
    parts = ", ".join(value.cast(kind) for value in call.arguments)
    return call.make(f"coalesce({parts})", kind.plain if not nullable else kind, nullable=nullable)


@function("ifNull", "ifnull", least=2)
def _if_null(call: Call) -> Value:
    return _coalesce(call)


@function("nullIf", "nullif", least=2)
def _null_if(call: Call) -> Value:
    value, other = call.arguments
    same = operators.compare("equals", value, other).condition
    sql = f"(CASE WHEN {same} THEN NULL ELSE {value.plain} END)"
    return call.make(sql, value.type, nullable=True)


@function("isNull", "isnull", least=1)
def _is_null(call: Call) -> Value:
    return truth(f"({call.arguments[0].sql} IS NULL)", call.text, *call.arguments)


@function("isNotNull", least=1)
def _is_not_null(call: Call) -> Value:
    return truth(f"({call.arguments[0].sql} IS NOT NULL)", call.text, *call.arguments)


@function("assumeNotNull", least=1)
def _assume(call: Call) -> Value:
    value = call.arguments[0]
    kind = value.type.plain
    if not value.type.nullable or kind == NOTHING.plain:
        return call.make(value.plain, kind, nullable=False)
    return call.make(f"coalesce({value.plain}, {kind.empty})", kind, nullable=False)


@function("toNullable", least=1)
def _nullable(call: Call) -> Value:
    return call.make(call.arguments[0].plain, call.arguments[0].type, nullable=True)


@function("empty", "notEmpty", least=1)
def _empty(call: Call) -> Value:
    value = call.arguments[0]
    # HogQL counts what is missing as empty.
    if value.type.name in {"String", "Nothing"}:
        sql = f"(coalesce({value.sql}, '') = '')"
    elif value.type.name == "Array":
        sql = f"(len({value.sql}) = 0)"
    elif value.type.name == "UUID":
        sql = f"(coalesce({value.sql}, {value.type.plain.empty}) = {value.type.plain.empty})"
    else:
        raise illegal_type(call.name, value.type, "a String, Array or UUID")
    negated = call.name == "notEmpty"
    return truth(f"(NOT {sql})" if negated else sql, call.text, value)


@function("tuple", least=0, most=None)
def _tuple(call: Call) -> Value:
    return operators.tuple_of(call.arguments, call.text)


@function("tupleElement", least=2)
def _element(call: Call) -> Value:
    value, index = call.arguments[0], call.constant(1, int)
    if value.type.name != "Tuple" or not 1 <= index <= len(value.type.items):
        raise illegal_type(call.name, value.type, f"a Tuple of at least {index} elements")
    found: Value = operators.elements(value)[int(index) - 1]
    return call.make(found.plain, found.type, nullable=found.type.nullable)


@function("greatest", "least", least=2, most=None)
def _extreme(call: Call) -> Value:
    kind: Type = call.arguments[0].type
    for value in call.arguments[1:]:
        kind = common(kind, value.type)
    parts = [value.cast(kind) for value in call.arguments]
    if kind.nullable:
        # NULL if any is, which DuckDB's own function is not.
        missing = " OR ".join(f"{value.sql} IS NULL" for value in call.arguments)
        sql = f"(CASE WHEN {missing} THEN NULL ELSE {call.name}({', '.join(parts)}) END)"
        return call.make(sql, kind)
    return call.make(f"{call.name}({', '.join(parts)})", kind)


_LONE = re.compile(r"\\([%_\\])|\\(.?)", re.DOTALL)


def _escaped(pattern: Value) -> str:
    """Return the SQL of a LIKE pattern with ClickHouse's rules for backslashes."""
    if not isinstance(pattern.literal, str):
        told = quoted("the emulator does not translate backslashes in a pattern of LIKE that is "
                      "no constant")  # fmt: skip
        return (
            f"(CASE WHEN contains({pattern.sql}, '\\') THEN error({told}) ELSE {pattern.sql} END)"
        )

    def written(found: re.Match[str]) -> str:
        if found[1]:
            return found[0]
        if not found[2]:
            raise HogQLError(
                "Invalid escape sequence at the end of LIKE pattern",
                "cannot_parse_escape_sequence",
            )
        return f"\\\\{found[2]}"

    return quoted(_LONE.sub(written, pattern.literal))


@function("like", "notLike", "ilike", "notILike", least=2)
def like(call: Call) -> Value:
    """Translate LIKE; NULL matches no pattern."""
    value, pattern = call.arguments
    for part in call.arguments:
        if part.type.name not in {"String", "Nothing"}:
            raise illegal_type(call.name, part.type, "a String")
    operator = "ILIKE" if call.name.lower().endswith("ilike") else "LIKE"
    sql = f"coalesce(({value.sql} {operator} {_escaped(pattern)} ESCAPE '\\'), false)"
    negate = call.name.startswith("not")
    return truth(f"(NOT {sql})" if negate else sql, call.text, *call.arguments)


@special("in", "notIn")
def _in(expressions: Expressions, name: str, nodes: Sequence[Any]) -> Value:
    check_count(name, len(nodes), 2, 2)
    value, options = nodes
    if isinstance(options, exp.Tuple):
        node = exp.In(this=value, expressions=options.expressions)
    elif isinstance(options, exp.Subquery):
        node = exp.In(this=value, query=options)
    else:
        node = exp.In(this=value, field=options)
    return expressions.of(exp.Not(this=node) if name == "notIn" else node)


@function("toTypeName", least=1)
def _type_name(call: Call) -> Value:
    return call.make(constant(str(call.arguments[0].type)).sql, STRING, nullable=False)
