"""Functions of single rows: their arguments, and the kinds of their results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from .names import Function, read, sections

__all__ = ["scalar_functions"]


@cache
def scalar_functions() -> Mapping[str, Function]:
    """Return the functions by name."""
    found: dict[str, Function] = {}
    for kind, text in sections("scalars.txt").items():
        found.update(read(kind, text))
    return found
