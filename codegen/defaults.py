"""Defaults that contradict their own schema, in documents that are not ours to mend.

In the pinned document such a default is an error of generation, which an override mends. In the
document of another instance it is left out and reported, so that all the rest can be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.models.schemas import contradiction
from codegen.normalise.walk import iter_schemas, rewrite, schema_sites

from .diagnostics import Diagnostic

__all__ = ["drop_contradictions"]


def drop_contradictions(document: dict[str, Any]) -> list[Diagnostic]:
    """Take the defaults that contradict their schema out of a normalised document, in place."""
    components: Mapping[str, Any] = document["components"]["schemas"]
    diagnostics: list[Diagnostic] = []

    def change(schema: dict[str, Any], pointer: str) -> dict[str, Any]:
        if "default" not in schema:
            return schema
        rest = {key: value for key, value in schema.items() if key != "default"}
        reason = contradiction(schema["default"], rest, components)
        if reason is None:
            return schema
        diagnostics.append(
            Diagnostic(pointer, f"its default contradicts it: {reason}; it is dropped")
        )
        return rest

    for pointer, holder, key in list(schema_sites(document)):
        if any("default" in schema for _, schema in iter_schemas(holder[key])):
            holder[key] = rewrite(holder[key], change, pointer)
    return diagnostics
