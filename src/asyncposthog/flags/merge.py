"""Three-way merge of JSON data: what two editors have changed of a common original."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

__all__ = ["MISSING", "merge", "same_json"]

MISSING: Final = object()
"""Stands for a value that an object does not have."""


def merge(original: Any, mine: Any, theirs: Any, path: str = "") -> tuple[Any, list[str]]:
    """Return the merged value, and the paths of what both have changed differently.

    Objects are merged key by key. Lists are values: their items have no identity.

    Args:
        original: The value that both editors started from.
        mine: The value of one editor, which is in the result where both conflict.
        theirs: The value of the other.
        path: The path of the value, for conflicts: `filters.payloads`.
    """
    if same_json(mine, theirs) or same_json(theirs, original):
        return mine, []
    if same_json(mine, original):
        return theirs, []
    if not (_is_object(mine) and _is_object(theirs)):
        return mine, [path]
    before = original if _is_object(original) else {}
    merged: dict[str, Any] = {}
    conflicts: list[str] = []
    for name in {**theirs, **mine}:
        value, inner = merge(
            before.get(name, MISSING),
            mine.get(name, MISSING),
            theirs.get(name, MISSING),
            f"{path}.{name}" if path else name,
        )
        conflicts += inner
        if value is not MISSING:
            merged[name] = value
    return merged, conflicts


def same_json(first: Any, second: Any) -> bool:
    """Return whether two values are equal as JSON: `true` is not 1, unlike in Python."""
    if _is_object(first) and _is_object(second):
        return first.keys() == second.keys() and all(same_json(first[k], second[k]) for k in first)
    if isinstance(first, list) and isinstance(second, list):
        pairs: Any = zip(first, second, strict=False)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return len(first) == len(second) and all(same_json(a, b) for a, b in pairs)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(first, bool) != isinstance(second, bool):
        return False
    return first == second


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
