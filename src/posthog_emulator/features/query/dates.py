"""Dates of queries: relative dates, time ranges, their intervals, and the ranges compared to."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .runner import QuerySession, run_rows
from .unknown_fields import reject_unknown_fields

__all__ = [
    "UNITS",
    "Period",
    "add_units",
    "bound",
    "bucket_sql",
    "compared_period",
    "local_now",
    "parse_date",
    "query_period",
    "relative_text",
    "resolved",
    "start_of",
]

UNITS: Final = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_RELATIVE: Final = re.compile(r"-?(\d+)?([hdwmqyMs])(Start|End)?")
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}
_LETTERS: Final = {
    "h": "hour", "d": "day", "w": "week", "m": "month", "q": "quarter", "y": "year",
    "M": "minute", "s": "second",
}  # fmt: skip
_MAX_BUCKETS: Final = 10_000
"""A bound for mistyped ranges, such as hours over centuries."""


def local_now(session: QuerySession) -> datetime:
    """Return the current time in the project's time zone."""
    return session.now.astimezone(ZoneInfo(session.timezone))


@dataclass(frozen=True, slots=True)
class _Relative:
    """A relative date: so many units before now, perhaps moved to an edge of the unit."""

    count: int
    unit: str
    edge: str


def parse_date(text: str, now: datetime) -> tuple[datetime, _Relative | None]:
    """Parse a date as PostHog does: ISO 8601, or relative to now, as `-7d`, `-24h` or `mStart`.

    Any other text is the current time.

    Args:
        text: The text.
        now: The time that relative dates count from, in the project's time zone.

    Returns:
        The date in the time zone of `now`, and how it is relative; None for an absolute date.

    Raises:
        ApiError: 400, it is too long ago for a date.
    """
    absolute = _absolute(text, now)
    if absolute is not None:
        return absolute, None
    match = _RELATIVE.search(text)
    if match is None:
        return now, None
    relative = _Relative(int(match[1] or 0), _LETTERS[match[2]], match[3] or "")
    if relative.count > 100_000_000:
        raise invalid(f"{text} is too long ago.")
    # A quarter counts 13 weeks, unless its start is asked for.
    unit, count = relative.unit, -relative.count
    unit, count = ("week", 13 * count) if unit == "quarter" and not relative.edge else (unit, count)
    at = add_units(now, unit, count, clock=True)
    return (_edge(at, relative) if relative.edge else at), relative


def _edge(at: datetime, relative: _Relative) -> datetime:
    """Return the start or the end of a unit; of weeks and more, the time of day stays."""
    first = start_of(at, relative.unit)
    if relative.edge == "End":
        first = add_units(first, relative.unit, 1, clock=True) - timedelta(microseconds=1)
    if relative.unit in _SECONDS or relative.unit == "day":
        return first
    return first.replace(
        hour=at.hour, minute=at.minute, second=at.second, microsecond=at.microsecond
    )


def _absolute(text: str, now: datetime) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.strptime(text, "%Y-%m-%d")
        except ValueError:
            return None
    return at.astimezone(now.tzinfo) if at.tzinfo else at.replace(tzinfo=now.tzinfo)


def bound(value: Any, now: datetime) -> datetime:
    """Return the bound of a filter: an absolute date, or one relative to now, not rounded.

    Raises:
        ApiError: 400, it is too long ago for a date.
    """
    return parse_date(str(value), now)[0]


def relative_text(text: str, session: QuerySession) -> str:
    """Return the date that a relative one such as `-7d` stands for; other text as it is."""
    at, relative = parse_date(text, local_now(session))
    return text if relative is None else at.strftime("%Y-%m-%d %H:%M:%S")


