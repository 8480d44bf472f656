"""Encode JSON bodies of plain data, pydantic models and dates."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, TypeGuard, cast
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from asyncposthog.types import OMIT

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["encode_json", "format_datetime", "is_model", "jsonable"]


def is_model(value: object) -> TypeGuard[BaseModel]:
    """Return whether a value is a pydantic model, without importing pydantic."""
    # Before the class is imported there are no instances of it.
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return base is not None and isinstance(value, base)


def encode_json(value: object, label: str = "body") -> bytes:
    """Return a value as compact JSON.

    Models are written by alias, without fields that were not set.

    Args:
        value: The value, which may contain models.
        label: The name of the value in error messages.

    Raises:
        TypeError: The value contains something that JSON cannot represent, such as bytes.
        ValueError: It contains a datetime without a time zone, or a number that is not finite.
    """
    try:
        return to_json(jsonable(value, label))
    except (PydanticSerializationError, UnicodeError) as error:
        raise ValueError(f"{label} cannot be written as JSON: {error}") from None


def format_datetime(value: datetime, label: str) -> str:
    """Return a timezone-aware datetime in ISO 8601.

    Raises:
        ValueError: The datetime has no time zone.
    """
    if value.utcoffset() is None:
        raise ValueError(
            f"{label} is a datetime without a time zone ({value.isoformat()}), which the server "
            "would guess. Use datetime.now(UTC), or value.replace(tzinfo=...)"
        )
    return value.isoformat()


def jsonable(value: object, label: str) -> object:
    """Return a value as dict, list, str, int, float, bool or None, without items that are OMIT."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return jsonable(value.value, label)
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return _mapping(cast("Mapping[object, object]", value), label)
    if isinstance(value, list | tuple | set | frozenset):
        items = cast("list[object]", value)
        return [jsonable(v, f"{label}[{i}]") for i, v in enumerate(items) if v is not OMIT]
    if is_model(value):
        _check_model(value, label)
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    return _scalar(value, label)


def _scalar(value: object, label: str) -> object:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(
                f"{label} is {value}, which JSON cannot hold; send None, or leave it out"
            )
        return value
    if isinstance(value, datetime):
        return format_datetime(value, label)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{label} is bytes, which JSON cannot hold; decode it, or send a file")
    try:
        return to_jsonable_python(value, inf_nan_mode="strings")
    except (PydanticSerializationError, ValueError, TypeError):
        raise TypeError(f"{label} is a {type(value).__name__}, which JSON cannot hold") from None


def _mapping(value: Mapping[object, object], label: str) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, item in value.items():
        if item is OMIT:
            continue
        name = key.value if isinstance(key, Enum) else key
        if isinstance(name, bool) or not isinstance(name, str | int | UUID):
            raise TypeError(f"{label} has the key {key!r}; keys of JSON objects are strings")
        result[str(name)] = jsonable(item, f"{label}.{name}")
    return result


def _check_model(model: BaseModel, label: str) -> None:
    """Validate the fields of a model, whose own serializer accepts naive datetimes and NaN."""
    fields = {
        name: getattr(model, name)
        for name in type(model).model_fields
        if name in model.model_fields_set
    }
    for name, item in {**fields, **(model.model_extra or {})}.items():
        _check(item, f"{label}.{name}")


def _check(value: object, label: str) -> None:
    if is_model(value):
        _check_model(value, label)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            _check(item, f"{label}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(cast("list[object]", value)):
            _check(item, f"{label}[{index}]")
    elif isinstance(value, datetime):
        format_datetime(value, label)
    elif isinstance(value, float | bytes):
        _scalar(value, label)
