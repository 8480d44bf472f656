"""The `recipes` commands, `report`, and their options. What they do is imported when they run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import expand_groups
from .runner import run_async

__all__ = ["recipes", "report"]

recipes = typer.Typer(
    name="recipes",
    no_args_is_help=True,
    help="Answers to common questions, as a table and a chart.",
    rich_markup_mode=None,
)


class RecipeFormatChoice(StrEnum):
    """Format of the rows of a recipe."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class IntervalChoice(StrEnum):
    """Length of a bucket."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class MeasureChoice(StrEnum):
    """What trends count."""

    EVENTS = "events"
    PERSONS = "persons"
    SESSIONS = "sessions"


class MetricChoice(StrEnum):
    """What a feature's impact compares."""

    SHARE = "share"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes."""

    format: Annotated[
        RecipeFormatChoice,
        typer.Option("--format", help="auto: a table and a chart on a terminal, else JSON lines."),
    ] = RecipeFormatChoice.AUTO
    chart: Annotated[
        Path | None,
        typer.Option("--chart", metavar="FILE", help="Write the chart as .png, .svg or .html."),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "--force", help="Replace the FILE of --chart.")
    ] = False


@dataclass(frozen=True, slots=True)
class Days:
    """The period."""

    days: Annotated[int, typer.Option("--days", min=1, help="Days before the end.")] = 30
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="ISO 8601; default: now.")
    ] = None


@dataclass(frozen=True, slots=True)
class Buckets:
    """Days, weeks or months."""

    interval: Annotated[
        IntervalChoice | None, typer.Option("--interval", help="day, week or month.")
    ] = None
    periods: Annotated[
        int | None, typer.Option("--periods", min=1, help="How many days, weeks or months.")
    ] = None
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="NAME", help="Where days begin.")
    ] = "UTC"
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="ISO 8601; default: now.")
    ] = None


EventOption = Annotated[
    str | None, typer.Option("--event", metavar="EVENT", help="Which events; default: all.")
]
Outcome = Annotated[
    str | None,
    typer.Option("--outcome", metavar="EVENT", help="An event whose share is compared."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number of rows.")]
MinEvents = Annotated[int, typer.Option("--min-events", min=1, help="Least events of a person.")]
Confidence = Annotated[float, typer.Option("--confidence", help="Of the intervals.")]


@recipes.callback()
def common() -> None:
    """Answers to common questions, as a table and a chart."""


def _run(name: str, output: Output, *positional: Any, **arguments: Any) -> None:
    async def work() -> None:
        from .recipes import run_recipe

        await run_recipe(
            name,
            positional,
            arguments,
            output.format.value,
            output.chart,
            overwrite=output.overwrite,
        )

    run_async(work)


def _buckets(buckets: Buckets) -> dict[str, Any]:
    """Return the given options; the recipe has the defaults of the others."""
    given = {
        "interval": None if buckets.interval is None else buckets.interval.value,
        "periods": buckets.periods,
        "timezone": buckets.timezone,
        "end": buckets.end,
    }
    return {name: value for name, value in given.items() if value is not None}


@recipes.command("power-users")
@expand_groups
def power_users(
    event: EventOption = None,
    min_events: MinEvents = 10,
    limit: Limit = 50,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """Who has the most events?"""
    _run(
        "power_users", output, event, min_events=min_events, limit=limit,
        days=period.days, end=period.end,
    )  # fmt: skip


@recipes.command("churn-risk")
@expand_groups
def churn_risk(
    event: EventOption = None,
    inactive_days: Annotated[
        int, typer.Option("--inactive-days", min=1, help="Days without an event.")
    ] = 14,
    min_events: MinEvents = 5,
    days: Annotated[int, typer.Option("--days", min=2, help="Days before the end.")] = 90,
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="ISO 8601; default: now.")
    ] = None,
    limit: Limit = 50,
    output: Output = Output(),
) -> None:
    """Who was active, and is no longer?"""
    _run(
        "churn_risk", output, event, inactive_days=inactive_days, min_events=min_events,
        days=days, end=end, limit=limit,
    )  # fmt: skip


@recipes.command("funnel")
@expand_groups
def funnel(
    steps: Annotated[list[str], typer.Argument(metavar="EVENT EVENT …", help="The steps.")],
    window: Annotated[
        float, typer.Option("--window", metavar="DAYS", help="From the first step to the last.")
    ] = 14,
    breakdown: Annotated[
        str | None,
        typer.Option("--breakdown", metavar="PROPERTY", help="person.NAME: of the person."),
    ] = None,
    breakdown_limit: Annotated[
        int, typer.Option("--breakdown-limit", min=1, max=25, help="Values to tell apart.")
    ] = 5,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """Where do persons drop out, and how long does each step take?"""
    _run(
        "funnel_drop_off", output, steps, window=window, breakdown=breakdown,
        breakdown_limit=breakdown_limit, days=period.days, end=period.end,
    )  # fmt: skip


@recipes.command("feature-impact")
@expand_groups
def feature_impact(
    event: Annotated[str, typer.Argument(help="The event that the feature is to change.")],
    launched: Annotated[
        str, typer.Option("--launched", metavar="TIME", help="The launch, as ISO 8601.")
    ],
    metric: Annotated[
        MetricChoice, typer.Option("--metric", help="share of persons, or events per person.")
    ] = MetricChoice.SHARE,
    adopted: Annotated[
        str | None, typer.Option("--adopted", metavar="EVENT", help="Only persons who did this.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="Before and after the launch.")] = 14,
    confidence: Confidence = 0.95,
    output: Output = Output(),
) -> None:
    """What did a launch change? With confidence intervals."""
    _run(
        "feature_impact", output, event, launched=launched, metric=metric.value,
        adopted=adopted, days=days, confidence=confidence,
    )  # fmt: skip


@recipes.command("error-impact")
@expand_groups
def error_impact(
    outcome: Outcome = None,
    limit: Limit = 20,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """Which errors affect the most persons?"""
    _run("error_impact", output, outcome=outcome, limit=limit, days=period.days, end=period.end)


@recipes.command("cohort-comparison")
@expand_groups
def cohort_comparison(
    groups: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=GROUP …",
            help="GROUP: the id of a cohort, or PROPERTY:VALUE of persons: free=plan:free.",
        ),
    ],
    outcome: Outcome = None,
    confidence: Confidence = 0.95,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """How do cohorts, or other groups of persons, differ?"""
    _run(
        "cohort_comparison", output, groups, outcome=outcome, confidence=confidence,
        days=period.days, end=period.end,
    )  # fmt: skip


@recipes.command("marketing-channels")
@expand_groups
def marketing_channels(
    signup: Annotated[str, typer.Option("--signup", metavar="EVENT", help="Signing up.")],
    conversion: Annotated[
        str, typer.Option("--conversion", metavar="EVENT", help="What channels are to bring.")
    ],
    by: Annotated[
        str, typer.Option("--by", metavar="PROPERTY", help="person.NAME: of the person.")
    ] = "person.$initial_utm_source",
    revenue: Annotated[
        str | None,
        typer.Option("--revenue", metavar="PROPERTY", help="Of the conversion, to add up."),
    ] = None,
    limit: Limit = 15,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """Which channels bring persons who sign up and convert?"""
    _run(
        "marketing_channels", output, signup, conversion, by=by, revenue=revenue, limit=limit,
        days=period.days, end=period.end,
    )  # fmt: skip


@recipes.command("user-journey")
@expand_groups
def user_journey(
    distinct_id: Annotated[str, typer.Argument(help="One of the person's distinct ids.")],
    limit: Limit = 1000,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """What has one person done?"""
    _run("user_journey", output, distinct_id, limit=limit, days=period.days, end=period.end)


@recipes.command("retention")
@expand_groups
def retention(
    start_event: Annotated[
        str | None, typer.Option("--start-event", metavar="EVENT", help="Default: any.")
    ] = None,
    return_event: Annotated[
        str | None, typer.Option("--return-event", metavar="EVENT", help="Default: any.")
    ] = None,
    first_time: Annotated[
        bool, typer.Option("--first-time", help="Only a person's first start event counts.")
    ] = False,
    buckets: Buckets = Buckets(),
    output: Output = Output(),
) -> None:
    """Who comes back?"""
    _run("retention", output, start_event, return_event, first_time=first_time, **_buckets(buckets))


@recipes.command("trends")
@expand_groups
def trends(
    events: Annotated[list[str], typer.Argument(metavar="EVENT …", help="One line for each.")],
    measure: Annotated[
        MeasureChoice, typer.Option("--measure", help="What to count.")
    ] = MeasureChoice.EVENTS,
    breakdown: Annotated[
        str | None,
        typer.Option("--breakdown", metavar="PROPERTY", help="person.NAME: of the person."),
    ] = None,
    buckets: Buckets = Buckets(),
    output: Output = Output(),
) -> None:
    """How often do events happen?"""
    _run("trends", output, events, measure=measure.value, breakdown=breakdown, **_buckets(buckets))


@recipes.command("stickiness")
@expand_groups
def stickiness(
    event: EventOption = None,
    buckets: Buckets = Buckets(),
    output: Output = Output(),
) -> None:
    """In how many days, weeks or months are persons active?"""
    _run("stickiness", output, event, **_buckets(buckets))


@recipes.command("lifecycle")
@expand_groups
def lifecycle(
    event: EventOption = None,
    buckets: Buckets = Buckets(),
    output: Output = Output(),
) -> None:
    """Who is new, returning, resurrecting or dormant?"""
    _run("lifecycle", output, event, **_buckets(buckets))


@recipes.command("top-events")
@expand_groups
def top_events(
    limit: Limit = 15,
    period: Days = Days(),
    output: Output = Output(),
) -> None:
    """Which events are the most frequent?"""
    _run("top_events", output, limit=limit, days=period.days, end=period.end)


@recipes.command("warehouse-sync")
@expand_groups
def warehouse_sync(
    folder: Annotated[Path, typer.Argument(help="The folder of the Parquet files.")],
    start: Annotated[
        str, typer.Option("--start", metavar="TIME", help="Start of the first run, as ISO 8601.")
    ],
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="ISO 8601; default: now.")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", metavar="EVENT", help="Default: all events.")
    ] = None,
    persons: Annotated[bool, typer.Option("--persons/--no-persons", help="Persons, too.")] = True,
    overlap: Annotated[
        float, typer.Option("--overlap", metavar="HOURS", help="How late events may arrive.")
    ] = 6,
    output: Output = Output(),
) -> None:
    """Write what is new since the last run as Parquet files."""
    _run(
        "warehouse_sync", output, folder, start=start, end=end, events=event, persons=persons,
        overlap=overlap,
    )  # fmt: skip


@expand_groups
def report(
    output: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page (.html).")],
    step: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="EVENT", help="A step of the funnel; repeat it."),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option("--event", metavar="EVENT", help="A line of the trends; may be repeated."),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "PostHog report",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "--force", help="Replace FILE if it exists.")
    ] = False,
    period: Days = Days(),
) -> None:
    """Write one page with trends, a funnel, retention and the most frequent events.

    The page has everything in it: it needs no network to be shown.
    """

    async def work() -> None:
        from .recipes import write_report

        await write_report(
            output, step or (), event or (), title, period.days, period.end, overwrite=overwrite
        )

    run_async(work)
