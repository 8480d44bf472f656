"""Encode query strings and header values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Final, cast
from urllib.parse import quote, quote_plus
from uuid import UUID

from asyncposthog.operation import Operation, Parameter
from asyncposthog.types import OMIT

from .json_body import encode_json, format_datetime, is_model

__all__ = ["encode_headers", "encode_query"]

_MINIMUMS: Final = {"limit": 1, "page_size": 1, "page": 1, "offset": 0}
_encode = partial(quote, safe="")
_encode_name = partial(quote_plus, safe="$[]")

# A cache: the query parameters of an operation by name, by the id of the operation.
_parameters: dict[str, tuple[Operation, dict[str, Parameter]]] = {}


def _parameters_by_name(operation: Operation) -> dict[str, Parameter]:
    cached = _parameters.get(operation.id)
    if cached is None or cached[0] is not operation:
        table = {p.name: p for p in operation.parameters if p.location == "query"}
        cached = _parameters[operation.id] = (operation, table)
    return cached[1]


def encode_query(operation: Operation, query: Mapping[str, object]) -> str:
    """Return the query string without its `?`; empty if there is nothing to send.

    Names are those of the API. Parameters that the operation does not declare are sent as well.

    Raises:
        TypeError: A value is None, or of a type that a query cannot represent.
        ValueError: A value is out of range, or a datetime without a time zone.
    """
    table = _parameters_by_name(operation)
    pairs: list[str] = []
    for name, value in query.items():
        if value is OMIT:
            continue
        if name in _MINIMUMS:
            _check_range(operation, name, value)
        for text in _encoded_values(operation, name, table.get(name), value):
            try:
                pairs.append(f"{_encode_name(name)}={text}")
            except UnicodeEncodeError:
                raise ValueError(f"{operation.id}: {name!a} is no parameter name") from None
    return "&".join(pairs)


def encode_headers(operation: Operation, headers: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the header parameters of a call as text."""
    result: list[tuple[str, str]] = []
    for name, value in headers.items():
        if value is OMIT:
            continue
        text = _text(f"{operation.id}: the header {name}", value)
        if not text.isascii() or any(c in text for c in "\r\n\0"):
            raise ValueError(
                f"{operation.id}: the header {name} has line breaks or characters outside ASCII"
            )
        result.append((name, text))
    return result


def _encoded_values(
    operation: Operation, name: str, parameter: Parameter | None, value: object
) -> Iterator[str]:
    """Yield the encoded values of a parameter, one for each repetition."""
    label = f"{operation.id}: {parameter.python_name if parameter else name}"
    if value is None:
        raise TypeError(f"{label} is None, which a query cannot represent; leave it out")
    if parameter is not None and parameter.presence_only:
        if not isinstance(value, bool):
            raise TypeError(f"{label} must be True or False, not {type(value).__name__}")
        # The server only tests whether the parameter is present: `x=false` would mean true.
        if value:
            yield "true"
        return
    if isinstance(value, list | tuple | set | frozenset):
        items = list(cast("list[object]", value))
        kind = parameter.type if parameter else "array"
        if kind not in {"array", "any"}:
            yield _percent_encode(label, _json(label, items))
        elif not items:
            raise ValueError(f"{label} is empty, which a query cannot represent; leave it out")
        elif parameter is None or parameter.explode:
            for item in items:
                yield _percent_encode(label, _item(label, item))
        else:
            yield ",".join(_encode_joined(label, _item(label, item)) for item in items)
        return
    yield _percent_encode(label, _item(label, value))


def _item(label: str, value: object) -> str:
    if isinstance(value, Mapping | list) or is_model(value):
        return _json(label, cast("object", value))
    return _text(label, value)


def _json(label: str, value: object) -> str:
    return encode_json(value, label).decode()


def _encode_joined(label: str, text: str) -> str:
    if "," in text:
        raise ValueError(f"{label} has an item with a comma ({text[:80]!r}), which separates items")
    return _percent_encode(label, text)


def _percent_encode(label: str, text: str) -> str:
    try:
        return _encode(text)
    except UnicodeEncodeError:
        raise ValueError(
            f"{label} contains an unpaired surrogate, which cannot be encoded"
        ) from None


def _text(label: str, value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | UUID):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{label} is {value}, which is not a finite number")
        return repr(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return format_datetime(value, label)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{label} cannot be sent as text: it is {type(value).__name__}")


def _check_range(operation: Operation, name: str, value: object) -> None:
    minimum = _MINIMUMS[name]
    if isinstance(value, str):
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{operation.id}: {name} must be an int, not {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{operation.id}: {name} must be {minimum} or more, not {value}")
