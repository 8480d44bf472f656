"""Recipe: how groups of persons, such as cohorts, differ in what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from .conditions import PERSON_PREFIX, EventLike, QueryBuilder, Scalar, as_event
from .figures import Estimate, Estimates, format_count, format_number, format_percent
from .periods import Period, last_days
from .result import RecipeResult, run
from .statistics import Sample

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["CohortComparison", "ComparedCohort", "Group", "cohort_comparison"]

_MAX_GROUPS = 10

Group: TypeAlias = int | Mapping[str, Scalar | Sequence[str]]
"""The id of a cohort, or the values of properties of persons: `{"plan": "free"}`."""


@dataclass(frozen=True, slots=True)
class ComparedCohort:
    """What the active persons of a group did."""

    name: str
    persons: int
    """Persons of the group with any event in the period."""
    events: int
    events_per_person: float | None
    low: float | None
    """The lower end of the confidence interval of `events_per_person`."""
    high: float | None
    """The upper end."""
    active_days_per_person: float | None
    """Days in UTC with any event."""
    sessions_per_person: float | None
    outcome_share: float | None
    """The share of persons who did the outcome; None: there is none, or no person was active."""


@dataclass(frozen=True, kw_only=True)
class CohortComparison(RecipeResult[ComparedCohort]):
    """A row for each group, in the given order."""

    row_type: ClassVar[type] = ComparedCohort
    outcome: str | None
    confidence: float

    def figure(self) -> Estimates:
        """Return the events per person of each group, with confidence intervals."""
        estimates: list[Estimate] = []
        for row in self.rows:
            mean = row.events_per_person
            if mean is None:
                continue
            text = f"{format_number(mean)} by {format_count(row.persons, 'person')}"
            if row.outcome_share is not None:
                text += f"; {self.outcome}: {format_percent(row.outcome_share)}"
            estimates.append(Estimate(row.name, mean, row.low, row.high, text))
        level = format_percent(self.confidence)
        return Estimates(
            title="Events per active person",
            subtitle=f"{self.period}; lines are {level} confidence intervals",
            empty="" if estimates else f"No events from {self.period}",
            labels_title="",
            values_title="Events per person",
            estimates=tuple(estimates),
        )


async def cohort_comparison(
    ph: AsyncPostHog,
    groups: Mapping[str, Group],
    *,
    outcome: EventLike | None = None,
    days: int = 30,
    end: datetime | None = None,
    confidence: float = 0.95,
    timeout: float | None = None,  # noqa: ASYNC109
) -> CohortComparison:
    """Compare what groups of persons do: `{"paid": 12, "free": {"plan": "free"}}`.

    Args:
        ph: The client; its key needs the scope `query:read`.
        groups: Up to 10 groups by name, each the id of a cohort or values of properties of persons.
            A person may be in several.
        outcome: An event, such as a purchase, whose share of persons is compared.
        days: The number of days before `end`.
        end: The end of the period, with a time zone; None: now.
        confidence: The confidence of the intervals, between 0 and 1.
        timeout: Seconds for each query (one per group), waits included; None: the client's limits.

    Raises:
        PostHogError: A query failed; `QueryError` if there is no such cohort.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period = last_days(days, end)
    if not 1 <= len(groups) <= _MAX_GROUPS:
        raise ValueError(f"groups must have from 1 to {_MAX_GROUPS} groups, not {len(groups)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    queries = [_query(group, period, outcome) for group in groups.values()]
    rows: list[ComparedCohort] = []
    for name, (sql, query) in zip(groups, queries, strict=True):
        result = await run(ph, sql, query, "cohort comparison", timeout)
        persons, events, squares, days_, sessions, successful = (v or 0 for v in result[0])
        sample = Sample(persons, events, squares)
        low, high = sample.interval(confidence) or (None, None)
        rows.append(
            ComparedCohort(
                name=name,
                persons=persons,
                events=events,
                events_per_person=sample.mean,
                low=low,
                high=high,
                active_days_per_person=days_ / persons if persons else None,
                sessions_per_person=sessions / persons if persons else None,
                outcome_share=successful / persons if outcome is not None and persons else None,
            )
        )
    label = None if outcome is None else f"“{as_event(outcome)}”"
    return CohortComparison(rows=tuple(rows), period=period, outcome=label, confidence=confidence)


def _query(group: Group, period: Period, outcome: EventLike | None) -> tuple[str, QueryBuilder]:
    query = QueryBuilder()
    if isinstance(group, bool):
        raise TypeError("a group is the id of a cohort or a mapping of properties, not a bool")
    if isinstance(group, int):
        member = f"person_id IN COHORT {query.bind(group)}"
    elif group:
        pairs = ((_person_property(name), value) for name, value in group.items())
        member = " AND ".join(query.equals(name, value) for name, value in pairs)
    else:
        raise ValueError("a group has no properties: give at least one")
    done = "false" if outcome is None else query.matches(as_event(outcome))
    sql = f"""
        SELECT count(), sum(n), sum(n * n), sum(days), sum(sessions), countIf(outcomes > 0) FROM (
            SELECT person_id, count() AS n,
                count(DISTINCT toDate(toTimeZone(timestamp, 'UTC'))) AS days,
                uniqExactIf($session_id, $session_id != '') AS sessions,
                countIf({done}) AS outcomes
            FROM events WHERE {query.during(period)} AND {member} GROUP BY person_id
        ) LIMIT 1
    """  # noqa: S608
    return sql, query


def _person_property(name: str) -> str:
    return name if name.startswith(PERSON_PREFIX) else f"{PERSON_PREFIX}{name}"
