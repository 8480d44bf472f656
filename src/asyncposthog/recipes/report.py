"""One page about a project: trends, a funnel, retention and the most frequent events."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from anyio import to_thread

from .activity import Trends, trends
from .conditions import EventLike, QueryBuilder, as_events
from .figures import Bar, Bars, format_count
from .funnels import FunnelDropOff, funnel_drop_off
from .periods import last_days, require_count
from .result import RecipeResult, run
from .retention import Retention, retention

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["EventCount", "ProjectReport", "TopEvents", "project_report", "top_events"]

_TREND_LINES: Final = 4
_GUESSED_STEPS: Final = 4
_WEEKS: Final = 8


@dataclass(frozen=True, slots=True)
class EventCount:
    """How often an event happened, and to how many persons."""

    event: str
    events: int
    persons: int


@dataclass(frozen=True, kw_only=True)
class TopEvents(RecipeResult[EventCount]):
    """The most frequent events, most frequent first."""

    row_type: ClassVar[type] = EventCount

    def figure(self) -> Bars:
        """Return bars with the number of each event."""
        bars = [
            Bar(row.event, row.events, f"{row.events:,} by {format_count(row.persons, 'person')}")
            for row in self.rows
        ]
        return Bars(
            title="The most frequent events",
            subtitle=str(self.period),
            empty="" if bars else f"No events from {self.period}",
            labels_title="Event",
            values_title="Events",
            bars=tuple(bars),
        )


async def top_events(
    ph: AsyncPostHog,
    *,
    days: int = 30,
    end: datetime | None = None,
    limit: int = 15,
    timeout: float | None = None,  # noqa: ASYNC109
) -> TopEvents:
    """Return the most frequent events.

    Args:
        ph: The client; its key needs the scope `query:read`.
        days: The number of days before `end`.
        end: The end of the period, with a time zone; None: now.
        limit: The maximum number of events, up to 10,000.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period, query = last_days(days, end), QueryBuilder()
    require_count("limit", limit, most=10_000)
    result = await run(
        ph,
        f"""
        SELECT event, count() AS n, count(DISTINCT person_id) FROM events
        WHERE {query.during(period)} GROUP BY event ORDER BY n DESC, event
        LIMIT {query.bind(limit)}
        """,  # noqa: S608
        query,
        "top events",
        timeout,
    )
    return TopEvents(rows=tuple(EventCount(*row) for row in result), period=period)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectReport:
    """The parts of a report."""

    title: str
    created: datetime
    trends: Trends
    funnel: FunnelDropOff | None
    """None: there are fewer than two events to make a funnel of."""
    funnel_guessed: bool
    """Whether no steps were given: they are events that most persons have, in the usual order."""
    retention: Retention
    top_events: TopEvents

    def parts(self) -> list[RecipeResult[Any]]:
        """Return the parts in the order of the page."""
        funnel: list[RecipeResult[Any]] = [] if self.funnel is None else [self.funnel]
        return [self.trends, *funnel, self.retention, self.top_events]

    def to_html(self) -> str:
        """Return one page with pictures and tables, which needs no network. Extra: `charts`.

        Raises:
            ImportError: The extra is not installed.
        """
        from .altair_charts import svg

        sections: list[str] = []
        for part in self.parts():
            note = ""
            if part is self.funnel and self.funnel_guessed:
                note = (
                    "<p>No steps were given: these are the events that most persons have, in "
                    "their usual order. Give your own steps for a better funnel.</p>"
                )
            picture = svg(part.plot())
            name = html.escape(part.figure().title)
            sections.append(
                f'<section>{note}<figure role="img" aria-label="{name}">{picture}</figure>'
                f"<details><summary>Table</summary>{_table(part)}</details></section>"
            )
        return _PAGE.format(
            title=html.escape(self.title),
            created=f"{self.created:%Y-%m-%d %H:%M} UTC",
            sections="\n".join(sections),
        )

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file. Extra: `charts`.

        Raises:
            ImportError: The extra is not installed.
            OSError: The file cannot be written.
        """
        await to_thread.run_sync(self._write, path)

    def _write(self, path: str | os.PathLike[str]) -> None:
        text = self.to_html()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


async def project_report(
    ph: AsyncPostHog,
    *,
    steps: Sequence[EventLike] = (),
    events: Sequence[EventLike] = (),
    days: int = 30,
    end: datetime | None = None,
    title: str = "PostHog report",
    timeout: float | None = None,  # noqa: ASYNC109
) -> ProjectReport:
    """Return trends, a funnel, weekly retention and the most frequent events of a project.

    Args:
        ph: The client; its key needs the scope `query:read`.
        steps: The steps of the funnel; by default the events that most persons have, in the order
            in which they usually come.
        events: The events of the trends; by default the most frequent ones.
        days: The number of days before `end`, for all but the retention, which has eight weeks.
        end: The end of the period, with a time zone; None: now.
        title: The title of the page.
        timeout: Seconds for each query, waits included; None: the client's limits.

    Raises:
        PostHogError: A query failed.
        TypeError, ValueError: An argument is invalid, such as a funnel with one step. Nothing was
            sent.
    """
    if steps and len(steps) < 2:
        raise ValueError("a funnel needs at least 2 steps, not 1; leave out steps to guess them")
    stop = datetime.now(UTC) if end is None else end
    top = await top_events(ph, days=days, end=stop, limit=50, timeout=timeout)
    shown = events or [row.event for row in top.rows[:_TREND_LINES]] or ["$pageview"]
    funnel_steps = steps or await _guess_steps(ph, top, timeout)
    funnel = None
    if len(funnel_steps) > 1:
        funnel = await funnel_drop_off(ph, funnel_steps, days=days, end=stop, timeout=timeout)
    return ProjectReport(
        title=title,
        created=datetime.now(UTC),
        trends=await trends(ph, as_events(shown), periods=days, end=stop, timeout=timeout),
        funnel=funnel,
        funnel_guessed=not steps,
        retention=await retention(ph, periods=_WEEKS, end=stop, timeout=timeout),
        top_events=TopEvents(rows=top.rows[:15], period=top.period),
    )


async def _guess_steps(
    ph: AsyncPostHog,
    top: TopEvents,
    timeout: float | None,  # noqa: ASYNC109
) -> list[str]:
    """Return the events that most persons have, in the order in which they usually come first.

    They are the event that most persons have, and the next ones of the project's own.
    """
    by_persons = sorted(top.rows, key=lambda row: -row.persons)
    own = [row.event for row in by_persons if not row.event.startswith("$")]
    names = list(dict.fromkeys([row.event for row in by_persons[:1]] + own))[:_GUESSED_STEPS]
    if len(names) < 2:
        return []
    query = QueryBuilder()
    result = await run(
        ph,
        f"""
        SELECT pair.1 AS name FROM (
            SELECT person_id, min(first) AS start,
                arrayJoin(groupArray(tuple(event, first))) AS pair
            FROM (
                SELECT person_id, event, min(assumeNotNull(toFloat(timestamp))) AS first
                FROM events WHERE {query.during(top.period)} AND event IN {query.bind(names)}
                GROUP BY person_id, event
            ) GROUP BY person_id
        ) GROUP BY name ORDER BY avg(pair.2 - start), name LIMIT 100
        """,  # noqa: S608
        query,
        "order of events",
        timeout,
    )
    return [row[0] for row in result]


def _table(part: RecipeResult[Any]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in part.columns)
    rows: list[str] = []
    for row in part.dicts():
        cells = "".join(f"<td>{html.escape(_cell(row[name]))}</td>" for name in part.columns)
        rows.append(f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 Helvetica, Arial, sans-serif; color: #333; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }}
header p, section p {{ color: #6b6b6b; }}
section {{ border-top: 1px solid #ddd; padding: 1rem 0; }}
figure {{ margin: 0; overflow-x: auto; }}
figure svg {{ max-width: 100%; height: auto; }}
details {{ overflow-x: auto; }}
summary {{ cursor: pointer; color: #6b6b6b; }}
table {{ border-collapse: collapse; font-size: 13px; }}
th, td {{ text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #eee; }}
</style>
</head>
<body>
<header><h1>{title}</h1><p>Created on {created}</p></header>
{sections}
</body>
</html>
"""
