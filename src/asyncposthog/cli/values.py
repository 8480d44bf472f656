"""Parse query values and timestamps from text. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from .error_messages import UsageError

__all__ = ["parse_timestamp", "parse_untyped", "parse_values"]


def parse_values(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse arguments of the form `name=value` and `name:type=value`.

    Without a type, JSON numbers, booleans, null and arrays are parsed; anything else is text.

    Raises:
        UsageError: A value does not have its type, or a name is given twice.
    """
    values: dict[str, Any] = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        name, _, type_name = name.partition(":")
        if not equals or not name.strip():
            raise UsageError(f"--value takes NAME=VALUE or NAME:TYPE=VALUE, not {text!r}.")
        if name in values:
            raise UsageError(f"--value has {name} twice.", 'Pass a list as NAME=["a", "b"].')
        values[name] = _parse_typed(name, type_name, value) if type_name else parse_untyped(value)
    return values


def parse_untyped(text: str) -> Any:
    """Return the JSON value of a text; the text itself if it is not JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # HogQL has no constant for an object, so a text that looks like one is meant as text.
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
        raise UsageError(f"--value {name}: {text!r} is not a valid {type_name}.") from None


def _boolean(text: str) -> bool:
    # Python's True and False are accepted too.
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
    """Parse a date, which means midnight UTC, or a date and time with a time zone.

    Args:
        text: The text.
        name: The name of the option in error messages.

    Raises:
        UsageError: The text is neither, or has no time zone.
    """
    try:
        if len(text) == len("2026-01-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{name} must be a date or a timestamp, not {text!r}.",
            "For example 2026-01-31 or 2026-01-31T09:30:00Z.",
        ) from None
    if parsed.tzinfo is None:
        raise UsageError(
            f"{name} has no time zone: {text!r}.", f"Add Z for UTC, or an offset: {text}+02:00."
        )
    return parsed
