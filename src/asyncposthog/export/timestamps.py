"""Timestamps as whole microseconds since 1970 in UTC, so that windows are cut without rounding."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

__all__ = ["duration_micros", "format_clickhouse", "parse_clickhouse", "to_datetime", "to_micros"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CLICKHOUSE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?",
    re.ASCII,
)


def to_micros(value: object, name: str) -> int:
    """Return a datetime in microseconds since 1970.

    Args:
        value: A datetime with a time zone.
        name: The name of the argument in error messages.

    Raises:
        TypeError: `value` is not a datetime.
        ValueError: It has no time zone.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        raise TypeError(
            f"{name} must be a timezone-aware datetime, not a date: "
            f"datetime({value.year}, {value.month}, {value.day}, tzinfo=UTC)"
        )
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{name} is a datetime without a time zone ({value.isoformat()}). Add one: "
            "value.replace(tzinfo=UTC), or datetime.now(UTC)"
        )
    return (value - _EPOCH) // _MICROSECOND


def duration_micros(value: object, name: str) -> int:
    """Return a duration in microseconds.

    Args:
        value: A timedelta, or a number of seconds.
        name: The name of the argument in error messages.

    Raises:
        TypeError: `value` is neither.
        ValueError: It is negative or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        raise TypeError(f"{name} must be a timedelta or seconds, not {type(value).__name__}")
    try:
        duration = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {value}, which is not a valid duration") from None
    if duration < timedelta(0):
        raise ValueError(f"{name} must not be negative, but is {value}")
    return duration // _MICROSECOND


def to_datetime(micros: int) -> datetime:
    """Return microseconds since 1970 as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def format_clickhouse(micros: int) -> str:
    """Return microseconds since 1970 in the notation of ClickHouse, in UTC, to the microsecond."""
    return to_datetime(micros).replace(tzinfo=None).isoformat(" ", "microseconds")


def parse_clickhouse(text: str) -> int:
    """Return the microseconds since 1970 of a time in UTC in the notation of ClickHouse.

    Raises:
        ValueError: The text is not such a time, or is finer than a microsecond.
    """
    match = _CLICKHOUSE_TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r:.80} is not a time in the notation of ClickHouse")
    # A DateTime64 can have nine digits. Cutting them off would move a row before another of its own
    # page.
    fraction = (match[7] or "").ljust(9, "0")
    if fraction[6:] != "000":
        raise ValueError(f"{text} is finer than a microsecond")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    parsed = datetime(year, month, day, hour, minute, second, int(fraction[:6]), UTC)
    return (parsed - _EPOCH) // _MICROSECOND
