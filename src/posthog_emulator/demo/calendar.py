"""How many events and new visitors each day of the demo has: growth, weekends, a launch."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["DAY", "Day", "days_of"]

DAY = 86_400_000_000
_GROWTH = 1.6
_WEEKEND = 0.45
_LAUNCH = 1.8
_FRESH_PER_EVENT = 0.035


@dataclass(frozen=True, slots=True)
class Day:
    """One day."""

    number: int
    start: int
    """Microseconds since 1970."""
    events: int
    first_user: int
    """The number of the first visitor who is new on it."""
    fresh: int
    """How many are."""


def days_of(events: int, count: int, start: int) -> list[Day]:
    """Spread events over days, so that they add up.

    Args:
        events: All of them.
        count: How many days.
        start: When the first begins, in microseconds since 1970.
    """
    weights = [_weight(number, count, start + number * DAY) for number in range(count)]
    whole, given, user = sum(weights), 0, 0
    days: list[Day] = []
    reached = 0.0
    for number, weight in enumerate(weights):
        reached += weight
        share = round(events * reached / whole) - given
        fresh = max(1, round(share * _FRESH_PER_EVENT)) if share else 0
        days.append(Day(number, start + number * DAY, share, user, fresh))
        given, user = given + share, user + fresh
    return days


def _weight(number: int, count: int, start: int) -> float:
    growth = 1 + (_GROWTH - 1) * number / count
    weekday = ((start + DAY // 2) // DAY + 3) % 7
    week = _WEEKEND if weekday >= 5 else 1.0 + 0.08 * math.sin(weekday)
    since_launch = number - count * 2 // 3
    launch = 1 + (_LAUNCH - 1) * math.exp(-since_launch / 4) if since_launch >= 0 else 1.0
    return growth * week * launch
