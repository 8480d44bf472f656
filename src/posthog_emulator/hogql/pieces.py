"""Parse single expressions and sort keys, as EventsQuery and property filters have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .calls import is_aggregate
from .dialect import parse
from .problems import HogQLError
from .tree import exp

__all__ = ["Expression", "expression", "sort_key"]


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that stands alone."""

    text: str
    """Fit to be put into a query."""
    inner: str
    """Without the name it is given."""
    name: str | None
    """The name it is given."""
    aggregates: bool
    """Whether it is about many rows."""


def expression(text: str) -> Expression:
    """Read an expression; a comment may follow it.

    Raises:
        HogQLError: The text is not exactly one expression.
    """
    parsed = parse(f"SELECT {text}\n")
    said = {name for name, value in parsed.args.items() if value} - {"expressions"}
    if said or len(parsed.expressions) != 1:
        raise HogQLError(f"Syntax error: expected an expression, not {text!r}.")
    tree = parsed.expressions[0]
    if not isinstance(tree, exp.Alias):
        # Parsed again in parentheses: an expression such as `1) OR (1` would otherwise escape
        # from the parentheses that it is put into.
        parse(f"SELECT ({text}\n)")
        return Expression(f"({text}\n)", f"({text}\n)", None, _aggregates(tree))
    inner = tree.this.sql("clickhouse")
    return Expression(f"{text}\n", f"({inner})", str(tree.alias), _aggregates(tree))


def _aggregates(tree: Any) -> bool:
    if isinstance(tree, exp.Window | exp.Query):
        return False  # an aggregate over a window, or of another query
    if isinstance(tree, exp.Func) and is_aggregate(str(tree.this)):
        return True
    return any(_aggregates(child) for child in tree.iter_expressions())


def sort_key(text: str) -> str:
    """Read what to sort by: an expression, perhaps `ASC` or `DESC`.

    Raises:
        HogQLError: The text is not exactly one sort key.
    """
    parsed = parse(f"SELECT 1 ORDER BY {text}\n")
    said = {name for name, value in parsed.args.items() if value} - {"expressions", "order"}
    if said or len(parsed.args["order"].expressions) != 1:
        raise HogQLError(f"Syntax error: expected an expression to sort by, not {text!r}.")
    return f"{text}\n"
