"""PostHog's tables in DuckDB over a real socket."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from posthog_emulator import Emulator
from tests.integration.data.conftest import END, ROWS
from tests.integration.data.test_polars import MIDDLE, START, Spy


@pytest.fixture(scope="module")
def spy(data_emulator: Emulator, data_url: str) -> Spy:
    return Spy(data_emulator, data_url)


@pytest.fixture(scope="module")
def con(spy: Spy) -> Iterator[Any]:
    from asyncposthog.contrib.duckdb import connect

    connection = connect(spy.client, tables={"notes": spy.client.annotations.list()})
    connection.execute("SET TimeZone = 'UTC'").fetchall()
    yield connection
    connection.close()


def test_range_and_columns_reach_the_server(con: Any, spy: Spy, data_emulator: Emulator) -> None:
    spy.queries.clear()
    rows = con.sql(
        f"SELECT event, count(*) FROM posthog_events WHERE timestamp >= '{MIDDLE}' "
        f"AND timestamp < '{END}' GROUP BY ALL"
    ).fetchall()
    expected = data_emulator.state.events.read(
        f"SELECT event, count() FROM events WHERE timestamp >= '{MIDDLE:%F %T}' GROUP BY event"
    )
    assert Counter(dict(rows)) == Counter(dict(expected))
    pages = [query for query in spy.queries if "export_key" in query]
    assert pages
    # The columns that the query needs, and those that order the rows.
    assert {query.partition(" AS export_time")[0] for query in pages} == {
        "SELECT event, toString(events.timestamp, 'UTC')"
    }


def test_every_form_of_a_condition_has_the_right_rows(con: Any) -> None:
    con.execute(f"CREATE TABLE copy AS FROM posthog_events WHERE timestamp >= '{START}'").fetchall()
    assert con.sql("SELECT count(*) FROM copy").fetchall() == [(ROWS,)]
    for condition in (
        f"timestamp BETWEEN '{MIDDLE}' AND '{END}' AND event = '$pageview'",
        f"timestamp > '{START}' AND (timestamp < '{MIDDLE}' OR event = 'a) and (b\"')",
        f"timestamp >= '{START}' AND hour(timestamp) < 5",
        f"timestamp >= '{START}' AND event LIKE '%page%' AND distinct_id <> 'timestamp'",
    ):
        found = con.sql(f"SELECT uuid FROM posthog_events WHERE {condition}").fetchall()
        expected = con.sql(f"SELECT uuid FROM copy WHERE {condition}").fetchall()
        assert sorted(found) == sorted(expected), condition


def test_joins_lists_and_other_tables(con: Any) -> None:
    rows = con.execute(
        "SELECT count(*) FROM posthog_events e JOIN posthog_persons p ON e.person_id = p.id "
        "WHERE e.timestamp >= ?",
        [START],
    ).fetchall()
    assert rows == [(ROWS,)]
    assert con.sql("SELECT count(*) FROM posthog_cohorts").fetchall() == [(3,)]
    assert con.sql("SELECT name FROM posthog_cohorts WHERE id::INT < 0").fetchall() == []
    assert con.sql("SELECT count(*) FROM notes").fetchall() == [(0,)]
    assert con.sql("SELECT count(*) FROM posthog_groups").fetchall()[0][0] >= 0
    sessions = f"SELECT count(*) FROM posthog_sessions WHERE \"$start_timestamp\" >= '{START}'"
    assert con.sql(sessions).fetchall()[0][0] > 0


def test_reading_stops_with_the_query(con: Any) -> None:
    query = f"SELECT uuid FROM posthog_events WHERE timestamp >= '{START}' LIMIT 1"
    assert len(con.sql(query).fetchall()) == 1
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    assert "asyncposthog event loop" not in names


def test_bad_input(con: Any, spy: Spy) -> None:
    import duckdb

    from asyncposthog.contrib.duckdb import connect

    with pytest.raises(Exception, match="no start of timestamp"):
        con.sql("SELECT count(*) FROM posthog_events").fetchall()
    with pytest.raises(duckdb.Error, match="nope"):
        con.sql("SELECT nope FROM posthog_events")
    with pytest.raises(ValueError, match="time zone"):
        connect(spy.client, start=datetime(2026, 1, 1))
    bounded = connect(spy.client, start=END - timedelta(days=1), end=END)
    count: Any = bounded.sql("SELECT count(*) FROM posthog_events").fetchall()
    assert 0 < count[0][0] < ROWS
    bounded.close()


@pytest.mark.parametrize(
    ("text", "start", "end", "complete"),
    [
        ("(timestamp >= 1970-01-01 00:00:01Z)", 1_000_000, None, True),
        ("((t > 1970-01-01 00:00:01Z) and (timestamp < 1970-01-01 00:00:02Z))", None, 2_000_000,
         False),
        ("((timestamp == 1970-01-01 00:00:00.000007Z) and is_valid(timestamp))", 7, 8, False),
        ('((e == "\\") and (timestamp < 1970-01-01 00:00:00Z") and (timestamp <= '
         "1970-01-01 00:00:00Z))", None, 1, False),
        ("((timestamp > 1970-01-01 00:00:00Z) or (a == 1))", None, None, False),
        ("(timestamp >= 1970-01-01 00:00:00.000000001Z)", None, None, False),
    ],
)  # fmt: skip
def test_ranges_of_printed_filters(
    text: str, start: int | None, end: int | None, complete: bool
) -> None:
    from asyncposthog.contrib.duckdb import time_range
    from asyncposthog.export.table_scan import TimeRange

    assert time_range(text, "timestamp") == (TimeRange(start, end), complete)
