"""Each recipe against an independent computation in Polars, or plain Python, over random events.

The events are those that were put into the emulator, not those that it returns. The funnel is
checked by another algorithm than that of the recipe: that of PostHog's funnels.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from asyncposthog import AsyncPostHog, recipes
from posthog_emulator import Emulator

if TYPE_CHECKING:
    from polars import DataFrame, Expr

END = datetime(2026, 3, 12, 9, 30, tzinfo=UTC)
ZONE = "Europe/Prague"
START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("visit", "visit", "visit", "look", "signup", "pay", "$exception")
TYPES = ("TypeError", "IOError", "KeyError")


def random_events() -> list[dict[str, Any]]:
    """Return events of 30 persons, some in pairs at the same time."""
    chance = random.Random(11)
    events: list[dict[str, Any]] = []
    for number in range(30):
        first = chance.uniform(0, 60)
        days = [first, *(first + chance.expovariate(1 / 9) for _ in range(chance.randint(2, 28)))]
        plan, channel = chance.choice(["free", "paid"]), chance.choice(["a", "b", "c", None])
        for day in sorted(min(day, 70.2) for day in days):
            time = START + timedelta(seconds=round(day * 86400, 6))
            browser = chance.choice(["Chrome", "Chrome", "Firefox", "Safari", None])
            for _ in range(1 + (chance.random() < 0.2)):
                name = chance.choice(NAMES)
                properties: dict[str, Any] = {
                    "$browser": browser,
                    "$session_id": f"s-{number}-{int(day)}",
                    "$set": {"plan": plan},
                }
                if channel:
                    properties["$set_once"] = {"$initial_utm_source": channel}
                if name == "pay":
                    properties["amount"] = chance.randint(1, 50)
                if name == "$exception":
                    properties["$exception_types"] = [chance.choice(TYPES)]
                    properties["$exception_values"] = ["no"]
                events.append(
                    {
                        "event": name,
                        "distinct_id": f"p{number}",
                        "timestamp": time,
                        "properties": properties,
                    }
                )
    return events


EVENTS = random_events()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.settings.clock = lambda: END
        emulator.state.events.append(1, EVENTS)
        yield emulator


@pytest.fixture(scope="module")
def frame() -> DataFrame:
    """The events as a table."""
    import polars as pl

    return pl.DataFrame(
        [
            {
                "event": one["event"],
                "person": one["distinct_id"],
                "time": one["timestamp"],
                "browser": one["properties"]["$browser"],
                "session": one["properties"]["$session_id"],
                "plan": one["properties"]["$set"]["plan"],
                "channel": one["properties"].get("$set_once", {}).get("$initial_utm_source"),
                "amount": one["properties"].get("amount"),
                "type": one["properties"].get("$exception_types", [None])[0],
            }
            for one in EVENTS
        ]
    )


@pytest.fixture
def ph(emulator: Emulator) -> AsyncPostHog:
    return AsyncPostHog.emulated(emulator)


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: what these tests show does not depend on the event loop."""
    return "asyncio"


pytestmark = pytest.mark.anyio


def recent(frame: DataFrame, days: int, end: datetime = END) -> DataFrame:
    import polars as pl

    return frame.filter(pl.col("time") >= end - timedelta(days=days), pl.col("time") < end)


def bucket(every: str) -> Expr:
    """Return the first day of the day, week or month of an event, in the time zone of the tests."""
    import polars as pl

    return pl.col("time").dt.convert_time_zone(ZONE).dt.truncate(every).dt.date()


def emails(result: recipes.RecipeResult[Any]) -> list[str]:
    return [row.distinct_id for row in result]


