"""Each recipe on events whose truth is known, because they were written down for it.

ada and dan pay for the plan `paid`; bob, cyd and eve have the plan `free`, though bob pays once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog import AsyncPostHog, NotFoundError, QueryError, recipes
from posthog_emulator import Emulator

END = datetime(2026, 2, 2, tzinfo=UTC)
"""A Monday."""
WEEKS = [date(2025, 12, 29), *(date(2026, 1, day) for day in (5, 12, 19, 26))]

GOOGLE = {"$initial_utm_source": "google"}
TWITTER = {"$initial_utm_source": "twitter"}
CHROME, FIREFOX = {"$browser": "Chrome"}, {"$browser": "Firefox"}
BOOM = {"$exception_types": ["TypeError"], "$exception_values": ["boom"]}


def event(who: str, name: str, time: str, **properties: Any) -> dict[str, Any]:
    person = who.removeprefix("anon-")
    session = f"s-{person}-{time[:5]}"
    return {
        "event": name,
        "distinct_id": who,
        "timestamp": f"2026-{time}:00Z",
        "properties": {"$session_id": session, **properties},
    }


EVENTS = [
    event("dan", "visit", "01-01T00:00", **CHROME, **{"$set": {"plan": "paid", **TWITTER}}),
    event("cyd", "signup", "01-05T08:00", **{"$set": {"plan": "free"}}),
    event("cyd", "visit", "01-05T09:00", **FIREFOX),
    event("anon-bob", "visit", "01-05T09:00", **CHROME),
    event(
        "bob",
        "$identify",
        "01-05T09:03",
        **{"$anon_distinct_id": "anon-bob", "$set": {"plan": "free", "email": "bob@x", **GOOGLE}},
    ),
    event("bob", "signup", "01-05T09:05"),
    event("ada", "visit", "01-05T10:00", **CHROME, **{"$set": {"plan": "paid", **GOOGLE}}),
    event("ada", "$exception", "01-05T10:05", **BOOM),
    event("ada", "signup", "01-05T10:10"),
    event("eve", "visit", "01-05T11:00", **FIREFOX, **{"$set": {"plan": "free"}}),
    event("eve", "$exception", "01-05T11:05", **BOOM),
    event("ada", "pay", "01-06T10:10", amount=10),
    event("dan", "visit", "01-08T12:00", **FIREFOX),
    event("dan", "visit", "01-08T12:05", **FIREFOX),
    event("dan", "signup", "01-08T12:20"),
    event("dan", "pay", "01-14T12:00", amount=20),
    event("bob", "pay", "01-20T12:00", amount=5.5),
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.settings.clock = lambda: END
        emulator.state.events.append(1, EVENTS)
        yield emulator


@pytest.fixture
def ph(emulator: Emulator) -> AsyncPostHog:
    return AsyncPostHog.emulated(emulator)


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: what these tests show does not depend on the event loop."""
    return "asyncio"


pytestmark = pytest.mark.anyio


async def test_power_users(ph: AsyncPostHog) -> None:
    result = await recipes.power_users(ph, min_events=4, days=40, end=END)
    assert {row.distinct_id: row.events for row in result} == {"dan": 5, "ada": 4, "bob": 4}
    first = result[0]
    assert (first.distinct_id, first.active_days) == ("dan", 3)
    assert first.last_seen == datetime(2026, 1, 14, 12, tzinfo=UTC)
    assert {row.email for row in result} == {None, "bob@x"}
    visits = await recipes.power_users(ph, "visit", min_events=1, days=40, end=END, limit=1)
    assert [(row.distinct_id, row.events) for row in visits] == [("dan", 3)]


async def test_churn_risk(ph: AsyncPostHog) -> None:
    result = await recipes.churn_risk(
        ph, inactive_days=14, min_events=4, days=40, end=datetime(2026, 2, 1, tzinfo=UTC)
    )
    dan, ada = result
    assert (dan.distinct_id, dan.events, dan.active_days) == ("dan", 5, 3)
    assert (dan.days_inactive, dan.usual_gap_days) == (17.5, 6.75)
    assert dan.overdue == pytest.approx(17.5 / 6.75)
    assert (ada.distinct_id, ada.usual_gap_days) == ("ada", 1 + 10 / 1440)
    with pytest.raises(ValueError, match="only 14 days are looked at: raise days"):
        await recipes.churn_risk(ph, inactive_days=14, days=14)


async def test_user_journey(ph: AsyncPostHog) -> None:
    result = await recipes.user_journey(ph, "bob", days=40, end=END)
    assert [(row.event, row.distinct_id) for row in result] == [
        ("visit", "anon-bob"),
        ("$identify", "bob"),
        ("signup", "bob"),
        ("pay", "bob"),
    ]
    gaps = [row.seconds_since_previous for row in result]
    assert gaps == [None, 180, 120, (15 * 24 + 2) * 3600 + 55 * 60]
    assert (result.sessions, result.truncated) == (2, False)
    short = await recipes.user_journey(ph, "anon-bob", days=40, end=END, limit=2)
    assert (len(short), short.truncated) == (2, True)
    assert len(await recipes.user_journey(ph, "nobody", days=40, end=END)) == 0


