"""Parse the dates and versions of feature flag conditions and date filters."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = [
    "Version",
    "parse_absolute_date",
    "parse_date",
    "parse_relative_date",
    "parse_version",
    "version_range",
]

Version = tuple[int, int, int]
"""Major, minor and patch."""

_RELATIVE: Final = re.compile(r"-?([0-9]{1,4})([hdwmy])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_date(text: str, now: datetime) -> datetime | None:
    """Return the datetime of ISO 8601 text, of a year, or of `-7d`; None for any other text."""
    return parse_relative_date(text, now) or parse_absolute_date(text.strip(), now)


def parse_relative_date(text: str, now: datetime) -> datetime | None:
    """Return the datetime some hours, days, weeks, months or years before `now`: `-7d`, `6m`.

    None is returned for other texts and for dates before the year 1.
    """
    match = _RELATIVE.fullmatch(text)
    if match is None:
        return None
    count, unit = int(match[1]), match[2]
    try:
        if unit in _UNITS:
            return now - count * _UNITS[unit]
        return _months_ago(now, count) if unit == "m" else _years_ago(now, count)
    except (OverflowError, ValueError):
        return None


def _months_ago(now: datetime, count: int) -> datetime:
    day, month = now.day, now.year * 12 + now.month - 1
    # One month at a time: each shorter month on the way reduces the day for good. Two months
    # before 31 May is 30 March, not 31 March.
    for _ in range(count):
        month -= 1
        day = min(day, monthrange(month // 12, month % 12 + 1)[1])
    return now.replace(year=month // 12, month=month % 12 + 1, day=day)


def _years_ago(now: datetime, count: int) -> datetime:
    leap_day = count and (now.month, now.day) == (2, 29)
    return now.replace(year=now.year - count, day=28 if leap_day else now.day)


def parse_absolute_date(text: str, now: datetime) -> datetime | None:
    """Return the datetime of a date, a time or a year; None for any other text.

    A year alone stands for today's month and day in that year. Without a zone it is UTC.
    """
    if re.fullmatch(r"[0-9]{4}", text):
        return datetime(int(text), now.month, now.day, tzinfo=UTC) if int(text) else None
    # Two forms that flag conditions may use and that `fromisoformat` rejects.
    if text.upper().endswith(" UTC"):
        text = f"{text[:-4]}+00:00"
    text = re.sub(r" ([+-][0-9]{2}:[0-9]{2})$", r"\1", text)
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def parse_version(text: str) -> Version | None:
    """Return the numbers of a version, without pre-release and build; None if it has none."""
    core = text.strip().lstrip("vV").partition("-")[0].partition("+")[0]
    numbers = [
        _version_number(part) if part or not index else 0
        for index, part in enumerate(core.split(".")[:3])
    ]
    if None in numbers:
        return None
    return _padded(numbers)


def _padded(numbers: list[int | None]) -> Version:
    major, minor, patch = (*(number or 0 for number in numbers), 0, 0)[:3]
    return major, minor, patch


def _version_number(part: str) -> int | None:
    # Semantic Versioning forbids leading zeros.
    leading_zero = len(part) > 1 and part.startswith("0")
    return int(part) if part.isascii() and part.isdigit() and not leading_zero else None


def version_range(operator: str, text: str) -> tuple[Version, Version] | None:
    """Return the first version of a range, and the first version after it.

    Args:
        operator: `semver_tilde`, `semver_caret` or `semver_wildcard`.
        text: The version of the condition, for example `1.2.3` or `1.2.*`.

    Returns:
        The bounds; None if the version cannot be parsed.
    """
    if operator == "semver_wildcard":
        prefix = text.strip().lstrip("vV").replace("*", "")
        numbers = [_version_number(part) for part in prefix.split(".") if part][:3]
        if not numbers or None in numbers:
            return None
        low = _padded(numbers)
        return low, _increment(low, len(numbers) - 1)
    low = parse_version(text)
    if low is None:
        return None
    if operator == "semver_tilde":
        return low, _increment(low, 1)
    # A caret allows changes to the right of the first number that is not zero.
    first_nonzero = next((position for position in (0, 1) if low[position]), 2)
    return low, _increment(low, first_nonzero)


def _increment(version: Version, position: int) -> Version:
    """Return the next version that differs at a position: 0 major, 1 minor, 2 patch."""
    major, minor, patch = version
    if position == 0:
        return major + 1, 0, 0
    return (major, minor + 1, 0) if position == 1 else (major, minor, patch + 1)
