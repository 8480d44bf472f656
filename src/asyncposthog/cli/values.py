"""Values of a query and moments, read from text. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from .error_messages import UsageProblem

__all__ = ["moment", "read_values"]


def read_values(given: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` and `name:type=value`.

    Without a type, JSON numbers, booleans, null and arrays are what they say; all else is text.

    Raises:
        UsageProblem: A value is not of its type, or two have one name.
    """
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name, _, kind = name.partition(":")
        if not equals or not name.strip():
            raise UsageProblem(f"--value takes NAME=VALUE or NAME:TYPE=VALUE, not {text!r}.")
        if name in values:
            raise UsageProblem(f"--value gives {name} twice.", 'A list is NAME=["a", "b"].')
        values[name] = _typed(name, kind, value) if kind else _guessed(value)
    return values


def _guessed(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict) else value


def _typed(name: str, kind: str, text: str) -> Any:
    read = _KINDS.get(kind)
    if read is None:
        raise UsageProblem(f"--value {name}: there is no type {kind!r}.", f"Types: {_NAMES}.")
    try:
        return read(text)
    except (ValueError, InvalidOperation):
        raise UsageProblem(f"--value {name}: {text!r} is no {kind}.") from None


def _boolean(text: str) -> bool:
    value = json.loads(text.lower())
    if not isinstance(value, bool):
        raise ValueError(text)
    return value


def _datetime(text: str) -> datetime:
    return moment(text, "a datetime")


_KINDS: Final[dict[str, Callable[[str], Any]]] = {
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
_NAMES: Final = ", ".join(_KINDS)


def moment(text: str, what: str) -> datetime:
    """Read a day, which begins at midnight UTC, or a moment with its zone.

    Raises:
        UsageProblem: It is neither, or the zone is missing.
    """
    try:
        if len(text) == len("2026-01-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageProblem(
            f"{what} must be a day or a moment, not {text!r}.",
            "As 2026-01-31 or 2026-01-31T09:30:00Z.",
        ) from None
    if found.tzinfo is None:
        raise UsageProblem(
            f"{what} has no time zone: {text!r}.", f"Add Z for UTC, or an offset: {text}+02:00."
        )
    return found
