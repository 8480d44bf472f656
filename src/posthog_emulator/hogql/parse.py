"""Parse HogQL with PostHog's own parser, to nodes of plain dictionaries and lists."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, Final, TypeAlias, cast

from .errors import HogQLError, unsupported

__all__ = [
    "ARITHMETIC",
    "Expression",
    "Node",
    "call",
    "children",
    "compare",
    "constant",
    "field",
    "parse_expression",
    "parse_order",
    "parse_select",
]

Node: TypeAlias = "dict[str, Any]"
"""A node of the syntax tree; `node` has its kind. Parsed nodes are shared: never change one."""

ARITHMETIC: Final = {"+": "plus", "-": "minus", "*": "multiply", "/": "divide", "%": "modulo"}
"""Functions by operator."""
_DEPTH: Final = 80
"""Maximum depth of brackets: the parser's time grows with its square and worse."""
_ERRORS: Final = "posthog.hogql.errors"
_RAISED: Final = (
    "BaseHogQLError", "ExposedHogQLError", "InternalHogQLError", "SyntaxError", "QueryError",
    "NotImplementedError", "ParsingError", "ImpossibleASTError", "ResolutionError",
)  # fmt: skip


class Expression(tuple[Node]):
    """An expression as the value of a placeholder, instead of a constant."""

    __slots__ = ()

    def __new__(cls, node: Node) -> Expression:
        """Wrap a node."""
        return super().__new__(cls, (node,))

    @property
    def node(self) -> Node:
        """Return the node."""
        return self[0]


class _StandIn(ModuleType):
    """A module in the place of PostHog's SDK, which has the same name, while it is not loaded."""

    loaded = threading.Event()

    def __getattr__(self, name: str) -> Any:
        # Another thread imported the SDK in that moment: it gets what it asked for.
        if name.startswith("__"):
            raise AttributeError(name)
        self.loaded.wait()
        return getattr(importlib.import_module(self.__name__), name)


@cache
def _parser() -> Any:
    # The extension asks for PostHog's error classes when it is loaded. They are not published;
    # a stand-in for the time of the import is enough, since the functions that return JSON raise
    # none of them.
    errors = ModuleType(_ERRORS)
    for name in _RAISED:
        setattr(errors, name, type(name, (Exception,), {}))
    added = {
        name: module
        for name, module in ((_ERRORS, errors), ("posthog", _StandIn("posthog")))
        if sys.modules.setdefault(name, module) is module
    }
    try:
        return importlib.import_module("hogql_parser")
    except ImportError:
        raise HogQLError(
            "HogQL needs the package hogql-parser. Install the extra `emulator` "
            "on Linux or macOS.", "error", 500,
        ) from None  # fmt: skip
    finally:
        for name, module in added.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        _StandIn.loaded.set()


def _parsed(kind: str, text: str) -> Node:
    _check_depth(text)
    function = getattr(_parser(), f"parse_{kind}_json")
    try:
        node = cast("Node", json.loads(function(text, is_internal=True)))
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None
    except Exception as error:
        # The parser raises errors of its lexer itself; a text with a zero byte is refused as well.
        raise HogQLError(f"{error}") from None
    if node.get("error"):
        start, end = node["start"]["offset"], node["end"]["offset"]
        raise HogQLError(str(node["message"]), start=start, end=end)
    return node


def _check_depth(text: str) -> None:
    depth = 0
    for letter in text:
        if letter in "([{":
            depth += 1
            if depth > _DEPTH:
                raise HogQLError("The query is nested too deeply.")
        elif letter in ")]}":
            depth -= 1


@lru_cache(maxsize=1024)
def parse_select(text: str) -> Node:
    """Parse a query.

    Raises:
        HogQLError: The text is no query.
    """
    return _parsed("select", text)


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Node:
    """Parse an expression.

    Raises:
        HogQLError: The text is no expression.
    """
    return _parsed("expr", text)


def parse_order(text: str) -> Node:
    """Parse what to sort by: an expression, perhaps with ASC or DESC.

    Raises:
        HogQLError: The text is not exactly one thing to sort by.
    """
    tree = parse_select(f"SELECT 1 ORDER BY {text}\n")
    rest = {key for key, value in tree.items() if value} - {"node", "select", "order_by"}
    if rest or len(tree["order_by"]) != 1:
        raise HogQLError(f"Expected an expression to sort by, not {text!r}.")
    order: Node = tree["order_by"][0]
    return order


def constant(value: Any) -> Node:
    """Return the node of a constant.

    Args:
        value: None, bool, int, float, str, datetime, date, UUID, or a list or tuple of these.

    Raises:
        HogQLError: The value has no constant.
    """
    if isinstance(value, list | tuple):
        kind = "Array" if isinstance(value, list) else "Tuple"
        items = cast("list[Any] | tuple[Any, ...]", value)
        return {"node": kind, "exprs": [constant(item) for item in items]}
    if isinstance(value, Mapping):
        raise unsupported("a value of the type dict")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise HogQLError(f"{value} has more than 64 bits.")
    return {"node": "Constant", "value": value}


def field(*chain: str | int) -> Node:
    """Return the node of a field."""
    return {"node": "Field", "chain": list(chain)}


def call(name: str, *args: Node) -> Node:
    """Return the node of a function call."""
    return {"node": "Call", "name": name, "args": list(args)}


def compare(op: str, left: Node, right: Node) -> Node:
    """Return the node of a comparison."""
    return {"node": "CompareOperation", "op": op, "left": left, "right": right}


def children(value: Any) -> Iterator[Node]:
    """Yield the nodes directly below a node, a list or a mapping of nodes."""
    if isinstance(value, dict):
        for item in cast("Node", value).values():
            if isinstance(item, dict) and "node" in item:
                yield cast("Node", item)
            elif isinstance(item, dict | list):
                yield from children(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            if isinstance(item, dict) and "node" in item:
                yield cast("Node", item)
            elif isinstance(item, dict | list):
                yield from children(item)
