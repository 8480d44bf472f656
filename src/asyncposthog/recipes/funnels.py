"""Recipe: where persons drop out of a funnel, and how long each step takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .conditions import Event, EventLike, QueryBuilder, as_event
from .figures import Bar, Bars, format_percent, format_seconds
from .periods import Period, last_days, require_count
from .result import RecipeResult, run

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["FunnelDropOff", "FunnelStep", "funnel_drop_off"]

MAX_STEPS: Final = 12
NO_VALUE: Final = "(none)"
OTHER: Final = "(other)"


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One step of a funnel, for one value of the breakdown."""

    breakdown: str | None
    """The value of the breakdown; None: there is no breakdown."""
    step: int
    """The number of the step, from 1."""
    name: str
    persons: int
    """Persons who did this step and all before it, in order and in time."""
    dropped: int
    """Persons who did the step before and not this one."""
    conversion: float | None
    """The share of the persons of the first step; None: there are none."""
    step_conversion: float | None
    """The share of the persons of the step before; None: there are none."""
    average_seconds: float | None
    """The average time since the step before; None for the first step, or without persons."""
    median_seconds: float | None
    """The median of that time. PostHog approximates it for more than 8,192 persons."""


@dataclass(frozen=True, kw_only=True)
class FunnelDropOff(RecipeResult[FunnelStep]):
    """The steps in order; with a breakdown, those of the most frequent value first."""

    row_type: ClassVar[type] = FunnelStep
    steps: tuple[Event, ...]
    window: timedelta
    """The time that a person may take from the first step to the last one."""
    breakdown: str | None

    @property
    def worst(self) -> FunnelStep | None:
        """The step, after the first one, that the smallest share of persons passes."""
        steps = [row for row in self.rows if row.step > 1 and row.step_conversion is not None]
        return min(steps, key=lambda row: row.step_conversion or 0.0, default=None)

    def figure(self) -> Bars:
        """Return bars with the share of persons at each step."""
        any_persons = any(row.persons for row in self.rows)
        bars: list[Bar] = []
        for row in self.rows if any_persons else ():
            text = f"{format_percent(row.conversion or 0.0)} · {row.persons:,}"
            if row.dropped:
                text += f" (−{row.dropped:,})"
            if row.median_seconds is not None:
                text += f", {format_seconds(row.median_seconds)}"
            label = f"{row.step}. {row.name}"
            bars.append(Bar(label, row.conversion or 0.0, text, row.breakdown or ""))
        within = format_seconds(self.window.total_seconds())
        return Bars(
            title="Funnel: " + " → ".join(map(str, self.steps)),
            subtitle=f"{self.period}, within {within}; persons, (−) left, median time of the step",
            empty="" if bars else f"No person did “{self.steps[0]}” from {self.period}",
            labels_title="Step",
            values_title="Share of the persons of step 1",
            bars=tuple(bars),
            unit="percent",
            groups_title=self.breakdown or "",
        )