async def test_funnel_drop_off(ph: AsyncPostHog) -> None:
    week = timedelta(days=7)
    result = await recipes.funnel_drop_off(
        ph, ["visit", "signup", "pay"], window=week, days=40, end=END
    )
    assert [(row.step, row.name, row.persons, row.dropped) for row in result] == [
        (1, "visit", 5, 0),
        (2, "signup", 3, 2),
        (3, "pay", 2, 1),
    ]
    assert [row.conversion for row in result] == [1, 0.6, 0.4]
    assert [row.step_conversion for row in result] == [1, 0.6, pytest.approx(2 / 3)]
    # cyd signed up before the visit; bob paid after the window; dan's last visit before counts.
    assert [row.median_seconds for row in result] == [None, 600, (86_400 + 517_200) / 2]
    assert [row.average_seconds for row in result] == [None, 600, (86_400 + 517_200) / 2]
    assert result.worst == result[1]

    by_browser = await recipes.funnel_drop_off(
        ph, ["visit", "signup", "pay"], window=week, breakdown="$browser", days=40, end=END
    )
    assert [(row.breakdown, row.persons) for row in by_browser] == [
        ("Chrome", 3), ("Chrome", 3), ("Chrome", 2), ("Firefox", 2), ("Firefox", 0), ("Firefox", 0),
    ]  # fmt: skip
    by_plan = await recipes.funnel_drop_off(
        ph,
        [recipes.Event("visit", label="came"), recipes.Event("pay", {"amount": 20})],
        breakdown="person.plan",
        breakdown_limit=1,
        days=40,
        end=END,
    )
    assert [(row.breakdown, row.name, row.persons) for row in by_plan] == [
        ("free", "came", 3),
        ("free", "pay (amount=20)", 0),
        ("(other)", "came", 2),
        ("(other)", "pay (amount=20)", 1),
    ]
    again = await recipes.funnel_drop_off(ph, ["visit", "visit"], window=week, days=40, end=END)
    assert [(row.persons, row.median_seconds) for row in again] == [(5, None), (1, 300)]


async def test_feature_impact(ph: AsyncPostHog) -> None:
    launched = datetime(2026, 1, 8, tzinfo=UTC)
    result = await recipes.feature_impact(ph, "pay", launched)
    before, after = result
    assert [(row.name, row.persons, row.mean) for row in result] == [
        ("before", 5, 0.2),
        ("after", 2, 1),
    ]
    assert (before.end, after.end) == (launched, launched + timedelta(days=14))
    # Variance 0.2 / 5 before and 0 after; 2.776 is Student's t with 4 degrees of freedom.
    assert result.difference is not None
    assert result.difference.low == pytest.approx(0.8 - 2.7764451 * 0.2)
    assert result.difference.high == pytest.approx(0.8 + 2.7764451 * 0.2)
    assert result.difference.significant
    assert result.relative_change == pytest.approx(4)
    only = await recipes.feature_impact(ph, "visit", launched, metric="events", adopted="pay")
    assert [(row.persons, row.mean) for row in only] == [(2, 1), (2, 1)]  # bob and dan


async def test_error_impact(ph: AsyncPostHog) -> None:
    result = await recipes.error_impact(ph, outcome="signup", days=40, end=END)
    (boom,) = result
    assert (boom.type, boom.message, boom.occurrences, boom.persons) == ("TypeError", "boom", 2, 2)
    assert (boom.share, boom.sessions, boom.sessions_ended) == (0.4, 2, 1)
    assert boom.outcome_share == 0.5
    assert (result.active_persons, result.unaffected_persons) == (5, 3)
    assert result.unaffected_outcome_share == 1


