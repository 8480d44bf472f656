"""Ranges of time, as insights and filters have them."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .properties import Values, property_tests, written

if TYPE_CHECKING:
    from .runner import QuerySession

__all__ = ["Filters", "bound", "moment", "time_range"]

_RELATIVE: Final = re.compile(r"-(\d{1,4})([hdwmqy])\Z")
_SPANS: Final = {
    "s": timedelta(seconds=1), "M": timedelta(minutes=1), "h": timedelta(hours=1),
    "d": timedelta(days=1), "w": timedelta(weeks=1), "q": timedelta(weeks=13),
}  # fmt: skip
_MONTHS: Final = {"m": 1, "y": 12}
_STARTS: Final = {"mStart": "month", "yStart": "year", "dStart": "day"}


def moment(given: Any, now: datetime, *, end: bool = False) -> datetime:
    """A moment: ISO 8601, or relative to now, as `-7d`, `-24h` or `mStart`.

    Args:
        given: How it is written.
        now: The moment it is relative to.
        end: Whether a day stands for its end.

    Raises:
        Problem: 400, it is none of these.
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
        raise invalid(f"{text!r} is no date the emulator reads.") from None
    read = read if read.tzinfo else read.replace(tzinfo=UTC)
    if end and len(text) == 10:
        return read + timedelta(days=1) - timedelta(microseconds=1)
    return read


def _relative(count: int, unit: str, now: datetime) -> datetime:
    """So long before now, at the beginning of its hour or day."""
    at = _before(count, unit, now).replace(minute=0, second=0, microsecond=0)
    return at if unit == "h" else at.replace(hour=0)


def _before(count: int, unit: str, now: datetime) -> datetime:
    """So long before now, to the microsecond."""
    if unit in _SPANS:
        return now - count * _SPANS[unit]
    year, month = divmod(now.year * 12 + now.month - 1 - count * _MONTHS[unit], 12)
    if not 1 <= year <= 9999:
        raise invalid(f"-{count}{unit} is too long ago.")
    day = min(now.day, monthrange(year, month + 1)[1])
    return now.replace(year=year, month=month + 1, day=day)


def time_range(session: QuerySession, given: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """From when to when an insight looks; the last seven days by default.

    Raises:
        Problem: 400, a bound cannot be read.
    """
    now = session.now.astimezone(UTC)
    start = moment(given.get("date_from") or "-7d", now)
    until = given.get("date_to")
    if until:
        return start, moment(until, now, end=True)
    return start, now.replace(hour=23, minute=59, second=59, microsecond=999999)


_EXACT: Final = re.compile(r"-(\d{1,4})([hdwmqysM])\Z")


def bound(given: Any, now: datetime) -> datetime:
    """A bound of a filter: ISO 8601, or so long ago to the microsecond.

    Raises:
        Problem: 400, it is neither.
    """
    found = _EXACT.match(str(given))
    if found is not None:
        return _before(int(found[1]), found[2], now)
    try:
        read = datetime.fromisoformat(str(given))
    except ValueError:
        raise invalid(f"{given!r} is no date the emulator reads in filters.") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Filters:
    """What the `filters` of a HogQLQuery make of its placeholders.

    Args:
        session: What the query is run with.
        given: The filters; none of them filter nothing.

    Raises:
        Problem: 400, a bound of time cannot be read.
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
        """From when, and until before when."""

    def condition(self, table: str) -> tuple[str, Mapping[str, Any]]:
        """The condition on the rows of a table, and its constants.

        Raises:
            Problem: 400, a filter is of a kind that is not computed.
        """
        values, tests = Values(), list[str]()
        tests += property_tests(self._given.get("properties"), values, table)
        field = {"sessions": "$start_timestamp", "groups": "created_at"}.get(table, "timestamp")
        start, end = self.date_range
        if end is not None:
            tests.append(f"{field} < {values.add(written(end))}")
        if start is not None:
            tests.append(f"{field} >= {values.add(written(start))}")
        if self._given.get("filterTestAccounts"):
            tests += property_tests(self._session.test_account_filters, values, table)
        return " AND ".join(tests) or "true", values.known
