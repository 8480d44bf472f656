"""Days, weeks and months of a time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.recipes.periods import Interval, last_days, make_buckets

INTERVALS: tuple[Interval, ...] = ("day", "week", "month")
ZONES = ("UTC", "Europe/Prague", "America/St_Johns", "Pacific/Apia")


@given(
    st.sampled_from(INTERVALS),
    st.integers(1, 30),
    st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(ZONES),
)
@settings(max_examples=60)
def test_the_last_bucket_has_the_time_before_the_end(
    interval: Interval, count: int, end: datetime, zone: str
) -> None:
    buckets = make_buckets(interval, count, end, zone)
    last = (end - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date()
    assert len(buckets.starts) == count
    assert list(buckets.starts) == sorted(set(buckets.starts))
    assert buckets.starts[-1] <= last
    first = buckets.period.start.astimezone(ZoneInfo(zone))
    assert first.date() == buckets.starts[0]
    assert buckets.earlier() < buckets.period.start < buckets.period.end == end
    for start in buckets.starts:
        assert interval != "week" or start.weekday() == 0
        assert interval != "month" or start.day == 1


def test_a_bucket_is_unfinished_until_the_next_one_begins() -> None:
    nexts: dict[Interval, int] = {"day": 2, "week": 5, "month": 1}
    for interval, over in nexts.items():
        month = 2 if interval == "month" else 1
        end = datetime(2026, month, over, tzinfo=UTC)
        assert not make_buckets(interval, 1, end).unfinished
        assert make_buckets(interval, 1, end + timedelta(microseconds=1)).unfinished
    # Summer time begins on 29 March 2026: the day has 23 hours.
    short = make_buckets("day", 1, datetime(2026, 3, 29, 22, tzinfo=UTC), "Europe/Prague")
    assert short.starts == (date(2026, 3, 29),)
    assert not short.unfinished


def test_the_text_of_a_period_has_its_last_day() -> None:
    assert str(last_days(31, datetime(2026, 2, 1, tzinfo=UTC))) == "1 Jan 2026 to 31 Jan 2026"


def test_invalid_arguments_are_rejected() -> None:
    end = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="without a time zone"):
        last_days(1, datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="days must be at least 1, not 0"):
        last_days(0, end)
    with pytest.raises(TypeError, match="days must be an int, not float"):
        last_days(1.5, end)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="interval must be day, week or month"):
        make_buckets("year", 1, end)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no time zone 'Mars'"):
        make_buckets("day", 1, end, "Mars")
    with pytest.raises(ValueError, match="periods must be from 1 to 1,000"):
        make_buckets("day", 1001, end)
