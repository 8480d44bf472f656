"""Ranges of time, and their division into days, weeks or months. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias, cast, get_args
from zoneinfo import ZoneInfo

__all__ = [
    "BUCKET_SQL",
    "Buckets",
    "Interval",
    "Period",
    "last_days",
    "make_buckets",
    "parse_zone",
    "require_count",
]

Interval: TypeAlias = Literal["day", "week", "month"]

MAX_BUCKETS: Final = 1000

BUCKET_SQL: Final[dict[Interval, str]] = {
    "day": "toDate(toTimeZone({time}, {zone}))",
    "week": "toDate(toStartOfWeek(toTimeZone({time}, {zone}), 1))",
    "month": "toDate(toStartOfMonth(toTimeZone({time}, {zone})))",
}
"""HogQL for the first day of the bucket that has a time, by interval."""


@dataclass(frozen=True, slots=True)
class Period:
    """A range of time from `start` up to but not including `end`."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """Return the dates: `1 Jan 2026 to 31 Jan 2026`."""
        last = self.end - timedelta(microseconds=1)
        return f"{format_date(self.start)} to {format_date(last)}"


def format_date(day: date) -> str:
    """Return a date as people write it: `1 Jan 2026`."""
    return f"{day.day} {day:%b %Y}"


def last_days(days: int, end: datetime | None) -> Period:
    """Return the period of a number of days before a time.

    Args:
        days: The number of days, each of 24 hours.
        end: The end, with a time zone; None: now.

    Raises:
        TypeError, ValueError: `days` is not a positive int, or `end` has no time zone.
    """
    require_count("days", days)
    stop = _require_end(end)
    return Period(stop - timedelta(days=days), stop)


def require_count(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Return a number that is an int within bounds.

    Raises:
        TypeError: It is not an int.
        ValueError: It is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most:,}"
        raise ValueError(f"{name} must be {bounds}, not {value}")
    return value


def _require_end(end: datetime | None) -> datetime:
    if end is None:
        return datetime.now(UTC)
    if not isinstance(cast("object", end), datetime):
        raise TypeError(f"end must be a datetime, not {type(end).__name__}")
    return require_zone("end", end)


def require_zone(name: str, time: datetime) -> datetime:
    """Return a datetime that has a time zone.

    Raises:
        ValueError: It has none.
    """
    if time.utcoffset() is None:
        raise ValueError(
            f"{name} is a datetime without a time zone ({time.isoformat()}): add one, such as "
            "tzinfo=UTC"
        )
    return time


@dataclass(frozen=True, slots=True)
class Buckets:
    """Consecutive days, weeks (from Monday) or months; the last one may be unfinished."""

    interval: Interval
    zone: str
    """The name of the time zone."""
    starts: tuple[date, ...]
    """The first day of each bucket."""
    period: Period
    """From the start of the first bucket until the time at which the last one is cut off."""

    @property
    def unfinished(self) -> bool:
        """Whether the last bucket is cut off."""
        following = _midnight(_next(self.starts[-1], self.interval), parse_zone(self.zone))
        return self.period.end < following

    def earlier(self) -> datetime:
        """Return the start of the bucket before the first one."""
        return _midnight(_previous(self.starts[0], self.interval), parse_zone(self.zone))


def make_buckets(
    interval: Interval, count: int, end: datetime | None, timezone: str = "UTC"
) -> Buckets:
    """Return a number of buckets, the last of which has the time just before `end`.

    Args:
        interval: The length of a bucket.
        count: The number of buckets, up to 1,000.
        end: The end, with a time zone; None: now.
        timezone: The IANA name of the time zone in which days begin.

    Raises:
        TypeError, ValueError: An argument is invalid.
    """
    if interval not in get_args(Interval):
        raise ValueError(f"interval must be day, week or month, not {interval!r}")
    require_count("periods", count, most=MAX_BUCKETS)
    zone = parse_zone(timezone)
    stop = _require_end(end)
    day = _first_day((stop - timedelta(microseconds=1)).astimezone(zone).date(), interval)
    starts = [day]
    while len(starts) < count:
        starts.append(_previous(starts[-1], interval))
    starts.reverse()
    return Buckets(interval, timezone, tuple(starts), Period(_midnight(starts[0], zone), stop))


def parse_zone(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        ValueError: There is no zone of that name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        raise ValueError(f"there is no time zone {name!r}; an example is Europe/Prague") from None


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def _first_day(day: date, interval: Interval) -> date:
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def _previous(first: date, interval: Interval) -> date:
    return _first_day(first - timedelta(days=1), interval)


def _next(first: date, interval: Interval) -> date:
    if interval == "month":
        return _first_day(first + timedelta(days=31), "month")
    return first + timedelta(days=7 if interval == "week" else 1)
