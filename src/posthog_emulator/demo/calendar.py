"""The number of events and new visitors per day of the demo: growth, weekends, a launch."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["DAY", "Day", "spread_over_days"]

DAY = 86_400_000_000
"""Microseconds of a day."""
_GROWTH = 1.6
"""The traffic of the last day relative to the first."""
_WEEKEND = 0.45
"""The traffic of a day at the weekend relative to other days."""
_LAUNCH = 1.8
"""The factor of the day of the launch, after two thirds of the time. It decays within a week."""
_NEW_VISITORS_PER_EVENT = 0.035


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the demo."""

    number: int
    start: int
    """The start of the day, in microseconds since 1970."""
    events: int
    first_visitor: int
    """The number of the first visitor who is new on this day."""
    new_visitors: int


def spread_over_days(events: int, count: int, start: int) -> list[Day]:
    """Return days whose numbers of events add up to a total.

    Args:
        events: The total number of events.
        count: The number of days.
        start: The start of the first day, in microseconds since 1970.
    """
    weights = [_weight(number, count, start + number * DAY) for number in range(count)]
    total_weight, assigned, visitors = sum(weights), 0, 0
    days: list[Day] = []
    cumulative = 0.0
    for number, weight in enumerate(weights):
        # Rounding the cumulative sum, not each share, makes the shares add up exactly.
        cumulative += weight
        share = round(events * cumulative / total_weight) - assigned
        new_visitors = max(1, round(share * _NEW_VISITORS_PER_EVENT)) if share else 0
        days.append(Day(number, start + number * DAY, share, visitors, new_visitors))
        assigned, visitors = assigned + share, visitors + new_visitors
    return days


def _weight(number: int, count: int, start: int) -> float:
    growth = 1 + (_GROWTH - 1) * number / count
    # 1 January 1970 was a Thursday. The middle of the day counts, as days begin at any hour.
    weekday = ((start + DAY // 2) // DAY + 3) % 7
    week = _WEEKEND if weekday >= 5 else 1.0 + 0.08 * math.sin(weekday)
    since_launch = number - count * 2 // 3
    launch = 1 + (_LAUNCH - 1) * math.exp(-since_launch / 4) if since_launch >= 0 else 1.0
    return growth * week * launch
