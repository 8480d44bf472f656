"""Print a syntax tree as HogQL, for the names of columns and the field `hogql` of responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from .comparisons import OPERATORS
from .escape import identifier, string
from .parse import ARITHMETIC, Node

__all__ = ["hogql_text"]

_MATCHES: Final = {
    "=~": "match({}, {})", "!~": "not(match({}, {}))", "=~*": "match({}, concat('(?i)', {}))",
    "!~*": "not(match({}, concat('(?i)', {})))", "in cohort": "{} IN COHORT {}",
    "not in cohort": "{} NOT IN COHORT {}",
}  # fmt: skip


def hogql_text(node: Node | None) -> str:
    """Return the HogQL of a node; nothing for None."""
    if node is None:
        return ""
    write = _WRITERS.get(node["node"])
    return node["node"] if write is None else write(node)


def _list(nodes: Any) -> str:
    return ", ".join(map(hogql_text, nodes or ()))


def _constant(node: Node) -> str:
    value: Any = node["value"]
    if node.get("value_type") == "number":
        return {"Infinity": "Inf", "-Infinity": "-Inf"}.get(str(value), str(value))
    if isinstance(value, str):
        return string(value)
    if isinstance(value, datetime):
        return f"toDateTime({string(value.isoformat(' ', 'microseconds'))})"
    if isinstance(value, date | UUID):
        return f"{'toUUID' if isinstance(value, UUID) else 'toDate'}('{value}')"
    return (
        {None: "NULL", True: "true", False: "false"}[value]
        if (value is None or isinstance(value, bool))
        else str(value)
    )


def _compare(node: Node) -> str:
    op, left, right = node["op"], hogql_text(node["left"]), hogql_text(node["right"])
    if op in _MATCHES:
        return _MATCHES[op].format(left, right)
    return f"{OPERATORS[op]}({left}, {right})"


def _call(node: Node) -> str:
    params = f"({_list(node['params'])})" if node.get("params") else ""
    distinct = "DISTINCT " if node.get("distinct") else ""
    test = node.get("filter_expr")
    more = f" FILTER (WHERE {hogql_text(test)})" if test else ""
    return f"{node['name']}{params}({distinct}{_list(node['args'])}){more}"


def _frame(node: Node) -> str:
    value, kind = node.get("frame_value"), str(node["frame_type"])
    return kind if kind == "CURRENT ROW" else f"{'UNBOUNDED' if value is None else value} {kind}"


def _window(node: Node) -> str:
    parts = [
        f"{word} BY {_list(node[key])}"
        for word, key in (("PARTITION", "partition_by"), ("ORDER", "order_by"))
        if node.get(key)
    ]
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


def _join(node: Node | None) -> Iterator[str]:
    while node is not None:
        table: Node = node["table"]
        shown = hogql_text(table) if table["node"] == "Field" else f"({hogql_text(table)})"
        if node.get("join_type"):
            yield str(node["join_type"])
        yield shown if node.get("table_args") is None else f"{shown}({_list(node['table_args'])})"
        if node.get("alias"):
            yield f"AS {identifier(node['alias'])}"
        if node.get("sample"):
            yield f"SAMPLE {hogql_text(node['sample'])}"
        constraint: Any = node.get("constraint")
        if constraint:
            yield f"{constraint['constraint_type']} {hogql_text(constraint['expr'])}"
        node = node.get("next_join")


def _cte(node: Node) -> str:
    name, text = identifier(node["name"]), hogql_text(node["expr"])
    return f"{text} AS {name}" if node.get("cte_type") == "column" else f"{name} AS ({text})"


def _select(node: Node) -> str:
    return " ".join(_clauses(node))


def _clauses(node: Node) -> Iterator[str]:
    ctes: Any = node.get("ctes") or []
    if ctes:
        yield f"WITH {', '.join(map(_cte, ctes))}"
    yield f"SELECT {'DISTINCT ' if node.get('distinct') else ''}{_list(node['select'])}"
    if node.get("select_from"):
        yield f"FROM {' '.join(_join(node['select_from']))}"
    if node.get("array_join_op"):
        yield f"{node['array_join_op']} {_list(node['array_join_list'])}"
    mode = node.get("group_by_mode")
    by: Any = node.get("limit_by")
    for key, word, write in (
        ("prewhere", "PREWHERE", hogql_text), ("where", "WHERE", hogql_text),
        ("group_by", "GROUP BY", _list), ("having", "HAVING", hogql_text),
        ("qualify", "QUALIFY", hogql_text), ("window_exprs", "WINDOW", _windows),
        ("order_by", "ORDER BY", _list), ("limit_by", "LIMIT", hogql_text),
        ("limit", "LIMIT", hogql_text), ("offset", "OFFSET", hogql_text),
    ):  # fmt: skip
        if key == "group_by" and mode:
            yield (
                "GROUP BY ALL" if mode == "all" else f"GROUP BY {mode.upper()}({_list(node[key])})"
            )
        elif key == "limit_by" and by:
            yield f"LIMIT {hogql_text(by['n'])} BY {_list(by['exprs'])}"
        elif node.get(key):
            yield f"{word} {write(node[key])}"


def _windows(windows: Mapping[str, Node]) -> str:
    return ", ".join(
        f"{identifier(name)} AS ({_window(window)})" for name, window in windows.items()
    )


def _set(node: Node) -> str:
    text = hogql_text(node["initial_select_query"])
    for item in node["subsequent_select_queries"]:
        query: Node = item["select_query"]
        shown = hogql_text(query)
        shown = f"({shown})" if query["node"] == "SelectSetQuery" else shown
        text += f" {item['set_operator']} {shown}"
    return text


def _filled(template: str) -> Callable[[Node], str]:
    """Return a writer that fills `{key}` with a node, `{key*}` with a list, `{key!}` as it is."""
    parts = [part.partition("}") for part in template.split("{")]

    def write(node: Node) -> str:
        text = parts[0][0]
        for key, _, rest in parts[1:]:
            value = node.get(key.rstrip("*!`"))
            shown = (
                _list(value) if key.endswith("*") else str(value) if key.endswith("!")
                else identifier(str(value)) if key.endswith("`") else hogql_text(value)
            )  # fmt: skip
            text += shown + rest
        return text

    return write


def _lambda(node: Node) -> str:
    names = ", ".join(map(identifier, node["args"]))
    return f"{names if len(node['args']) == 1 else f'({names})'} -> {hogql_text(node['expr'])}"


_WRITERS: Final[Mapping[str, Callable[[Node], str]]] = {
    "Constant": _constant,
    "Field": lambda node: ".".join(
        "*" if part == "*" else identifier(str(part)) for part in node["chain"]
    ),
    "Placeholder": lambda node: f"{{{hogql_text(node['expr'])}}}",
    "Alias": _filled("{expr} AS {alias`}"),
    "CompareOperation": _compare,
    "IsDistinctFrom": lambda node: (
        f"{hogql_text(node['left'])} IS {'NOT ' if node.get('negated') else ''}DISTINCT FROM "
        f"{hogql_text(node['right'])}"
    ),
    "ArithmeticOperation": lambda node: (
        f"{ARITHMETIC[node['op']]}({hogql_text(node['left'])}, {hogql_text(node['right'])})"
    ),
    "BetweenExpr": lambda node: (
        f"{hogql_text(node['expr'])} {'NOT ' if node.get('negated') else ''}BETWEEN "
        f"{hogql_text(node['low'])} AND {hogql_text(node['high'])}"
    ),
    "And": _filled("and({exprs*})"),
    "Or": _filled("or({exprs*})"),
    "Not": _filled("not({expr})"),
    "Array": _filled("[{exprs*}]"),
    "Tuple": _filled("tuple({exprs*})"),
    "ArrayAccess": _filled("{array}[{property}]"),
    "ArraySlice": _filled("{array}[{start_expr}:{end_expr}]"),
    "TupleAccess": _filled("{tuple}.{index!}"),
    "Call": _call,
    "Lambda": _lambda,
    "TypeCast": _filled("CAST({expr} AS {type_name!})"),
    "TryCast": _filled("TRY_CAST({expr} AS {type_name!})"),
    "WindowFunction": _window_function,
    "OrderExpr": lambda node: (
        f"{hogql_text(node['expr'])} {node.get('order') or 'ASC'}"
        + (" WITH FILL" if node.get("with_fill") else "")
    ),
    "SampleExpr": _filled("{sample_value}"),
    "RatioExpr": lambda node: "/".join(
        hogql_text(node[side]) for side in ("left", "right") if node.get(side)
    ),
    "GroupingSet": _filled("({exprs*})"),
    "ColumnsExpr": lambda node: f"COLUMNS({string(str(node.get('regex')))})",
    "SelectQuery": _select,
    "SelectSetQuery": _set,
    "ExprCall": _filled("{expr}({args*})"),
}
