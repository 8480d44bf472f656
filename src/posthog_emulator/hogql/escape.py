"""Escape strings and identifiers for ClickHouse and HogQL: the only place that quotes text."""

from __future__ import annotations

import re
from typing import Final

from .errors import HogQLError

__all__ = ["identifier", "quoted", "string"]

_SPECIAL: Final = str.maketrans(
    {
        "\\": "\\\\", "'": "\\'", "\b": "\\b", "\f": "\\f", "\r": "\\r", "\n": "\\n",
        "\t": "\\t", "\0": "\\0", "\a": "\\a", "\v": "\\v",
    }
)  # fmt: skip
_NAME: Final = str.maketrans({"\\": "\\\\", "`": "\\`", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")


def string(text: str) -> str:
    """Return a string literal, valid in ClickHouse and in HogQL."""
    if not text.isascii():
        # Half of a surrogate pair has no UTF-8; ClickHouse could not be given it.
        text = text.encode("utf-8", "replace").decode("utf-8")
    return f"'{text.translate(_SPECIAL)}'"


def quoted(name: str) -> str:
    """Return an identifier for ClickHouse, always in back-ticks."""
    if not name.isascii():
        name = name.encode("utf-8", "replace").decode("utf-8")
    return f"`{name.translate(_NAME)}`"


def identifier(name: str) -> str:
    """Return an identifier for HogQL, in back-ticks when it needs them.

    Raises:
        HogQLError: The name has a `%`.
    """
    if "%" in name:
        raise HogQLError(
            f'The HogQL identifier "{name}" is not permitted as it contains the "%" character'
        )
    return name if _PLAIN.match(name) else quoted(name)
