"""`recipes` and `report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from posthog_emulator import Emulator

from .conftest import Program

END = ("--end", "2026-02-01")


@pytest.fixture(scope="module", autouse=True)
def events(emulator: Emulator) -> None:
    """A funnel of three persons."""
    rows: list[dict[str, object]] = []
    for number in range(3):
        for hour, event in enumerate(["visit", "signup", "pay"][: number + 1]):
            time = f"2026-01-{10 + number}T{9 + hour:02}:00:00Z"
            properties = {"$set": {"plan": "paid" if number == 2 else "free"}}
            rows.append(
                {
                    "event": event,
                    "distinct_id": f"p{number}",
                    "timestamp": time,
                    "properties": properties,
                }
            )
    emulator.state.events.append(emulator.project_id, rows)


def test_a_recipe_prints_its_rows_for_programs(program: Program) -> None:
    result = program("recipes", "funnel", "visit", "signup", "pay", "--days", "40", *END)
    assert (result.status, result.err) == (0, "")
    assert [(row["name"], row["persons"]) for row in result.lines] == [
        ("visit", 3),
        ("signup", 2),
        ("pay", 1),
    ]
    assert result.lines[1]["median_seconds"] == 3600
    result = program("recipes", "power-users", "--min-events", "3", "--format", "json", *END)
    assert [row["distinct_id"] for row in result.json] == ["p2"]


def test_a_table_has_a_chart_below_it(program: Program) -> None:
    result = program("recipes", "stickiness", "--periods", "30", "--format", "table", *END)
    assert result.status == 0
    assert "Stickiness: in how many days persons did anything" in result.out
    assert "1 ███" in result.out
    assert "3 · 100 %" in result.out
    assert "active   persons   share" in result.out


def test_every_recipe_is_a_command(program: Program, tmp_path: Path) -> None:
    commands = {
        "churn-risk": ["--min-events", "1"],
        "feature-impact": ["pay", "--launched", "2026-01-12", "--metric", "events"],
        "error-impact": ["--outcome", "pay"],
        "cohort-comparison": ["free=plan:free", "paid=plan:paid", "--outcome", "pay"],
        "marketing-channels": ["--signup", "signup", "--conversion", "pay", "--by", "person.plan"],
        "user-journey": ["p1"],
        "retention": ["--start-event", "visit", "--interval", "month", "--periods", "2"],
        "trends": ["visit", "pay", "--measure", "persons", "--interval", "week"],
        "lifecycle": ["--periods", "5"],
        "top-events": ["--limit", "2"],
    }
    for name, arguments in commands.items():
        end = () if name == "feature-impact" else END
        result = program("recipes", name, *arguments, *end, "--format", "json")
        assert result.status == 0, (name, result.err)
        assert isinstance(result.json, list)
        assert result.json or name == "error-impact"
    folder = tmp_path / "warehouse"
    result = program("recipes", "warehouse-sync", str(folder), "--start", "2026-01-01", *END)
    assert [(row["table"], row["rows"]) for row in result.lines] == [("events", 6), ("persons", 3)]


def test_charts_and_reports_are_written(program: Program, tmp_path: Path) -> None:
    chart, report = tmp_path / "chart.svg", tmp_path / "report.html"
    result = program("recipes", "trends", "visit", "--chart", str(chart), *END)
    assert result.status == 0
    assert "Trends: events per day" in chart.read_text(encoding="utf-8")
    again = program("recipes", "trends", "visit", "--chart", str(chart), *END)
    assert (again.status, again.out) == (2, "")
    assert "--overwrite" in again.err
    steps = ("--step", "visit", "--step", "pay")
    result = program("report", "--out", str(report), *steps, "--title", "Shop", *END)
    assert (result.status, result.out) == (0, "")
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "<h1>Shop</h1>" in page
    result = program("report", "--out", str(report), *END)
    assert result.status == 2
    assert "exists" in result.err


def test_wrong_usage_says_what_to_do(program: Program, tmp_path: Path) -> None:
    for arguments, message in (
        (["recipes", "funnel", "visit"], "a funnel needs at least 2 steps, not 1"),
        (["recipes", "trends", "visit", "--timezone", "Mars"], "there is no time zone 'Mars'"),
        (["recipes", "power-users", "--end", "soon"], "--end must be a date or a timestamp"),
        (["recipes", "cohort-comparison", "free"], "A group is NAME=GROUP, not 'free'"),
        (["recipes", "cohort-comparison", "a=b"], "the id of a cohort or PROPERTY:VALUE"),
        (["recipes", "cohort-comparison", "a=1", "a=2"], "two groups 'a'"),
        (["recipes", "trends", "visit", "--chart", "x.pdf"], ".png, .svg, .html"),
        (["recipes", "trends", "visit", "--chart", "no/x.svg"], "There is no folder no"),
        (["report", "--out", "report.pdf"], "ends in .html"),
        (["report", "--out", str(tmp_path / "r.html"), "--step", "a"], "at least 2 steps"),
    ):
        result = program(*arguments)
        assert result.status == 2, arguments
        assert message in result.err
        assert result.out == ""
