"""The status page as HTML."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cache
from html import escape
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from posthog_emulator.http.errors import method_not_allowed
from posthog_emulator.http.messages import Request, Response, text_response
from posthog_emulator.recorder import RecordedRequest

from .dashboard import (
    MINUTES,
    BucketUsage,
    DashboardData,
    EventsPerMinute,
    LatestEvent,
    ResourceCount,
    collect,
)

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["dashboard_page", "relative_time", "render"]

_CHART_WIDTH, _CHART_HEIGHT = 720, 120
_INNER_LABEL = ' class="inner"'
"""Marks the labels that narrow screens hide."""
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_EXAMPLES: Final = {
    "Events by name": (
        "SELECT event, count() AS events\nFROM events\nGROUP BY event\nORDER BY events DESC\n"
        "LIMIT 20"
    ),
    "Events a day": (
        "SELECT toDate(timestamp) AS day, count() AS events\nFROM events\nGROUP BY day\n"
        "ORDER BY day\nLIMIT 400"
    ),
    "Latest events": (
        "SELECT timestamp, event, distinct_id, properties\nFROM events\nORDER BY timestamp DESC\n"
        "LIMIT 20"
    ),
    "Persons": (
        "SELECT created_at, id, properties\nFROM persons\nORDER BY created_at DESC\nLIMIT 20"
    ),
}


def dashboard_page(emulator: EmulatorCore, request: Request) -> Response:
    """Return the status page.

    Raises:
        ApiError: 405, the method is not GET.
    """
    if request.method not in {"GET", "HEAD"}:
        raise method_not_allowed(request.method, ["GET", "HEAD"])
    nonce = token_urlsafe(16)
    text = render(collect(emulator, request), nonce)
    response = text_response(200, text, "text/html; charset=utf-8")
    response.headers += [
        ("Cache-Control", "no-store"),
        # Only the script of the page itself runs. Should escaping ever fail, no other one does.
        (
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
            f"script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'",
        ),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ]
    return response


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def render(data: DashboardData, nonce: str = "") -> str:
    """Return the page as HTML. All text from requests and fixtures is escaped.

    Args:
        data: What it shows.
        nonce: The nonce of its script.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<link rel="icon" href="data:,">