async def test_cohort_comparison(ph: AsyncPostHog, emulator: Emulator) -> None:
    cohort = await ph.cohorts.create(
        name="paid",
        filters={
            "properties": {
                "type": "AND",
                "values": [
                    {"key": "plan", "type": "person", "value": ["paid"], "operator": "exact"}
                ],
            }
        },
    )
    emulator.apply_pending_changes()
    result = await recipes.cohort_comparison(
        ph, {"cohort": cohort.id, "free": {"plan": "free"}}, outcome="pay", days=40, end=END
    )
    paid, free = result
    assert (paid.name, paid.persons, paid.events, paid.events_per_person) == ("cohort", 2, 9, 4.5)
    # The standard error is 0.5; 12.706 is Student's t with 1 degree of freedom.
    assert paid.low == pytest.approx(4.5 - 12.7062047 * 0.5)
    assert paid.high == pytest.approx(4.5 + 12.7062047 * 0.5)
    assert (paid.active_days_per_person, paid.sessions_per_person) == (2.5, 2.5)
    assert (free.persons, free.events, free.outcome_share) == (3, 8, pytest.approx(1 / 3))
    assert free.sessions_per_person == pytest.approx(4 / 3)
    assert paid.outcome_share == 1
    with pytest.raises((QueryError, NotFoundError)):
        await recipes.cohort_comparison(ph, {"a": 999}, end=END)
    for wrong in ({}, {"a": {}}, {"a": True}):
        with pytest.raises((TypeError, ValueError), match="group"):
            await recipes.cohort_comparison(ph, wrong)  # type: ignore[arg-type]


async def test_marketing_channels(ph: AsyncPostHog) -> None:
    result = await recipes.marketing_channels(
        ph, "signup", "pay", revenue="amount", days=40, end=END
    )
    assert [
        (row.channel, row.persons, row.signups, row.conversions, row.revenue) for row in result
    ] == [("google", 2, 2, 2, 15.5), ("twitter", 1, 1, 1, 20), ("(none)", 2, 1, 0, 0)]
    assert [row.signup_rate for row in result] == [1, 1, 0.5]
    assert [row.events_per_person for row in result] == [4, 5, 2]
    by_browser = await recipes.marketing_channels(
        ph, "signup", "pay", by="$browser", days=40, end=END
    )
    assert [(row.channel, row.persons, row.revenue) for row in by_browser] == [
        ("Chrome", 3, None),
        ("Firefox", 2, None),
    ]


async def test_retention(ph: AsyncPostHog) -> None:
    result = await recipes.retention(ph, periods=5, end=END)
    assert not result.unfinished
    triangle = {week: [r.persons for r in result if r.cohort == week] for week in WEEKS}
    assert list(triangle.values()) == [[1, 1, 1, 0, 0], [5, 1, 1, 0], [1, 0, 0], [1, 0], [0]]
    assert [row.share for row in result][5:9] == [1, 0.2, 0.2, 0]
    assert result[-1].share is None
    first = await recipes.retention(ph, first_time=True, periods=4, end=END)
    # dan's first event ever is before these weeks.
    sizes = [(row.cohort, row.size) for row in first if row.period == 0]
    assert sizes == list(zip(WEEKS[1:], [4, 0, 0, 0], strict=True))
    assert [row.persons for row in first][:4] == [4, 0, 1, 0]
    with pytest.raises(ValueError, match="periods must be from 1 to 300"):
        await recipes.retention(ph, periods=301)
    paid = await recipes.retention(ph, "visit", "pay", interval="month", periods=2, end=END)
    assert [(row.size, row.period, row.persons) for row in paid] == [
        (5, 0, 5),
        (5, 1, 0),
        (0, 0, 0),
    ]


async def test_trends(ph: AsyncPostHog) -> None:
    result = await recipes.trends(ph, ["visit", "pay"], interval="week", periods=5, end=END)
    values = {row.series: [r.value for r in result if r.series == row.series] for row in result}
    assert values == {"visit": [1, 6, 0, 0, 0], "pay": [0, 1, 1, 1, 0]}
    assert [row.bucket for row in result][:5] == WEEKS
    persons = await recipes.trends(
        ph, "visit", measure="persons", breakdown="$browser", interval="week", periods=5, end=END
    )
    assert [(row.series, row.value) for row in persons if row.bucket == WEEKS[1]] == [
        ("Chrome", 2),
        ("Firefox", 3),
    ]
    sessions = await recipes.trends(
        ph, "visit", measure="sessions", interval="month", periods=1, timezone="Asia/Tokyo", end=END
    )
    assert [(row.bucket, row.value) for row in sessions] == [(date(2026, 2, 1), 0)]


async def test_stickiness(ph: AsyncPostHog) -> None:
    result = await recipes.stickiness(ph, periods=40, end=END)
    assert [(row.active, row.persons) for row in result][:4] == [(1, 2), (2, 2), (3, 1), (4, 0)]
    assert (len(result), result[0].share) == (40, 0.4)


async def test_lifecycle(ph: AsyncPostHog) -> None:
    result = await recipes.lifecycle(ph, periods=5, end=END)
    assert [(r.bucket, r.new, r.returning, r.resurrecting, r.dormant) for r in result] == [
        (WEEKS[0], 1, 0, 0, 0),
        (WEEKS[1], 4, 1, 0, 0),
        (WEEKS[2], 0, 1, 0, 4),
        (WEEKS[3], 0, 0, 1, 1),
        (WEEKS[4], 0, 0, 0, 1),
    ]
    # The week before the first one is looked at, too.
    later = await recipes.lifecycle(ph, periods=4, end=END)
    assert later.rows == result.rows[1:]


