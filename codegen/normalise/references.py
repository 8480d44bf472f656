"""Parameters, bodies and responses that are written elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from codegen.diagnostics import SchemaError
from codegen.json_access import MISSING, as_mapping, as_text, child, lookup, tokens

__all__ = ["Target", "follow"]

Target: TypeAlias = tuple[Mapping[str, Any], str]
"""An object, and the pointer it was found at."""


def follow(document: Mapping[str, Any], value: Any, at: str) -> Target:
    """Return an object itself, or what it refers to.

    Raises:
        SchemaError: The reference leads nowhere, in circles, or out of the document.
    """
    start, seen = at, {at}
    found = as_mapping(value, at)
    while "$ref" in found:
        text = as_text(found["$ref"], child(at, "$ref"))
        path = tokens(text)
        at = child("", *path)
        value = lookup(document, path) if text.startswith("#/") else MISSING
        if value is MISSING or at in seen:
            why = "leads in circles" if at in seen else "names nothing in the document"
            reason = f"its reference {text!r} {why}"
            raise SchemaError(f"#{start}", reason, "Mend the reference, or get a fresh document")
        seen.add(at)
        found = as_mapping(value, at)
    return found, at
