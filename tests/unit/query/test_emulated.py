"""Queries against the emulator, from SQL to rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from asyncposthog import AsyncPostHog, QueryError, TruncatedResultWarning, models
from posthog_emulator import Emulator

START = datetime(2026, 1, 1, tzinfo=UTC)
SHARED = 7


@pytest.fixture
def emulator() -> Emulator:
    """An emulator with 700 events, seven at each of 100 microseconds."""
    made = Emulator()
    made.state.events.append(
        made.project_id,
        [
            {
                "event": "$pageview" if i % 2 else "it's",
                "distinct_id": f"user-{i % 10}",
                "timestamp": START + timedelta(microseconds=i // SHARED),
                "uuid": str(UUID(int=1_000_000 - i)),
                "properties": {"n": i, "$browser": "Chrome"},
            }
            for i in range(700)
        ],
    )
    return made


@pytest.fixture
async def ph(emulator: Emulator) -> AsyncIterator[AsyncPostHog]:
    async with AsyncPostHog.emulated(emulator) as client:
        yield client


pytestmark = pytest.mark.anyio


async def test_counts(ph: AsyncPostHog) -> None:
    result = await ph.query(
        "SELECT event, count() AS n FROM events GROUP BY event ORDER BY event LIMIT 10"
    )
    assert result.columns == ("event", "n")
    assert result.rows == [("$pageview", 350), ("it's", 350)]
    assert (await ph.query("SELECT count() FROM events")).scalar() == 700


async def test_values(ph: AsyncPostHog) -> None:
    since = START + timedelta(microseconds=50)
    sql = "SELECT count() FROM events WHERE timestamp >= {since} AND event IN {names}"
    both = await ph.query(sql, {"since": since, "names": ["$pageview", "it's"]})
    assert both.scalar() == 350  # exact to the microsecond
    one = await ph.query(sql, {"since": since.astimezone(), "names": ["it's"]})
    assert one.scalar() == 175
    by_id = await ph.query(
        "SELECT uuid, timestamp FROM events WHERE uuid = {id}", {"id": UUID(int=1_000_000)}
    )
    assert by_id.rows == [(UUID(int=1_000_000), START)]


async def test_truncated_results(ph: AsyncPostHog) -> None:
    with pytest.warns(TruncatedResultWarning, match="100 rows"):
        result = await ph.query("SELECT uuid FROM events")
    assert (len(result), result.has_more, result.truncated) == (100, True, True)
    result = await ph.query("SELECT uuid FROM events LIMIT 200")
    assert (len(result), result.has_more, result.truncated) == (200, None, False)


async def test_cache(ph: AsyncPostHog, emulator: Emulator) -> None:
    sql = "SELECT count() FROM events"
    assert not (await ph.query(sql)).is_cached
    emulator.state.events.append(emulator.project_id, [{"event": "x", "distinct_id": "y"}])
    kept = await ph.query(sql, refresh="blocking")
    assert (kept.is_cached, kept.scalar()) == (True, 700)
    assert kept.last_refresh is not None
    assert (await ph.query(sql)).scalar() == 701


async def test_in_the_background(ph: AsyncPostHog, emulator: Emulator) -> None:
    emulator.settings.query_seconds = 0.01
    result = await ph.query("SELECT count() FROM events", mode="async")
    assert result.scalar() == 700
    assert result.types == (await ph.query("SELECT count() FROM events")).types
    with pytest.raises(QueryError):
        await ph.query("SELECT nothing_of_that_name FROM events", mode="async")


async def test_errors(ph: AsyncPostHog) -> None:
    for sql in ("SELECT nothing FROM events", "SELEC 1", "SELECT uuid FROM events OFFSET 3"):
        with pytest.raises(QueryError) as caught:
            await ph.query(sql)
        assert caught.value.status == 400
        assert caught.value.suggestion, caught.value


@pytest.mark.parametrize("page_size", [33, 100, 699, 700, 50_000])
async def test_streams(ph: AsyncPostHog, page_size: int) -> None:
    sql = "SELECT uuid, timestamp, properties.n AS n FROM events WHERE timestamp >= {start}"
    found: list[Any] = []
    stream = ph.query.stream(
        sql, ("timestamp", "uuid"), values={"start": START}, page_size=page_size
    )
    async for _, timestamp, n in stream:
        found.append((int(n), timestamp))
    assert sorted(found) == [(i, START + timedelta(microseconds=i // SHARED)) for i in range(700)]
    assert [t for _, t in found] == sorted(t for _, t in found)
    by_uuid = [row async for row in ph.query.stream("SELECT uuid FROM events", page_size=page_size)]
    assert len(set(by_uuid)) == len(by_uuid) == 700


async def test_a_stream_of_groups(ph: AsyncPostHog) -> None:
    sql = "SELECT distinct_id, count() AS n FROM events GROUP BY distinct_id"
    rows = [row async for row in ph.query.stream(sql, "distinct_id", page_size=3)]
    assert rows == [(f"user-{i}", 70) for i in range(10)]


async def test_insights(ph: AsyncPostHog) -> None:
    source = {"kind": "HogQLQuery", "query": "SELECT count() AS n FROM events"}
    query = {"kind": "DataVisualizationNode", "source": source}
    insight = await ph.insights.create(name="Events", query=query)
    first = await ph.insights.result(insight.id)
    assert first.rows == [(700,)]
    again = await ph.insights.result(insight.id, max_age=timedelta(hours=1))
    assert again.last_refresh == first.last_refresh
    assert (await ph.insights.result(insight.id, max_age=0)).scalar() == 700
    assert (await ph.insights.result(insight.id, max_age=0, mode="async")).scalar() == 700


async def test_trends(ph: AsyncPostHog) -> None:
    series: list[Any] = [models.EventsNode(event="$pageview")]
    date_range = models.DateRange(date_from="2026-01-01", date_to="2026-01-02")
    result = await ph.query(models.TrendsQuery(series=series, date_range=date_range))
    assert result.results[0]["count"] == 350