async def test_persons(ph: AsyncPostHog, frame: DataFrame) -> None:
    import polars as pl

    result = await recipes.power_users(ph, min_events=5, days=30, end=END)
    found = result.to_polars().select("distinct_id", "events", "active_days", "last_seen")
    expected = (
        recent(frame, 30)
        .group_by("person")
        .agg(
            pl.len().alias("events"),
            pl.col("time").dt.date().n_unique().alias("active_days"),
            pl.col("time").max().alias("last_seen"),
        )
        .filter(pl.col("events") >= 5)
    )
    assert len(expected) > 3
    assert set(found.rows()) == set(expected.rows())

    risk = await recipes.churn_risk(ph, "visit", inactive_days=10, min_events=2, days=60, end=END)
    visits = recent(frame, 60).filter(pl.col("event") == "visit").group_by("person")
    table = visits.agg(
        pl.len().alias("n"),
        pl.col("time").min().alias("first"),
        pl.col("time").max().alias("last"),
        pl.col("time").dt.date().n_unique().alias("days"),
    ).filter(pl.col("n") >= 2, pl.col("last") < END - timedelta(days=10))
    day = timedelta(days=1)
    assert len(table) > 3
    assert {
        row.distinct_id: (row.events, row.days_inactive, row.usual_gap_days) for row in risk
    } == {
        person: (
            n,
            pytest.approx((END - last) / day),
            pytest.approx((last - first) / day / (days - 1)) if days > 1 else None,
        )
        for person, n, first, last, days in table.rows()
    }


def posthog_funnel(
    times: list[tuple[datetime, int]], window: timedelta, steps: int
) -> tuple[int, list[datetime]]:
    """Return the steps that a person reaches and their times, as PostHog's algorithm does.

    Args:
        times: The times of the person's events with the number of their step, in order.
        window: The time from the first step to the last.
        steps: The number of steps.
    """
    paths: dict[int, list[datetime]] = {}
    best: list[datetime] = []
    for time, step in sorted(times):
        if step == 0:
            paths[0] = [time]
        elif step - 1 in paths and time - paths[step - 1][0] <= window:
            current = paths.get(step)
            if current is None or current[0] != paths[step - 1][0]:
                paths[step] = [*paths[step - 1], time]
        if step in paths and len(paths[step]) > len(best):
            best = paths[step]
        if len(best) == steps:
            break
    return len(best), best


async def test_funnel(ph: AsyncPostHog, frame: DataFrame) -> None:
    steps, window = ["visit", "signup", "pay"], timedelta(days=9)
    result = await recipes.funnel_drop_off(
        ph, steps, window=window, breakdown="$browser", breakdown_limit=2, days=70, end=END
    )
    groups: dict[str, list[list[datetime]]] = {}
    entered: dict[str, str] = {}
    for (person,), events in recent(frame, 70).sort("time").group_by("person"):
        times = [
            (time, steps.index(name))
            for name, time in events.select("event", "time").rows()
            if name in steps
        ]
        reached, path = posthog_funnel(times, window, 3)
        visits = [row for row in events.rows(named=True) if row["event"] == "visit"]
        if not reached:
            continue
        entered[str(person)] = visits[0]["browser"] or "(none)"
        groups.setdefault(str(person), []).append(path)
    counts: dict[str, int] = {}
    for value in entered.values():
        counts[value] = counts.get(value, 0) + 1
    top = sorted(counts, key=lambda value: (-counts[value], value))[:2]
    expected: list[tuple[Any, ...]] = []
    for value in [*top, "(other)"]:
        paths = [
            groups[person][0]
            for person, own in entered.items()
            if (own if own in top else "(other)") == value
        ]
        for step in range(3):
            gaps = [
                (path[step] - path[step - 1]).total_seconds()
                for path in paths
                if step and len(path) > step
            ]
            expected.append(
                (
                    value,
                    step + 1,
                    sum(len(path) > step for path in paths),
                    pytest.approx(sum(gaps) / len(gaps), abs=1e-5) if gaps else None,
                    pytest.approx(median(gaps), abs=1e-5) if gaps else None,
                )
            )
    found = [
        (row.breakdown, row.step, row.persons, row.average_seconds, row.median_seconds)
        for row in result
    ]
    assert found == expected
    assert sum(row.persons for row in result if row.step == 3) > 2


