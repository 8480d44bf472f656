"""Translate calls of functions, aggregates and window functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.hogql.functions.table import (
    AGGREGATES,
    FUNCTIONS,
    SPECIAL,
    Aggregate,
    Call,
    check_count,
    check_parameters,
)

from . import functions, operators
from .problems import HogQLError, untranslated
from .tree import exp
from .values import Value

if TYPE_CHECKING:
    from .expressions import Expressions

__all__ = ["call_function", "is_aggregate", "ordered", "window_function"]

# Function names are case-sensitive in ClickHouse, except for some; these are translated.
_ANY_CASE: Final[Mapping[str, str]] = {
    name.lower(): name
    for name in (
        "count", "sum", "avg", "min", "max", "any", "now", "today", "coalesce", "ifNull", "nullIf",
        "isNull", "if", "lower", "upper", "abs", "round", "floor", "ceil", "concat", "length",
        "substring", "trim", "replace", "greatest", "least", "and", "or", "not", "sqrt", "power",
    )
}  # fmt: skip


def call_function(expressions: Expressions, node: Any, over: str = "") -> Value:
    """Translate a call.

    Args:
        expressions: What translates the arguments.
        node: The call.
        over: The window it is over, as SQL.

    Raises:
        HogQLError: There is no such function, or it takes no such arguments.
    """
    functions.load()
    name, parameters, arguments = _parts(node)
    found = _known(name)
    # These translate their arguments themselves, for example lambdas, which are not values.
    if found in SPECIAL and not over:
        return SPECIAL[found](expressions, found, arguments)
    if found in FUNCTIONS and not over:
        entry = FUNCTIONS[found]
        check_count(found, len(arguments), entry.least, entry.most)
        if parameters:
            raise HogQLError(f"Function '{found}' does not accept parameters.")
        values = expressions.all(arguments)
        if expressions.joining and found in operators.COMPARISONS:
            return operators.compare(found, values[0], values[1], joining=True)
        return entry.make(Call(found, values, now=expressions.translator.context.now))
    aggregate, conditional = _aggregate(found)
    if aggregate is None:
        raise _unknown(found)
    return _aggregated(expressions, found, aggregate, conditional, parameters, arguments, over)


def _parts(node: Any) -> tuple[str, list[Any], list[Any]]:
    name = str(node.this)
    if isinstance(node, exp.ParameterizedAgg | exp.CombinedParameterizedAgg):
        return name, list(node.expressions), list(node.args["params"])
    return name, [], list(node.expressions)


def _known(name: str) -> str:
    if name in FUNCTIONS or name in SPECIAL or _aggregate(name)[0] is not None:
        return name
    return _ANY_CASE.get(name.lower(), name)


def is_aggregate(name: str) -> bool:
    """Return whether a function is an aggregate."""
    functions.load()
    return _aggregate(_known(name))[0] is not None


def _aggregate(name: str) -> tuple[Aggregate | None, bool]:
    if name in AGGREGATES:
        return AGGREGATES[name], False
    if name.endswith("If"):
        return AGGREGATES.get(name[:-2]), True
    return None, False


def _unknown(name: str) -> HogQLError:
    if name in functions.REFUSED:
        return untranslated(f"{name}(...)")
    near = get_close_matches(name, [*FUNCTIONS, *AGGREGATES, *SPECIAL], n=1)
    hint = f" Perhaps you meant '{near[0]}(...)'?" if near else ""
    return HogQLError(
        f"Unsupported function call '{name}(...)'.{hint} Functions that the emulator does not "
        "translate need a stub: give the rows with emulator.stub_query()."
    )


def _aggregated(
    expressions: Expressions,
    name: str,
    aggregate: Aggregate,
    conditional: bool,
    parameters: Sequence[Any],
    arguments: list[Any],
    over: str,
) -> Value:
    distinct = len(arguments) == 1 and isinstance(arguments[0], exp.Distinct)
    if distinct:
        arguments = list(arguments[0].expressions)
    if len(arguments) == 1 and isinstance(arguments[0], exp.Star):
        arguments = []
    values = expressions.all(arguments)
    check_parameters(name, len(parameters), aggregate.parameters)
    text = Call(name, values, expressions.all(parameters), distinct=distinct)
    tail, given = over, values
    if conditional:
        check_count(name, len(values), aggregate.least + 1, None)
        given = values[:-1]
        tail = f" FILTER (WHERE {values[-1].condition}){over}"
    check_count(name, len(given), aggregate.least, aggregate.most)
    for value in values:
        if (value.aggregate and not over) or value.window:
            raise HogQLError(
                f"Aggregate function {value.text} is found inside another aggregate function.",
                "illegal_aggregation",
            )
    if distinct and name not in {"count", "countIf"}:
        raise untranslated(f"{name}(DISTINCT ...)")
    # `sumIf(x, condition)` is the aggregate `sum(x)` with a FILTER clause in DuckDB.
    base = name[:-2] if conditional else name
    call = Call(base, given, text.parameters, now=text.now, distinct=distinct)
    made = aggregate.make(call, tail)
    inner = any(value.aggregate for value in values)
    return replace(
        made, text=text.text, aggregate=not over or inner, window=bool(over), name=None, json=None
    )


def window_function(expressions: Expressions, node: Any) -> Value:
    """Translate a call over a window."""
    inner = node.this
    spec = node
    if node.args.get("alias") is not None:
        name = node.args["alias"].name
        spec = expressions.windows.get(name)
        if spec is None:
            raise HogQLError(f"Window '{name}' is not defined.")
    over, written = _window(expressions, spec)
    if isinstance(inner, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        raise untranslated(f"`{node.sql('clickhouse')}`")
    call = str(getattr(inner, "this", ""))
    functions.load()
    if call in functions.WINDOWS:
        values = expressions.all(inner.expressions)
        made = functions.WINDOWS[call](Call(call, values), f" OVER ({over})", spec.args.get("spec"))
        text = f"{Call(call, values).text} OVER ({written})"
        return replace(made, text=text, window=True, name=None)
    made = call_function(expressions, inner, f" OVER ({over})")
    return replace(made, text=f"{made.text} OVER ({written})")


def _window(expressions: Expressions, node: Any) -> tuple[str, str]:
    pieces, written = list[str](), list[str]()
    groups = expressions.all(node.args.get("partition_by") or [])
    if groups:
        pieces.append(f"PARTITION BY {', '.join(value.plain for value in groups)}")
        written.append(f"PARTITION BY {', '.join(value.text for value in groups)}")
    order = node.args.get("order")
    if order is not None:
        keys = [ordered(expressions.of(one.this), one) for one in order.expressions]
        pieces.append(f"ORDER BY {', '.join(key for key, _ in keys)}")
        written.append(f"ORDER BY {', '.join(shown for _, shown in keys)}")
    spec = node.args.get("spec")
    if spec is not None:
        frame = _frame(spec)
        pieces.append(frame)
        written.append(frame)
    return " ".join(pieces), " ".join(written)


def _frame(spec: Any) -> str:
    def edge(which: str) -> str:
        value, side = spec.args.get(which), spec.args.get(f"{which}_side")
        if isinstance(value, exp.Expression):
            if not isinstance(value, exp.Literal) or not str(value.this).isdigit():
                raise untranslated("a window whose frame is no plain number")
            value = str(value.this)
        return f"{value} {side}".upper() if side else str(value).upper()

    kind = str(spec.args.get("kind") or "ROWS").upper()
    if kind not in {"ROWS", "RANGE"}:
        raise untranslated(f"a window's frame of {kind}")
    if spec.args.get("end") is None:
        return f"{kind} {edge('start')}"
    return f"{kind} BETWEEN {edge('start')} AND {edge('end')}"


def ordered(value: Value, node: Any) -> tuple[str, str]:
    """Return a sort key as SQL and as HogQL writes it."""
    if node.args.get("with_fill") is not None:
        raise untranslated("WITH FILL")
    descending = bool(node.args.get("desc"))
    nulls = "FIRST" if node.args.get("nulls_first") else "LAST"
    way = "DESC" if descending else "ASC"
    keys = [f"{key} {way} NULLS {nulls}" for key in _keys(value)]
    if value.type.is_float:
        # ClickHouse sorts NaN with NULL, whatever the direction; in DuckDB it is the greatest
        # number.
        keys.insert(0, f"isnan({value.sql}) {'DESC' if nulls == 'FIRST' else 'ASC'} NULLS {nulls}")
    return ", ".join(keys), f"{value.text} {way}"


def _keys(value: Value) -> list[str]:
    if value.type.name == "Tuple":
        return [key for part in operators.elements(value) for key in _keys(part)]
    return list(operators.sort_key(value.plain, value.type))