<title>PostHog in a box</title>
<style>{_file("page.css")}</style>
</head>
<body>
<header>
<h1>PostHog in a box</h1>
<p id="now">{escape(data.project)} · {escape(data.url)} · now {data.now:%Y-%m-%d %H:%M:%S} UTC\
{", frozen" if data.frozen else ""}</p>
</header>
<main>
<dl class="figures" id="figures">
{_figure("Events", data.events)}
{_figure("Persons", data.persons)}
{_figure("Objects", sum(resource.live for resource in data.resources))}
{_figure("Requests", data.request_count)}
</dl>
<section class="wide" id="minutes"><h2>Events per minute\
{_chart_title(data.minutes, data.now)}</h2>{_chart(data)}</section>
<section class="wide"><h2>Query</h2>{_console()}</section>
<section class="wide">
<div class="title"><h2>Live events</h2><div class="bar" id="tools" hidden>\
<input id="filter" type="search" placeholder="Filter" aria-label="Filter the events">\
<button type="button" id="pause" aria-pressed="false">Pause</button></div></div>
<div id="events">{_events(data)}</div>
</section>
<section class="wide" id="requests"><h2>Last requests</h2>{_requests(data)}</section>
<section id="resources"><h2>Resources</h2>{_resources(data.resources)}</section>
<section id="limits"><h2>Rate limits</h2>{_limits(data)}</section>
</main>
<script nonce="{nonce}">{_file("page.js")}</script>
</body>
</html>
"""


def relative_time(at: datetime, now: datetime) -> str:
    """Return how long ago a time is: `now`, `12 s ago`, `3 min ago`, `in 2 h`."""
    seconds = int((now - at).total_seconds())
    for unit, size in _UNITS:
        if abs(seconds) >= size:
            count = abs(seconds) // size
            return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"
    return "now"


def _time(at: datetime, now: datetime) -> str:
    return (
        f'<time datetime="{at.isoformat()}" title="{at:%Y-%m-%d %H:%M:%S} UTC">'
        f"{relative_time(at, now)}</time>"
    )


def _figure(name: str, value: int) -> str:
    return f"<div><dt>{name}</dt><dd>{value:,}</dd></div>"


def _is_current(minutes: EventsPerMinute, now: datetime) -> bool:
    return minutes.until - now <= timedelta(minutes=1) and minutes.until > now


def _chart_title(minutes: EventsPerMinute, now: datetime) -> str:
    if _is_current(minutes, now):
        return ""
    ago = relative_time(minutes.until - timedelta(minutes=1), now)
    return f' <span class="quiet">· the last hour with events, {ago}</span>'


def _chart(data: DashboardData) -> str:
    minutes = data.minutes
    highest = max(minutes.counts)
    if not highest:
        event = json.dumps({"api_key": data.token, "event": "hello", "distinct_id": "ada"})
        return (
            "<p>None yet. Send one:</p>"
            f"<pre>curl {escape(data.url)}/i/v0/e/ --json '{escape(event, quote=False)}'</pre>"
        )
    step = _CHART_WIDTH / MINUTES
    bars: list[str] = []
    for index, count in enumerate(minutes.counts):
        if not count:
            continue
        # At least 1.5 pixels, or a single event beside thousands would not be visible.
        height = max(1.5, count / highest * _CHART_HEIGHT)
        bars.append(
            f'<rect x="{index * step + 1:.1f}" y="{_CHART_HEIGHT - height:.1f}" '
            f'width="{step - 2:.1f}" height="{height:.1f}" rx="1.5">'
            f"<title>{_bar_hint(minutes, index, data.now)}</title></rect>"
        )
    labels = "".join(
        f'<text x="{_CHART_WIDTH * part / 4:.0f}" y="{_CHART_HEIGHT + 18}" text-anchor="{anchor}"'
        f"{_INNER_LABEL if part % 2 else ''}>"
        f"{_time_label(minutes, part, data.now)}</text>"
        for part, anchor in ((0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end"))
    )
    return (
        f'<svg viewBox="0 -14 {_CHART_WIDTH} {_CHART_HEIGHT + 38}" role="img" '
        f'aria-label="{sum(minutes.counts):,} events in {MINUTES} minutes">'
        f'<line x1="0" x2="{_CHART_WIDTH}" y1="{_CHART_HEIGHT}" y2="{_CHART_HEIGHT}"/>'
        f'<text x="0" y="-3">{highest:,} at most</text>{"".join(bars)}{labels}</svg>'
    )


def _bar_hint(minutes: EventsPerMinute, index: int, now: datetime) -> str:
    """Return what a bar shows: `5 events at 12:01, 8 min ago`."""
    count = minutes.counts[index]
    start = minutes.until - timedelta(minutes=MINUTES - index)
    ago = (
        "this minute" if start <= now < start + timedelta(minutes=1) else relative_time(start, now)
    )
    return f"{count:,} {'event' if count == 1 else 'events'} at {start:%H:%M}, {ago}"


def _time_label(minutes: EventsPerMinute, part: int, now: datetime) -> str:
    left = MINUTES * (4 - part) // 4
    if _is_current(minutes, now):
        return f"{left} min ago" if left else "now"
    at = minutes.until - timedelta(minutes=left)
    return f"{at:%Y-%m-%d %H:%M}" if part in {0, 4} else f"{at:%H:%M}"


def _console() -> str:
    examples = "".join(
        f'<button type="button" data-sql="{escape(sql)}">{name}</button>'
        for name, sql in _EXAMPLES.items()
    )
    first = next(iter(_EXAMPLES.values()))
    return (
        "<noscript><p>Queries need JavaScript.</p></noscript>"
        '<form id="console" hidden>'
        '<textarea id="sql" spellcheck="false" aria-label="HogQL query">'
        f"{escape(first)}</textarea>"
        '<div class="bar"><button class="run" title="Ctrl+Enter">Run</button>'
        f"{examples}</div>"
        '<p class="bar"><output id="told" class="quiet">HogQL. Ctrl+Enter runs it.</output></p>'
        '</form><div id="result"></div>'
    )


def _events(data: DashboardData) -> str:
    if not data.latest:
        return "<p>None were captured since the start.</p>"
    rows = "".join(_event(event, data.now) for event in data.latest)
    return (
        '<div class="scroll"><table><thead><tr><th>Time</th><th>Event</th><th>Distinct id</th>'
        f"<th>Properties</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _event(event: LatestEvent, now: datetime) -> str:
    key = escape(event.uuid)
    count = len(event.properties)
    properties = json.dumps(event.properties, ensure_ascii=False, indent=1, default=str)
    names = f"{count} {'property' if count == 1 else 'properties'}"
    shown = f"<summary>{names}</summary><pre>{escape(properties)}</pre>"
    return (
        f'<tr data-key="{key}"><td class="when">{_time(event.timestamp, now)}</td>'
        f'<td class="path">{escape(event.event)}</td>'
        f'<td class="path">{escape(event.distinct_id)}</td>'
        f'<td class="path"><details data-key="{key}">{shown}</details></td></tr>'
    )


def _requests(data: DashboardData) -> str:
    if not data.requests:
        return f"<p>None yet. Use {escape(data.url)} as the host of a client.</p>"
    rows = "".join(_request(request, data.now) for request in data.requests)
    return (
        '<div class="scroll"><table><thead><tr><th>Time</th><th>Method</th><th>Status</th>'
        '<th class="fill">Path</th>'
        f'<th class="number">Took</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _request(request: RecordedRequest, now: datetime) -> str:
    return (
        f'<tr><td class="when">{_time(request.at, now)}</td><td>{escape(request.method)}</td>'
        f'<td><b class="{_status_class(request.status)}">{request.status or "dropped"}</b></td>'
        f'<td class="path">{escape(request.path)}{_small_text(request.operation)}</td>'
        f'<td class="number">{request.seconds * 1000:,.1f} ms</td></tr>'
    )


def _small_text(text: str | None) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _status_class(status: int) -> str:
    if status == 0 or status >= 500:
        return "bad"
    return "poor" if status >= 400 else "good"


def _resources(resources: tuple[ResourceCount, ...]) -> str:
    if not resources:
        return "<p>There are no objects.</p>"
    rows = "".join(
        f'<tr><td class="path">{escape(resource.name)}</td>'
        f'<td class="number">{resource.live:,}</td>'
        f'<td class="number quiet">{f"{resource.deleted:,}" if resource.deleted else ""}</td></tr>'
        for resource in resources
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Resource</th><th class="number">Objects</th>'
        f'<th class="number">Deleted</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _limits(data: DashboardData) -> str:
    if not data.rate_limits:
        return (
            "<p>Off. These switch them on: <code>--rate-limits</code> of the command, "
            "<code>Emulator(rate_limits=True)</code>, or, while it runs:</p>"
            f"<pre>curl {escape(data.url)}/_emulator/settings "
            "-d '{&quot;rate_limits&quot;: true}'</pre>"
        )
    running = f"<p>{data.running_queries} of {data.query_slots} queries running.</p>"
    if not data.buckets:
        return f"{running}<p>No request was counted yet.</p>"
    rows = "".join(_limit(bucket) for bucket in data.buckets)
    return (
        f"{running}"
        '<div class="scroll"><table><thead><tr><th>Bucket</th><th>Used</th>'
        f'<th class="number">Resets in</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _limit(bucket: BucketUsage) -> str:
    css_class = "bad" if bucket.used >= bucket.limit else "good"
    return (
        f'<tr><td class="path">{escape(bucket.name)}{_small_text(bucket.owner)}</td>'
        f'<td><b class="{css_class}">{bucket.used:,} / {bucket.limit:,}</b>'
        f'<meter max="{bucket.limit}" value="{bucket.used}"></meter></td>'
        f'<td class="number">{bucket.reset:,.0f} s</td></tr>'
    )