async def test_trends(ph: AsyncPostHog, frame: DataFrame) -> None:
    import polars as pl

    cases: list[tuple[recipes.Interval, str, int]] = [
        ("day", "1d", 20),
        ("week", "1w", 8),
        ("month", "1mo", 3),
    ]
    for interval, every, periods in cases:
        result = await recipes.trends(
            ph, ["visit", "pay"], measure="persons", interval=interval, periods=periods,
            timezone=ZONE, end=END,
        )  # fmt: skip
        table = (
            frame.filter(pl.col("event").is_in(["visit", "pay"]), pl.col("time") < END)
            .group_by("event", bucket(every).alias("bucket"))
            .agg(pl.col("person").n_unique())
        )
        expected = {(event, day): n for event, day, n in table.rows()}
        values = [(row.series, row.bucket) for row in result]
        assert [row.value for row in result] == [expected.get(key, 0) for key in values]
        assert len(values) == 2 * periods
        assert sum(row.value for row in result) > 10
    broken = await recipes.trends(
        ph, "visit", breakdown="$browser", breakdown_limit=2, periods=60, timezone=ZONE, end=END
    )
    first = datetime(2026, 1, 12, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    visits = frame.filter(
        pl.col("event") == "visit", pl.col("time") >= first, pl.col("time") < END
    ).with_columns(pl.col("browser").fill_null("(none)"))
    counts = visits["browser"].value_counts(sort=True).rows()
    top = [value for value, _ in sorted(counts, key=lambda row: (-row[1], row[0]))[:2]]
    assert broken[0].bucket == date(2026, 1, 12)
    totals: dict[str, int] = {}
    for row in broken:
        totals[row.series] = totals.get(row.series, 0) + row.value
    rest = sum(n for value, n in counts if value not in top)
    assert totals == {**{value: n for value, n in counts if value in top}, "(other)": rest}


async def test_stickiness_and_lifecycle(ph: AsyncPostHog, frame: DataFrame) -> None:
    import polars as pl

    result = await recipes.stickiness(ph, "visit", periods=30, timezone=ZONE, end=END)
    first = datetime(2026, 2, 11, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    visits = frame.filter(pl.col("event") == "visit", pl.col("time") >= first, pl.col("time") < END)
    days = visits.group_by("person").agg(bucket("1d").n_unique().alias("days"))
    expected = dict(days["days"].value_counts().rows())
    assert {row.active: row.persons for row in result if row.persons} == expected
    assert sum(row.share for row in result) == pytest.approx(1)

    cycle = await recipes.lifecycle(ph, "visit", periods=8, timezone=ZONE, end=END)
    weeks = [row.bucket for row in cycle]
    born = dict(frame.group_by("person").agg(bucket("1w").min().alias("week")).rows())
    active: dict[str, set[date]] = {}
    for person, week in (
        frame.filter(pl.col("event") == "visit", pl.col("time") < END)
        .select("person", bucket("1w").alias("week"))
        .rows()
    ):
        active.setdefault(person, set()).add(week)
    week = timedelta(days=7)
    for row in cycle:
        statuses = {"new": 0, "returning": 0, "resurrecting": 0, "dormant": 0}
        for person, seen in active.items():
            # Only the weeks from one before the first are looked at, as in PostHog.
            window = {day for day in seen if day >= weeks[0] - week}
            if row.bucket not in window:
                statuses["dormant"] += row.bucket - week in window
            elif row.bucket - week in window:
                statuses["returning"] += 1
            elif born[person] == row.bucket:
                statuses["new"] += 1
            else:
                statuses["resurrecting"] += 1
        assert statuses == {name: getattr(row, name) for name in statuses}
    assert sum(row.resurrecting for row in cycle) > 2


async def test_retention(ph: AsyncPostHog, frame: DataFrame) -> None:
    import polars as pl

    events = frame.filter(pl.col("time") < END).with_columns(bucket("1w").alias("week"))
    for first_time in (False, True):
        result = await recipes.retention(
            ph, "visit", "look", first_time=first_time, periods=6, timezone=ZONE, end=END
        )
        weeks = sorted({row.cohort for row in result})
        assert (weeks[-1], len(weeks)) == (date(2026, 3, 9), 6)
        starts = events.filter(pl.col("event") == "visit").select("person", "week").unique()
        if first_time:
            starts = starts.group_by("person").agg(pl.col("week").min())
        looks = events.filter(pl.col("event") == "look").select("person", "week").unique()
        pairs = starts.join(looks, on="person", suffix="_later")
        for row in result:
            size = len(starts.filter(pl.col("week") == row.cohort))
            later = row.cohort + timedelta(weeks=row.period)
            back = pairs.filter(pl.col("week") == row.cohort, pl.col("week_later") == later)
            assert (row.size, row.persons) == (size, len(back) if row.period else size)
        assert sum(row.persons for row in result if row.period) > (2 if first_time else 20)


async def test_feature_and_error_impact(ph: AsyncPostHog, frame: DataFrame) -> None:
    import polars as pl
    from scipy.stats import t

    launched = datetime(2026, 2, 10, tzinfo=UTC)
    result = await recipes.feature_impact(ph, "visit", launched, metric="events", days=20)
    counts: list[dict[str, int]] = []
    for sign in (-1, 0):
        start = launched + sign * timedelta(days=20)
        part = frame.filter(pl.col("time") >= start, pl.col("time") < start + timedelta(days=20))
        table = part.group_by("person").agg((pl.col("event") == "visit").sum())
        counts.append(dict(table.rows()))
    means, parts = [], []
    for values, row in zip(counts, result, strict=True):
        series = pl.Series(list(values.values()))
        variance = series.var()
        assert isinstance(variance, float)
        error = variance / len(series)
        margin = float(t.ppf(0.975, len(series) - 1)) * error**0.5
        assert (row.persons, row.mean) == (len(series), pytest.approx(series.mean()))
        assert (row.low, row.high) == pytest.approx((row.mean - margin, row.mean + margin))
        means.append(series.mean())
        parts.append((error, len(series)))
    both = sorted(counts[0].keys() & counts[1].keys())
    assert len(both) > 3
    pairs = pl.DataFrame({"x": [counts[0][p] for p in both], "y": [counts[1][p] for p in both]})
    covariance = pairs.select(pl.cov("x", "y")).item()
    (e1, n1), (e2, n2) = parts
    spread = (e1 + e2 - 2 * covariance * len(both) / (n1 * n2)) ** 0.5
    freedom = (e1 + e2) ** 2 / (e1**2 / (n1 - 1) + e2**2 / (n2 - 1))
    margin = float(t.ppf(0.975, freedom)) * spread
    assert result.difference is not None
    assert result.difference.value == pytest.approx(means[1] - means[0])
    assert result.difference.high - result.difference.value == pytest.approx(margin)

    errors = await recipes.error_impact(ph, outcome="pay", days=40, end=END)
    last = recent(frame, 40)
    failed = last.filter(pl.col("event") == "$exception")
    payers = set(last.filter(pl.col("event") == "pay")["person"])
    everyone = set(last["person"])
    ends = last.group_by("session").agg(pl.col("time").max().alias("end"))
    assert errors.active_persons == len(everyone)
    calm = everyone - set(failed["person"])
    assert errors.unaffected_persons == len(calm)
    assert errors.unaffected_outcome_share == pytest.approx(len(calm & payers) / len(calm))
    assert len(errors) == 3
    for row in errors:
        own = failed.filter(pl.col("type") == row.type)
        persons = set(own["person"])
        assert (row.occurrences, row.persons) == (len(own), len(persons))
        assert row.share == pytest.approx(len(persons) / len(everyone))
        assert row.sessions == own["session"].n_unique()
        ended = own.join(ends, on="session").filter(pl.col("time") == pl.col("end"))
        assert row.sessions_ended == ended["session"].n_unique()
        assert row.outcome_share == pytest.approx(len(persons & payers) / len(persons))


async def test_groups_and_channels(ph: AsyncPostHog, frame: DataFrame) -> None:
    import polars as pl

    last = recent(frame, 45)
    compared = await recipes.cohort_comparison(
        ph,
        {"free": {"plan": "free"}, "paid": {"plan": ["paid", "other"]}},
        outcome="pay",
        days=45,
        end=END,
    )
    for row in compared:
        persons = last.filter(pl.col("plan") == row.name).group_by("person")
        table = persons.agg(
            pl.len().alias("events"),
            pl.col("time").dt.date().n_unique().alias("days"),
            pl.col("session").n_unique().alias("sessions"),
            (pl.col("event") == "pay").any().alias("paid"),
        )
        assert (row.persons, row.events) == (len(table), table["events"].sum())
        assert row.events_per_person == pytest.approx(table["events"].mean())
        assert row.active_days_per_person == pytest.approx(table["days"].mean())
        assert row.sessions_per_person == pytest.approx(table["sessions"].mean())
        assert row.outcome_share == pytest.approx(table["paid"].mean())

    channels = await recipes.marketing_channels(
        ph, "signup", "pay", revenue="amount", days=45, end=END
    )
    table = (
        last.with_columns(pl.col("channel").fill_null("(none)"))
        .group_by("channel")
        .agg(
            pl.col("person").n_unique().alias("persons"),
            pl.col("person").filter(pl.col("event") == "signup").n_unique().alias("signups"),
            pl.col("person").filter(pl.col("event") == "pay").n_unique().alias("conversions"),
            pl.col("amount").sum().cast(float),
        )
        .sort(["conversions", "persons", "channel"], descending=[True, True, False])
    )
    assert len(table) == 4
    assert [
        (row.channel, row.persons, row.signups, row.conversions, row.revenue) for row in channels
    ] == table.rows()


async def test_insights_of_posthog_have_the_same_numbers(ph: AsyncPostHog) -> None:
    def node(event: str) -> dict[str, Any]:
        return {"kind": "EventsNode", "event": event}

    async def insight(kind: str, **fields: Any) -> Any:
        dates = {"date_from": "2026-02-27", "date_to": "2026-03-12"}
        return (await ph.query({"kind": kind, "dateRange": dates, **fields})).results

    daily: dict[str, Any] = {"periods": 14, "interval": "day", "end": END}
    visit = [node("visit")]
    dau = await insight("TrendsQuery", series=[{**visit[0], "math": "dau"}], interval="day")
    trends = await recipes.trends(ph, "visit", measure="persons", **daily)
    assert [row.value for row in trends] == dau[0]["data"]
    sticky = await insight("StickinessQuery", series=visit, interval="day")
    stickiness = await recipes.stickiness(ph, "visit", **daily)
    assert [row.persons for row in stickiness] == sticky[0]["data"]
    statuses = await insight("LifecycleQuery", series=visit, interval="day")
    lifecycle = await recipes.lifecycle(ph, "visit", **daily)
    for item in statuses:
        found = [getattr(row, item["status"]) for row in lifecycle]
        assert found == [abs(value) for value in item["data"]]
    for kind in ("retention_recurring", "retention_first_time"):
        retained = await insight(
            "RetentionQuery",
            retentionFilter={
                "period": "Day",
                "totalIntervals": 14,
                "targetEntity": {"id": "visit", "type": "events"},
                "returningEntity": {"id": "look", "type": "events"},
                "retentionType": kind,
            },
        )
        first_time = kind == "retention_first_time"
        retention = await recipes.retention(ph, "visit", "look", first_time=first_time, **daily)
        expected = [
            cell["count"]
            for number, item in enumerate(retained)
            for cell in item["values"][: 14 - number]
        ]
        assert [row.persons for row in retention] == expected
        assert first_time or sum(expected) > 20
    names = ["visit", "look", "pay"]
    window = {"funnelWindowInterval": 5, "funnelWindowIntervalUnit": "day"}
    steps = await insight(
        "FunnelsQuery", series=[node(name) for name in names], funnelsFilter=window
    )
    funnel = await recipes.funnel_drop_off(
        ph, names, window=timedelta(days=5), days=14, end=datetime(2026, 3, 13, tzinfo=UTC)
    )
    # The times are compared above: PostHog leaves out steps at the same time as the one before.
    assert [row.persons for row in funnel] == [step["count"] for step in steps]
    assert funnel[2].persons > 0


async def test_tables_have_the_rows(ph: AsyncPostHog) -> None:
    result = await recipes.user_journey(ph, "p3", days=70, end=END)
    own = [one for one in EVENTS if one["distinct_id"] == "p3"]
    assert [row.event for row in result] != []
    assert sorted(row.event for row in result) == sorted(one["event"] for one in own)
    rows = [tuple(row.values()) for row in result.dicts()]
    arrow, polars, pandas = result.to_arrow(), result.to_polars(), result.to_pandas()
    assert arrow.column_names == polars.columns == list(pandas.columns) == list(result.columns)
    assert [row[0] for row in rows] == polars["timestamp"].to_list()
    assert [row[-1] for row in rows] == arrow["seconds_since_previous"].to_pylist()
    assert pandas["event"].to_list() == [row[1] for row in rows]
