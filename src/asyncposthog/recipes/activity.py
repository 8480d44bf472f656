"""Recipes about activity over time: trends, stickiness and lifecycle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias, get_args

from .conditions import Event, EventLike, QueryBuilder, as_event, as_events
from .figures import Bar, Bars, Line, Lines, Stack, StackPart, format_count, format_percent
from .periods import Buckets, Interval, make_buckets, require_count
from .result import RecipeResult, run

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = [
    "Lifecycle",
    "LifecycleCount",
    "Stickiness",
    "StickinessCount",
    "TrendPoint",
    "Trends",
    "lifecycle",
    "stickiness",
    "trends",
]

Measure: TypeAlias = Literal["events", "persons", "sessions"]
Status: TypeAlias = Literal["new", "returning", "resurrecting", "dormant"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

NO_VALUE: Final = "(none)"
OTHER: Final = "(other)"
_MEASURES: Final[dict[Measure, str]] = {
    "events": "countIf({condition})",
    "persons": "uniqExactIf(person_id, {condition})",
    "sessions": "uniqExactIf(nullIf($session_id, ''), {condition})",
}


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The value of a series in a day, a week or a month."""

    series: str
    bucket: date
    """The first day of the day, the week (Monday) or the month."""
    value: int


@dataclass(frozen=True, kw_only=True)
class Trends(RecipeResult[TrendPoint]):
    """The values of each series, one series after the other, with zeros where nothing happened."""

    row_type: ClassVar[type] = TrendPoint
    interval: Interval
    measure: Measure
    unfinished: bool
    """Whether the last bucket is not over at the end of the period."""

    def figure(self) -> Lines:
        """Return lines over time."""
        lines: dict[str, list[tuple[date, float]]] = {}
        for row in self.rows:
            lines.setdefault(row.series, []).append((row.bucket, float(row.value)))
        empty = not any(row.value for row in self.rows)
        last = f"; the last {self.interval} is not over" if self.unfinished else ""
        return Lines(
            title=f"Trends: {self.measure} per {self.interval}",
            subtitle=f"{self.period}{last}",
            empty=f"No events from {self.period}" if empty else "",
            times_title=_bucket_title(self.interval),
            values_title=self.measure.capitalize(),
            lines=() if empty else tuple(Line(name, tuple(line)) for name, line in lines.items()),
        )


