"""Translate HogQL to ClickHouse SQL, without access to a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from .context import Context
from .errors import HogQLError
from .hogql_text import hogql_text
from .parse import Expression, Node, children, constant, parse_expression, parse_select
from .placeholders import replace_placeholders
from .scope import Query
from .select import Translator

__all__ = [
    "DEFAULT_ROWS",
    "MAX_ROWS",
    "SETTINGS",
    "Translation",
    "translate",
    "translate_expression",
    "uses_offset",
    "whole",
]

DEFAULT_ROWS: Final = 100
"""Number of rows returned by a query without LIMIT."""
MAX_ROWS: Final = 50_000
"""Maximum LIMIT; larger values are silently capped, as on the server."""
SETTINGS: Final[Mapping[str, str | int]] = MappingProxyType({
    "transform_null_in": 1,
    "join_use_nulls": 0,
    "max_ast_elements": 4_000_000,
    "max_expanded_ast_elements": 4_000_000,
    "optimize_min_equality_disjunction_chain_length": 4_294_967_295,
    "allow_experimental_join_condition": 1,
    "cast_string_to_date_time_mode": "best_effort",
})  # fmt: skip
"""Settings that the printed SQL counts on."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated query with what is needed to run it."""

    sql: str
    """ClickHouse SQL."""
    columns: tuple[str, ...]
    """Names of the columns."""
    hogql: str
    """The query as HogQL writes it."""
    paged: bool = False
    """Whether the query had no LIMIT; then one row more than returned is read, for `hasMore`."""
    scans: tuple[str, ...] = ()
    """Queries that count the events in the time ranges that the query reads."""
    settings: Mapping[str, str | int] = field(default_factory=lambda: SETTINGS)
    """ClickHouse settings to run it with."""


def translate(
    sql: str | Expression,
    context: Context,
    *,
    allow_offset: bool = True,
    max_rows: int = MAX_ROWS,
) -> Translation:
    """Translate a query.

    Args:
        sql: HogQL, or a query that was parsed or built already.
        context: What its meaning depends on.
        allow_offset: Whether OFFSET is allowed.
        max_rows: The maximum LIMIT; larger values are capped.

    Raises:
        HogQLError: The query is not valid HogQL, or the emulator does not support it.
    """
    try:
        tree = replace_placeholders(_tree(sql), context)
        if not allow_offset and uses_offset(tree):
            raise HogQLError(
                "OFFSET is not allowed in queries made with a personal API key. Page by a key "
                "instead, as in `WHERE timestamp > ... ORDER BY timestamp LIMIT n`, or use a "
                "batch export."
            )
        paged = tree["node"] == "SelectQuery" and tree.get("limit") is None
        tree = _limited(tree, DEFAULT_ROWS + paged, max_rows)
        translator = Translator(context)
        query = translator.query(tree, {}, top=True)
        text = hogql_text(tree)
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None
    return Translation(query.sql, query.names, text, paged, tuple(translator.scans))


def whole(sql: str | Expression, context: Context) -> Translation:
    """Translate a query without a limit on its rows, for exports.

    Raises:
        HogQLError: The query is invalid, the emulator does not support it, or a column has no
            alias.
    """
    try:
        tree = replace_placeholders(_tree(sql), context)
        first = tree
        while first["node"] == "SelectSetQuery":
            first = first["initial_select_query"]
        if not all(column["node"] == "Alias" for column in first["select"]):
            raise HogQLError("Every column of an exported query needs an alias.")
        translator = Translator(context)
        query = translator.query(tree, {})
        text = hogql_text(tree)
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None
    return Translation(query.sql, query.names, text, False, tuple(translator.scans))


def translate_expression(
    expression: str | Expression, context: Context, *, table: str = "events"
) -> Query:
    """Translate an expression to a query of it over all rows of a table.

    Args:
        expression: HogQL, or an expression that was parsed or built already.
        context: What its meaning depends on.
        table: The table that its names are of.

    Raises:
        HogQLError: The expression is invalid, or the emulator does not support it.
    """
    node = parse_expression(expression) if isinstance(expression, str) else expression.node
    query: Node = {
        "node": "SelectQuery",
        "select": [{"node": "Alias", "alias": "value", "expr": node}],
        "select_from": {"node": "JoinExpr", "table": {"node": "Field", "chain": [table]}},
    }
    try:
        return Translator(context).query(replace_placeholders(query, context), {})
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None


def uses_offset(tree: Node) -> bool:
    """Return whether OFFSET occurs anywhere in a query."""
    if tree["node"] == "SelectQuery" and tree.get("offset") is not None:
        return True
    if tree["node"] == "LimitByExpr" and tree.get("offset_value") is not None:
        return True
    return any(uses_offset(child) for child in children(tree))


def _tree(sql: str | Expression) -> Node:
    return parse_select(sql) if isinstance(sql, str) else sql.node


def _limited(tree: Node, default: int, most: int) -> Node:
    """Return the query with a limit for each of its SELECTs."""
    if tree["node"] == "SelectSetQuery":
        return {
            **tree,
            "initial_select_query": _limited(tree["initial_select_query"], default, most),
            "subsequent_select_queries": [
                {**item, "select_query": _limited(item["select_query"], default, most)}
                for item in tree["subsequent_select_queries"]
            ],
        }
    if tree["node"] != "SelectQuery":
        return tree
    limit: Any = tree.get("limit")
    if limit is None:
        return {**tree, "limit": constant(min(default, most))}
    value = limit.get("value")
    if limit["node"] != "Constant":
        capped: Node = {"node": "Call", "name": "min2", "args": [constant(most), limit]}
        return {**tree, "limit": capped}
    if isinstance(value, int) and not isinstance(value, bool):
        return tree if value <= most else {**tree, "limit": constant(most)}
    return tree
