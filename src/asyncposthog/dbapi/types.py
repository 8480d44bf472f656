"""The types of PEP 249: type objects for the columns of a description, and constructors."""

from __future__ import annotations

import datetime
import time
from typing import Final

from asyncposthog.query.clickhouse import ColumnType, parse_type_lenient

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Date",
    "DateFromTicks",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
]

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = bytes


class TypeObject:
    """A group of column types. It is equal to the `type_code` of each of them."""

    def __init__(self, name: str, *prefixes: str) -> None:
        """Name the ClickHouse types by the beginnings of their names."""
        self._name = name
        self._prefixes = prefixes

    def __eq__(self, other: object) -> bool:
        """Return whether a type is one of the group."""
        if isinstance(other, str):
            return _base(other).name.startswith(self._prefixes) if self._prefixes else False
        return self is other

    def __ne__(self, other: object) -> bool:
        """Return whether a type is not one of the group."""
        return not self == other

    def __hash__(self) -> int:
        """Return a hash of the group."""
        return hash(self._name)

    def __repr__(self) -> str:
        """Return the name of the group."""
        return self._name


def _base(text: str) -> ColumnType:
    return parse_type_lenient(text).base


STRING: Final = TypeObject("STRING", "String", "FixedString", "UUID", "Enum", "IPv")
NUMBER: Final = TypeObject("NUMBER", "Int", "UInt", "Float", "Decimal", "Bool", "BFloat")
DATETIME: Final = TypeObject("DATETIME", "Date")
BINARY: Final = TypeObject("BINARY")
ROWID: Final = TypeObject("ROWID")


def DateFromTicks(ticks: float) -> datetime.date:  # noqa: N802
    """Return the local date of a number of seconds since 1970."""
    return datetime.date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:  # noqa: N802
    """Return the local time of a number of seconds since 1970."""
    return datetime.time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:  # noqa: N802
    """Return the time of a number of seconds since 1970, in UTC."""
    return datetime.datetime.fromtimestamp(ticks, datetime.UTC)
