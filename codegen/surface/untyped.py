"""Methods whose result has no type beyond JSON."""

from __future__ import annotations

from .tree import Surface

__all__ = ["bare_json_methods", "bare_json_share"]


def bare_json_methods(surface: Surface) -> tuple[str, ...]:
    """Return the names of the methods that return `JSON`, or lists or dicts of it, sorted."""
    return tuple(
        sorted(
            method.operation.id
            for method in surface.methods
            if method.operation.result.kind == "json" and "JSON" in method.returns
        )
    )


def bare_json_share(surface: Surface) -> float:
    """Return the share of all methods that return bare JSON, from 0 to 1."""
    return len(bare_json_methods(surface)) / max(1, len(surface.methods))
