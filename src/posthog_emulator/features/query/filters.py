"""Time ranges of insights, and the filters of HogQL queries."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .properties import property_node

if TYPE_CHECKING:
    from posthog_emulator.hogql.parse import Expression

    from .runner import QuerySession

__all__ = ["Filters", "bound", "moment", "time_range"]

_TIMES: Final = {"sessions": "$start_timestamp", "groups": "created_at"}
_RELATIVE: Final = re.compile(r"-(\d{1,4})([hdwmqy])\Z")
_SPANS: Final = {
    "s": timedelta(seconds=1), "M": timedelta(minutes=1), "h": timedelta(hours=1),
    "d": timedelta(days=1), "w": timedelta(weeks=1), "q": timedelta(weeks=13),
}  # fmt: skip
_MONTHS: Final = {"m": 1, "y": 12}
_STARTS: Final = {"mStart": "month", "yStart": "year", "dStart": "day"}


def moment(given: Any, now: datetime, *, end: bool = False) -> datetime:
    """Parse a timestamp: ISO 8601, or relative to now, as `-7d`, `-24h` or `mStart`.

    Args:
        given: The text.
        now: The time that relative timestamps count from.
        end: Whether a date without a time means the end of the day.

    Raises:
        ApiError: 400, the format is not supported.
    """
    text = str(given)
    found = _RELATIVE.match(text)
    if found is not None:
        return _relative(int(found[1]), found[2], now)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in _STARTS:
        return midnight.replace(
            day=1 if text != "dStart" else now.day, month=1 if text == "yStart" else now.month
        )
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"The emulator does not support the date {text!r}.") from None
    read = read if read.tzinfo else read.replace(tzinfo=UTC)
    # A date as the end of a range includes the whole day.
    if end and len(text) == 10:
        return read + timedelta(days=1) - timedelta(microseconds=1)
    return read


def _relative(count: int, unit: str, now: datetime) -> datetime:
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


def time_range(session: QuerySession, given: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return the time range of an insight; the last seven days by default.

    Raises:
        ApiError: 400, the format of a bound is not supported.
    """
    now = session.now.astimezone(UTC)
    start = moment(given.get("date_from") or "-7d", now)
    until = given.get("date_to")
    if until:
        return start, moment(until, now, end=True)
    return start, now.replace(hour=23, minute=59, second=59, microsecond=999999)


_EXACT: Final = re.compile(r"-(\d{1,4})([hdwmqysM])\Z")


def bound(given: Any, now: datetime) -> datetime:
    """Parse the bound of a filter: ISO 8601, or relative to now without rounding.

    Raises:
        ApiError: 400, the format is not supported.
    """
    found = _EXACT.match(str(given))
    if found is not None:
        return _before(int(found[1]), found[2], now)
    try:
        read = datetime.fromisoformat(str(given))
    except ValueError:
        raise invalid(f"The emulator does not support the date {given!r} in filters.") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Filters:
    """The `filters` of a HogQLQuery, as values of its placeholders.

    Args:
        session: The session of the query.
        given: The filters.

    Raises:
        ApiError: 400, the format of a bound is not supported.
    """

    def __init__(self, session: QuerySession, given: Mapping[str, Any]) -> None:
        now, span = session.now.astimezone(UTC), as_object(given.get("dateRange"))
        start, end = span.get("date_from"), span.get("date_to")
        self._session = session
        self._given = given
        self.date_range = (
            None if start in (None, "all") else bound(start, now),
            None if end is None else bound(end, now),
        )
        """Inclusive start and exclusive end; None where there is no bound."""

    def condition(self, table: str) -> Expression:
        """Return the condition on the rows of a table.

        Raises:
            ApiError: 400, a filter is not supported.
        """
        from posthog_emulator.hogql.parse import Expression, compare, constant, field
        from posthog_emulator.hogql.property_filters import all_of

        tests = [property_node(self._given.get("properties"), table)]
        time = field(_TIMES.get(table, "timestamp"))
        start, end = self.date_range
        if end is not None:
            tests.append(compare("<", time, constant(end)))
        if start is not None:
            tests.append(compare(">=", time, constant(start)))
        if self._given.get("filterTestAccounts"):
            tests.append(property_node(self._session.test_account_filters, table))
        return Expression(all_of(tests))