async def trends(
    ph: AsyncPostHog,
    events: EventLike | Sequence[EventLike],
    *,
    measure: Measure = "events",
    interval: Interval = "day",
    periods: int = 30,
    breakdown: str | None = None,
    breakdown_limit: int = 5,
    timezone: str = "UTC",
    end: datetime | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Trends:
    """Return how often events happen in each day, week or month.

    Args:
        ph: The client; its key needs the scope `query:read`.
        events: One or more events, each of which is a series.
        measure: Count `events`, or the different `persons` or `sessions` that have them.
        interval: `day`, `week` (from Monday) or `month`.
        periods: The number of days, weeks or months, up to 1,000; the last one has the end.
        breakdown: A property of which each value is a series, for a single event. `person.plan` is
            a property of persons.
        breakdown_limit: The number of values to tell apart; the rest is `(other)`.
        timezone: The IANA name of the time zone in which days begin.
        end: The end of the period, with a time zone; None: now.
        timeout: Seconds for each query, waits included; None: the client's limits.

    Raises:
        PostHogError: A query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    series, buckets = as_events(events), make_buckets(interval, periods, end, timezone)
    if measure not in _MEASURES:
        raise ValueError(f"measure must be events, persons or sessions, not {measure!r}")
    require_count("breakdown_limit", breakdown_limit, most=25)
    first, *others = series
    if breakdown is not None and others:
        raise ValueError("breakdown is for a single event, and there are several")
    if breakdown is None:
        counts = await _count_series(ph, series, measure, buckets, timeout)
        names = [str(event) for event in series]
    else:
        names, counts = await _count_values(
            ph, first, breakdown, breakdown_limit, measure, buckets, timeout
        )
    return Trends(
        rows=tuple(
            TrendPoint(name, bucket, counts.get((name, bucket), 0))
            for name in names
            for bucket in buckets.starts
        ),
        period=buckets.period,
        interval=interval,
        measure=measure,
        unfinished=buckets.unfinished,
    )


async def _count_series(
    ph: AsyncPostHog,
    series: Sequence[Event],
    measure: Measure,
    buckets: Buckets,
    timeout: float | None,  # noqa: ASYNC109
) -> dict[tuple[str, date], int]:
    query = QueryBuilder()
    conditions = [query.matches(event) for event in series]
    columns = ", ".join(_MEASURES[measure].format(condition=one) for one in conditions)
    result = await run(
        ph,
        f"""
        SELECT {query.bucket(buckets.interval, buckets.zone)} AS bucket, {columns}
        FROM events WHERE {query.during(buckets.period)} AND ({" OR ".join(conditions)})
        GROUP BY bucket LIMIT 1000
        """,  # noqa: S608
        query,
        "trends",
        timeout,
    )
    return {
        (str(event), bucket): value
        for bucket, *values in result
        for event, value in zip(series, values, strict=True)
    }


async def _count_values(
    ph: AsyncPostHog,
    event: Event,
    breakdown: str,
    limit: int,
    measure: Measure,
    buckets: Buckets,
    timeout: float | None,  # noqa: ASYNC109
) -> tuple[list[str], dict[tuple[str, date], int]]:
    """Return the values of a property, the most frequent first, and the counts of each."""
    query = QueryBuilder()
    # Both queries have the same FROM and WHERE, and the second one names the values of the first.
    value = f"ifNull(toString({query.property(breakdown)}), {query.bind(NO_VALUE)})"
    where = f"FROM events WHERE {query.during(buckets.period)} AND {query.matches(event)}"
    total = _MEASURES[measure].format(condition="true")
    ranking = query.copy()
    ranked = await run(
        ph,
        f"SELECT {value} AS value, {total} AS n {where} "
        f"GROUP BY value ORDER BY n DESC, value LIMIT {ranking.bind(limit + 1)}",
        ranking,
        "values of trends",
        timeout,
    )
    top = [row[0] for row in ranked][:limit]
    bucket = query.bucket(buckets.interval, buckets.zone)
    named = f"if({value} IN {query.bind(top)}, {value}, {query.bind(OTHER)})" if top else value
    result = await run(
        ph,
        f"SELECT {named} AS series, {bucket} AS bucket, {total} {where} "
        "GROUP BY series, bucket LIMIT 50000",
        query,
        "trends",
        timeout,
    )
    names = top if len(ranked) <= limit else [*top, OTHER]
    return names, {(series, day): count for series, day, count in result}


@dataclass(frozen=True, slots=True)
class StickinessCount:
    """Persons who were active in a number of days, weeks or months."""

    active: int
    """The number of days, weeks or months with activity."""
    persons: int
    share: float
    """The share of all active persons."""


@dataclass(frozen=True, kw_only=True)
class Stickiness(RecipeResult[StickinessCount]):
    """A row for each number of days, weeks or months, from 1 to all of them."""

    row_type: ClassVar[type] = StickinessCount
    event: str
    interval: Interval

    def figure(self) -> Bars:
        """Return bars with the persons for each number of days, weeks or months."""
        total = sum(row.persons for row in self.rows)
        bars = [
            Bar(str(row.active), row.persons, f"{row.persons:,} · {format_percent(row.share)}")
            for row in self.rows[: max((row.active for row in self.rows if row.persons), default=0)]
        ]
        return Bars(
            title=f"Stickiness: in how many {self.interval}s persons did {self.event}",
            subtitle=f"{self.period}, {format_count(total, 'person')}",
            empty="" if total else f"No events from {self.period}",
            labels_title=f"Active {self.interval}s",
            values_title="Persons",
            bars=tuple(bars),
        )


async def stickiness(
    ph: AsyncPostHog,
    event: EventLike | None = None,
    *,
    interval: Interval = "day",
    periods: int = 14,
    timezone: str = "UTC",
    end: datetime | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Stickiness:
    """Return how many persons were active in one, two, three … days, weeks or months.

    Args:
        ph: The client; its key needs the scope `query:read`.
        event: What counts as activity; None: all events.
        interval: `day`, `week` (from Monday) or `month`.
        periods: The number of days, weeks or months, up to 1,000; the last one has the end.
        timezone: The IANA name of the time zone in which days begin.
        end: The end of the period, with a time zone; None: now.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    buckets, query = make_buckets(interval, periods, end, timezone), QueryBuilder()
    counted = None if event is None else as_event(event)
    condition = "" if counted is None else f"AND {query.matches(counted)}"
    result = await run(
        ph,
        f"""
        SELECT active, count() FROM (
            SELECT person_id, count(DISTINCT {query.bucket(interval, timezone)}) AS active
            FROM events WHERE {query.during(buckets.period)} {condition} GROUP BY person_id
        ) GROUP BY active LIMIT 1000
        """,  # noqa: S608
        query,
        "stickiness",
        timeout,
    )
    counts = {row[0]: row[1] for row in result}
    total = sum(counts.values())
    return Stickiness(
        rows=tuple(
            StickinessCount(n, counts.get(n, 0), counts.get(n, 0) / total if total else 0.0)
            for n in range(1, periods + 1)
        ),
        period=buckets.period,
        event="anything" if counted is None else f"“{counted}”",
        interval=interval,
    )


@dataclass(frozen=True, slots=True)
class LifecycleCount:
    """Persons of one status in a day, a week or a month."""

    bucket: date
    """The first day of the day, the week (Monday) or the month."""
    new: int
    """Active, and created in it."""
    returning: int
    """Active, and also active just before it."""
    resurrecting: int
    """Active, and neither new nor active just before it."""
    dormant: int
    """Not active, and active just before it."""


@dataclass(frozen=True, kw_only=True)
class Lifecycle(RecipeResult[LifecycleCount]):
    """A row for each day, week or month."""

    row_type: ClassVar[type] = LifecycleCount
    event: str
    interval: Interval
    unfinished: bool
    """Whether the last bucket is not over at the end of the period."""

    def figure(self) -> Stack:
        """Return stacked bars, with dormant persons below the axis."""
        parts: list[StackPart] = []
        for row in self.rows:
            values = {"new": row.new, "returning": row.returning, "dormant": -row.dormant}
            values["resurrecting"] = row.resurrecting
            parts += [StackPart(row.bucket, status, values[status]) for status in STATUSES]
        empty = not any(part.value for part in parts)
        last = f"; the last {self.interval} is not over" if self.unfinished else ""
        return Stack(
            title=f"Lifecycle: who did {self.event} in each {self.interval}",
            subtitle=f"{self.period}{last}; dormant persons are below the axis",
            empty=f"No events from {self.period}" if empty else "",
            times_title=_bucket_title(self.interval),
            values_title="Persons",
            labels=STATUSES,
            parts=() if empty else tuple(parts),
        )


async def lifecycle(
    ph: AsyncPostHog,
    event: EventLike | None = None,
    *,
    interval: Interval = "week",
    periods: int = 12,
    timezone: str = "UTC",
    end: datetime | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Lifecycle:
    """Return how many persons are new, returning, resurrecting and dormant.

    As in PostHog's lifecycle, a person is new in the bucket in which PostHog created the person.

    Args:
        ph: The client; its key needs the scope `query:read`.
        event: What counts as activity; None: all events.
        interval: `day`, `week` (from Monday) or `month`.
        periods: The number of days, weeks or months, up to 1,000; the last one has the end.
        timezone: The IANA name of the time zone in which days begin.
        end: The end of the period, with a time zone; None: now.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    buckets, query = make_buckets(interval, periods, end, timezone), QueryBuilder()
    counted = None if event is None else as_event(event)
    condition = "" if counted is None else f"AND {query.matches(counted)}"
    # A bucket before the first one shows who was active just before that.
    start, stop = query.bind(buckets.earlier()), query.bind(buckets.period.end)
    status = (
        "multiIf(has(seen, x - 1), 'returning', x = born AND x = seen[1], 'new', 'resurrecting')"
    )
    result = await run(
        ph,
        f"""
        SELECT item.1 AS number, item.2 AS status, count() FROM (
            SELECT person_id, arrayMap(x -> tuple(x, {status}), seen) AS active,
                arrayFilter(x -> NOT has(seen, x + 1), seen) AS last,
                arrayMap(x -> tuple(x + 1, 'dormant'), last) AS dormant,
                arrayConcat(active, dormant) AS items, arrayJoin(items) AS item
            FROM (
                SELECT person_id, min(creation) AS born, groupUniqArray(activity) AS unsorted,
                    arraySort(unsorted) AS seen
                FROM (
                    SELECT person_id, {query.index(buckets, "timestamp", "activity")},
                        {query.index(buckets, "person.created_at", "creation")}
                    FROM events WHERE timestamp >= {start} AND timestamp < {stop} {condition}
                ) GROUP BY person_id
            )
        ) GROUP BY number, status LIMIT 50000
        """,  # noqa: S608
        query,
        "lifecycle",
        timeout,
    )
    counts = {(number, status): persons for number, status, persons in result}
    return Lifecycle(
        rows=tuple(
            LifecycleCount(bucket, *(counts.get((number, status), 0) for status in STATUSES))
            for number, bucket in enumerate(buckets.starts)
        ),
        period=buckets.period,
        event="anything" if counted is None else f"“{counted}”",
        interval=interval,
        unfinished=buckets.unfinished,
    )


def _bucket_title(interval: Interval) -> str:
    return "Week from" if interval == "week" else interval.capitalize()
