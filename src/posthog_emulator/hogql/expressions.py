"""Translate expressions from sqlglot's nodes to values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.hogql.functions.logic import chosen

from . import fields, operators
from .calls import call_function, window_function
from .dialect import COHORT, PLACEHOLDER
from .placeholders import Unbounded, placeholder
from .problems import HogQLError, no_common_type, untranslated
from .scope import Scope
from .tree import exp
from .values import Value, constant, identifier, null, truth

if TYPE_CHECKING:
    from .select import Translator

__all__ = ["Expressions"]

_BINARY: Final[Mapping[Any, str]] = {
    exp.EQ: "equals",
    exp.NEQ: "notEquals",
    exp.LT: "less",
    exp.GT: "greater",
    exp.LTE: "lessOrEquals",
    exp.GTE: "greaterOrEquals",
    exp.Add: "plus",
    exp.Sub: "minus",
    exp.Mul: "multiply",
    exp.Div: "divide",
    exp.Mod: "modulo",
    exp.Like: "like",
    exp.ILike: "ilike",
    exp.DPipe: "concat",
    exp.NullSafeEQ: "equals",
}
_CALLS: Final = (
    exp.Anonymous, exp.AnonymousAggFunc, exp.ParameterizedAgg, exp.CombinedAggFunc,
    exp.CombinedParameterizedAgg,
)  # fmt: skip


class Expressions:
    """Translator of the expressions of one SELECT.

    Args:
        translator: Translates subqueries; has the context.
        scope: The names that the expressions can use.
        ctes: The queries that WITH gave names to.
        windows: Named windows.
    """

    def __init__(
        self,
        translator: Translator,
        scope: Scope,
        ctes: Mapping[str, Any],
        windows: Mapping[str, Any],
    ) -> None:
        self.translator = translator
        self.scope = scope
        self.ctes = ctes
        self.windows = windows
        self.joining = False
        """Whether the expression is the condition of a JOIN."""

    def of(self, node: Any) -> Value:
        """Translate an expression.

        Raises:
            HogQLError: The expression is invalid or not supported.
        """
        kind: Any = node.__class__
        if kind in _BINARY:
            return self._binary(_BINARY[kind], node)
        if isinstance(node, _CALLS):
            return call_function(self, node)
        visit = _VISIT.get(kind)
        if visit is None:
            raise untranslated(f"`{node.sql('clickhouse')}` ({kind.__name__})")
        made: Value = getattr(self, visit)(node)
        return made

    def all(self, nodes: Sequence[Any]) -> list[Value]:
        """Translate several expressions."""
        return [self.of(node) for node in nodes]

    def _binary(self, name: str, node: Any) -> Value:
        if node.args.get("negate"):
            name = {"like": "notLike", "ilike": "notILike"}[name]
        call = exp.Anonymous(this=name, expressions=[node.this, node.expression])
        try:
            return call_function(self, call)
        except Unbounded:
            # As on the server: a comparison with an unset bound of the filters is always true.
            if name not in operators.COMPARISONS:
                raise
            return truth("true", "equals(true, true)")

    def _hexadecimal(self, node: Any) -> Value:
        return constant(int(str(node.this), 16))

    def _boolean(self, node: Any) -> Value:
        return constant(bool(node.this))

    def _null(self, node: Any) -> Value:
        return null()

    def _paren(self, node: Any) -> Value:
        return self.of(node.this)

    def _window(self, node: Any) -> Value:
        return window_function(self, node)

    def _and_or(self, node: Any) -> Value:
        name = "and" if isinstance(node, exp.And) else "or"
        parts = self.all(list(_flat(node, type(node))))
        return operators.both(name, parts)

    def _column(self, node: Any) -> Value:
        chain = fields.chain(node)
        if isinstance(chain[0], str) and chain[0].startswith(PLACEHOLDER):
            if len(chain) > 1:
                raise untranslated("a field of a placeholder")
            return placeholder(self, chain[0].removeprefix(PLACEHOLDER))
        return fields.resolve(self.scope, chain, self.translator.context.property_types)

    def _dot(self, node: Any) -> Value:
        try:
            return self._column(node)
        except fields.NotAField:
            inner = self.of(node.this)
            key = fields.key_of(node.expression)
            return fields.extended(inner, key, self.translator.context.property_types)

    def _bracket(self, node: Any) -> Value:
        inner = self.of(node.this)
        if len(node.expressions) != 1:
            raise untranslated("a slice of an array")
        index = self.of(node.expressions[0])
        types = self.translator.context.property_types
        if inner.json is not None and isinstance(index.literal, int | str):
            if index.literal == 0:
                raise HogQLError("SQL indexes start from one, not from zero. E.g: array[1]")
            return fields.extended(inner, index.literal, types)
        text = f"{inner.text}[{index.text}]"
        return fields.element(inner, index, text)

    def _literal(self, node: Any) -> Value:
        if node.is_string:
            return constant(str(node.this))
        text = str(node.this).replace("_", "")
        try:
            return constant(int(text) if text.isdigit() else float(text))
        except ValueError:
            raise HogQLError(f"{text} is not a number.") from None

    def _not(self, node: Any) -> Value:
        inner = node.this
        if isinstance(inner, exp.In):
            return self._contains(inner, negate=True)
        if isinstance(inner, exp.Is):
            return self._is(inner, negate=True)
        name = {exp.Like: "notLike", exp.ILike: "notILike"}.get(type(inner))
        if name is not None:
            return self._binary(name, inner)
        return operators.negated(self.of(inner))

    def _is(self, node: Any, *, negate: bool = False) -> Value:
        value, other = self.of(node.this), self.of(node.expression)
        if other.literal is not None and not isinstance(other.literal, bool):
            raise untranslated("IS with anything but NULL, true and false")
        return operators.compare("notEquals" if negate else "equals", value, other)

    def _between(self, node: Any) -> Value:
        value, low, high = self.of(node.this), self.of(node.args["low"]), self.of(node.args["high"])
        tests = (
            operators.compare("greaterOrEquals", value, low),
            operators.compare("lessOrEquals", value, high),
        )
        text = f"{value.text} BETWEEN {low.text} AND {high.text}"
        return replace(operators.both("and", tests), text=text)

    def _in(self, node: Any) -> Value:
        return self._contains(node, negate=False)

    def _contains(self, node: Any, *, negate: bool) -> Value:
        value = self.of(node.this)
        name = "notIn" if negate else "in"
        options: list[Any] = node.expressions
        if len(options) == 1 and options[0].name == COHORT:
            return self._in_cohort(value, self.of(options[0].expressions[0]), negate=negate)
        query = node.args.get("query")
        if query is not None:
            return self.within(value, query, negate=negate)
        if options:
            given = self.all(options)
            # `x IN (array)` means the elements of the array.
            if len(given) == 1 and given[0].elements and value.type.name != "Tuple":
                given = list(given[0].elements)
            text = f"{name}({value.text}, tuple({', '.join(v.text for v in given)}))"
            if len(given) == 1:
                text = f"{name}({value.text}, {given[0].text})"
            return operators.contains(value, given, negate=negate, text=text)
        field = node.args.get("field")
        if field is None:
            raise untranslated(f"`{node.sql('clickhouse')}`")
        return self.among(name, value, self.of(field))

    def among(self, name: str, value: Value, collection: Value) -> Value:
        """Translate IN with an array or tuple."""
        text = f"{name}({value.text}, {collection.text})"
        negate = name == "notIn"
        if collection.type.name in {"Array", "Tuple"} and (
            collection.elements or collection.literal == []
        ):
            return operators.contains(value, collection.elements, negate=negate, text=text)
        if collection.is_constant:
            return operators.contains(value, [collection], negate=negate, text=text)
        if collection.type.name != "Array":
            raise no_common_type(value.type, collection.type)
        raise untranslated(f"`{text}`: use has(array, value),")

    def within(self, value: Value, query: Any, *, negate: bool) -> Value:
        """Translate IN with a subquery."""
        inner = self.translator.query(query.unnest(), self.ctes)
        wanted = value.type.items if value.type.name == "Tuple" else (value.type,)
        if len(wanted) != len(inner.columns):
            raise HogQLError(
                f"Number of columns in section IN doesn't match. {len(inner.columns)} at right, "
                f"{len(wanted)} at left.",
                "number_of_columns_doesnt_match",
            )
        parts = operators.elements(value) if value.type.name == "Tuple" else [value]
        pairs = [
            operators.unified(part, Value(f"q.c{n}", kind, name))
            for n, (part, (name, kind)) in enumerate(zip(parts, inner.columns, strict=True))
        ]
        left, right = _row([pair[0] for pair in pairs]), _row([pair[1] for pair in pairs])
        # IN is NULL in DuckDB if the subquery has a NULL and no match; it is false in ClickHouse.
        sql = f"coalesce({left} IN (SELECT {right} FROM ({inner.sql}) AS q), false)"  # noqa: S608
        # NaN equals itself in DuckDB, but not in ClickHouse.
        if any(kind.is_float for _, _, kind in pairs):
            sql = f"({sql} AND NOT coalesce({' OR '.join(_not_numbers(pairs))}, false))"
        if len(pairs) == 1 and value.type.nullable and inner.columns[0][1].nullable:
            some = f"EXISTS (SELECT 1 FROM ({inner.sql}) AS q WHERE q.c0 IS NULL)"  # noqa: S608
            sql = f"({sql} OR ({value.sql} IS NULL AND {some}))"
        text = f"{'notIn' if negate else 'in'}({value.text}, ({inner.text}))"
        return truth(f"(NOT {sql})" if negate else sql, text, value)

    def _in_cohort(self, value: Value, cohort: Value, *, negate: bool) -> Value:
        known = self.translator.context.cohorts
        wanted = cohort.literal
        if isinstance(wanted, str):
            found = [number for number, name in known.items() if name == wanted]
            if len(found) != 1:
                some = "Found multiple cohorts" if found else "Could not find a cohort"
                raise HogQLError(f"{some} with the name '{wanted}'")
        elif isinstance(wanted, int) and wanted in known:
            found = [wanted]
        else:
            raise HogQLError(f"Could not find a cohort with id {cohort.text}")
        told = self.translator.context.cohort_problems.get(found[0])
        if told is not None:
            raise HogQLError(f"The members of the cohort could not be calculated. {told}")
        if value.type.name != "UUID":
            raise no_common_type(value.type, "UUID")
        team = self.translator.context.team_id
        members = (
            "SELECT person_id FROM cohort_people "  # noqa: S608
            f"WHERE team_id = {team} AND cohort_id = {found[0]}"
        )
        sql = f"coalesce({value.sql} IN ({members}), false)"
        text = f"{value.text} {'NOT ' if negate else ''}IN COHORT {cohort.text}"
        return truth(f"(NOT {sql})" if negate else sql, text, value)

    def _case(self, node: Any) -> Value:
        subject = None if node.this is None else self.of(node.this)
        cases: list[tuple[Value, Value]] = []
        for branch in node.args["ifs"]:
            test = self.of(branch.this)
            if subject is not None:
                test = operators.compare("equals", subject, test)
            cases.append((test, self.of(branch.args["true"])))
        default = node.args.get("default")
        otherwise = null() if default is None else self.of(default)
        parts = [part.text for case in cases for part in case]
        name = "if" if len(cases) == 1 else "multiIf"
        return chosen(f"{name}({', '.join([*parts, otherwise.text])})", cases, otherwise)

    def _if(self, node: Any) -> Value:
        parts = [node.this, node.args["true"], node.args.get("false") or exp.Null()]
        return call_function(self, exp.Anonymous(this="if", expressions=parts))

    def _negative(self, node: Any) -> Value:
        inner = self.of(node.this)
        if isinstance(inner.literal, int | float) and not isinstance(inner.literal, bool):
            return constant(-inner.literal)
        return operators.arithmetic("minus", constant(0), inner)

    def _interval(self, node: Any) -> Value:
        amount = node.this
        unit = node.args.get("unit")
        if isinstance(amount, exp.Literal) and str(amount.this).isdigit():
            amount = exp.Literal.number(str(amount.this))
        if unit is None:
            raise HogQLError(f"Unsupported interval: {node.sql('clickhouse')}")
        name = f"toInterval{str(unit.this).lower().removesuffix('s').capitalize()}"
        return call_function(self, exp.Anonymous(this=name, expressions=[amount]))

    def _alias(self, node: Any) -> Value:
        value = self.of(node.this)
        self.scope.aliases[node.alias] = replace(value, text=identifier(node.alias))
        return value

    def _subquery(self, node: Any) -> Value:
        inner = self.translator.query(node.unnest(), self.ctes)
        if len(inner.columns) != 1:
            raise untranslated("a subquery of several columns as a value")
        _, kind = inner.columns[0]
        sql = f"(SELECT q.c0 FROM ({inner.sql}) AS q)"  # noqa: S608
        return Value(sql, kind.or_null(), f"({inner.text})")

    def _cast(self, node: Any) -> Value:
        wanted = node.to.sql("clickhouse").removeprefix("Nullable(").removesuffix(")")
        name = _CASTS.get(wanted.partition("(")[0])
        if name is None:
            raise untranslated(f"a cast to {wanted}")
        return call_function(self, exp.Anonymous(this=name, expressions=[node.this]))

    def _tuple(self, node: Any) -> Value:
        values = self.all(node.expressions)
        return operators.tuple_of(values, f"tuple({', '.join(v.text for v in values)})")

    def _array(self, node: Any) -> Value:
        call = exp.Anonymous(this="array", expressions=node.expressions)
        made = call_function(self, call)
        return replace(made, text=f"[{made.text.removeprefix('array(')[:-1]}]")


_CASTS: Final[Mapping[str, str]] = {
    "String": "toString", "Int64": "toInt", "Int32": "toInt", "Int": "toInt", "Float64": "toFloat",
    "DateTime": "toDateTime", "DateTime64": "toDateTime", "Date": "toDate", "UUID": "toUUID",
    "Bool": "toBool", "Float": "toFloat", "Float32": "toFloat",
}  # fmt: skip


def _flat(node: Any, kind: Any) -> list[Any]:
    """Return the conditions joined by a chain of ANDs or ORs, without recursion."""
    found: list[Any] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, kind):
            waiting += [one.expression, one.this]
        else:
            found.append(one)
    return found


def _not_numbers(pairs: Sequence[tuple[str, str, Any]]) -> list[str]:
    return [f"isnan({left})" for left, _, kind in pairs if kind.is_float]


def _row(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"struct_pack({', '.join(f'e{n} := {part}' for n, part in enumerate(parts, 1))})"


_VISIT: Final[Mapping[Any, str]] = {
    exp.Column: "_column",
    exp.Identifier: "_column",
    exp.Dot: "_dot",
    exp.Bracket: "_bracket",
    exp.Literal: "_literal",
    exp.HexString: "_hexadecimal",
    exp.Boolean: "_boolean",
    exp.Null: "_null",
    exp.Paren: "_paren",
    exp.And: "_and_or",
    exp.Or: "_and_or",
    exp.Not: "_not",
    exp.Is: "_is",
    exp.Between: "_between",
    exp.In: "_in",
    exp.Case: "_case",
    exp.If: "_if",
    exp.Neg: "_negative",
    exp.Interval: "_interval",
    exp.Alias: "_alias",
    exp.Subquery: "_subquery",
    exp.Cast: "_cast",
    exp.Tuple: "_tuple",
    exp.Array: "_array",
    exp.Window: "_window",
}
"""Names of the methods of `Expressions`, by the class of the node."""
