"""Compare an instance's schema with the pinned one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["drift"]


def drift(pinned: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return a line for each operation and component that was added, removed or changed.

    Args:
        pinned: The pinned document, normalised.
        other: The other document, normalised without prose.
    """
    lines = _compare("operation", _operations(pinned), _operations(other))
    schemas = [document["components"]["schemas"] for document in (pinned, other)]
    return lines + _compare("schema", schemas[0], schemas[1])


def _operations(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def _compare(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    lines = [f"- {what} {name}" for name in sorted(set(old) - set(new))]
    lines += [f"+ {what} {name}" for name in sorted(set(new) - set(old))]
    for name in sorted(set(old) & set(new)):
        if old[name] != new[name]:
            lines.append(f"~ {what} {name}: {_first_difference(old[name], new[name])}")
    return lines


def _first_difference(old: Any, new: Any, pointer: str = "") -> str:
    """Return the pointer and the values of the first difference."""
    # The first difference is enough to find the place, and fits into a line.
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            if key not in old:
                return f"{pointer}/{key} is new"
            if key not in new:
                return f"{pointer}/{key} is missing"
            if old[key] != new[key]:
                return _first_difference(old[key], new[key], f"{pointer}/{key}")
    return f"{pointer or '/'} was {_abbreviate(old)}, is {_abbreviate(new)}"


def _abbreviate(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
