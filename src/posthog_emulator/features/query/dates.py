"""Dates of queries: time ranges of insights, bounds of filters, relative dates such as `-7d`."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from posthog_emulator.http.errors import invalid

from .runner import QuerySession

__all__ = ["bound", "local_now", "moment", "relative_text", "time_range"]

_RELATIVE: Final = re.compile(r"-(\d{1,4})([hdwmqysM])\Z")
_SPANS: Final = {
    "s": timedelta(seconds=1), "M": timedelta(minutes=1), "h": timedelta(hours=1),
    "d": timedelta(days=1), "w": timedelta(weeks=1), "q": timedelta(weeks=13),
}  # fmt: skip
_MONTHS: Final = {"m": 1, "y": 12}
_STARTS: Final = {"mStart": "month", "yStart": "year", "dStart": "day"}


def local_now(session: QuerySession) -> datetime:
    """Return the current time in the project's time zone."""
    return session.now.astimezone(ZoneInfo(session.timezone))


def moment(given: Any, now: datetime, *, end: bool = False) -> datetime:
    """Parse a timestamp: ISO 8601, or relative to now, as `-7d`, `-24h` or `mStart`.

    Args:
        given: The text.
        now: The time that relative timestamps count from, in the project's time zone.
        end: Whether a date without a time means the end of the day.

    Raises:
        ApiError: 400, the format is not supported.
    """
    text = str(given)
    match = _RELATIVE.match(text)
    if match is not None:
        return _rounded(int(match[1]), match[2], now)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in _STARTS:
        return midnight.replace(
            day=1 if text != "dStart" else now.day, month=1 if text == "yStart" else now.month
        )
    at = _absolute(text, now)
    # A date as the end of a range includes the whole day.
    if end and len(text) == 10:
        return at + timedelta(days=1) - timedelta(microseconds=1)
    return at


def bound(given: Any, now: datetime) -> datetime:
    """Parse the bound of a filter: ISO 8601, or relative to now without rounding.

    Args:
        given: The text.
        now: The time that relative timestamps count from, in the project's time zone.

    Raises:
        ApiError: 400, the format is not supported.
    """
    match = _RELATIVE.match(str(given))
    if match is not None:
        return _before(int(match[1]), match[2], now)
    return _absolute(str(given), now)


def relative_text(text: str, session: QuerySession) -> str:
    """Return the date that a relative one such as `-7d` stands for; other text as it is."""
    match = _RELATIVE.match(text)
    if match is None:
        return text
    return _before(int(match[1]), match[2], local_now(session)).strftime("%Y-%m-%d %H:%M:%S")


def time_range(session: QuerySession, given: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return the time range of an insight; the last seven days by default.

    Raises:
        ApiError: 400, the format of a bound is not supported.
    """
    now = local_now(session)
    start = moment(given.get("date_from") or "-7d", now)
    until = given.get("date_to")
    if until:
        return start, moment(until, now, end=True)
    return start, now.replace(hour=23, minute=59, second=59, microsecond=999999)


def _absolute(text: str, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"The emulator does not support the date {text!r}.") from None
    return at if at.tzinfo else at.replace(tzinfo=now.tzinfo)


def _rounded(count: int, unit: str, now: datetime) -> datetime:
    """Return the start of the hour or day that lies `count` units before now."""
    at = _before(count, unit, now).replace(minute=0, second=0, microsecond=0)
    return at if unit == "h" else at.replace(hour=0)


def _before(count: int, unit: str, now: datetime) -> datetime:
    """Return the time exactly `count` units before now."""
    if unit in _SPANS:
        return now - count * _SPANS[unit]
    year, month = divmod(now.year * 12 + now.month - 1 - count * _MONTHS[unit], 12)
    if not 1 <= year <= 9999:
        raise invalid(f"-{count}{unit} is too long ago.")
    # The same day of the month, or the last day of a shorter month.
    day = min(now.day, monthrange(year, month + 1)[1])
    return now.replace(year=year, month=month + 1, day=day)
