"""Write Python values as ClickHouse SQL, so that no value can change the query."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, cast
from uuid import UUID

__all__ = ["bind", "identifier", "literal"]

_ESCAPES: Final = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        "\0": "\\0",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
    }
)
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def literal(value: Any) -> str:
    """Return a value as a ClickHouse literal.

    Args:
        value: None, a bool, int, float, str, UUID, date or aware datetime, or a list or tuple of
            them, which is written as an array. Lone surrogates in text become U+FFFD, because
            they have no UTF-8.

    Raises:
        TypeError: The value has another type.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if value >= 0 else f"({value})"
        case float():
            if math.isfinite(value):
                text = repr(value)
                return text if value >= 0 and not text.startswith("-") else f"({text})"
            return "nan" if math.isnan(value) else "inf" if value > 0 else "(-inf)"
        case str():
            return "'" + _SURROGATES.sub("\ufffd", value).translate(_ESCAPES) + "'"
        case UUID():
            return f"toUUID('{value}')"
        case datetime():
            text = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            return f"toDateTime64('{text.rjust(26, '0')}', 6, 'UTC')"
        case date():
            return f"toDate32('{value.isoformat()}')"
        case list() | tuple():
            items = cast("Sequence[Any]", value)
            return "[" + ", ".join(literal(item) for item in items) + "]"
        case _:
            raise TypeError(f"a {type(value).__name__} has no ClickHouse literal")


def identifier(name: str) -> str:
    """Return the name of a column or table in back quotes."""
    text = _SURROGATES.sub("\ufffd", name).translate(_ESCAPES).replace("`", "\\`")
    return "`" + text.replace("\\'", "'") + "`"


def bind(sql: str, values: Iterable[Any]) -> str:
    """Return SQL whose question marks are replaced by literals, in order.

    Args:
        sql: The SQL of this package, whose only question marks are placeholders.
        values: The values.

    Raises:
        ValueError: The number of values differs from the number of question marks.
    """
    first, *pieces = sql.split("?")
    literals = [literal(value) for value in values]
    if len(literals) != len(pieces):
        raise ValueError(f"{len(pieces)} placeholders, but {len(literals)} values: {sql}")
    return first + "".join(value + piece for value, piece in zip(literals, pieces, strict=True))
