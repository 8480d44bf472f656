"""Convert the values of properties to JSON. No I/O."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Set
from collections.abc import Sequence as AbstractSequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from os import PathLike, fspath
from typing import Any, Final, cast
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_json

__all__ = ["PLAIN_TYPES", "convert", "encode"]

PLAIN_TYPES: Final = frozenset({str, int, float, bool, type(None)})
"""Types that `to_json` writes as they are meant."""


class _ConversionError(Exception):
    """A value has no JSON form. The path grows while the exception passes its containers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


def encode(event: Mapping[str, object] | str) -> bytes:
    """Return an event, or a part of one, as JSON. NaN and infinities become null.

    Raises:
        ValueError: It has text that is not valid Unicode, or an integer that is too large.
    """
    try:
        return to_json(event, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError) as error:
        path = _find_invalid_text(event)
        where = "" if path is None else f" at {_format_path(path)}"
        raise ValueError(f"The event cannot be sent as JSON{where}: {error}") from None


def convert(properties: Mapping[str, object], name: str = "properties") -> dict[str, object]:
    """Return a mapping in which every value is of a plain type, a list or a dict.

    Dates and times become ISO 8601 text, Decimals become numbers, and durations seconds. Enums are
    replaced by their values, models and dataclasses by their fields, sets and tuples by lists.

    Args:
        properties: The mapping.
        name: The name of the mapping, for errors.

    Raises:
        TypeError: A value has no JSON form. The message has its path.
    """
    try:
        return _convert_mapping(properties)
    except _ConversionError as error:
        path = _format_path([name, *reversed(error.path)])
        raise TypeError(
            f"{path} is {error.reason}, which has no JSON form. Convert it, or leave it out."
        ) from None
    except RecursionError:
        raise TypeError(f"{name} contains itself, or is nested too deeply.") from None


def _convert_mapping(mapping: Mapping[Any, object]) -> dict[str, object]:
    converted: dict[str, object] = {}
    for key, value in mapping.items():
        name = key if type(key) is str else _key_text(key)
        if type(value) in PLAIN_TYPES:
            converted[name] = value
            continue
        try:
            converted[name] = _convert(value)
        except _ConversionError as error:
            error.path.append(name)
            raise
    return converted


def _convert_sequence(values: Any) -> list[object]:
    converted: list[object] = []
    for index, value in enumerate(values):
        if type(value) in PLAIN_TYPES:
            converted.append(value)
            continue
        try:
            converted.append(_convert(value))
        except _ConversionError as error:
            error.path.append(str(index))
            raise
    return converted


def _seconds(value: timedelta) -> float:
    return value.total_seconds()


def _text_of_bytes(value: bytes | bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _ConversionError("bytes that are not UTF-8 text") from None


def _number(value: Decimal) -> float | None:
    # A JSON number, as the events of PostHog's own SDKs have it: text cannot be summed.
    number = float(value) if value.is_finite() else math.nan
    return number if math.isfinite(number) else None


# Subclasses come before their base classes: an Enum may be a str, a datetime is a date.
_CONVERSIONS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (Enum, lambda value: _convert(value.value)),
    ((datetime, date, time), lambda value: value.isoformat()),
    (UUID, str),
    (Decimal, _number),
    (timedelta, _seconds),
    (str, lambda value: str.__str__(value)),
    (bool, bool),
    (int, int),
    (float, float),
    ((bytes, bytearray), _text_of_bytes),
    (Mapping, _convert_mapping),
    ((AbstractSequence, Set), _convert_sequence),
    (PathLike, fspath),
)


def _convert(value: object) -> object:
    if type(value) in PLAIN_TYPES:
        return value
    kinds: Any
    convert_kind: Callable[[Any], object]
    for kinds, convert_kind in cast("Any", _CONVERSIONS):
        if isinstance(value, kinds):
            return convert_kind(value)
    if isinstance(value, type):
        raise _ConversionError(f"the class {value.__name__}")
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return _convert_mapping({field.name: getattr(value, field.name) for field in fields})
    dump = getattr(value, "model_dump", None)
    if callable(dump):  # a pydantic model; the class itself is not imported for the test
        return _convert_mapping(cast("Mapping[str, object]", dump()))
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # a scalar or an array of NumPy
        return _convert(cast("Any", value).tolist())
    raise _ConversionError(f"of the type {type(value).__name__}")


def _key_text(key: object) -> str:
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    converted = _convert(key)
    if isinstance(converted, str):
        return converted
    if isinstance(converted, int | float):
        return str(converted)
    raise _ConversionError(f"a mapping with a key of the type {type(key).__name__}")


def _find_invalid_text(value: object) -> list[str] | None:
    """Return the path of the first text that cannot be encoded; None: there is none."""
    if isinstance(value, str):
        return [] if not _is_encodable(value) else None
    items: Any = ()
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[object]", value))
    for key, item in items:
        if isinstance(key, str) and not _is_encodable(key):
            return [repr(key)]
        path = _find_invalid_text(item)
        if path is not None:
            return [str(key), *path]
    return None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _format_path(path: list[str]) -> str:
    return ".".join(part[:80] for part in path)
