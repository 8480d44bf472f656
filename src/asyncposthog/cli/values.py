"""Values of a query and moments, read from text. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from .error_messages import UsageError

__all__ = ["parse_timestamp", "parse_values"]


def parse_values(values_: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` and `name:type=value`.

    Without a type, JSON numbers, booleans, null and arrays are what they say; all else is text.

    Raises:
        UsageProblem: A value is not of its type, or two have one name.
    """
    values: dict[str, Any] = {}
    for text in values_:
        name, equals, value = text.partition("=")
        name, _, type_name = name.partition(":")
        if not equals or not name.strip():
            raise UsageError(f"--value takes NAME=VALUE or NAME:TYPE=VALUE, not {text!r}.")
        if name in values:
            raise UsageError(f"--value gives {name} twice.", 'A list is NAME=["a", "b"].')
        values[name] = _parse_typed(name, type_name, value) if type_name else _parse_untyped(value)
    return values


def _parse_untyped(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict) else value


def _parse_typed(name: str, type_name: str, text: str) -> Any:
    parser = _PARSERS.get(type_name)
    if parser is None:
        raise UsageError(
            f"--value {name}: there is no type {type_name!r}.", f"Types: {_TYPE_NAMES}."
        )
    try:
        return parser(text)
    except (ValueError, InvalidOperation):
        raise UsageError(f"--value {name}: {text!r} is no {type_name}.") from None


def _boolean(text: str) -> bool:
    value = json.loads(text.lower())
    if not isinstance(value, bool):
        raise ValueError(text)
    return value


def _datetime(text: str) -> datetime:
    return parse_timestamp(text, "a datetime")


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "text": str,
    "int": int,
    "float": float,
    "bool": _boolean,
    "decimal": Decimal,
    "datetime": _datetime,
    "date": date.fromisoformat,
    "uuid": UUID,
    "json": json.loads,
}
_TYPE_NAMES: Final = ", ".join(_PARSERS)


def parse_timestamp(text: str, name: str) -> datetime:
    """Read a day, which begins at midnight UTC, or a moment with its zone.

    Raises:
        UsageProblem: It is neither, or the zone is missing.
    """
    try:
        if len(text) == len("2026-01-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{name} must be a day or a moment, not {text!r}.",
            "As 2026-01-31 or 2026-01-31T09:30:00Z.",
        ) from None
    if parsed.tzinfo is None:
        raise UsageError(
            f"{name} has no time zone: {text!r}.", f"Add Z for UTC, or an offset: {text}+02:00."
        )
    return parsed
