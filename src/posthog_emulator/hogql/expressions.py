"""Print expressions as ClickHouse SQL, resolving their names on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from . import calls
from .casts import cast_sql
from .cohorts import in_cohort
from .comparisons import NAMES, OPERATORS, between, compared, negated
from .context import Context
from .errors import HogQLError, unsupported
from .escape import quoted, string
from .hogql_text import hogql_text
from .macros import expand_macro
from .parse import ARITHMETIC, Node
from .properties import element
from .scope import Query, Scope, Source
from .values import Printed

__all__ = ["Expressions"]


class Queries(Protocol):
    """Prints whole queries."""

    def query(self, node: Node, ctes: Mapping[str, Node]) -> Query:
        """Print a SELECT or a set of them."""
        ...


_WINDOW_NAMES: Final = {"lag": "lagInFrame", "lead": "leadInFrame"}
_QUERIES: Final = ("SelectQuery", "SelectSetQuery")
_FRAMES: Final = ("CURRENT ROW", "PRECEDING", "FOLLOWING")


class Expressions:
    """Printer of the expressions of one SELECT.

    Args:
        queries: Prints subqueries.
        scope: What the names mean.
        context: What the query depends on.
    """

    def __init__(self, queries: Queries, scope: Scope, context: Context) -> None:
        self._queries = queries
        self.scope = scope
        self._context = context
        self.bare = False
        """Whether comparisons may be NULL, as in the condition of a join."""
        self.turn = False
        """Whether this is the top level of WHERE."""
        self._resolving: list[str] = []

    def of(self, node: Node) -> Printed:
        """Print an expression.

        Raises:
            HogQLError: It is invalid, or the emulator does not support it.
        """
        method: Callable[[Node], Printed] | None = getattr(self, f"on_{node['node'].lower()}", None)
        if method is None:
            raise unsupported(f"the syntax {node['node']}")
        return method(node)

    def all(self, nodes: Sequence[Node]) -> list[Printed]:
        """Print expressions."""
        return [self.of(node) for node in nodes]

    def joined(self, nodes: Sequence[Node]) -> str:
        """Print expressions, with commas between them."""
        return ", ".join(self.of(node).sql for node in nodes)

    # Values

    def on_constant(self, node: Node) -> Printed:
        value: Any = node["value"]
        if node.get("value_type") == "number":
            text = str(value).replace("Infinity", "inf").replace("NaN", "nan")
            if not re.fullmatch(r"-?(inf|nan|\d+)", text):
                raise HogQLError(f"{value} is not a number.")
            return Printed(text, "number", False)
        if value is None:
            return Printed("NULL", "null", constant=None)
        if isinstance(value, bool):
            return Printed("1" if value else "0", "bool", False, constant=value)
        if isinstance(value, int):
            return Printed(str(value), "int", False, constant=value)
        if isinstance(value, float):
            return Printed(repr(value), "float", False, constant=value)
        if isinstance(value, str):
            return Printed(string(value), "string", False, constant=value)
        if isinstance(value, datetime):
            zone = self._context.timezone
            local = (
                value
                if value.tzinfo is None
                else value.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)).replace(tzinfo=None)
            )
            text = local.isoformat(" ", "microseconds")
            return Printed(f"toDateTime64('{text}', 6, {string(zone)})", "datetime", False)
        if isinstance(value, date):
            return Printed(f"toDate('{value.isoformat()}')", "date", False)
        if isinstance(value, UUID):
            return Printed(f"toUUIDOrNull('{value}')", "uuid")
        raise unsupported(f"a value of the type {type(value).__name__}")

    def on_array(self, node: Node) -> Printed:
        return Printed(f"[{self.joined(node['exprs'])}]", "array", False)

    def on_tuple(self, node: Node) -> Printed:
        return Printed(f"tuple({self.joined(node['exprs'])})", "tuple", False)

    def on_dict(self, node: Node) -> Printed:
        parts = [self.of(item).sql for pair in node["items"] for item in pair]
        return Printed(f"tuple('__hx_tag', '__hx_obj'{''.join(f', {p}' for p in parts)})", "tuple")

    def on_hogqlxtag(self, node: Node) -> Printed:
        parts = ["'__hx_tag'", string(node["kind"])]
        for attribute in node.get("attributes") or ():
            value = attribute["value"]
            shown = (
                f"[{self.joined(value)}]" if isinstance(value, list) else self.of(value).sql  # pyright: ignore[reportUnknownArgumentType]
            )
            parts += [string(attribute["name"]), shown]
        return Printed(f"tuple({', '.join(parts)})", "tuple", False)

    def on_alias(self, node: Node) -> Printed:
        name = node["alias"]
        value = self.of(node["expr"])
        self.register(name, value)
        return Printed(
            f"({value.sql} AS {quoted(name)})", value.kind, value.nullable, value.scope, name=name,
            aggregate=value.aggregate,
        )  # fmt: skip

    def register(self, name: str, value: Printed) -> None:
        """Make an alias known to the expressions that follow.

        Raises:
            HogQLError: The name is taken, or empty.
        """
        if name in self.scope.aliases:
            raise HogQLError(f"Cannot redefine an alias with the name: {name}")
        if not name:
            raise HogQLError("Alias cannot be empty")
        self.scope.aliases[name] = Printed(
            quoted(name), value.kind, value.nullable, value.scope, name=name,
            aggregate=value.aggregate,
        )  # fmt: skip

    # Names

    def on_field(self, node: Node) -> Printed:
        chain: list[str | int] = node["chain"]
        target, rest = self._start(chain)
        name = str(chain[0])
        while isinstance(target, Source):
            if not rest:
                raise HogQLError(
                    f"Can't select a table when a column is expected: {'.'.join(map(str, chain))}"
                )
            key, rest = str(rest[0]), rest[1:]
            inner: Printed | Source | None = target.column(key) or target.joined(key)
            if inner is None:
                raise HogQLError(f"Unable to resolve field: {key}")
            target, name = inner, key
        target.name = target.name or name
        for key in rest:
            target = element(target, key, self._context)
        return target

    def _start(self, chain: list[str | int]) -> tuple[Printed | Source, list[str | int]]:
        """Return what the first name of a chain means, and the rest of the chain."""
        first, scope = str(chain[0]), self.scope
        if first == "*":
            raise HogQLError("Cannot use '*' here: it stands for all columns of a SELECT.")
        target: Printed | Source | None = scope.local(first)
        if target is None and len(chain) > 1:
            target = scope.sources.get(first)
            if target is None and first == "system" and len(chain) > 2:
                target = scope.sources.get(f"system.{chain[1]}")
                if target is not None:
                    return target, chain[2:]
        if target is None:
            target = scope.aliases.get(first)
        if target is None:
            target = scope.find(first)
        if target is None:
            target = self._column_cte(first)
        if target is None:
            raise HogQLError(f"Unable to resolve field: {first}")
        return target, chain[1:]

    def _column_cte(self, name: str) -> Printed | None:
        cte = self.scope.ctes.get(name)
        if cte is None:
            return None
        if cte.get("cte_type") != "column":
            raise HogQLError(f'Cannot use table CTE "{name}" here.')
        if name in self._resolving:
            raise HogQLError(f"Unable to resolve field: {name}")
        self._resolving.append(name)
        try:
            value = self.of(cte["expr"])
        finally:
            self._resolving.pop()
        value.name = name
        return value

    def on_arrayaccess(self, node: Node) -> Printed:
        value, key = self.of(node["array"]), node["property"]
        index: Any = key.get("value") if key["node"] == "Constant" else None
        if isinstance(index, str | int) and not isinstance(index, bool):
            if index == 0:
                raise HogQLError("SQL indexes start from one, not from zero. E.g: array[1]")
            is_text = value.kind == "string" or (value.kind == "unknown" and node.get("nullish"))
            if value.path or value.scope or (is_text and isinstance(index, str)):
                return element(value, index, self._context)
        return Printed(f"arrayElement({value.sql}, {self.of(key).sql})")

    def on_arrayslice(self, node: Node) -> Printed:
        array, first, last = node["array"], node.get("start_expr"), node.get("end_expr")
        start = self.of(first).sql if first else "1"
        parts = [self.of(array).sql, start]
        if last:
            end = self.of(last).sql
            parts.append(f"plus(minus({end}, {start}), 1)")
        return Printed(f"arraySlice({', '.join(parts)})", "array")

    def on_tupleaccess(self, node: Node) -> Printed:
        return element(self.of(node["tuple"]), node["index"], self._context)

    # Operators

    def _inner(self, node: Node) -> Printed:
        """Print an expression that is not at the top level of WHERE."""
        turn, self.turn = self.turn, False
        try:
            return self.of(node)
        finally:
            self.turn = turn

    def on_compareoperation(self, node: Node) -> Printed:
        op, right = node["op"], node["right"]
        if op in {"in cohort", "not in cohort"}:
            if right["node"] != "Constant":
                raise HogQLError("IN COHORT only works with constant arguments")
            person = self.of(node["left"])
            return in_cohort(person, right["value"], self._context, negate=op.startswith("not"))
        if op not in OPERATORS and op not in {"=~", "!~", "=~*", "!~*"}:
            raise unsupported(f"the operator {op}")
        turn, self.turn = self.turn, False
        left, other = self.of(node["left"]), self.of(right)
        self.turn = turn
        comparison = compared(op, left, other, self._context, bare=self.bare, turn=turn)
        comparison.aggregate = left.aggregate or other.aggregate
        return comparison

    def on_betweenexpr(self, node: Node) -> Printed:
        turn, self.turn = self.turn, False
        value, low, high = self.all([node["expr"], node["low"], node["high"]])
        self.turn = turn
        return between(
            value, low, high, self._context, negate=bool(node.get("negated")), bare=self.bare,
            turn=turn,
        )  # fmt: skip

    def on_isdistinctfrom(self, node: Node) -> Printed:
        op = "==" if node.get("negated") else "!="
        left, right = self._inner(node["left"]), self._inner(node["right"])
        return compared(op, left, right, self._context, bare=False, turn=False)

    def on_and(self, node: Node) -> Printed:
        return self._chain("and", node["exprs"], "1", "0")

    def on_or(self, node: Node) -> Printed:
        return self._chain("or", node["exprs"], "0", "1")

    def _chain(self, name: str, nodes: Sequence[Node], neutral: str, final: str) -> Printed:
        parts = self.all(nodes)
        if any(part.sql == final for part in parts):
            return Printed(final, "bool", False)
        needed = [part for part in parts if part.sql != neutral]
        if not needed:
            return Printed(neutral, "bool", False)
        if len(needed) == 1 and needed[0].kind == "bool":
            return needed[0]
        sqls = [part.sql for part in needed] if len(needed) > 1 else [needed[0].sql, neutral]
        nullable = any(part.nullable for part in needed)
        return Printed(f"{name}({', '.join(sqls)})", "bool", nullable)

    def on_not(self, node: Node) -> Printed:
        return negated(self.of(node["expr"]))

    def on_arithmeticoperation(self, node: Node) -> Printed:
        args = [self._inner(node["left"]), self._inner(node["right"])]
        result = calls.scalar(ARITHMETIC[node["op"]], args, self._context)
        result.aggregate = any(arg.aggregate for arg in args)
        return result

    def on_typecast(self, node: Node) -> Printed:
        value = self._inner(node["expr"])
        return cast_sql(value, node["type_name"], tried=node["node"] == "TryCast")

    on_trycast = on_typecast

    def on_lambda(self, node: Node) -> Printed:
        names: list[str] = node["args"]
        self.scope.locals.append({name: Printed(quoted(name), name=name) for name in names})
        try:
            body = self._inner(node["expr"])
        finally:
            self.scope.locals.pop()
        head = quoted(names[0]) if len(names) == 1 else f"({', '.join(map(quoted, names))})"
        return Printed(f"{head} -> {body.sql}", "lambda")

    def on_selectquery(self, node: Node) -> Printed:
        subquery = self._queries.query(node, self.scope.ctes)
        columns = list(subquery.columns.values())
        kind = columns[0].kind if len(columns) == 1 else "tuple"
        return Printed(f"({subquery.sql})", kind)

    on_selectsetquery = on_selectquery

    def on_placeholder(self, node: Node) -> Printed:
        raise HogQLError(f"Unresolved placeholder: {{{hogql_text(node['expr'])}}}")

    # Calls

    def on_call(self, node: Node) -> Printed:
        turn, self.turn = self.turn, False
        try:
            return self._called(node)
        finally:
            self.turn = turn

    def _called(self, node: Node) -> Printed:
        name: str = node["name"]
        nodes: list[Node] = node["args"]
        if node.get("order_by"):
            raise unsupported(f"ORDER BY inside of {name}()")
        if node.get("within_group"):
            raise HogQLError("WITHIN GROUP is not supported")
        if name in NAMES:
            if len(nodes) != 2:
                raise HogQLError(f"Comparison '{name}' requires exactly two arguments")
            left, right = self.all(nodes)
            return compared(NAMES[name], left, right, self._context, bare=self.bare, turn=False)
        if name == "_caseWithExpression":
            return self._case(nodes)
        if name == "exists" and len(nodes) == 1 and nodes[0]["node"] in _QUERIES:
            return Printed(f"exists{self.of(nodes[0]).sql}", "bool", False)
        if name in calls.MACROS:
            calls.check_count(name, len(nodes), *calls.MACROS[name])
            return self.of(expand_macro(name, nodes, self._context))
        aggregate = calls.aggregate_name(name)
        if aggregate is not None:
            return self._aggregate(aggregate, node)
        own = calls.scalar_name(name)
        if node.get("params") or node.get("distinct") or node.get("filter_expr"):
            raise HogQLError(f"Function '{name}' does not accept parameters")
        if own in {"and", "or"} and len(nodes) >= 2:
            return self._chain(own, nodes, *("10" if own == "and" else "01"))
        args = self.all(nodes)
        result = calls.scalar(own, args, self._context)
        result.aggregate = any(arg.aggregate for arg in args)
        return result

    def _case(self, nodes: list[Node]) -> Printed:
        value, *rest = nodes
        parts: list[Printed] = []
        for at in range(0, len(rest) - 1, 2):
            test = {"node": "CompareOperation", "op": "==", "left": value, "right": rest[at]}
            parts += [self.of(test), self.of(rest[at + 1])]
        if len(rest) % 2:
            parts.append(self.of(rest[-1]))
        else:
            parts.append(Printed("NULL", "null"))
        return calls.scalar("multiIf", parts, self._context)

    def _aggregate(self, name: str, node: Node) -> Printed:
        scope = self.scope
        if scope.aggregate:
            raise HogQLError(
                f"Aggregation '{name}' cannot be nested inside another aggregation "
                f"'{scope.aggregate}'."
            )
        scope.aggregate = name
        try:
            nodes: list[Node] = node["args"]
            args = [] if _is_star(nodes) and name == "count" else self.all(nodes)
            parameters = self.all(node.get("params") or [])
            test = node.get("filter_expr")
            result = calls.aggregate(
                name, parameters, args, self._context, distinct=bool(node.get("distinct"))
            )
            if test:
                result.sql = f"{result.sql} FILTER (WHERE {self.of(test).sql})"
        finally:
            scope.aggregate = ""
        result.aggregate = True
        return result

    def on_windowfunction(self, node: Node) -> Printed:
        name: str = node["name"]
        nodes: list[Node] = node.get("exprs") or []
        parameters: list[Node] = []
        if node.get("args"):
            parameters, nodes = nodes, node["args"]
        aggregate = calls.aggregate_name(name)
        over = node.get("over_expr")
        outer, self.scope.aggregate = self.scope.aggregate, ""
        args = [] if _is_star(nodes) else self.all(nodes)
        if aggregate is not None:
            result = calls.aggregate(
                aggregate, self.all(parameters), args, self._context, distinct=False
            )
        else:
            own = calls.scalar_name(name)
            if own in _WINDOW_NAMES and args:
                # So that a row without a predecessor has NULL, not the default of the type.
                args[0].sql = f"toNullable({args[0].sql})"
            result = calls.scalar(own, args, self._context)
            if own in _WINDOW_NAMES:
                result.sql = _WINDOW_NAMES[own] + result.sql[len(own) :]
                result.nullable = True
                if over is not None and over.get("order_by") and not over.get("frame_start"):
                    result.sql += f" OVER ({self.window(over, whole=True)})"
                    self.scope.aggregate = outer
                    return result
        if over is not None:
            result.sql += f" OVER ({self.window(over)})"
        else:
            result.sql += f" OVER {quoted(node['over_identifier'])}"
        self.scope.aggregate = outer
        result.aggregate = False
        return result

    def window(self, node: Node, *, whole: bool = False) -> str:
        """Print the definition of a window.

        Args:
            node: The definition.
            whole: Whether the frame is the whole partition when there is none.
        """
        parts: list[str] = []
        if node.get("partition_by"):
            parts.append(f"PARTITION BY {self.joined(node['partition_by'])}")
        if node.get("order_by"):
            parts.append(f"ORDER BY {', '.join(map(self.order, node['order_by']))}")
        start, end = node.get("frame_start"), node.get("frame_end")
        if start:
            method = "RANGE" if node.get("frame_method") == "RANGE" else "ROWS"
            shown = _frame(start)
            parts.append(
                f"{method} BETWEEN {shown} AND {_frame(end)}" if end else f"{method} {shown}"
            )
        elif whole:
            parts.append("ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")
        return " ".join(parts)

    def order(self, node: Node) -> str:
        """Print what to sort by."""
        text = f"{self.of(node['expr']).sql} {'DESC' if node.get('order') == 'DESC' else 'ASC'}"
        nulls = node.get("nulls") or node.get("nulls_order")
        if nulls:
            text += f" NULLS {'FIRST' if 'FIRST' in str(nulls).upper() else 'LAST'}"
        fill = node.get("with_fill")
        if fill is not None:
            text += " WITH FILL"
            for key, word in (("from_value", "FROM"), ("to_value", "TO"), ("step_value", "STEP")):
                if fill.get(key):
                    text += f" {word} {self.of(fill[key]).sql}"
        return text

    def on_exprcall(self, node: Node) -> Printed:
        raise HogQLError(
            f"You can only call simple functions in HogQL, not expressions: {hogql_text(node)}"
        )


def _is_star(nodes: Sequence[Node]) -> bool:
    return len(nodes) == 1 and nodes[0].get("chain") == ["*"]


def _frame(node: Node) -> str:
    value = node.get("frame_value")
    kind = next(frame for frame in _FRAMES if frame == node["frame_type"])
    if kind == "CURRENT ROW":
        return kind
    return f"{'UNBOUNDED' if value is None else int(value)} {kind}"
