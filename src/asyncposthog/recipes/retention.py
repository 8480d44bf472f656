"""Recipe: which share of the persons of a day, week or month comes back later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar, Final

from .conditions import EventLike, QueryBuilder, as_event
from .figures import Cell, Grid
from .periods import Interval, format_date, make_buckets, require_count
from .result import RecipeResult, run

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["Retention", "RetentionCell", "retention"]

_MAX_COHORTS: Final = 300


@dataclass(frozen=True, slots=True)
class RetentionCell:
    """The persons of a cohort who came back a number of days, weeks or months later."""

    cohort: date
    """The first day of the day, the week (Monday) or the month of the start."""
    size: int
    """The persons of the cohort."""
    period: int
    """Days, weeks or months after the start; 0 is the cohort itself."""
    persons: int
    """Those who came back in that day, week or month."""
    share: float | None
    """Their share of the cohort; None: the cohort is empty."""


@dataclass(frozen=True, kw_only=True)
class Retention(RecipeResult[RetentionCell]):
    """The cells of the triangle, cohort by cohort."""

    row_type: ClassVar[type] = RetentionCell
    start_event: str
    return_event: str
    interval: Interval
    unfinished: bool
    """Whether the last bucket, the last cell of each cohort, is not over."""

    def figure(self) -> Grid:
        """Return a grid with the share of each cohort."""
        cells: list[Cell] = []
        for row in self.rows:
            if row.share is None:
                continue
            label = f"{format_date(row.cohort)} · {row.size:,}"
            text = f"{100 * row.share:.0f}"
            cells.append(Cell(label, str(row.period), row.share, text))
        last = f"; the last {self.interval} is not over" if self.unfinished else ""
        return Grid(
            title=f"Retention: {self.start_event}, then {self.return_event}",
            subtitle=f"{self.period}; % of each cohort{last}",
            empty="" if cells else f"No events from {self.period}",
            rows_title=f"{self.interval.capitalize()} of the start · persons",
            columns_title=f"{self.interval.capitalize()}s later",
            values_title="% of the cohort",
            cells=tuple(cells),
        )


async def retention(
    ph: AsyncPostHog,
    start_event: EventLike | None = None,
    return_event: EventLike | None = None,
    *,
    first_time: bool = False,
    interval: Interval = "week",
    periods: int = 8,
    timezone: str = "UTC",
    end: datetime | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Retention:
    """Return, for the persons of each day, week or month, how many come back in those after it.

    Args:
        ph: The client; its key needs the scope `query:read`.
        start_event: What puts a person into a cohort; None: any event.
        return_event: What counts as coming back; None: any event.
        first_time: Only a person's first start event ever counts. Otherwise a person is in the
            cohort of each day, week or month with a start event.
        interval: `day`, `week` (from Monday) or `month`.
        periods: The number of cohorts, up to 300; the last one has the end.
        timezone: The IANA name of the time zone in which days begin.
        end: The end of the period, with a time zone; None: now.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    # More cells than these would exceed the 50,000 rows of a query.
    require_count("periods", periods, most=_MAX_COHORTS)
    buckets, query = make_buckets(interval, periods, end, timezone), QueryBuilder()
    start = None if start_event is None else as_event(start_event)
    back = None if return_event is None else as_event(return_event)
    starts = "true" if start is None else query.matches(start)
    returns = "true" if back is None else query.matches(back)
    condition = "" if start is None or back is None else f"AND ({starts} OR {returns})"
    if first_time:
        # The first event ever may be long before the range.
        range_ = f"timestamp < {query.bind(buckets.period.end)}"
        cohorts = "[minIf(number, starts)]"
    else:
        range_ = query.during(buckets.period)
        cohorts = "groupUniqArrayIf(number, starts)"
    result = await run(
        ph,
        f"""
        SELECT cohort, later - cohort AS period, count() FROM (
            SELECT cohort, arrayFilter(x -> x > cohort, seen) AS after,
                arrayConcat([cohort], after) AS days, arrayJoin(days) AS later
            FROM (
                SELECT seen, arrayJoin(cohorts) AS cohort FROM (
                    SELECT person_id, {cohorts} AS cohorts,
                        groupUniqArrayIf(number, returns) AS seen
                    FROM (
                        SELECT person_id, {starts} AS starts, {returns} AS returns,
                            {query.index(buckets, "timestamp", "number")}
                        FROM events WHERE {range_} {condition}
                    ) GROUP BY person_id HAVING countIf(starts) > 0
                )
            ) WHERE cohort >= 0
        ) GROUP BY cohort, period LIMIT 50000
        """,  # noqa: S608
        query,
        "retention",
        timeout,
    )
    counts = {(cohort, later): persons for cohort, later, persons in result}
    cells: list[RetentionCell] = []
    for number, day in enumerate(buckets.starts):
        size = counts.get((number, 0), 0)
        for later in range(len(buckets.starts) - number):
            persons = counts.get((number, later), 0)
            cells.append(RetentionCell(day, size, later, persons, persons / size if size else None))
    return Retention(
        rows=tuple(cells),
        period=buckets.period,
        start_event="any event" if start is None else f"“{start}”",
        return_event="any event" if back is None else f"“{back}”",
        interval=interval,
        unfinished=buckets.unfinished,
    )
