"""Names for components we have to add."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any

__all__ = ["new_component_name", "pascal_case", "valid_component_names"]

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
"""What OpenAPI allows as the name of a component."""


def pascal_case(text: Any) -> str:
    """Return `target_config` as `TargetConfig`. Words that are capitalised already stay."""
    words = re.findall(r"[A-Za-z0-9]+", str(text))
    return "".join(word[0].upper() + word[1:] for word in words)


def new_component_name(parts: Iterable[Any], taken: Container[str]) -> str:
    """Return the parts as one name that is not taken, numbered from 2 where it is."""
    name = "".join(pascal_case(part) for part in parts) or "Schema"
    number = 1
    candidate = name
    while candidate in taken:
        number += 1
        candidate = f"{name}{number}"
    return candidate


def valid_component_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name that OpenAPI allows for each component; an allowed one stays as it is."""
    listed = list(names)
    result = {name: name for name in listed if _PLAIN.fullmatch(name)}
    for name in sorted(set(listed) - result.keys()):
        result[name] = new_component_name([name], set(result.values()))
    return result
