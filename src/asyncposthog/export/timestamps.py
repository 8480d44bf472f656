"""Moments as whole microseconds since 1970, UTC: what windows are cut by, without rounding."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

__all__ = ["as_text", "duration_micros", "parse_clickhouse", "to_datetime", "to_micros"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?",
    re.ASCII,
)


def to_micros(value: object, what: str) -> int:
    """Return a moment given by a user.

    Args:
        value: A datetime with a zone.
        what: How messages name it.

    Raises:
        TypeError: It is no datetime.
        ValueError: It has no zone.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        raise TypeError(
            f"{what} is a date, which begins at another moment in every time zone; give a "
            f"datetime: datetime({value.year}, {value.month}, {value.day}, tzinfo=UTC)"
        )
    if not isinstance(value, datetime):
        raise TypeError(f"{what} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{what} is a datetime without a zone ({value.isoformat()}), and so no moment. Give it "
            "one: value.replace(tzinfo=UTC), or datetime.now(UTC)"
        )
    return (value - _EPOCH) // _MICROSECOND


def duration_micros(value: object, what: str) -> int:
    """Return a length of time, a timedelta or seconds, in microseconds.

    Raises:
        TypeError: It is neither.
        ValueError: It is negative or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        raise TypeError(f"{what} must be a timedelta or seconds, not {type(value).__name__}")
    try:
        span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (ValueError, OverflowError):
        raise ValueError(f"{what} is {value}, which is no length of time") from None
    if span < timedelta(0):
        raise ValueError(f"{what} must not be negative, but is {value}")
    return span // _MICROSECOND


def to_datetime(micros: int) -> datetime:
    """Return a moment as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def as_text(micros: int) -> str:
    """Return a moment as ClickHouse writes it in UTC, to the microsecond."""
    return to_datetime(micros).replace(tzinfo=None).isoformat(" ", "microseconds")


def parse_clickhouse(text: str) -> int:
    """Read what ClickHouse writes for a time in UTC.

    Raises:
        ValueError: It is something else, or finer than a microsecond.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.80} is no time as ClickHouse writes it")
    fraction = (found[7] or "").ljust(9, "0")
    if fraction[6:] != "000":
        raise ValueError(f"{text} is finer than a microsecond")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    moment = datetime(year, month, day, hour, minute, second, int(fraction[:6]), UTC)
    return (moment - _EPOCH) // _MICROSECOND
