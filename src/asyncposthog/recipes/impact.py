"""Recipes about changes: what a feature changed, and what errors do to persons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from .conditions import EventLike, QueryBuilder, as_event
from .figures import Bar, Bars, Estimate, Estimates, format_count, format_number, format_percent
from .periods import Period, format_date, last_days, require_count, require_zone
from .result import RecipeResult, run
from .statistics import Difference, Sample, difference_of_means

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = [
    "ErrorImpact",
    "ErrorKind",
    "FeatureImpact",
    "FeaturePeriod",
    "error_impact",
    "feature_impact",
]

Metric: TypeAlias = Literal["share", "events"]
_METRICS: Final[tuple[Metric, ...]] = ("share", "events")


@dataclass(frozen=True, slots=True)
class FeaturePeriod:
    """What active persons did before or after a launch."""

    name: str
    """`before` or `after`."""
    start: datetime
    end: datetime
    persons: int
    """Persons with any event."""
    mean: float | None
    """The share of them who did the event, or how often each did it on average."""
    low: float | None
    """The lower end of the confidence interval of the mean; None: fewer than two persons."""
    high: float | None
    """The upper end."""


@dataclass(frozen=True, kw_only=True)
class FeatureImpact(RecipeResult[FeaturePeriod]):
    """The periods before and after a launch, and their difference."""

    row_type: ClassVar[type] = FeaturePeriod
    event: str
    metric: Metric
    launched: datetime
    confidence: float
    difference: Difference | None
    """The mean after the launch minus that before, with its confidence interval; None: a period
    has fewer than two persons."""

    @property
    def relative_change(self) -> float | None:
        """The difference as a share of the mean before the launch; None: there is none."""
        before = self.rows[0].mean
        return self.difference.value / before if self.difference is not None and before else None

    def figure(self) -> Estimates:
        """Return both means with their confidence intervals."""
        share = self.metric == "share"
        shown = format_percent if share else format_number
        of = "of" if share else "each, by"
        estimates = [
            Estimate(
                f"{format_count((row.end - row.start).days, 'day')} {row.name}",
                row.mean,
                row.low,
                row.high,
                f"{shown(row.mean)} {of} {format_count(row.persons, 'person')}",
            )
            for row in self.rows
            if row.mean is not None
        ]
        what = "Share of persons with" if share else "Events per person,"
        return Estimates(
            title=f"{what} “{self.event}”, before and after {format_date(self.launched)}",
            subtitle=f"{self._change()}, {format_percent(self.confidence)} confidence",
            empty="" if estimates else f"No events from {self.period}",
            labels_title="",
            values_title="Share of active persons" if share else "Events per person",
            estimates=tuple(estimates),
            unit="percent" if share else "number",
        )

    def _change(self) -> str:
        """Return the difference for people; that of shares is in percentage points."""
        if self.difference is None:
            return "too few persons to compare"
        factor, unit = (100, " points") if self.metric == "share" else (1, "")
        value, low, high = (
            f"{'+' if part >= 0 else '−'}{format_number(round(abs(part) * factor, 3))}"
            for part in (self.difference.value, self.difference.low, self.difference.high)
        )
        verdict = "" if self.difference.significant else ", not significant"
        return f"change {value}{unit} ({low} to {high}{verdict})"


async def feature_impact(
    ph: AsyncPostHog,
    event: EventLike,
    launched: datetime,
    *,
    metric: Metric = "share",
    adopted: EventLike | None = None,
    days: int = 14,
    confidence: float = 0.95,
    timeout: float | None = None,  # noqa: ASYNC109
) -> FeatureImpact:
    """Compare what persons did before and after a launch, with confidence intervals.

    A person counts in a period if there is any event of that person in it. Persons of both periods
    are taken into account in the interval of the difference. It says how large chance alone makes
    a difference, not what else has changed at the same time.

    Args:
        ph: The client; its key needs the scope `query:read`.
        event: The event that the feature is expected to change.
        launched: The time of the launch, with a time zone.
        metric: `share`: the share of active persons with the event; `events`: events per person.
        adopted: Only persons who did this after the launch, such as the use of the feature. Those
            who adopt a feature are often the more active ones, so compare their own two periods.
        days: The number of days before and after the launch.
        confidence: The confidence of the intervals, between 0 and 1.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    require_zone("launched", launched)
    require_count("days", days)
    if metric not in _METRICS:
        raise ValueError(f"metric must be share or events, not {metric!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    counted, query = as_event(event), QueryBuilder()
    span = timedelta(days=days)
    period = Period(launched - span, launched + span)
    at = query.bind(launched)
    condition = query.matches(counted)
    only = ""
    if adopted is not None:
        after = query.during(Period(launched, period.end))
        did = query.matches(as_event(adopted))
        only = f"AND person_id IN (SELECT person_id FROM events WHERE {after} AND {did})"  # noqa: S608
    counts = "least(x, 1)" if metric == "share" else "x"
    result = await run(
        ph,
        f"""
        SELECT countIf(a), sum(u), sum(u * u), countIf(b), sum(v), sum(v * v),
            countIf(a AND b), sumIf(u, a AND b), sumIf(v, a AND b), sumIf(u * v, a AND b)
        FROM (
            SELECT person_id, countIf(earlier) > 0 AS a, countIf(NOT earlier) > 0 AS b,
                countIf(did AND earlier) AS x, countIf(did AND NOT earlier) AS y,
                {counts} AS u, {counts.replace("x", "y")} AS v
            FROM (
                SELECT person_id, timestamp < {at} AS earlier, {condition} AS did
                FROM events WHERE {query.during(period)} {only}
            ) GROUP BY person_id
        ) LIMIT 1
        """,  # noqa: S608
        query,
        "feature impact",
        timeout,
    )
    n1, x, xx, n2, y, yy, both, x12, y12, xy = (value or 0 for value in result[0])
    samples = {"before": Sample(n1, x, xx), "after": Sample(n2, y, yy)}
    covariance = (xy - x12 * y12 / both) / (both - 1) if both > 1 else 0.0
    rows: list[FeaturePeriod] = []
    for name, sample in samples.items():
        start, end = (period.start, launched) if name == "before" else (launched, period.end)
        interval = sample.share_interval if metric == "share" else sample.interval
        low, high = interval(confidence) or (None, None)
        rows.append(FeaturePeriod(name, start, end, sample.size, sample.mean, low, high))
    return FeatureImpact(
        rows=tuple(rows),
        period=period,
        event=str(counted),
        metric=metric,
        launched=launched,
        confidence=confidence,
        difference=difference_of_means(
            samples["before"], samples["after"], covariance, both, confidence
        ),
    )


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Exceptions of one type with one message, and the persons who had them."""

    type: str
    message: str
    occurrences: int
    persons: int
    share: float
    """The share of all active persons."""
    sessions: int
    sessions_ended: int
    """Sessions in which nothing happened after the exception."""
    last_seen: datetime
    outcome_share: float | None
    """The share of these persons who did the outcome; None: no outcome was asked for."""


@dataclass(frozen=True, kw_only=True)
class ErrorImpact(RecipeResult[ErrorKind]):
    """Errors by the number of persons who had them, highest first."""

    row_type: ClassVar[type] = ErrorKind
    active_persons: int
    """Persons with any event in the period."""
    unaffected_persons: int
    """Persons without an exception."""
    outcome: str | None
    unaffected_outcome_share: float | None
    """The share of persons without an exception who did the outcome."""

    def figure(self) -> Bars:
        """Return bars with the persons that each error affects."""
        bars: list[Bar] = []
        for row in self.rows:
            times = format_count(row.occurrences, "time")
            text = f"{row.persons:,} · {format_percent(row.share)}, {times}"
            if row.outcome_share is not None:
                text += f"; {self.outcome}: {format_percent(row.outcome_share)}"
            bars.append(Bar(_shorten(f"{row.type}: {row.message}", 48), row.persons, text))
        others = ""
        if self.unaffected_outcome_share is not None:
            share = format_percent(self.unaffected_outcome_share)
            others = f"; {self.outcome} by persons without errors: {share}"
        return Bars(
            title="Errors by affected persons",
            subtitle=f"{self.period}, {self.active_persons:,} active persons{others}",
            empty="" if bars else f"No errors from {self.period}",
            labels_title="Error",
            values_title="Persons",
            bars=tuple(bars),
        )


async def error_impact(
    ph: AsyncPostHog,
    *,
    outcome: EventLike | None = None,
    days: int = 30,
    end: datetime | None = None,
    limit: int = 20,
    timeout: float | None = None,  # noqa: ASYNC109
) -> ErrorImpact:
    """Return which errors (`$exception`) affect the most persons, and whether these still succeed.

    Args:
        ph: The client; its key needs the scope `query:read`.
        outcome: An event, such as a purchase, whose share is compared between persons with and
            without errors.
        days: The number of days before `end`.
        end: The end of the period, with a time zone; None: now.
        limit: The maximum number of errors, up to 1,000.
        timeout: Seconds for each query, waits included; None: the client's limits.

    Raises:
        PostHogError: A query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period, query = last_days(days, end), QueryBuilder()
    require_count("limit", limit, most=1000)
    wanted = None if outcome is None else as_event(outcome)
    done = "false" if wanted is None else query.matches(wanted)
    during = query.during(period)
    totals_query = query.copy()
    totals = await run(
        ph,
        f"""
        SELECT count(), countIf(errors = 0), countIf(errors = 0 AND outcomes > 0) FROM (
            SELECT person_id, countIf(event = '$exception') AS errors, countIf({done}) AS outcomes
            FROM events WHERE {during} GROUP BY person_id
        ) LIMIT 1
        """,  # noqa: S608
        totals_query,
        "error impact, totals",
        timeout,
    )
    active, unaffected, unaffected_done = totals[0]
    succeeded = "false"
    if wanted is not None:
        those = f"SELECT person_id FROM events WHERE {during} AND {done}"  # noqa: S608
        succeeded = f"person_id IN ({those})"
    result = await run(
        ph,
        f"""
        SELECT type, text, count() AS n, count(DISTINCT person_id) AS persons,
            uniqExactIf(session, session != '') AS sessions, uniqExactIf(session, ends) AS ended,
            max(timestamp) AS last_seen, uniqExactIf(person_id, successful) AS successes
        FROM (
            SELECT person_id, timestamp, $session_id AS session,
                properties.$exception_types.1 AS new_type, properties.$exception_type AS old_type,
                properties.$exception_values.1 AS new_text,
                properties.$exception_message AS old_text,
                coalesce(new_type, old_type, '') AS type, coalesce(new_text, old_text, '') AS text,
                (session, timestamp) IN (
                    SELECT $session_id, max(timestamp) FROM events
                    WHERE {during} AND $session_id != '' GROUP BY $session_id
                ) AS ends,
                {succeeded} AS successful
            FROM events WHERE {during} AND event = '$exception'
        ) GROUP BY type, text ORDER BY persons DESC, n DESC, type, text LIMIT {query.bind(limit)}
        """,  # noqa: S608
        query,
        "error impact",
        timeout,
    )
    rows: list[ErrorKind] = []
    for kind, text, count, persons, sessions, ended, last_seen, successful in result:
        share = persons / active if active else 0.0
        outcome_share = None if wanted is None else successful / persons
        rows.append(
            ErrorKind(kind, text, count, persons, share, sessions, ended, last_seen, outcome_share)
        )
    rest = unaffected_done / unaffected if wanted is not None and unaffected else None
    return ErrorImpact(
        rows=tuple(rows),
        period=period,
        active_persons=active,
        unaffected_persons=unaffected,
        outcome=None if wanted is None else f"“{wanted}”",
        unaffected_outcome_share=rest,
    )


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