async def funnel_drop_off(
    ph: AsyncPostHog,
    steps: Sequence[EventLike],
    *,
    window: timedelta = timedelta(days=14),
    breakdown: str | None = None,
    breakdown_limit: int = 5,
    days: int = 30,
    end: datetime | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> FunnelDropOff:
    """Return how many persons pass each step of a funnel, and how long they take.

    As in PostHog's funnels, steps have to be done in order, other events may be between them, and
    the window starts at the first step. Of several ways of a person through the funnel, the one
    that gets furthest counts, then the one that is complete first.

    Args:
        ph: The client; its key needs the scope `query:read`.
        steps: From 2 to 12 events.
        window: The time that a person may take from the first step to the last one.
        breakdown: A property; each person counts for its value at the person's first event of step
            1. `person.plan` is a property of persons.
        breakdown_limit: The number of values to tell apart; the rest is `(other)`.
        days: The number of days before `end`; all steps have to be in them.
        end: The end of the period, with a time zone; None: now.
        timeout: Seconds for each query, waits included; None: the client's limits.

    Raises:
        PostHogError: A query failed.
        TypeError, ValueError: An argument is invalid, such as a funnel with one step. Nothing was
            sent.
    """
    events = _check_steps(steps)
    if window <= timedelta(0):
        raise ValueError(f"window must be positive, not {window}")
    require_count("breakdown_limit", breakdown_limit, most=25)
    period = last_days(days, end)
    top: list[str] | None = None
    if breakdown is not None:
        top = await _top_values(ph, events[0], breakdown, breakdown_limit, period, timeout)
    query = QueryBuilder()
    sql = _funnel_sql(query, events, window, period, breakdown, top)
    result = await run(ph, sql, query, "funnel", timeout)
    rows: list[FunnelStep] = []
    order = {value: number for number, value in enumerate([*(top or ()), OTHER])}
    for value, *numbers in sorted(result, key=lambda row: order.get(row[0], 0)):
        rows += _steps(events, None if breakdown is None else value, numbers)
    if not rows:
        rows = _steps(events, None, [0] * len(events) + [None] * 2 * (len(events) - 1))
    return FunnelDropOff(
        rows=tuple(rows), period=period, steps=events, window=window, breakdown=breakdown
    )


def _check_steps(steps: Sequence[EventLike]) -> tuple[Event, ...]:
    if isinstance(steps, str | Event):
        steps = [steps]
    events = tuple(as_event(step) for step in steps)
    if len(events) < 2:
        raise ValueError(
            f"a funnel needs at least 2 steps, not {len(events)}; to count one event, use trends"
        )
    require_count("the number of steps", len(events), most=MAX_STEPS)
    return events


async def _top_values(
    ph: AsyncPostHog,
    first: Event,
    breakdown: str,
    limit: int,
    period: Period,
    timeout: float | None,  # noqa: ASYNC109
) -> list[str]:
    """Return the values of the breakdown that most persons have, in order."""
    query = QueryBuilder()
    value = (
        f"argMin(ifNull(toString({query.property(breakdown)}), {query.bind(NO_VALUE)}), timestamp)"
    )
    result = await run(
        ph,
        f"""
        SELECT value FROM (
            SELECT person_id, {value} AS value FROM events
            WHERE {query.during(period)} AND {query.matches(first)} GROUP BY person_id
        ) GROUP BY value ORDER BY count() DESC, value LIMIT {query.bind(limit)}
        """,  # noqa: S608
        query,
        "values of the funnel's breakdown",
        timeout,
    )
    return [row[0] for row in result]


def _funnel_sql(
    query: QueryBuilder,
    events: Sequence[Event],
    window: timedelta,
    period: Period,
    breakdown: str | None,
    top: list[str] | None,
) -> str:
    """Return HogQL that gives persons per step, then average and median seconds per later step.

    For each person, there are the sorted times of each step's events: `s1`, `s2`, … For each time
    of step 1, `m2` has the first time of step 2 that follows it, and so on; 0 means none. The paths
    are sorted: the most steps first, then the earliest end, then the latest start. Expressions are
    short and have names, because the time of HogQL's parser grows fast with calls inside of calls.
    """
    conditions = [query.matches(event) for event in events]
    count, seconds = len(events), query.bind(window.total_seconds())
    # toFloat keeps microseconds, and lets 0 mean that there is no such event.
    inner = [f"assumeNotNull(toFloat(timestamp)) AS at, {conditions[0]} AS c1"]
    inner += [f"{condition} AS c{i}" for i, condition in enumerate(conditions[1:], 2)]
    arrays = [f"arraySort(groupArrayIf(at, c{i})) AS s{i}" for i in range(1, count + 1)]
    value = f"{query.bind('')} AS value"
    if breakdown is not None:
        inner += [f"toString({query.property(breakdown)}) AS raw"]
        inner += [f"ifNull(raw, {query.bind(NO_VALUE)}) AS text"]
        value = "argMinIf(text, at, c1) AS value"
        if top:
            series_name = f"if(own IN {query.bind(top)}, own, {query.bind(OTHER)})"
            value = f"argMinIf(text, at, c1) AS own, {series_name} AS value"
    # A step of the same event as an earlier one needs another event, which is later.
    maps: list[str] = []
    for i in range(2, count + 1):
        names = ", ".join(f"x{j}" for j in range(1, i))
        sources = ", ".join(f"s{j}" if j == 1 else f"m{j}" for j in range(1, i))
        later = ">" if events[i - 1].event in {event.event for event in events[: i - 1]} else ">="
        condition = f"x{i - 1} > 0 AND t {later} x{i - 1} AND t <= x1 + {seconds}"
        maps.append(f"arrayMap(({names}) -> arrayFirst(t -> {condition}, s{i}), {sources}) AS m{i}")
    names = ", ".join(f"x{j}" for j in range(1, count + 1))
    sources = ", ".join(["s1", *(f"m{j}" for j in range(2, count + 1))])
    maps.append(f"arrayMap(({names}) -> [{names}], {sources}) AS paths")
    maps.append("arraySort(p -> tuple(countEqual(p, 0), arrayMax(p), 0 - p[1]), paths)[1] AS path")
    columns = [f"countIf(path[{i}] > 0)" for i in range(1, count + 1)]
    for function in ("avgIf", "medianIf"):
        columns += [
            f"{function}(path[{i}] - path[{i - 1}], path[{i}] > 0)" for i in range(2, count + 1)
        ]
    return f"""
        SELECT value, {", ".join(columns)} FROM (
            SELECT value, {", ".join(maps)} FROM (
                SELECT person_id, {value}, {", ".join(arrays)} FROM (
                    SELECT person_id, {", ".join(inner)} FROM events
                    WHERE {query.during(period)} AND ({" OR ".join(conditions)})
                ) GROUP BY person_id HAVING length(s1) > 0
            )
        ) GROUP BY value LIMIT 1000
    """  # noqa: S608


def _steps(events: Sequence[Event], value: str | None, numbers: Sequence[Any]) -> list[FunnelStep]:
    count = len(events)
    persons, times = numbers[:count], numbers[count:]
    steps: list[FunnelStep] = []
    for i, event in enumerate(events):
        previous = persons[i - 1] if i else persons[0]
        done = i > 0 and persons[i] > 0
        steps.append(
            FunnelStep(
                breakdown=value,
                step=i + 1,
                name=str(event),
                persons=persons[i],
                dropped=previous - persons[i],
                conversion=persons[i] / persons[0] if persons[0] else None,
                step_conversion=persons[i] / previous if previous else None,
                average_seconds=times[i - 1] if done else None,
                median_seconds=times[count - 1 + i - 1] if done else None,
            )
        )
    return steps
