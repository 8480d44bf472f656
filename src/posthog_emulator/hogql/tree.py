"""sqlglot's node classes, typed as `Any`."""

from __future__ import annotations

from typing import Any

from sqlglot import expressions

__all__ = ["exp"]

# sqlglot's nodes have no useful types: the arguments of all nodes are untyped dictionaries.
exp: Any = expressions
"""The classes of nodes."""
