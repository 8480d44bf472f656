"""Parameters, bodies and responses that are written elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from codegen.diagnostics import SchemaError
from codegen.json_access import MISSING, as_mapping, as_text, join_pointer, lookup, split_pointer

__all__ = ["ResolvedObject", "follow_reference"]

ResolvedObject: TypeAlias = tuple[Mapping[str, Any], str]
"""An object, and the pointer it was found at."""


def follow_reference(document: Mapping[str, Any], value: Any, pointer: str) -> ResolvedObject:
    """Return an object itself, or what it refers to.

    Raises:
        SchemaError: The reference leads nowhere, in circles, or out of the document.
    """
    start, seen = pointer, {pointer}
    target = as_mapping(value, pointer)
    while "$ref" in target:
        text = as_text(target["$ref"], join_pointer(pointer, "$ref"))
        path = split_pointer(text)
        pointer = join_pointer("", *path)
        value = lookup(document, path) if text.startswith("#/") else MISSING
        if value is MISSING or pointer in seen:
            problem = "leads in circles" if pointer in seen else "names nothing in the document"
            reason = f"its reference {text!r} {problem}"
            raise SchemaError(f"#{start}", reason, "Mend the reference, or get a fresh document")
        seen.add(pointer)
        target = as_mapping(value, pointer)
    return target, pointer
