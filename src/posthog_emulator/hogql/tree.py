"""sqlglot's nodes, of which a type checker can say little that is true: all are `Any` here."""

from __future__ import annotations

from typing import Any

from sqlglot import expressions

__all__ = ["exp"]

exp: Any = expressions
"""The classes of nodes."""