async def test_warehouse_sync(ph: AsyncPostHog, tmp_path: Path) -> None:
    import polars

    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[int] = []
    for end in (datetime(2026, 1, 7, tzinfo=UTC), END):
        result = await recipes.warehouse_sync(ph, tmp_path / "warehouse", start=start, end=end)
        rows.append(result[0].rows)
        assert (result[1].table, result[1].rows) == ("persons", 5)
    assert rows == [12, 5]
    events = polars.read_parquet(tmp_path / "warehouse" / "events" / "*" / "**" / "*.parquet")
    assert (len(events), events["uuid"].n_unique()) == (17, 17)
    persons = polars.read_parquet(tmp_path / "warehouse" / "persons.parquet")
    assert len(persons) == 5


async def test_top_events_and_the_report(ph: AsyncPostHog, tmp_path: Path) -> None:
    top = await recipes.top_events(ph, days=40, end=END, limit=2)
    assert [(row.event, row.events, row.persons) for row in top] == [
        ("visit", 7, 5),
        ("signup", 4, 4),
    ]
    report = await recipes.project_report(ph, days=40, end=END, title="A <b> report")
    assert report.funnel is not None
    assert report.funnel_guessed
    assert [step.event for step in report.funnel.steps] == ["visit", "signup", "pay"]
    await report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "A &lt;b&gt; report" in page
    # Nothing is loaded: no scripts, style sheets, pictures or fonts.
    assert "<script" not in page
    assert "<link" not in page
    assert "src=" not in page
    assert "url(http" not in page
    with pytest.raises(ValueError, match="at least 2 steps, not 1"):
        await recipes.project_report(ph, steps=["visit"])


async def test_a_range_without_events_gives_empty_labelled_charts(
    ph: AsyncPostHog, tmp_path: Path
) -> None:
    end = datetime(2020, 1, 1, tzinfo=UTC)
    results: list[recipes.RecipeResult[Any]] = [
        await recipes.power_users(ph, end=end),
        await recipes.churn_risk(ph, end=end),
        await recipes.user_journey(ph, "ada", end=end),
        await recipes.funnel_drop_off(ph, ["visit", "pay"], end=end),
        await recipes.funnel_drop_off(ph, ["visit", "pay"], breakdown="$browser", end=end),
        await recipes.feature_impact(ph, "pay", end),
        await recipes.error_impact(ph, outcome="pay", end=end),
        await recipes.cohort_comparison(ph, {"free": {"plan": "free"}}, end=end),
        await recipes.marketing_channels(ph, "signup", "pay", end=end),
        await recipes.retention(ph, end=end),
        await recipes.trends(ph, "visit", end=end),
        await recipes.trends(ph, "visit", breakdown="$browser", end=end),
        await recipes.stickiness(ph, end=end),
        await recipes.lifecycle(ph, end=end),
        await recipes.top_events(ph, end=end),
    ]
    for result in results:
        figure = result.figure()
        assert "2019" in figure.empty
        assert figure.title
        drawn = result.plot().to_dict()
        assert figure.empty in str(drawn)
        assert drawn["title"]["text"] == figure.title
        assert result.to_polars().columns == list(result.columns)
    results[0].save(tmp_path / "empty.svg")
    assert results[0].figure().empty in (tmp_path / "empty.svg").read_text(encoding="utf-8")
    report = await recipes.project_report(ph, end=end)
    assert report.funnel is None
    assert len(report.parts()) == 3


def test_recipes_run_on_trio(ph: AsyncPostHog, tmp_path: Path) -> None:
    async def main() -> tuple[recipes.PowerUsers, recipes.WarehouseSync]:
        users = await recipes.power_users(ph, min_events=5, days=40, end=END)
        start = datetime(2026, 1, 20, tzinfo=UTC)
        sync = await recipes.warehouse_sync(ph, tmp_path, start=start, end=END, persons=False)
        return users, sync

    users, sync = anyio.run(main, backend="trio")
    assert [row.distinct_id for row in users] == ["dan"]
    assert [(row.table, row.rows) for row in sync] == [("events", 1)]


async def test_a_funnel_with_one_step_is_an_error(ph: AsyncPostHog) -> None:
    for steps in ([], ["visit"], "visit", recipes.Event("visit")):
        with pytest.raises(ValueError, match=r"a funnel needs at least 2 steps, not [01]"):
            await recipes.funnel_drop_off(ph, steps)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window must be positive"):
        await recipes.funnel_drop_off(ph, ["a", "b"], window=timedelta(0))
    with pytest.raises(ValueError, match="from 1 to 12, not 13"):
        await recipes.funnel_drop_off(ph, [f"e{i}" for i in range(13)])
