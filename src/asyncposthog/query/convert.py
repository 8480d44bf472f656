"""Convert JSON values to Python by their ClickHouse types. Pure.

| ClickHouse | Python |
| --- | --- |
| Int…, UInt…, Bool, Float…, String, Enum…, IPv4, IPv6 | int, bool, float, str, as in JSON |
| DateTime, DateTime64 | datetime with the time zone of the type, or UTC |
| Date, Date32 | date |
| UUID | UUID |
| Decimal | Decimal |
| Array, Nested | list |
| Tuple | tuple |
| Map | dict, its keys converted as well |

A column is converted as a whole: the conversion is chosen once for its type, and skipped if JSON
already has the right values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from .clickhouse import ColumnType

__all__ = ["convert_column", "value_converter"]

Convert: TypeAlias = Callable[[Any], Any]

_CONVERSION_ERRORS: Final = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError)
_NATIVE_JSON_TYPES: Final[dict[str, frozenset[type]]] = {
    "int": frozenset({int, type(None)}),
    "float": frozenset({float, type(None)}),
    "bool": frozenset({bool, type(None)}),
}
"""JSON types that need no conversion, by the family of the column type."""


def convert_column(
    kind: ColumnType,
    values: Sequence[Any],
    on_error: Callable[[Any], None] | None = None,
) -> Sequence[Any]:
    """Return the Python values of a column.

    Args:
        kind: The column type.
        values: The JSON values.
        on_error: Called with each value that does not match the type. It is left unconverted.
    """
    base = kind.base
    native = _NATIVE_JSON_TYPES.get(_family(base.name))
    if native is not None and native.issuperset(map(type, values)):
        return values
    convert = value_converter(base)
    if convert is None:
        return values
    try:
        if base.name == "UUID":
            return _uuids(values)
        return [None if value is None else convert(value) for value in values]
    except _CONVERSION_ERRORS:
        return [_convert_or_report(convert, value, on_error) for value in values]


def _convert_or_report(convert: Convert, value: Any, on_error: Callable[[Any], None] | None) -> Any:
    if value is None:
        return None
    try:
        return convert(value)
    except _CONVERSION_ERRORS:
        if on_error is not None:
            on_error(value)
        return value


def _uuids(values: Sequence[Any]) -> Sequence[Any]:
    # pydantic parses the list eight times as fast as UUID() for each value.
    return _uuid_reader()(values)


@lru_cache(maxsize=1)
def _uuid_reader() -> Convert:
    from pydantic import TypeAdapter

    return TypeAdapter(list[UUID | None]).validate_python


def _family(name: str) -> str:
    if name.startswith(("Int", "UInt", "Interval")):
        return "int"
    if name.startswith(("Float", "BFloat")):
        return "float"
    return "bool" if name in {"Bool", "Boolean"} else name


@lru_cache(maxsize=512)
def value_converter(kind: ColumnType) -> Convert | None:
    """Return a function that converts a value, other than None; None if none is needed.

    The function raises one of `_CONVERSION_ERRORS` for a value that does not match the type.
    """
    kind = kind.base
    family = _family(kind.name)
    if family in _SCALARS:
        return _SCALARS[family]
    if family.startswith("DateTime"):
        return partial(_datetime, zone=_zone(kind.zone))
    if family.startswith("Decimal"):
        return _decimal
    if family == "Array" and len(kind.items) == 1:
        inner = _nullable_converter(kind.items[0])
        return None if inner is None else partial(_list, inner)
    if family == "Tuple":
        return partial(_tuple, tuple(_nullable_converter(item) for item in kind.items), kind.labels)
    if family == "Map" and len(kind.items) == 2:
        key, value = kind.items
        return partial(_map, value_converter(key), _nullable_converter(value))
    return None


def _nullable_converter(kind: ColumnType) -> Convert | None:
    """Return a function that converts an element, which may be None; None if none is needed."""
    convert = value_converter(kind)
    return None if convert is None else partial(_unless_none, convert)


def _unless_none(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _zone(name: str | None) -> tzinfo:
    if name is None or name in {"UTC", "Etc/UTC", "GMT"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):  # The zone is unknown on this machine.
        return UTC


def _datetime(value: Any, *, zone: tzinfo) -> datetime:
    if type(value) in {int, float}:
        return datetime.fromtimestamp(value, zone)
    parsed = datetime.fromisoformat(value)
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=zone)
    return parsed if parsed.tzinfo is zone else parsed.astimezone(zone)


def _date(value: Any) -> date:
    return date.fromisoformat(value[:10])


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise TypeError("a bool is not a decimal")
    return Decimal(value if isinstance(value, int | str) else repr(value))


def _int(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number")
    return int(value)


def _bool(value: Any) -> bool:
    if value in (0, 1):
        return bool(value)
    return {"true": True, "false": False}[value]


def _list(inner: Convert, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not an array")
    return [inner(item) for item in cast("list[Any]", value)]


def _tuple(inners: tuple[Convert | None, ...], labels: tuple[str, ...], value: Any) -> Any:
    if isinstance(value, Mapping) and labels:
        value = [cast("Mapping[str, Any]", value)[label] for label in labels]
    if not isinstance(value, list) or (inners and len(cast("list[Any]", value)) != len(inners)):
        raise TypeError("not a tuple of that length")
    items = cast("list[Any]", value)
    if not any(inners):
        return tuple(items)
    pairs = zip(inners, items, strict=True)
    return tuple(item if inner is None else inner(item) for inner, item in pairs)


def _map(key: Convert | None, inner: Convert | None, value: Any) -> dict[Any, Any]:
    pairs = cast("Mapping[Any, Any]", value).items() if isinstance(value, Mapping) else value
    return {
        (k if key is None else key(k)): (v if inner is None else inner(v)) for k, v in list(pairs)
    }


_SCALARS: Final[dict[str, Convert]] = {
    "int": _int,
    "float": float,
    "bool": _bool,
    "UUID": UUID,
    "Date": _date,
    "Date32": _date,
}
