"""Print a syntax tree as HogQL, for the names of columns and the field `hogql` of responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from .comparisons import OPERATORS
from .escape import identifier, string
from .parse import Node

__all__ = ["hogql_text"]

_ARITHMETIC: Final = {
    "+": "plus", "-": "minus", "*": "multiply", "/": "divide", "%": "modulo",
}  # fmt: skip
_MATCHES: Final = {"=~": "match({}, {})", "!~": "not(match({}, {}))",
                   "=~*": "match({}, concat('(?i)', {}))",
                   "!~*": "not(match({}, concat('(?i)', {})))"}  # fmt: skip


def hogql_text(node: Node) -> str:
    """Return the HogQL of a node."""
    write = _WRITERS.get(node["node"])
    return node["node"] if write is None else write(node)


def _list(nodes: Sequence[Node] | None) -> str:
    return ", ".join(map(hogql_text, nodes or ()))


def _constant(node: Node) -> str:
    value: Any = node["value"]
    if node.get("value_type") == "number":
        return {"Infinity": "Inf", "-Infinity": "-Inf"}.get(value, str(value))
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return string(value)
    if isinstance(value, datetime):
        return f"toDateTime({string(value.isoformat(' ', 'microseconds'))})"
    if isinstance(value, date):
        return f"toDate({string(value.isoformat())})"
    if isinstance(value, UUID):
        return f"toUUID({string(str(value))})"
    return str(value)


def _chain(chain: Sequence[Any]) -> str:
    return ".".join("*" if one == "*" else identifier(str(one)) for one in chain)


def _compare(node: Node) -> str:
    op, left, right = node["op"], hogql_text(node["left"]), hogql_text(node["right"])
    if op in _MATCHES:
        return _MATCHES[op].format(left, right)
    if op in {"in cohort", "not in cohort"}:
        return f"{left} {op.upper()} {right}"
    return f"{OPERATORS[op]}({left}, {right})"


def _call(node: Node) -> str:
    params = f"({_list(node['params'])})" if node.get("params") else ""
    distinct = "DISTINCT " if node.get("distinct") else ""
    test = node.get("filter_expr")
    more = f" FILTER (WHERE {hogql_text(test)})" if test else ""
    return f"{node['name']}{params}({distinct}{_list(node['args'])}){more}"


def _between(node: Node) -> str:
    word = "NOT BETWEEN" if node.get("negated") else "BETWEEN"
    parts = (hogql_text(node[key]) for key in ("expr", "low", "high"))
    value, low, high = parts
    return f"{value} {word} {low} AND {high}"


def _lambda(node: Node) -> str:
    names = [identifier(name) for name in node["args"]]
    head = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"{head} -> {hogql_text(node['expr'])}"


def _slice(node: Node) -> str:
    start, end = node.get("start_expr"), node.get("end_expr")
    first = hogql_text(start) if start else ""
    return f"{hogql_text(node['array'])}[{first}:{hogql_text(end) if end else ''}]"


def _order(node: Node) -> str:
    fill = node.get("with_fill")
    text = f"{hogql_text(node['expr'])} {node.get('order') or 'ASC'}"
    return f"{text} WITH FILL" if fill else text


def _frame(node: Node) -> str:
    if node["frame_type"] == "CURRENT ROW":
        return "CURRENT ROW"
    value = node.get("frame_value")
    return f"{'UNBOUNDED' if value is None else value} {node['frame_type']}"


def _window(node: Node) -> str:
    parts: list[str] = []
    if node.get("partition_by"):
        parts.append(f"PARTITION BY {_list(node['partition_by'])}")
    if node.get("order_by"):
        parts.append(f"ORDER BY {_list(node['order_by'])}")
    start, end = node.get("frame_start"), node.get("frame_end")
    if start:
        shown = f"BETWEEN {_frame(start)} AND {_frame(end)}" if end else _frame(start)
        parts.append(f"{node.get('frame_method', 'ROWS')} {shown}")
    return " ".join(parts)


def _window_function(node: Node) -> str:
    args = f"({_list(node['args'])})" if node.get("args") else ""
    over = node.get("over_expr")
    where = f"({_window(over)})" if over else identifier(node["over_identifier"])
    return f"{node['name']}({_list(node.get('exprs'))}){args} OVER {where}"


def _join(node: Node | None) -> str:
    text = ""
    while node is not None:
        if text or node.get("join_type"):
            text += f" {node.get('join_type')} "
        table = node["table"]
        shown = hogql_text(table) if isinstance(table, dict) else ""
        if table["node"] != "Field":
            shown = f"({shown})"
        if node.get("table_args") is not None:
            shown += f"({_list(node['table_args'])})"
        text += shown
        if node.get("alias"):
            text += f" AS {identifier(node['alias'])}"
        if node.get("sample"):
            text += f" SAMPLE {hogql_text(node['sample'])}"
        constraint = node.get("constraint")
        if constraint:
            text += f" {constraint['constraint_type']} {hogql_text(constraint['expr'])}"
        node = node.get("next_join")
    return text


def _ratio(node: Node) -> str:
    if node["node"] == "SampleExpr":
        offset = node.get("offset_value")
        text = hogql_text(node["sample_value"])
        return f"{text} OFFSET {hogql_text(offset)}" if offset else text
    right = node.get("right")
    return f"{hogql_text(node['left'])}/{hogql_text(right)}" if right else hogql_text(node["left"])


def _cte(node: Node) -> str:
    if node.get("cte_type") == "column":
        return f"{hogql_text(node['expr'])} AS {identifier(node['name'])}"
    return f"{identifier(node['name'])} AS ({hogql_text(node['expr'])})"


def _select(node: Node) -> str:
    parts: list[str] = []
    ctes: Any = node.get("ctes")
    if ctes:
        values = ctes.values() if isinstance(ctes, dict) else ctes
        parts.append(f"WITH {', '.join(_cte(cte) for cte in values)}")
    parts.append(f"SELECT {'DISTINCT ' if node.get('distinct') else ''}{_list(node['select'])}")
    if node.get("select_from"):
        parts.append(f"FROM {_join(node['select_from'])}")
    if node.get("array_join_op"):
        parts.append(f"{node['array_join_op']} {_list(node['array_join_list'])}")
    for key in ("prewhere", "where"):
        if node.get(key):
            parts.append(f"{key.upper()} {hogql_text(node[key])}")
    mode = node.get("group_by_mode")
    if mode == "all":
        parts.append("GROUP BY ALL")
    elif node.get("group_by"):
        parts.append(f"GROUP BY {_list(node['group_by'])}")
        if mode:
            parts[-1] += f" WITH {str(mode).upper()}"
    for key in ("having", "qualify"):
        if node.get(key):
            parts.append(f"{key.upper()} {hogql_text(node[key])}")
    for name, window in (node.get("window_exprs") or {}).items():
        parts.append(f"WINDOW {identifier(name)} AS ({_window(window)})")
    if node.get("order_by"):
        parts.append(f"ORDER BY {_list(node['order_by'])}")
    by = node.get("limit_by")
    if by:
        parts.append(f"LIMIT {hogql_text(by['n'])} BY {_list(by['exprs'])}")
    for key in ("limit", "offset"):
        if node.get(key):
            parts.append(f"{key.upper()} {hogql_text(node[key])}")
    return " ".join(parts)


def _set(node: Node) -> str:
    text = hogql_text(node["initial_select_query"])
    for one in node["subsequent_select_queries"]:
        query = one["select_query"]
        shown = hogql_text(query)
        shown = f"({shown})" if query["node"] == "SelectSetQuery" else shown
        text += f" {one['set_operator']} {shown}"
    return text


def _subquery(write: Callable[[Node], str]) -> Callable[[Node], str]:
    return write


_WRITERS: Final[Mapping[str, Callable[[Node], str]]] = {
    "Constant": _constant,
    "Field": lambda node: _chain(node["chain"]),
    "Placeholder": lambda node: f"{{{hogql_text(node['expr'])}}}",
    "Alias": lambda node: f"{hogql_text(node['expr'])} AS {identifier(node['alias'])}",
    "CompareOperation": _compare,
    "IsDistinctFrom": lambda node: (
        f"{hogql_text(node['left'])} IS {'NOT ' if node.get('negated') else ''}DISTINCT FROM "
        f"{hogql_text(node['right'])}"
    ),
    "ArithmeticOperation": lambda node: (
        f"{_ARITHMETIC[node['op']]}({hogql_text(node['left'])}, {hogql_text(node['right'])})"
    ),
    "And": lambda node: f"and({_list(node['exprs'])})",
    "Or": lambda node: f"or({_list(node['exprs'])})",
    "Not": lambda node: f"not({hogql_text(node['expr'])})",
    "Array": lambda node: f"[{_list(node['exprs'])}]",
    "Tuple": lambda node: f"tuple({_list(node['exprs'])})",
    "ArrayAccess": lambda node: f"{hogql_text(node['array'])}[{hogql_text(node['property'])}]",
    "ArraySlice": _slice,
    "TupleAccess": lambda node: f"{hogql_text(node['tuple'])}.{node['index']}",
    "Call": _call,
    "BetweenExpr": _between,
    "Lambda": _lambda,
    "TypeCast": lambda node: f"CAST({hogql_text(node['expr'])} AS {node['type_name']})",
    "TryCast": lambda node: f"TRY_CAST({hogql_text(node['expr'])} AS {node['type_name']})",
    "WindowFunction": _window_function,
    "OrderExpr": _order,
    "SampleExpr": _ratio,
    "RatioExpr": _ratio,
    "ColumnsExpr": lambda node: f"COLUMNS({string(str(node.get('regex')))})",
    "SelectQuery": _select,
    "SelectSetQuery": _set,
    "Dict": lambda node: (
        "{"
        + ", ".join(f"{hogql_text(key)}: {hogql_text(value)}" for key, value in node["items"])
        + "}"
    ),
    "ExprCall": lambda node: f"{hogql_text(node['expr'])}({_list(node['args'])})",
}
