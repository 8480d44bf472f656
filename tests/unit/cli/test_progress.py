"""The progress display of an export."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from asyncposthog import RateLimits
from asyncposthog.cli.progress import budget, duration, render_bar, show_progress, snapshot
from asyncposthog.rate_limits.status import BucketStatus


@dataclass(frozen=True)
class ProgressSource:
    rows: int = 600_000
    expected: int | None = 1_000_000
    windows: int = 12
    windows_total: int = 20
    requests: int = 13
    waits: int = 0
    elapsed: float = 10.0
    rows_before: int = 100_000


def bucket(limit: int, seconds: float, remaining: int) -> BucketStatus:
    return BucketStatus(
        limit=limit, seconds=seconds, share=limit, used=limit - remaining,
        remaining=remaining, reset=0, waiting=0, blocked_for=0,
    )  # fmt: skip


LIMITS = RateLimits(
    buckets={
        "api_queries_burst": bucket(240, 60, 200),
        "api_queries_sustained": bucket(2400, 3600, 1000),
        "slots of project 1": bucket(3, 0, 0),
    }
)


def test_rate_and_remaining_time_of_this_run() -> None:
    shown = snapshot(ProgressSource(), LIMITS)
    assert shown.rate == 50_000
    assert shown.remaining_seconds == 8
    assert shown.fraction == 0.6
    later = snapshot(ProgressSource(), LIMITS, seconds_since=10)
    assert later.rate == 25_000
    assert later.remaining_seconds == 16


def test_fraction_of_windows_without_a_count() -> None:
    shown = snapshot(ProgressSource(expected=None), None)
    assert shown.fraction == 0.6
    assert shown.remaining_seconds == pytest.approx(20 / 3)
    assert shown.budget is None


def test_a_low_estimate_does_not_exceed_all() -> None:
    shown = snapshot(ProgressSource(rows=1_200_000), None)
    assert (shown.fraction, shown.expected, shown.remaining_seconds) == (1.0, 1_200_000, 0)


def test_no_division_by_zero_at_the_start() -> None:
    for numbers in (
        ProgressSource(0, None, 0, 0, 0, 0, 0.0, 0),
        ProgressSource(0, 0, 0, 1, 1, 0, 0.0, 0),
    ):
        shown = snapshot(numbers, RateLimits())
        assert (shown.rate, shown.remaining_seconds, shown.budget) == (0, None, None)


def test_budget_of_the_tightest_limit() -> None:
    assert budget(LIMITS) == "1,000/2,400 an hour"
    odd = RateLimits(buckets={"x": bucket(10, 300, 4)})
    assert budget(odd) == "4/10 in 300 s"


def test_durations() -> None:
    assert [duration(s) for s in (0, 7.4, 61, 3725)] == ["0:00", "0:07", "1:01", "1:02:05"]


def test_bar_has_two_lines() -> None:
    from rich.console import Console

    console = Console(width=120, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(render_bar("events", snapshot(ProgressSource(waits=2), LIMITS)))
    first, second = captured.get().splitlines()
    assert first.startswith("events ━")
    assert "60% 600,000 of about 1,000,000 rows" in first
    assert second == (
        "50,000 rows/s · windows 12/20 · 13 requests, 2 waits · "
        "budget 1,000/2,400 an hour · 0:10, 0:08 to go"
    )


def test_json_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("json", "events", lambda: LIMITS) as told:
        assert told is not None
        for rows in range(100_000, 600_000, 100_000):
            told(replace(ProgressSource(), rows=rows))
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert (lines[0]["rows"], lines[-1]["rows"]) == (100_000, 500_000)
    assert lines[-1]["budget"] == "1,000/2,400 an hour"


@pytest.mark.parametrize("form", ["none", "auto"])
def test_no_progress_without_a_terminal(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("none" if form == "none" else "auto", "events", RateLimits) as told:
        assert told is None
    assert capsys.readouterr() == ("", "")
