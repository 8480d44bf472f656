"""The status page: collect its data and render it as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Final

from posthog_emulator.http.errors import method_not_allowed
from posthog_emulator.http.messages import Request, Response, text_response
from posthog_emulator.recorder import RecordedRequest
from posthog_emulator.state import EmulatorState
from posthog_emulator.timestamps import from_micros

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = [
    "BucketUsage",
    "DashboardData",
    "EventsPerMinute",
    "ResourceCount",
    "collect",
    "dashboard_page",
    "render",
]

MINUTES: Final = 60
_MAX_REQUESTS: Final = 40


@dataclass(frozen=True, slots=True)
class ResourceCount:
    """The number of objects of a resource, over all parents."""

    name: str
    live: int
    deleted: int


@dataclass(frozen=True, slots=True)
class EventsPerMinute:
    """The number of events by the minute of their arrival."""

    until: datetime
    """The end of the last minute."""
    counts: tuple[int, ...]
    """One per minute, the oldest first."""


@dataclass(frozen=True, slots=True)
class BucketUsage:
    """The usage of a rate limit."""

    name: str
    owner: str
    used: int
    limit: int
    reset: float
    """Seconds until the oldest request leaves the window."""


@dataclass(frozen=True, slots=True)
class DashboardData:
    """The data of the status page."""

    now: datetime
    project: str
    resources: tuple[ResourceCount, ...]
    requests: tuple[RecordedRequest, ...]
    """The latest requests, the newest first."""
    request_count: int
    """The number of requests in the log."""
    events: int
    persons: int
    minutes: EventsPerMinute
    rate_limits: bool
    """Whether rate limits are applied."""
    buckets: tuple[BucketUsage, ...]
    running_queries: int
    query_slots: int


def collect(emulator: EmulatorCore) -> DashboardData:
    """Return the current data of the status page."""
    state, now = emulator.state, emulator.now
    events, persons, minutes = _events(state, now)
    project = emulator.project_id
    return DashboardData(
        now=now,
        project=f"{state.accounts.account.project_name} ({project})",
        resources=tuple(_resource_counts(state)),
        requests=tuple(reversed(emulator.requests[-_MAX_REQUESTS:])),
        request_count=len(emulator.requests),
        events=events,
        persons=persons,
        minutes=minutes,
        rate_limits=emulator.settings.rate_limits,
        buckets=tuple(_buckets(emulator)),
        running_queries=emulator.query_slots.running(project),
        query_slots=emulator.query_slots.limit(project),
    )


def _resource_counts(state: EmulatorState) -> Iterable[ResourceCount]:
    live, deleted = Counter[str](), Counter[str]()
    for path, collection in state.store.collections.items():
        name = _resource_name(state, path)
        live[name] += sum(not row.deleted for row in collection)
        deleted[name] += sum(row.deleted for row in collection)
    for name in sorted(live, key=lambda name: (-live[name], name)):
        if live[name] or deleted[name]:
            yield ResourceCount(name, live[name], deleted[name])


def _resource_name(state: EmulatorState, path: str) -> str:
    """Return the name of the resource at a path, as the client calls it."""
    match = state.router.find(path)
    if match is None:
        return path
    return next(iter(match.methods.values()))[0].operation.resource


def _events(state: EmulatorState, now: datetime) -> tuple[int, int, EventsPerMinute]:
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    store = state.events_if_available
    # Without ClickHouse nothing can have been captured.
    if store is None:
        return 0, 0, EventsPerMinute(end, (0,) * MINUTES)
    ((events, last),) = store.read(
        "SELECT count(), toUnixTimestamp64Micro(max(created_at)) FROM events"
    )
    ((persons,),) = store.read("SELECT count() FROM person FINAL WHERE is_deleted = 0")
    if events:
        latest = from_micros(last)
        if not now - timedelta(minutes=MINUTES) < latest <= now:
            # Demo data ends in the past: show the last hour with events, not an empty one.
            end = latest.replace(second=0, microsecond=0) + timedelta(minutes=1)
    start = end - timedelta(minutes=MINUTES)
    counts = [0] * MINUTES
    for at, count in store.read(
        "SELECT dateDiff('second', ?, created_at) DIV 60 AS minute, count() FROM events "
        "WHERE created_at >= ? AND created_at < ? GROUP BY minute",
        [start, start, end],
    ):
        counts[at] = count
    return events, persons, EventsPerMinute(end, tuple(counts))


def _buckets(emulator: EmulatorCore) -> Iterable[BucketUsage]:
    account = emulator.state.accounts.account
    scopes = [(key, f"key {_masked(key)}") for key in emulator.state.accounts.keys]
    scopes += [
        (str(account.project_id), f"project {account.project_id}"),
        (account.organization_id, "organization"),
    ]
    for scope_key, owner in scopes:
        for name, usage in sorted(emulator.rate_limits.usage(scope_key).items()):
            yield BucketUsage(name, owner, usage.used, usage.limit, usage.reset)


def _masked(key: str) -> str:
    # Of a short key, the first and last characters would be most of it.
    return f"{key[:4]}…{key[-3:]}" if len(key) > 10 else "…"


_CHART_WIDTH, _CHART_HEIGHT = 720, 120
_INNER_LABEL = ' class="inner"'
"""Marks the labels that narrow screens hide."""


def dashboard_page(emulator: EmulatorCore, request: Request) -> Response:
    """Return the status page.

    Raises:
        ApiError: 405, the method is not GET.
    """
    if request.method not in {"GET", "HEAD"}:
        raise method_not_allowed(request.method, ["GET", "HEAD"])
    response = text_response(200, render(collect(emulator)), "text/html; charset=utf-8")
    response.headers += [
        ("Cache-Control", "no-store"),
        # The page has no scripts. Should escaping ever fail, none are executed.
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return response


def render(data: DashboardData) -> str:
    """Return the page as HTML. All text from requests and fixtures is escaped."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<link rel="icon" href="data:,">