def add_units(at: datetime, unit: str, count: int, *, clock: bool = False) -> datetime:
    """Return the time that lies a number of units later; of months, the last day if need be.

    Args:
        at: The time, with its time zone.
        unit: One of `UNITS`.
        count: The number of units; negative for earlier.
        clock: Whether hours and smaller units are added to the clock, as days always are, so that
            a change of the clocks counts.

    Raises:
        ApiError: 400, the result is out of the range of dates.
    """
    try:
        if unit in _SECONDS:
            more = timedelta(seconds=count * _SECONDS[unit])
            return at + more if clock else (at.astimezone(UTC) + more).astimezone(at.tzinfo)
        if unit in ("day", "week"):
            return at + timedelta(days=count * (7 if unit == "week" else 1))
        year, month = divmod(at.year * 12 + at.month - 1 + count * _MONTHS[unit], 12)
        day = min(at.day, monthrange(year, month + 1)[1])
        return at.replace(year=year, month=month + 1, day=day)
    except (ValueError, OverflowError):
        raise invalid(f"{count} {unit}s are out of the range of dates.") from None


def start_of(at: datetime, unit: str, week_start_day: int = 0) -> datetime:
    """Return the start of the unit that a time lies in.

    Args:
        at: The time, with its time zone.
        unit: One of `UNITS`.
        week_start_day: The first day of a week: 0 for Sunday, 1 for Monday.
    """
    at = at.replace(microsecond=0)
    if unit == "second":
        return at
    at = at.replace(second=0)
    if unit == "minute":
        return at
    at = at.replace(minute=0)
    if unit == "hour":
        return at
    at = at.replace(hour=0, fold=0)
    if unit == "week":
        return at - timedelta(days=(at.weekday() + 1 - week_start_day) % 7)
    if unit in _MONTHS:
        months = _MONTHS[unit]
        return at.replace(day=1, month=(at.month - 1) // months * months + 1)
    return at


def bucket_sql(unit: str, column: str = "timestamp") -> str:
    """Return the HogQL of the start of the interval that a time is in, in seconds since 1970."""
    return f"toUnixTimestamp(toDateTime(toStartOf{unit.capitalize()}({column})))"


@dataclass(frozen=True, slots=True)
class Period:
    """A time range, with the unit of its intervals."""

    start: datetime
    end: datetime
    """Inclusive."""
    unit: str
    week_start_day: int = 0
    exact: bool = False
    """Whether events before `start`, but in its interval, are left out."""

    def first_bucket(self) -> datetime:
        """Return the start of the first interval."""
        return start_of(self.start, self.unit, self.week_start_day)

    def lower(self) -> datetime:
        """Return the time from which events count."""
        if self.exact:
            return self.start.replace(microsecond=0)
        # The first week is partial: it begins with the day that was asked for.
        return start_of(self.start, "day" if self.unit == "week" else self.unit)

    def upper(self) -> datetime:
        """Return the time up to which events count, inclusively; the server cuts off fractions."""
        return self.end.replace(microsecond=0)

    def buckets(self) -> list[datetime]:
        """Return the starts of the intervals.

        Raises:
            ApiError: 400, there are too many.
        """
        starts, first = list[datetime](), self.first_bucket()
        at = first
        while at <= self.end:
            if len(starts) >= _MAX_BUCKETS:
                raise invalid(f"The time range has more than {_MAX_BUCKETS:,} intervals.")
            starts.append(at)
            at = add_units(first, self.unit, len(starts))
        return starts

    def bucket_keys(self) -> list[int]:
        """Return the starts of the intervals in seconds since 1970, as `bucket_sql` has them."""
        return [int(at.timestamp()) for at in self.buckets()]

    def days(self) -> list[str]:
        """Return the starts of the intervals as text."""
        hours = " %H:%M:%S" if self.unit in _SECONDS else ""
        return [at.strftime(f"%Y-%m-%d{hours}") for at in self.buckets()]

    def labels(self) -> list[str]:
        """Return the starts of the intervals as labels of a chart have them."""
        return [self.label(at) for at in self.buckets()]

    def label(self, at: datetime) -> str:
        """Return the label of a time."""
        hours = " %H:%M" if self.unit in _SECONDS else ""
        return f"{at.day}-{at.strftime(f'%b-%Y{hours}')}"


def query_period(
    session: QuerySession, query: Mapping[str, Any], unit: str | None = None
) -> Period:
    """Return the time range of an insight; from seven days ago until today by default.

    Args:
        session: The session of the query.
        query: The query, with its `dateRange` and `interval`.
        unit: The unit of the intervals; that of the query by default.

    Raises:
        ApiError: 400, the range has a field that the emulator does not support.
    """
    unit = unit or str(query.get("interval") or "day")
    date_range = as_object(query.get("dateRange"))
    reject_unknown_fields(date_range, ("date_from", "date_to", "explicitDate"), "dateRange")
    now, explicit = local_now(session), bool(date_range.get("explicitDate"))
    end, relative_end = now, None
    if date_range.get("date_to"):
        end, relative_end = parse_date(str(date_range["date_to"]), now)
    if not explicit:
        if unit not in _SECONDS:
            end = _end_of(end, "day")
        elif relative_end is not None or not date_range.get("date_to"):
            end = _end_of(end, "minute" if unit == "second" else unit)
    text = str(date_range.get("date_from") or "-7d")
    relative = None
    if text == "all":
        start = _earliest(session, now)
    else:
        start, relative = parse_date(text, now)
        if relative is not None and unit not in ("minute", "second") and not explicit:
            start = start_of(start, "hour" if relative.unit == "hour" else "day")
    exact = explicit or (
        relative is not None and (unit in _SECONDS or (unit == "day" and relative.unit == "hour"))
    )
    return Period(start, end, unit, session.week_start_day, exact)


def _end_of(at: datetime, unit: str) -> datetime:
    if unit == "day":
        return at.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return add_units(start_of(at, unit), unit, 1) - timedelta(microseconds=1)


def _earliest(session: QuerySession, now: datetime) -> datetime:
    """Return the time of the project's first event since 2015, or seven days ago without any."""
    rows = run_rows(
        session,
        "SELECT toUnixTimestamp(min(timestamp)), count() FROM events "
        "WHERE timestamp >= toDateTime('2015-01-01 00:00:00')",
        {},
    )
    seconds, count = rows[0]
    if count:
        return datetime.fromtimestamp(seconds, now.tzinfo)
    return start_of(now, "day") - timedelta(days=7)


def compared_period(
    session: QuerySession, query: Mapping[str, Any], period: Period
) -> Period | None:
    """Return the time range that a query compares its own with; None if it does not compare.

    Args:
        session: The session of the query.
        query: The query, with its `dateRange` and `compareFilter`.
        period: The query's own time range.

    Raises:
        ApiError: 400, a date is out of range.
    """
    compare = as_object(query.get("compareFilter"))
    if not compare.get("compare"):
        return None
    length = period.end - period.start
    if compare.get("compare_to"):
        start = parse_date(str(compare["compare_to"]), period.start)[0]
        return replace(period, start=start, end=start + length)
    date_range = as_object(query.get("dateRange"))
    text, until = str(date_range.get("date_from") or "-7d"), date_range.get("date_to")
    relative = None if text == "all" else parse_date(text, local_now(session))[1]
    wholes = ("week", "month", "quarter", "year")
    if relative and relative.edge == "Start" and relative.unit in wholes and not until:
        before = add_units(period.start, relative.unit, -1)
        start = start_of(before, relative.unit, session.week_start_day)
        return replace(period, start=start, end=period.start - timedelta(microseconds=1))
    start = period.start - length
    if period.unit in _SECONDS:
        start = start.replace(hour=period.start.hour, minute=0, second=0, microsecond=0)
        return replace(period, start=start, end=_end_of(start + length, "hour"))
    start = start_of(start, "day")
    # Whole weeks are compared by their days: Monday with Monday.
    if (
        period.unit == "day" and relative and relative.unit == "day" and relative.count
        and relative.count % 7 == 0 and not until
    ):  # fmt: skip
        start += timedelta(days=1)
    return replace(period, start=start, end=_end_of(start + length, "day"))


def resolved(period: Period) -> dict[str, str]:
    """Return a time range as responses have it."""
    return {"date_from": period.start.isoformat(), "date_to": period.end.isoformat()}
