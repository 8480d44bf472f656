"""Translate a HogQL query to DuckDB's SQL, without access to a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .context import Context, Query
from .dialect import parse
from .nodes import understood
from .problems import HogQLError
from .select import Translator
from .tree import exp

__all__ = ["DEFAULT_ROWS", "MOST_ROWS", "Translation", "translate", "uses_offset", "whole"]

DEFAULT_ROWS: Final = 100
"""Number of rows returned by a query without LIMIT."""
MOST_ROWS: Final = 50_000
"""Maximum LIMIT; larger values are silently capped, as on the server."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated query with what is needed to run it."""

    query: Query
    paged: bool
    """Whether the query had no LIMIT; then one row more than returned is read, for `hasMore`."""
    scans: tuple[str, ...]
    """Queries that count the events in the time ranges that the query reads."""


def translate(
    sql: str, context: Context, *, offset: bool = True, most: int = MOST_ROWS
) -> Translation:
    """Translate a query.

    Args:
        sql: HogQL.
        context: What its meaning depends on.
        offset: Whether OFFSET is allowed.
        most: The maximum LIMIT; larger values are capped.

    Raises:
        HogQLError: The query is not valid HogQL, or the emulator does not translate it faithfully.
    """
    tree: Any = parse(sql)
    # As on the server for queries with a personal API key; see the setting of the emulator.
    if not offset and uses_offset(tree):
        raise HogQLError(
            "OFFSET is not allowed in queries made with a personal API key. Page by a key instead, "
            "as in `WHERE timestamp > ... ORDER BY timestamp LIMIT n`, or use a batch export."
        )
    understood(tree)
    translator = Translator(context)
    limit = tree.args.get("limit")
    try:
        query = translator.query(tree, {})
        paged = limit is None and isinstance(tree, exp.Select)
        rows = DEFAULT_ROWS + paged if limit is None else min(translator.count(limit), most)
        if limit is None and not isinstance(tree, exp.Select):
            rows = most if _limited(tree) else DEFAULT_ROWS
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None
    limited = f"SELECT * FROM ({query.sql}) AS q LIMIT {rows}"  # noqa: S608
    if limit is not None or not isinstance(tree, exp.Select):
        limited = query.sql if limit is not None and rows == translator.count(limit) else limited
    else:
        offset_clause = tree.args.get("offset")
        limited = limited if offset_clause is not None else f"{query.sql} LIMIT {rows}"
    text = query.text if limit is not None else f"{query.text} LIMIT {DEFAULT_ROWS + paged}"
    return Translation(Query(limited, query.columns, text), paged, tuple(translator.scans))


def whole(sql: str, context: Context) -> Query:
    """Translate a query without a limit on its rows, for exports.

    Raises:
        HogQLError: The query is invalid, the emulator does not translate it faithfully, or a
            column has no alias.
    """
    tree: Any = parse(sql)
    understood(tree)
    first = tree
    while isinstance(first, exp.SetOperation):
        first = first.this
    if not all(isinstance(column, exp.Alias) for column in first.expressions):
        raise HogQLError("Every column of an exported query needs an alias.")
    try:
        return Translator(context).query(tree, {})
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None


def _limited(tree: Any) -> bool:
    """Return whether the last query of a UNION has its own LIMIT."""
    last = tree.expression
    while isinstance(last, exp.SetOperation):
        last = last.expression
    return last is not None and last.args.get("limit") is not None


def uses_offset(tree: Any) -> bool:
    """Return whether OFFSET occurs anywhere in a query."""
    if any(tree.find_all(exp.Offset)):
        return True
    return any(limit.args.get("offset") is not None for limit in tree.find_all(exp.Limit))