<title>PostHog in a box</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>PostHog in a box</h1>
<p>{escape(data.project)} · {data.now:%Y-%m-%d %H:%M:%S} UTC · refreshes every 5 s</p>
</header>
<main>
<dl class="figures">
{_figure("Events", data.events)}
{_figure("Persons", data.persons)}
{_figure("Objects", sum(resource.live for resource in data.resources))}
{_figure("Requests", data.request_count)}
</dl>
<section class="wide"><h2>Events per minute</h2>{_chart(data.minutes)}</section>
<section class="wide"><h2>Last requests</h2>{_requests(data.requests)}</section>
<section><h2>Resources</h2>{_resources(data.resources)}</section>
<section><h2>Rate limits</h2>{_limits(data)}</section>
</main>
</body>
</html>
"""


def _figure(name: str, value: int) -> str:
    return f"<div><dt>{name}</dt><dd>{value:,}</dd></div>"


def _chart(minutes: EventsPerMinute) -> str:
    highest = max(minutes.counts)
    step = _CHART_WIDTH / MINUTES
    bars: list[str] = []
    for index, count in enumerate(minutes.counts):
        if not count:
            continue
        # At least 1.5 pixels, or a single event beside thousands would not be visible.
        height = max(1.5, count / highest * _CHART_HEIGHT)
        left = MINUTES - index
        ago = "in the last minute" if left == 1 else f"{left} minutes before the end"
        bars.append(
            f'<rect x="{index * step + 1:.1f}" y="{_CHART_HEIGHT - height:.1f}" '
            f'width="{step - 2:.1f}" height="{height:.1f}" rx="1.5">'
            f"<title>{count:,} events {ago}</title></rect>"
        )
    labels = "".join(
        f'<text x="{_CHART_WIDTH * part / 4:.0f}" y="{_CHART_HEIGHT + 18}" text-anchor="{anchor}"'
        f"{_INNER_LABEL if part % 2 else ''}>"
        f"{_time_label(minutes, part)}</text>"
        for part, anchor in ((0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end"))
    )
    return (
        f'<svg viewBox="0 -14 {_CHART_WIDTH} {_CHART_HEIGHT + 38}" role="img" '
        f'aria-label="{sum(minutes.counts):,} events in {MINUTES} minutes">'
        f'<line x1="0" x2="{_CHART_WIDTH}" y1="{_CHART_HEIGHT}" y2="{_CHART_HEIGHT}"/>'
        f'<text x="0" y="-3">{highest:,} at most</text>{"".join(bars)}{labels}</svg>'
    )


def _time_label(minutes: EventsPerMinute, part: int) -> str:
    return f"{minutes.until - timedelta(minutes=MINUTES * (4 - part) / 4):%H:%M}"


def _requests(requests: tuple[RecordedRequest, ...]) -> str:
    if not requests:
        return "<p>None yet.</p>"
    rows = "".join(
        f"<tr><td>{request.at:%H:%M:%S}</td><td>{escape(request.method)}</td>"
        f'<td><b class="{_status_class(request.status)}">{request.status or "dropped"}</b></td>'
        f'<td class="path">{escape(request.path)}{_small_text(request.operation)}</td>'
        f'<td class="number">{request.seconds * 1000:,.1f} ms</td></tr>'
        for request in requests
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Time</th><th>Method</th><th>Status</th>'
        "<th>Path</th>"
        f'<th class="number">Took</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _small_text(text: str | None) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _status_class(status: int) -> str:
    if status == 0 or status >= 500:
        return "bad"
    return "poor" if status >= 400 else "good"


def _resources(resources: tuple[ResourceCount, ...]) -> str:
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
        return "<p>Off. <code>Emulator(rate_limits=True)</code> switches them on.</p>"
    rows = "".join(_limit(bucket) for bucket in data.buckets)
    return (
        f"<p>{data.running_queries} of {data.query_slots} queries running.</p>"
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


_STYLE = """
:root { color-scheme: light dark; --back: #f6f6f3; --card: #fff; --text: #1d1f27;
  --quiet: #6b6f7b; --line: #e2e3dc; --accent: #1d4aff; --good: #14794a; --poor: #a15c00;
  --bad: #c22a2a; }
@media (prefers-color-scheme: dark) { :root { --back: #16171b; --card: #1f2026; --text: #ececec;
  --quiet: #9a9da8; --line: #32343d; --accent: #7d9bff; --good: #55c98d; --poor: #e3a94a;
  --bad: #ff7b7b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--back);
  color: var(--text); font: 14px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.4rem; }
h2 { margin: 0 0 .75rem; font-size: 1rem; }
header p { margin: 0 0 1.25rem; color: var(--quiet); }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
  gap: 1rem; align-items: start; }
section, .figures div { min-width: 0; padding: 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; }
.wide, .figures { grid-column: 1 / -1; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); gap: 1rem;
  margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow: auto; max-height: 26rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--card); color: var(--quiet); font-weight: 500;
  text-align: left; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.path { min-width: 11rem; white-space: normal; overflow-wrap: anywhere; }
.path, code { font-family: ui-monospace, monospace; font-size: .92em; }
.number { text-align: right; padding-right: 0; } .quiet { color: var(--quiet); }
.good { color: var(--good); } .poor { color: var(--poor); } .bad { color: var(--bad); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg rect { fill: var(--accent); } svg line { stroke: var(--line); }
svg text { fill: var(--quiet); font-size: 11px; }
small { display: block; color: var(--quiet); font-size: .88em; }
meter { display: block; width: 100%; min-width: 6rem; height: .7rem; }
@media (max-width: 40rem) { body { padding: 1rem; }
  .figures { grid-template-columns: 1fr 1fr; } svg text { font-size: 20px; }
  svg text.inner { display: none; } td.path { min-width: 9rem; } }
"""
