"""Recipes about persons: power users, persons at risk of leaving, one user's journey."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from .conditions import EventLike, QueryBuilder, as_event
from .figures import Bar, Bars, Mark, Timeline, format_count, format_number
from .periods import last_days, require_count
from .result import RecipeResult, run

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = [
    "ChurnRisk",
    "JourneyEvent",
    "PersonAtRisk",
    "PowerUser",
    "PowerUsers",
    "UserJourney",
    "churn_risk",
    "power_users",
    "user_journey",
]

_DAY = timedelta(days=1)
_MAX_ROWS = 10_000
_BARS = 20
"""Persons that a chart shows."""
_LABELS = 15
"""Kinds of events that a journey's chart shows apart; the rarest are drawn together."""
_OTHER = "(other events)"


@dataclass(frozen=True, slots=True)
class PowerUser:
    """A person with many events."""

    person_id: UUID
    distinct_id: str
    """The distinct id of the latest event."""
    email: str | None
    events: int
    active_days: int
    """Days in UTC with at least one of the events."""
    last_seen: datetime


@dataclass(frozen=True, kw_only=True)
class PowerUsers(RecipeResult[PowerUser]):
    """Persons by their number of events, highest first."""

    row_type: ClassVar[type] = PowerUser
    event: str
    """What was counted."""

    def figure(self) -> Bars:
        """Return bars with the events of each person."""
        bars = [
            Bar(_name(row), row.events, f"{row.events:,} on {format_count(row.active_days, 'day')}")
            for row in self.rows[:_BARS]
        ]
        return Bars(
            title=f"Power users: the most {self.event}",
            subtitle=f"{self.period}{_of_rows(len(bars), len(self.rows))}",
            empty="" if bars else f"No person with enough events from {self.period}",
            labels_title="Person",
            values_title="Events",
            bars=tuple(bars),
        )


async def power_users(
    ph: AsyncPostHog,
    event: EventLike | None = None,
    *,
    min_events: int = 10,
    days: int = 30,
    end: datetime | None = None,
    limit: int = 50,
    timeout: float | None = None,  # noqa: ASYNC109
) -> PowerUsers:
    """Return the persons with the most events.

    Args:
        ph: The client; its key needs the scope `query:read`.
        event: Which events to count; None: all.
        min_events: The least number of events of a person.
        days: The number of days before `end`.
        end: The end of the period, with a time zone; None: now.
        limit: The maximum number of persons, up to 10,000.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period, query = last_days(days, end), QueryBuilder()
    require_count("min_events", min_events)
    require_count("limit", limit, most=_MAX_ROWS)
    counted = None if event is None else as_event(event)
    condition = "" if counted is None else f"AND {query.matches(counted)}"
    result = await run(
        ph,
        f"""
        SELECT person_id, argMax(distinct_id, timestamp) AS latest_id,
            any(person.properties.email) AS email, count() AS n,
            count(DISTINCT toDate(toTimeZone(timestamp, 'UTC'))) AS active_days,
            max(timestamp) AS last_seen
        FROM events WHERE {query.during(period)} {condition}
        GROUP BY person_id HAVING n >= {query.bind(min_events)}
        ORDER BY n DESC, person_id LIMIT {query.bind(limit)}
        """,  # noqa: S608
        query,
        "power users",
        timeout,
    )
    return PowerUsers(
        rows=tuple(PowerUser(*row) for row in result),
        period=period,
        event="events" if counted is None else f"“{counted}”",
    )


@dataclass(frozen=True, slots=True)
class PersonAtRisk:
    """A person who was active and is no longer."""

    person_id: UUID
    distinct_id: str
    """The distinct id of the latest event."""
    email: str | None
    events: int
    active_days: int
    """Days in UTC with at least one of the events."""
    last_seen: datetime
    days_inactive: float
    """Days from the last event to the end of the period."""
    usual_gap_days: float | None
    """The average number of days between two active days; None: there was only one."""

    @property
    def overdue(self) -> float | None:
        """How many times the usual gap the person has been inactive."""
        return self.days_inactive / self.usual_gap_days if self.usual_gap_days else None


@dataclass(frozen=True, kw_only=True)
class ChurnRisk(RecipeResult[PersonAtRisk]):
    """Persons at risk, those with the most events first."""

    row_type: ClassVar[type] = PersonAtRisk
    event: str
    """What counts as activity."""
    inactive_days: int

    def figure(self) -> Bars:
        """Return bars with the days of inactivity of each person."""
        bars: list[Bar] = []
        for row in self.rows[:_BARS]:
            usual = "" if row.usual_gap_days is None else f", usually {row.usual_gap_days:.1f}"
            inactive = format_count(round(row.days_inactive), "day")
            text = f"{inactive}{usual}; {format_count(row.events, 'event')}"
            bars.append(Bar(_name(row), row.days_inactive, text))
        return Bars(
            title=f"Churn risk: no {self.event} for {format_count(self.inactive_days, 'day')}",
            subtitle=f"{self.period}{_of_rows(len(bars), len(self.rows))}, most active first",
            empty="" if bars else f"No person at risk from {self.period}",
            labels_title="Person",
            values_title="Days since the last event",
            bars=tuple(bars),
        )


async def churn_risk(
    ph: AsyncPostHog,
    event: EventLike | None = None,
    *,
    inactive_days: int = 14,
    min_events: int = 5,
    days: int = 90,
    end: datetime | None = None,
    limit: int = 50,
    timeout: float | None = None,  # noqa: ASYNC109
) -> ChurnRisk:
    """Return persons who were active and have not been seen lately, the most active first.

    Args:
        ph: The client; its key needs the scope `query:read`.
        event: What counts as activity; None: all events.
        inactive_days: The number of days before `end` without activity.
        min_events: The least number of events before that.
        days: The number of days before `end` that are looked at; more than `inactive_days`.
        end: The end of the period, with a time zone; None: now.
        limit: The maximum number of persons, up to 10,000.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period, query = last_days(days, end), QueryBuilder()
    require_count("inactive_days", inactive_days)
    require_count("min_events", min_events)
    require_count("limit", limit, most=_MAX_ROWS)
    if inactive_days >= days:
        raise ValueError(
            f"inactive_days is {inactive_days}, and only {days} days are looked at: raise days"
        )
    counted = None if event is None else as_event(event)
    condition = "" if counted is None else f"AND {query.matches(counted)}"
    quiet_since = period.end - inactive_days * _DAY
    result = await run(
        ph,
        f"""
        SELECT person_id, argMax(distinct_id, timestamp) AS latest_id,
            any(person.properties.email) AS email, count() AS n,
            count(DISTINCT toDate(toTimeZone(timestamp, 'UTC'))) AS active_days,
            max(timestamp) AS last_seen, min(timestamp) AS first_seen
        FROM events WHERE {query.during(period)} {condition}
        GROUP BY person_id
        HAVING n >= {query.bind(min_events)} AND last_seen < {query.bind(quiet_since)}
        ORDER BY n DESC, person_id LIMIT {query.bind(limit)}
        """,  # noqa: S608
        query,
        "churn risk",
        timeout,
    )
    rows: list[PersonAtRisk] = []
    for *fields, first_seen in result:
        active_days, last_seen = fields[4], fields[5]
        gaps = active_days - 1
        rows.append(
            PersonAtRisk(
                *fields,
                days_inactive=(period.end - last_seen) / _DAY,
                usual_gap_days=(last_seen - first_seen) / _DAY / gaps if gaps else None,
            )
        )
    return ChurnRisk(
        rows=tuple(rows),
        period=period,
        event="events" if counted is None else f"“{counted}”",
        inactive_days=inactive_days,
    )


