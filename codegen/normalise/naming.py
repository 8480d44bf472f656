"""Names for components we have to add."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any

__all__ = ["joined", "pascal"]


def pascal(text: Any) -> str:
    """Return `target_config` as `TargetConfig`. Words that are capitalised already stay."""
    words = re.findall(r"[A-Za-z0-9]+", str(text))
    return "".join(word[0].upper() + word[1:] for word in words)


def joined(parts: Iterable[Any], taken: Container[str]) -> str:
    """Return the parts as one name that is not taken, numbered from 2 where it is."""
    name = "".join(pascal(part) for part in parts) or "Schema"
    number = 1
    candidate = name
    while candidate in taken:
        number += 1
        candidate = f"{name}{number}"
    return candidate
