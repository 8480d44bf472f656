"""Dates of insights: relative ones, ranges with their intervals, and ranges compared to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthog_emulator.features.query.dates import (
    UNITS,
    add_units,
    bucket_sql,
    compared_period,
    parse_date,
    query_period,
    start_of,
)
from posthog_emulator.features.query.runner import run_rows

from .insight_events import NOW, ZONE, project

WEDNESDAY = datetime(2026, 5, 13, 15, 45, 30, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("-7d", "2026-05-06 15:45:30"),
        ("7d", "2026-05-06 15:45:30"),
        ("-36h", "2026-05-12 03:45:30"),
        ("-2w", "2026-04-29 15:45:30"),
        ("-3m", "2026-02-13 15:45:30"),
        ("-90M", "2026-05-13 14:15:30"),
        ("-30s", "2026-05-13 15:45:00"),
        ("-1q", "2026-02-11 15:45:30"),
        ("-1y", "2025-05-13 15:45:30"),
        ("dStart", "2026-05-13 00:00:00"),
        ("-1dStart", "2026-05-12 00:00:00"),
        ("-1dEnd", "2026-05-12 23:59:59.999999"),
        ("hStart", "2026-05-13 15:00:00"),
        ("mStart", "2026-05-01 15:45:30"),
        ("-3mEnd", "2026-02-28 15:45:30"),
        ("yStart", "2026-01-01 15:45:30"),
        ("qStart", "2026-04-01 15:45:30"),
        ("2026-05-01", "2026-05-01 00:00:00"),
        ("2026-5-1", "2026-05-01 00:00:00"),
        ("2026-05-01T10:00:00", "2026-05-01 10:00:00"),
        ("2026-05-01T10:00:00Z", "2026-05-01 06:00:00"),
        ("anything", "2026-05-13 15:45:30"),
    ],
)
def test_texts(text: str, wanted: str) -> None:
    found = parse_date(text, WEDNESDAY)[0]
    assert found == datetime.fromisoformat(wanted).replace(tzinfo=ZONE)
    assert found.tzinfo == ZONE


def test_months_end_on_their_last_day() -> None:
    march = datetime(2026, 3, 31, 9, tzinfo=ZONE)
    assert parse_date("-1m", march)[0].day == 28
    assert parse_date("-1y", datetime(2028, 2, 29, tzinfo=ZONE))[0].day == 28


def span(unit: str = "day", **given: Any) -> tuple[str, str, str]:
    """Start and end of a range, and the time from which events count."""
    query = {"dateRange": given, "interval": unit}
    found = query_period(project().session, query)
    texts = (found.start, found.end, found.lower())
    return tuple(at.strftime("%m-%d %H:%M:%S") for at in texts)  # pyright: ignore


def test_ranges() -> None:
    # It is 14 March, 12:30 in New York.
    assert span() == ("03-07 00:00:00", "03-14 23:59:59", "03-07 00:00:00")
    assert len(query_period(project().session, {}).buckets()) == 8
    assert span(date_from="-24h") == ("03-13 12:00:00", "03-14 23:59:59", "03-13 12:00:00")
    assert span("hour", date_from="-24h") == ("03-13 12:00:00", "03-14 12:59:59", "03-13 12:00:00")
    assert span("hour", date_from="-1d") == ("03-13 00:00:00", "03-14 12:59:59", "03-13 00:00:00")
    assert span("minute", date_from="-3h") == (
        "03-14 09:30:00", "03-14 12:30:59", "03-14 09:30:00"
    )  # fmt: skip
    assert span("week", date_from="2026-03-04") == (
        "03-04 00:00:00", "03-14 23:59:59", "03-04 00:00:00"
    )  # fmt: skip
    assert span("month", date_from="2026-03-04")[2] == "03-01 00:00:00"
    assert span(date_from="2026-03-01", date_to="2026-03-05T10:00:00") == (
        "03-01 00:00:00", "03-05 23:59:59", "03-01 00:00:00"
    )  # fmt: skip
    given = {"date_from": "2026-03-01T06:00:00", "date_to": "2026-03-05T10:00:00"}
    assert span("hour", **given) == ("03-01 06:00:00", "03-05 10:00:00", "03-01 06:00:00")
    assert span(**given, explicitDate=True) == (
        "03-01 06:00:00", "03-05 10:00:00", "03-01 06:00:00"
    )  # fmt: skip
    assert span(date_from="mStart", date_to="-1d") == (
        "03-01 00:00:00", "03-13 23:59:59", "03-01 00:00:00"
    )  # fmt: skip


def previous(unit: str = "day", to: str | None = None, **given: Any) -> tuple[str, str]:
    query = {"dateRange": given, "interval": unit, "compareFilter": {"compare": True,
                                                                     "compare_to": to}}  # fmt: skip
    session = project().session
    found = compared_period(session, query, query_period(session, query))
    assert found is not None
    return found.start.strftime("%m-%d %H:%M:%S"), found.end.strftime("%m-%d %H:%M:%S")


def test_ranges_compared_to() -> None:
    assert previous(date_from="-7d") == ("02-28 00:00:00", "03-07 23:59:59")
    assert previous(date_from="-14d") == ("02-14 00:00:00", "02-28 23:59:59")
    assert previous(date_from="-3d") == ("03-07 00:00:00", "03-10 23:59:59")
    assert previous("week", date_from="-7d") == ("02-27 00:00:00", "03-06 23:59:59")
    assert previous(date_from="2026-03-05", date_to="2026-03-06") == (
        "03-03 00:00:00", "03-04 23:59:59"
    )  # fmt: skip
    assert previous("hour", date_from="-24h") == ("03-12 12:00:00", "03-13 12:59:59")
    assert previous(date_from="mStart") == ("02-01 00:00:00", "02-28 23:59:59")
    assert previous(date_from="-3d", to="-1m") == ("02-11 00:00:00", "02-14 23:59:59")
    assert previous(date_from="-3d", to="-1w") == ("03-04 00:00:00", "03-07 23:59:59")


@given(
    seconds=st.integers(1_500_000_000, 1_900_000_000),
    unit=st.sampled_from(UNITS),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Europe/Berlin"]),
    count=st.integers(-30, 30),
)
def test_starts_of_units(seconds: int, unit: str, zone: str, count: int) -> None:
    at = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    start = start_of(at, unit, 1)
    assert start.timestamp() <= at.timestamp()
    assert start_of(start, unit, 1) == start
    assert at.timestamp() < add_units(start, unit, 1).timestamp()
    assert start_of(add_units(start, unit, count), unit, 1) == add_units(start, unit, count)


def test_intervals_are_those_of_the_engine() -> None:
    """The database puts each of many times in the interval that starts in Python."""
    session = project().session
    times = [NOW - timedelta(hours=37 * number) for number in range(400)]
    units = UNITS[1:]
    starts = ", ".join(bucket_sql(unit, "at") for unit in units)
    local = "toTimeZone(fromUnixTimestamp(arrayJoin({times})), 'America/New_York')"
    rows = run_rows(
        session,
        f"SELECT {starts} FROM (SELECT {local} AS at) ORDER BY at DESC LIMIT 400",
        {"times": [int(at.timestamp()) for at in times]},
    )
    for at, row in zip(times, rows, strict=True):
        own = at.astimezone(ZONE)
        assert row == [int(start_of(own, unit, 1).timestamp()) for unit in units], own
