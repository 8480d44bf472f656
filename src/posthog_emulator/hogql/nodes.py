"""Reject queries with nodes or arguments that the translation does not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .problems import untranslated
from .tree import exp

__all__ = ["understood"]

# A list of what is supported, not of what is not: sqlglot parses far more than the translation
# reads, and a clause that is ignored would give wrong rows without an error.
_BOTH: Final = "this expression"
_CALL: Final = "this expressions params big_int"
_SAID: Final[Mapping[Any, str]] = {
    exp.EQ: _BOTH,
    exp.NEQ: _BOTH,
    exp.LT: _BOTH,
    exp.GT: _BOTH,
    exp.LTE: _BOTH,
    exp.GTE: _BOTH,
    exp.Add: _BOTH,
    exp.Sub: _BOTH,
    exp.Mul: _BOTH,
    exp.Div: "this expression safe",
    exp.Mod: _BOTH,
    exp.Like: "this expression negate",
    exp.ILike: "this expression negate",
    exp.DPipe: "this expression safe",
    exp.NullSafeEQ: "",
    exp.And: _BOTH,
    exp.Or: _BOTH,
    exp.Is: _BOTH,
    exp.Not: "this",
    exp.Neg: "this",
    exp.Paren: "this",
    exp.Anonymous: _CALL,
    exp.AnonymousAggFunc: _CALL,
    exp.ParameterizedAgg: _CALL,
    exp.CombinedAggFunc: _CALL,
    exp.CombinedParameterizedAgg: _CALL,
    exp.Distinct: "expressions",
    exp.Column: "this table db catalog",
    exp.Identifier: "this quoted",
    exp.Dot: _BOTH,
    exp.Bracket: "this expressions",
    exp.Literal: "this is_string",
    exp.HexString: "this is_integer",
    exp.Boolean: "this",
    exp.Null: "",
    exp.Between: "this low high",
    exp.In: "this expressions query field",
    exp.Case: "this ifs default",
    exp.If: "this true false",
    exp.Interval: "this unit",
    exp.Alias: "this alias",
    exp.Subquery: "this alias",
    exp.Cast: "this to",
    exp.Tuple: "expressions",
    exp.Array: "expressions",
    exp.Lambda: "this expressions",
    exp.Window: "this partition_by order spec alias over",
    exp.WindowSpec: "kind start start_side end end_side",
    exp.Ordered: "this desc nulls_first",
    exp.Order: "expressions",
    exp.Group: "expressions",
    exp.Limit: "expression expressions offset limit_options",
    exp.LimitOptions: "rows",
    exp.Offset: "expression",
    exp.Star: "except_",
    exp.From: "this",
    exp.Table: "this alias sample db",
    exp.TableAlias: "this",
    exp.TableSample: "size",
    exp.Final: "this",
    exp.Join: "this expressions side kind on using global_",
    exp.Where: "this",
    exp.PreWhere: "this",
    exp.Having: "this",
    exp.Qualify: "this",
    exp.With: "expressions",
    exp.CTE: "this alias scalar",
    exp.Select: "expressions distinct from_ from joins where prewhere group having qualify order "
    "limit offset limit_by with_ with windows",
    exp.Union: "this expression distinct limit with_ with",
    exp.Except: "this expression distinct limit with_ with",
    exp.Intersect: "this expression distinct limit with_ with",
}
_KNOWN: Final = {kind: frozenset(names.split()) for kind, names in _SAID.items()}
# Leaves such as types and units, whose arguments do not matter.
_LEAVES: Final = (exp.DataType, exp.DataTypeParam, exp.Var)


def understood(tree: Any) -> None:
    """Raise an error for a query with a part that the translation does not read.

    Raises:
        HogQLError: The query has such a part.
    """
    for node in tree.walk():
        if isinstance(node, _LEAVES):
            continue
        known = _KNOWN.get(node.__class__)
        if known is None:
            raise untranslated(f"`{node.sql('clickhouse')}` ({node.__class__.__name__})")
        for name, value in node.args.items():
            if name not in known and value:
                raise untranslated(
                    f"`{name.strip('_').upper()}` in `{node.sql('clickhouse')[:200]}`"
                )