@dataclass(frozen=True, slots=True)
class JourneyEvent:
    """One event of a person."""

    timestamp: datetime
    event: str
    url: str | None
    session_id: str | None
    distinct_id: str
    uuid: UUID
    seconds_since_previous: float | None
    """Seconds since the event before; None: it is the first one."""


@dataclass(frozen=True, kw_only=True)
class UserJourney(RecipeResult[JourneyEvent]):
    """The events of a person, the earliest first."""

    row_type: ClassVar[type] = JourneyEvent
    distinct_id: str
    truncated: bool
    """Whether the person has more events than were asked for."""

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return len({row.session_id for row in self.rows if row.session_id})

    def figure(self) -> Timeline:
        """Return a timeline with a row for each kind of event."""
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.event] = counts.get(row.event, 0) + 1
        frequent = sorted(counts, key=lambda event: -counts[event])[:_LABELS]
        # Those that come first are at the top; the rest is below them all.
        shown = {event: event for event in frequent}
        marks = sorted(
            (Mark(row.timestamp, shown.get(row.event, _OTHER)) for row in self.rows),
            key=lambda mark: mark.label == _OTHER,
        )
        events = (
            f"{format_count(len(self.rows), 'event')} in {format_count(self.sessions, 'session')}"
        )
        more = "; there are more" if self.truncated else ""
        return Timeline(
            title=f"The journey of {self.distinct_id}",
            subtitle=f"{self.period}, {events}{more}" if marks else str(self.period),
            empty="" if marks else f"No events from {self.period}",
            times_title="Time (UTC)",
            labels_title="Event",
            marks=tuple(marks),
        )


async def user_journey(
    ph: AsyncPostHog,
    distinct_id: str,
    *,
    days: int = 30,
    end: datetime | None = None,
    limit: int = 1000,
    timeout: float | None = None,  # noqa: ASYNC109
) -> UserJourney:
    """Return what a person did, in order, under all of the person's distinct ids.

    Args:
        ph: The client; its key needs the scope `query:read`.
        distinct_id: One of the person's distinct ids.
        days: The number of days before `end`.
        end: The end of the period, with a time zone; None: now.
        limit: The maximum number of events, up to 10,000; the earliest are returned.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period, query = last_days(days, end), QueryBuilder()
    require_count("limit", limit, most=_MAX_ROWS)
    if not distinct_id:
        raise ValueError("distinct_id is empty")
    result = await run(
        ph,
        f"""
        SELECT timestamp, event, properties.$current_url AS url,
            nullIf($session_id, '') AS session, distinct_id, uuid
        FROM events WHERE {query.during(period)} AND person_id IN (
            SELECT person_id FROM person_distinct_ids WHERE distinct_id = {query.bind(distinct_id)}
        )
        ORDER BY timestamp, uuid LIMIT {query.bind(limit + 1)}
        """,  # noqa: S608
        query,
        "user journey",
        timeout,
    )
    rows: list[JourneyEvent] = []
    previous: datetime | None = None
    for row in result.rows[:limit]:
        time: datetime = row[0]
        gap = None if previous is None else (time - previous).total_seconds()
        rows.append(JourneyEvent(*row, seconds_since_previous=gap))
        previous = time
    return UserJourney(
        rows=tuple(rows), period=period, distinct_id=distinct_id, truncated=len(result) > limit
    )


def _name(person: PowerUser | PersonAtRisk) -> str:
    return person.email or person.distinct_id


def _of_rows(shown: int, total: int) -> str:
    return f", the first {shown} of {format_number(total)}" if shown < total else ""
