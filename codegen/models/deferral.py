"""Decide which unions are built only for the variants that a response has."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.graph import reachable

from .types import NamedType

__all__ = ["deferred_unions"]

_MAX_MODELS = 20
"""A discriminated union with more models than this, those in its variants included, is deferred."""


def deferred_unions(types: Mapping[str, NamedType]) -> frozenset[str]:
    """Return the tokens of the discriminated unions to defer.

    The query of an insight can be any of some 40 queries, which need 280 classes. A response has
    one of them, so importing and building the others would be most of the cost of the first one.
    """
    dependencies = {name: named_type.dependencies for name, named_type in types.items()}
    weights: dict[frozenset[str], int] = {}
    deferred: set[str] = set()
    for named_type in types.values():
        for token, union in named_type.unions.items():
            variants = frozenset(name for _, name in union.variants)
            if variants not in weights:
                weights[variants] = sum(
                    types[name].shape.kind == "model" for name in reachable(variants, dependencies)
                )
            if weights[variants] > _MAX_MODELS:
                deferred.add(token)
    return frozenset(deferred)
