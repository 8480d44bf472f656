"""Statistics of surveys, as pure functions of counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

__all__ = ["EVENTS", "SENT", "rates", "statistics"]

SHOWN, DISMISSED, SENT = "survey shown", "survey dismissed", "survey sent"
EVENTS: Final = (SHOWN, DISMISSED, SENT)
"""The events that SDKs send about surveys."""

Stats = Mapping[str, Mapping[str, Any]]


def statistics(rows: Iterable[Sequence[Any]], dismissed_and_sent: int) -> dict[str, dict[str, Any]]:
    """Return the counts of each event.

    Args:
        rows: For each event its name, the number of events and of persons, and the first and last
            timestamp as texts.
        dismissed_and_sent: The number of persons who dismissed the survey and also answered it.
            They count as having answered.
    """
    stats: dict[str, dict[str, Any]] = {
        name: {
            "total_count": 0,
            "unique_persons": 0,
            "first_seen": None,
            "last_seen": None,
            "unique_persons_only_seen": 0,
            "total_count_only_seen": 0,
        }
        for name in EVENTS
    }
    for name, count, persons, first, last in rows:
        stats[name] |= {
            "total_count": count,
            "unique_persons": persons,
            "first_seen": first,
            "last_seen": last,
        }
    shown, dismissed, sent = (stats[name] for name in EVENTS)
    dismissed["unique_persons"] = max(0, dismissed["unique_persons"] - dismissed_and_sent)
    for counted, remaining in (
        ("unique_persons", "unique_persons_only_seen"),
        ("total_count", "total_count_only_seen"),
    ):
        shown[remaining] = max(0, shown[counted] - dismissed[counted] - sent[counted])
    return stats


def rates(stats: Stats) -> dict[str, float]:
    """Return the rates of response and dismissal, in percent of those who saw the survey."""
    shown, dismissed, sent = (stats[name] for name in EVENTS)

    def rate(part: Mapping[str, Any], counted: str) -> float:
        return round(part[counted] / shown[counted] * 100, 2) if shown[counted] else 0.0

    return {
        "response_rate": rate(sent, "total_count"),
        "dismissal_rate": rate(dismissed, "total_count"),
        "unique_users_response_rate": rate(sent, "unique_persons"),
        "unique_users_dismissal_rate": rate(dismissed, "unique_persons"),
    }
