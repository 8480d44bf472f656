"""Dates and versions, as flag conditions write them."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["Version", "absolute", "moment", "relative", "version", "version_range"]

Version = tuple[int, int, int]

_RELATIVE: Final = re.compile(r"-?([0-9]{1,4})([hdwmy])")
_SPANS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def moment(text: str, now: datetime) -> datetime | None:
    """The moment a text stands for: ISO 8601, a year, or `-7d`; None when it is none."""
    return relative(text, now) or absolute(text.strip(), now)


def relative(text: str, now: datetime) -> datetime | None:
    """The moment so many hours, days, weeks, months or years ago: `-7d`, `6m`."""
    match = _RELATIVE.fullmatch(text)
    if match is None:
        return None
    count, unit = int(match[1]), match[2]
    try:
        if unit in _SPANS:
            return now - count * _SPANS[unit]
        return _months_ago(now, count) if unit == "m" else _years_ago(now, count)
    except (OverflowError, ValueError):
        return None


def _months_ago(now: datetime, count: int) -> datetime:
    day, month = now.day, now.year * 12 + now.month - 1
    # One month at a time: a day that a month on the way does not have is lost for good.
    for _ in range(count):
        month -= 1
        day = min(day, monthrange(month // 12, month % 12 + 1)[1])
    return now.replace(year=month // 12, month=month % 12 + 1, day=day)


def _years_ago(now: datetime, count: int) -> datetime:
    leap = count and (now.month, now.day) == (2, 29)
    return now.replace(year=now.year - count, day=28 if leap else now.day)


def absolute(text: str, now: datetime) -> datetime | None:
    """The moment that a date, a time or a year stands for; None when it is none."""
    if re.fullmatch(r"[0-9]{4}", text):
        return datetime(int(text), now.month, now.day, tzinfo=UTC) if int(text) else None
    if text.upper().endswith(" UTC"):
        text = f"{text[:-4]}+00:00"
    text = re.sub(r" ([+-][0-9]{2}:[0-9]{2})$", r"\1", text)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def version(text: str) -> Version | None:
    """A version as numbers, without what follows a dash or a plus; None when it is none."""
    core = text.strip().lstrip("vV").partition("-")[0].partition("+")[0]
    numbers = [_number(part) if part or not place else 0 for place, part in _parts(core)]
    if None in numbers:
        return None
    return _padded(numbers)


def _padded(numbers: list[int | None]) -> Version:
    major, minor, patch = (*(number or 0 for number in numbers), 0, 0)[:3]
    return major, minor, patch


def _parts(core: str) -> list[tuple[int, str]]:
    return list(enumerate(core.split(".")[:3]))


def _number(part: str) -> int | None:
    leading = len(part) > 1 and part.startswith("0")
    return int(part) if part.isascii() and part.isdigit() and not leading else None


def version_range(operator: str, text: str) -> tuple[Version, Version] | None:
    """The versions a range stands for, from the first to before the second.

    Args:
        operator: `semver_tilde`, `semver_caret` or `semver_wildcard`.
        text: The version it is written with, as `1.2.3` or `1.2.*`.
    """
    if operator == "semver_wildcard":
        kept = text.strip().lstrip("vV").replace("*", "")
        fixed = [_number(part) for part in kept.split(".") if part][:3]
        if not fixed or None in fixed:
            return None
        low = _padded(fixed)
        return low, _next(low, len(fixed) - 1)
    low = version(text)
    if low is None:
        return None
    if operator == "semver_tilde":
        return low, _next(low, 1)
    place = next((place for place in (0, 1) if low[place]), 2)
    return low, _next(low, place)


def _next(low: Version, place: int) -> Version:
    """The first version that differs at a place: 0 for major, 1 for minor, 2 for patch."""
    major, minor, patch = low
    if place == 0:
        return major + 1, 0, 0
    return (major, minor + 1, 0) if place == 1 else (major, minor, patch + 1)
