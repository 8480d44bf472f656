"""Replace `{placeholders}` by what they stand for: values, `{filters}` and `{variables}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from .context import Context, Value
from .errors import HogQLError
from .parse import Expression, Node, constant

__all__ = ["replace_placeholders"]

_BOUNDS: Final = ("filters.dateRange.from", "filters.dateRange.to")
_FILTERED: Final = ("events", "ai_events", "sessions", "logs", "traces", "groups")
_DEPTH: Final = 8
"""Maximum depth of placeholders in the values of placeholders."""


class _UnboundedError(HogQLError):
    """A bound of the filters' date range is not set; comparisons with it are true."""


def replace_placeholders(node: Node, context: Context) -> Node:
    """Return a tree without placeholders; parts without any are shared with the given tree.

    Raises:
        HogQLError: A placeholder has no value.
    """
    return _Replacer(context).of(node, ())


class _Replacer:
    def __init__(self, context: Context, depth: int = 0) -> None:
        self._context = context
        self._depth = depth

    def of(self, node: Node, tables: tuple[str, ...]) -> Node:
        kind = node["node"]
        if kind == "Placeholder":
            return self._replaced(node, tables)
        if kind == "SelectQuery":
            tables = _tables(node.get("select_from"))
        if kind == "CompareOperation":
            try:
                return self._inside(node, tables)
            except _UnboundedError:
                if any(_is_bound(node[side]) for side in ("left", "right")):
                    return constant(True)
                raise
        return self._inside(node, tables)

    def _inside(self, node: Node, tables: tuple[str, ...]) -> Node:
        changed: Node | None = None
        for key, value in node.items():
            new = self._value(value, tables)
            if new is not value:
                changed = changed or dict(node)
                changed[key] = new
        return changed or node

    def _value(self, value: Any, tables: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            node = cast("Node", value)
            return self.of(node, tables) if "node" in node else self._inside(node, tables)
        if isinstance(value, list):
            items = cast("list[Any]", value)
            replaced = [self._value(item, tables) for item in items]
            return (
                replaced if any(a is not b for a, b in zip(replaced, items, strict=True)) else items
            )
        return value

    def _replaced(self, node: Node, tables: tuple[str, ...]) -> Node:
        inner = node["expr"]
        if inner["node"] != "Field":
            raise HogQLError("Placeholders may only be names, such as {x} or {filters}.")
        chain = [str(part) for part in inner["chain"]]
        return self._node(self._lookup(chain, tables), tables)

    def _node(self, value: Value, tables: tuple[str, ...]) -> Node:
        if isinstance(value, Expression):
            if self._depth > _DEPTH:
                raise HogQLError("Placeholders are nested too deeply.")
            return _Replacer(self._context, self._depth + 1).of(value.node, tables)
        return constant(value)

    def _lookup(self, chain: list[str], tables: tuple[str, ...]) -> Value:
        context, name = self._context, ".".join(chain)
        if chain[0] == "filters" and "filters" not in context.values:
            return self._filters(name, tables)
        if chain[0] == "variables" and "variables" not in context.values:
            return context.variable(".".join(chain[1:]))
        value: Any = context.values
        for part in chain:
            if not isinstance(value, Mapping) or part not in value:
                raise HogQLError(f"Unresolved placeholder: {{{name}}}")
            value = cast("Mapping[str, Any]", value)[part]
        return value

    def _filters(self, name: str, tables: tuple[str, ...]) -> Value:
        if name in _BOUNDS:
            at = self._context.date_range[_BOUNDS.index(name)]
            if at is None:
                raise _UnboundedError(
                    f"The `{{{name}}}` placeholder must be used directly in a comparison "
                    f"(e.g. `timestamp > {{{name}}}`) when the date range is not set."
                )
            return at
        if name != "filters":
            raise HogQLError(
                f"Unsupported filters placeholder `{{{name}}}`. Supported filters placeholders "
                f"are: `{{filters}}`, `{{{_BOUNDS[0]}}}`, `{{{_BOUNDS[1]}}}`."
            )
        table = next((table_name for table_name in _FILTERED if table_name in tables), None)
        if table is None:
            raise HogQLError(
                "Cannot use 'filters' placeholder in a SELECT clause that does not select from "
                "the events, sessions, logs, traces or groups table."
            )
        return self._context.filters(table)


def _is_bound(node: Node) -> bool:
    return (
        node["node"] == "Placeholder"
        and ".".join(map(str, node["expr"].get("chain") or ())) in _BOUNDS
    )


def _tables(join: Node | None) -> tuple[str, ...]:
    names: list[str] = []
    while join is not None:
        chain = cast("Node", join["table"]).get("chain")
        if chain:
            names.append(".".join(map(str, chain)))
        join = join.get("next_join")
    return tuple(names)
